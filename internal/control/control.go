// Package control is the socket over which commands ask the running daemon: dkimd
// reload, dkimd status, and those that rotate keys. It is HTTP with JSON on a unix socket that root and the
// daemon's user alone may enter. What is asked for is done by a Daemon.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/socket"

	"golang.org/x/net/netutil"
)

const (
	// socketMode lets root and the daemon's user connect, and nobody else.
	socketMode     = 0o600
	maxConnections = 16
	headerTimeout  = 2 * time.Second
	// A daemon may hang, and commands hold the keys of a domain while they ask it.
	askLimit    = 30 * time.Second
	reloadLimit = 5 * time.Minute // of a daemon with many keys on a slow disk; systemd waits 90 s
	// maxAnswer is what either side reads at most: a hundred thousand faults of a kilobyte.
	maxAnswer = 100 << 20
)

// Daemon is asked by several goroutines at once.
type Daemon interface {
	Status() Status
	// Reload ends early when ctx does, or when the daemon stops.
	Reload(ctx context.Context, acceptRemoval bool) (Reload, error)
	// Rotate has it go on with rotations that were begun in these domains. It does not wait.
	Rotate(names []domain.Name)
	// Elsewhere are the key files outside the directory of keys that it signs with.
	Elsewhere() []string
}

// Server answers on its socket until Close.
type Server struct {
	listeners []net.Listener
	http      *http.Server
	logger    *slog.Logger
	serving   sync.WaitGroup
}

// Listen opens unix sockets, of the form unix:/PATH; nobody is answered before Start. The error is a fault.Faults.
func Listen(listen []string, d Daemon, logger *slog.Logger) (*Server, error) {
	listeners, err := socket.Listen(socket.Config{Name: "control", Listen: listen, Mode: socketMode})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, d.Status()) })
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		done, err := d.Reload(r.Context(), r.URL.Query().Has("accept-removal"))
		if err != nil {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, err.Error()) //nolint:gosec // an error of our own, for no browser
			return
		}
		answer(w, done)
	})
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, r *http.Request) {
		var names []domain.Name
		if err := json.NewDecoder(io.LimitReader(r.Body, maxAnswer)).Decode(&names); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		d.Rotate(names)
		answer(w, struct{}{})
	})
	mux.HandleFunc("GET /elsewhere", func(w http.ResponseWriter, _ *http.Request) { answer(w, d.Elsewhere()) })
	return &Server{
		listeners: listeners,
		logger:    logger,
		http: &http.Server{
			Handler: mux, ReadHeaderTimeout: headerTimeout, IdleTimeout: headerTimeout,
			ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelError), // of panics: who asks is root or dkimd's user
		},
	}, nil
}

// Start answers until Close.
func (s *Server) Start() {
	for _, ln := range s.listeners {
		s.serving.Go(func() {
			if err := s.http.Serve(netutil.LimitListener(ln, maxConnections)); err != http.ErrServerClosed {
				s.logger.Error("control socket failed", "address", ln.Addr().String(), "error", err)
			}
		})
	}
}

// Close removes the sockets and cuts every connection.
func (s *Server) Close() error {
	err := s.http.Close()
	for _, ln := range s.listeners {
		_ = ln.Close() // those that were never served
	}
	s.serving.Wait()
	return err
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // whoever asked has gone
}

// Client asks the daemon behind a socket.
type Client struct {
	address socket.Address
	http    http.Client
}

// NewClient returns a client of the socket at address, unix:/PATH.
func NewClient(address string) (*Client, error) {
	a, err := socket.ParseDial(address)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return a.Dial(ctx) }
	return &Client{address: a, http: http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}, nil
}

// Status asks what the daemon does.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.ask(ctx, askLimit, http.MethodGet, "status", nil, &s)
}

// Rotate has the daemon go on with rotations that were begun in these domains.
func (c *Client) Rotate(ctx context.Context, names []domain.Name) error {
	body, err := json.Marshal(names)
	if err != nil {
		return err
	}
	return c.ask(ctx, askLimit, http.MethodPost, "rotate", bytes.NewReader(body), &struct{}{})
}

// Elsewhere asks for the key files outside the directory of keys that the daemon signs with.
func (c *Client) Elsewhere(ctx context.Context) (paths []string, err error) {
	return paths, c.ask(ctx, askLimit, http.MethodGet, "elsewhere", nil, &paths)
}

// Reload has the daemon reload, and waits for what comes of it.
func (c *Client) Reload(ctx context.Context, acceptRemoval bool) (r Reload, err error) {
	path := "reload"
	if acceptRemoval {
		path += "?accept-removal"
	}
	return r, c.ask(ctx, reloadLimit, http.MethodPost, path, nil, &r)
}

func (c *Client) ask(ctx context.Context, limit time.Duration, method, path string, body io.Reader, v any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://dkimd/"+path, body)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if errors.Is(err, context.DeadlineExceeded) {
		return c.silent(limit)
	}
	if err != nil {
		return c.unreachable(err)
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return c.silent(limit)
	case err != nil:
		return fmt.Errorf("the daemon did not finish its answer: %w", err)
	case response.StatusCode == http.StatusNotFound:
		return errors.New("the daemon does not know this question: it is of an older version, and needs systemctl restart dkimd")
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("the daemon answers: %s", bytes.TrimSpace(said))
	}
	return json.Unmarshal(said, v)
}

// Absent is the fault that there is no daemon. Any other error of a Client may come from one that runs.
type Absent struct{ fault.Faults }

// Unwrap gives errors.As the faults as one.
func (a Absent) Unwrap() error { return a.Faults }

// silent is of a daemon that runs, and may still do what it was asked for.
func (c *Client) silent(limit time.Duration) error {
	return fmt.Errorf("the daemon at %s does not answer within %s: journalctl -u dkimd says what it does; if it hangs, systemctl restart dkimd", c.address, limit)
}

// unreachable says why nobody answers, as a fault of the key that names the socket.
func (c *Client) unreachable(err error) error {
	f := fault.Fault{Key: "control.listen", Want: "the socket of a running dkimd", Got: c.address.String() + ", where nobody answers"}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		f.Hint = "is dkimd running, and with this configuration? systemctl status dkimd"
		return Absent{fault.Faults{f}}
	case errors.Is(err, fs.ErrPermission):
		f.Got, f.Hint = c.address.String()+", which this user may not enter", "ask as root or as dkimd's user"
	default:
		f.Hint = err.Error()
	}
	return fault.Faults{f}
}
