package metrics

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"dkimd/internal/socket"
)

const (
	maxConnections = 256 // of each socket
	maxScrapes     = 4   // at once; the next is asked to try again
	maxLines       = 20  // of each kind that /readyz lists
	maxHeader      = 16 << 10

	readTimeout  = 2 * time.Second // of a request, from its connection or its first bytes on
	writeTimeout = 10 * time.Second
	idleTimeout  = 5 * time.Second
)

// Health is what /readyz says, in words for an administrator.
type Health struct {
	Faults   []string // why mail should go elsewhere; none: ready
	Warnings []string // what should be fixed all the same
}

// ServerConfig is everything a Server needs.
type ServerConfig struct {
	Listen  []string // "inet:127.0.0.1:9891", "inet6:[::1]:9891", "unix:/path"
	Metrics *Metrics
	Health  func() Health // is called by several goroutines at once
	Hosts   []string      // names of this host; its addresses and localhost are always known
	Page    http.Handler  // of /; nil: there is no such page
	// PageEverywhere gives the page to whoever gets to a socket. Otherwise only unix sockets and loopback have it.
	PageEverywhere bool
	Logger         *slog.Logger
}

// Server answers /metrics, /healthz, /readyz and /. It has no authentication.
type Server struct {
	listeners []net.Listener
	http      *http.Server
	logger    *slog.Logger
	serving   sync.WaitGroup
}

// Listen opens the sockets; nobody is answered before Start.
func Listen(c ServerConfig) (*Server, error) {
	listeners, err := socket.Listen(socket.Config{Name: "metrics", Listen: c.Listen})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", c.known(promhttp.HandlerFor(c.Metrics.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelError),
	})))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "dkimd answers\n") })
	mux.Handle("GET /readyz", c.known(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		health := c.Health()
		say(w, health.status(), health.text())
	})))
	if c.Page != nil {
		mux.Handle("GET /{$}", c.guarded(c.Page))
	}
	return newServer(listeners, mux, c.Logger), nil
}

func newServer(listeners []net.Listener, handler http.Handler, logger *slog.Logger) *Server {
	return &Server{
		listeners: listeners,
		logger:    logger,
		http: &http.Server{
			Handler:     answering(recovering(handler, logger)),
			ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
			ConnContext: withConnection, ConnState: rest,
			ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		},
	}
}

// Start answers until Close. A failing socket must not stop mail.
func (s *Server) Start() {
	for _, ln := range s.listeners {
		s.serving.Go(func() {
			if err := s.http.Serve(newConnections(ln)); err != http.ErrServerClosed {
				s.logger.Error("metrics server failed", "address", ln.Addr().String(), "error", err)
			}
		})
	}
}

// Close closes the sockets and cuts every connection.
func (s *Server) Close() error {
	err := s.http.Close()
	for _, ln := range s.listeners {
		_ = ln.Close() // those that were never served
	}
	s.serving.Wait()
	return err
}

// recovering answers a panic in a handler, so that it stays the fault of one request.
func recovering(next http.Handler, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				logger.Error("panic in the metrics server", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				say(w, http.StatusInternalServerError, "internal fault, see the log\n")
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func (h Health) status() int {
	if len(h.Faults) > 0 {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

func (h Health) text() string {
	var b strings.Builder
	if len(h.Faults) > 0 {
		b.WriteString("not ready\n")
	} else {
		b.WriteString("ready\n")
	}
	list(&b, "fault: ", h.Faults)
	list(&b, "warning: ", h.Warnings)
	return b.String()
}

func list(b *strings.Builder, kind string, lines []string) {
	for i, line := range lines {
		if i == maxLines {
			fmt.Fprintf(b, "%sand %d more (hint: dkimd check)\n", kind, len(lines)-i)
			return
		}
		b.WriteString(kind + line + "\n")
	}
}
