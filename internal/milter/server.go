// Package milter is the front door for Postfix and Sendmail. It speaks the
// milter protocol (versions 2 to 6) on TCP and unix sockets, turns its events
// into an envelope, a header and body chunks, and an outcome into header edits
// and an answer. It decides nothing about a message.
//
// github.com/emersion/go-milter does the negotiation, the dispatch of events,
// modifications and answers. Around it, each connection gets a reader of its own
// that guards it against what an MTA, or whoever else reaches the socket, sends.
package milter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	gomilter "github.com/emersion/go-milter"

	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/socket"
)

// Message is one message on its way through the pipeline. All methods are
// called by one goroutine at a time, Header to Finish in this order; Abort and
// Fault may come at any point. None of the byte slices may be kept.
type Message interface {
	// Header takes one field; the value has its leading white space, and bare
	// LF or CRLF at its folds.
	Header(name, value string)
	EndOfHeader(ctx context.Context)
	Body(p []byte)
	// Finish may wait; ctx ends when the MTA closes the connection.
	Finish(ctx context.Context) pipeline.Outcome
	Abort(reason string)
	Fault(err error)
}

// Meter counts what happens to connections. Many goroutines tell it, and it must not make them wait.
type Meter interface {
	socket.Meter
	// Withheld says that an MTA does not offer something on a connection: WithheldQuarantine, WithheldEdits.
	Withheld(action string)
}

// What an MTA may withhold.
const (
	WithheldQuarantine = "quarantine"
	WithheldEdits      = "header_edits"
)

type unmetered struct{ socket.Unmetered }

func (unmetered) Withheld(string) {}

// Defaults of Config.
const (
	DefaultMaxConnections = 4096
	DefaultIdleTimeout    = 10 * time.Minute
	DefaultPacketTimeout  = 30 * time.Second
	DefaultWriteTimeout   = 30 * time.Second
	DefaultFinishTimeout  = 2 * time.Minute
	DefaultSocketMode     = os.FileMode(0o660)
)

// Config is everything a Server needs.
type Config struct {
	// Listen are the sockets: "inet:127.0.0.1:8891", "inet6:[::1]:8891", "unix:/path".
	Listen []string
	// SocketMode are the permissions of unix sockets; 0: 0660.
	SocketMode os.FileMode
	// SocketGroup owns unix sockets, by name or number; empty: the group of the process.
	SocketGroup string
	// MaxConnections are served at once, the next waits in the kernel's queue; 0: 4096.
	MaxConnections int
	// Begin starts a message, at MAIL. The envelope is completed as more of it
	// becomes known, the last time just before Finish.
	Begin  func(*message.Envelope) Message
	Logger *slog.Logger
	// Meter counts connections; nil: nobody does.
	Meter Meter
	// IdleTimeout ends a connection that sends nothing between packets; 0: 10 minutes.
	IdleTimeout time.Duration
	// PacketTimeout is how long one packet may take from its first byte; 0: 30 seconds.
	PacketTimeout time.Duration
	// WriteTimeout is how long the MTA may leave an answer unread; 0: 30 seconds.
	WriteTimeout time.Duration
	// FinishTimeout bounds the end of a message; 0: 2 minutes, which is less
	// than what MTAs wait (Postfix: 300 s, Sendmail: 4 minutes).
	FinishTimeout time.Duration
}

// Server serves MTAs on all its sockets.
type Server struct {
	cfg       Config
	symbols   map[gomilter.Stage][]string // the macros to ask for; never changed
	listeners []net.Listener
	slots     chan struct{} // one for each connection being served
	newcomers chan struct{} // one for each connection before the end of its first message

	base     context.Context // ends when connections are cut
	cut      context.CancelFunc
	stopping chan struct{} // closed when no more connections are taken
	draining atomic.Bool   // stopping, as the connections look at it
	stop     sync.Once

	warnedQuarantine atomic.Bool
	warnedEdits      atomic.Bool
	opened           time.Time
	fullLogged       atomic.Int64 // how long after opened the cap was last logged; 0: never

	mu       sync.Mutex
	sessions map[*session]struct{}
	open     sync.WaitGroup
	serving  sync.WaitGroup // accept loops
}

// New opens every socket. All that is wrong with the configuration or the
// sockets is reported, joined; then none stays open.
func New(cfg Config) (*Server, error) {
	if cfg.Begin == nil || cfg.Logger == nil {
		return nil, errors.New("milter: Begin and Logger are required")
	}
	if cfg.MaxConnections < 0 {
		return nil, errors.New("milter.max_connections: must be positive")
	}
	if cfg.Meter == nil {
		cfg.Meter = unmetered{}
	}
	cfg.SocketMode = orDefault(cfg.SocketMode, DefaultSocketMode)
	cfg.MaxConnections = orDefault(cfg.MaxConnections, DefaultMaxConnections)
	cfg.IdleTimeout = orDefault(cfg.IdleTimeout, DefaultIdleTimeout)
	cfg.PacketTimeout = orDefault(cfg.PacketTimeout, DefaultPacketTimeout)
	cfg.WriteTimeout = orDefault(cfg.WriteTimeout, DefaultWriteTimeout)
	cfg.FinishTimeout = orDefault(cfg.FinishTimeout, DefaultFinishTimeout)
	listeners, err := socket.Listen(socket.Config{
		Name: "milter", Listen: cfg.Listen, Mode: cfg.SocketMode, Group: cfg.SocketGroup,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		opened:    time.Now(),
		symbols:   symbols(),
		listeners: listeners,
		slots:     make(chan struct{}, cfg.MaxConnections),
		newcomers: make(chan struct{}, newcomersPerCore*runtime.GOMAXPROCS(0)),
		stopping:  make(chan struct{}),
		sessions:  make(map[*session]struct{}),
	}
	s.base, s.cut = context.WithCancel(context.Background())
	return s, nil
}

func orDefault[T comparable](value, def T) T {
	var zero T
	if value == zero {
		return def
	}
	return value
}

// Addrs are the addresses of the sockets, in the order of Config.Listen.
func (s *Server) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(s.listeners))
	for i, ln := range s.listeners {
		addrs[i] = ln.Addr()
	}
	return addrs
}

// Serve takes connections on every socket until Shutdown or Close. It returns
// nil once none is taken any more; connections may still be served then.
func (s *Server) Serve() error {
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		return nil
	}
	for _, ln := range s.listeners {
		s.serving.Go(func() { s.accept(ln) })
	}
	s.mu.Unlock()
	s.serving.Wait()
	return nil
}

const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second

	// Of a crowd that arrives at once, as after an outage, so many are taken at a time; the
	// next when one has brought its first message, or after a moment: most connections
	// wait for their SMTP client. Or a message of an old connection would have to wait
	// until each of the crowd had its turn.
	newcomersPerCore = 2
	newcomerDelay    = time.Millisecond
	// fullEvery is the least time between two lines about the cap of connections.
	fullEvery = time.Minute
)

// accept takes connections from one socket, and only while a slot is free: the
// rest waits in the kernel's queue, where it costs nothing here.
func (s *Server) accept(ln net.Listener) {
	backoff := minBackoff
	for {
		if !s.acquire() {
			return
		}
		// Not held while waiting: with several sockets, a quiet one would
		// keep slots from a busy one.
		<-s.slots
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.draining.Load() {
				return
			}
			// Out of descriptors or memory, mostly: it passes.
			s.cfg.Meter.Connection(socket.Failed)
			s.cfg.Logger.Warn("cannot accept a connection, trying again", "address", ln.Addr().String(), "error", err, "retry_in", backoff)
			select {
			case <-time.After(backoff):
			case <-s.stopping:
				return
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = minBackoff
		if !s.acquire() {
			_ = conn.Close()
			return
		}
		s.serveConn(conn)
	}
}

// acquire takes a slot, and reports false when the server stops instead.
func (s *Server) acquire() bool {
	select {
	case s.slots <- struct{}{}:
		return true
	case <-s.stopping:
		return false
	default:
	}
	s.cfg.Meter.Connection(socket.Held)
	// Not the time of day: where that is set back, nothing would be logged until it has come again.
	now := max(int64(time.Since(s.opened)), 1)
	if last := s.fullLogged.Load(); (last == 0 || now-last >= int64(fullEvery)) && s.fullLogged.CompareAndSwap(last, now) {
		s.cfg.Logger.Warn("as many MTA connections as allowed are open, the next one waits", "max_connections", s.cfg.MaxConnections)
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-s.stopping:
		return false
	}
}

// admit waits for a newcomer's place, but not for long: who brings nothing
// must not keep out those who do. It reports whether there was one.
func (s *Server) admit() bool {
	select {
	case s.newcomers <- struct{}{}:
		return true
	default:
	}
	delay := time.NewTimer(newcomerDelay)
	defer delay.Stop()
	select {
	case s.newcomers <- struct{}{}:
		return true
	case <-delay.C:
		return false
	}
}

// serveConn starts serving a connection that holds a slot.
func (s *Server) serveConn(conn net.Conn) {
	c := newSession(s, conn)
	c.newcomer = s.admit()
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		c.cancel(errStopping)
		c.settle()
		_ = conn.Close()
		<-s.slots
		return
	}
	s.sessions[c] = struct{}{}
	s.open.Add(1)
	s.mu.Unlock()
	s.cfg.Meter.Connection(socket.Opened)
	go c.run()
}

// forget is the last thing a session does.
func (s *Server) forget(c *session) {
	s.mu.Lock()
	delete(s.sessions, c)
	s.mu.Unlock()
	s.cfg.Meter.Connection(socket.Closed)
	<-s.slots
	s.open.Done()
}

// cutGrace is how long cut connections may take to end. They have nothing to
// wait for any more; one that stays is a defect, and must not keep the process.
const cutGrace = 5 * time.Second

// Shutdown stops taking connections and removes the unix sockets, closes the
// connections without a message at once and the others when theirs is answered.
// When ctx ends first it cuts what is left and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.stopAccepting()
	for _, c := range s.snapshot() {
		c.closeIfIdle()
	}
	select {
	case <-s.ended():
		s.cut()
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err(), s.cutAll())
	}
}

// Close cuts every connection and waits for the last one to end.
func (s *Server) Close() error {
	return errors.Join(s.stopAccepting(), s.cutAll())
}

// ended is closed when no connection is left.
func (s *Server) ended() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		s.open.Wait()
		s.serving.Wait()
		close(ended)
	}()
	return ended
}

func (s *Server) stopAccepting() error {
	var faults []error
	s.stop.Do(func() {
		// Under the lock: from here on no connection and no accept loop is added.
		s.mu.Lock()
		s.draining.Store(true)
		s.mu.Unlock()
		close(s.stopping)
		for _, ln := range s.listeners {
			faults = append(faults, ln.Close())
		}
	})
	return errors.Join(faults...)
}

// cutAll closes every connection and waits for the sessions to end.
func (s *Server) cutAll() error {
	s.cut()
	for _, c := range s.snapshot() {
		_ = c.wire.conn.Close()
	}
	select {
	case <-s.ended():
		return nil
	case <-time.After(cutGrace):
		return fmt.Errorf("milter: %d connections did not end", len(s.snapshot()))
	}
}

func (s *Server) snapshot() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	sessions := make([]*session, 0, len(s.sessions))
	for c := range s.sessions {
		sessions = append(sessions, c)
	}
	return sessions
}
