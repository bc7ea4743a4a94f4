// Package exim is the front door for Exim, which has no milter client. One
// socket takes three dialects, told apart by their first line:
//
//   - CHECK, which Exim with content scanning speaks for "spam =" with
//     variant=rspamd, when a message comes in;
//   - DKIMD/1 VERIFY, which "${readsocket" speaks where Exim has no content
//     scanning;
//   - DKIMD/1 SIGN, spoken by the client exim-sign (Filter) when a message
//     leaves, and DKIMD/1 PING.
//
// The first two undo what Exim did to the message since it came, so that the
// bytes are those of the wire. Everything else is the pipeline's: the front
// door decides nothing about a message. One request a connection; an answer is
// given to complete requests only, and Exim takes no answer for "try later".
package exim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/socket"
)

// Message is one message on its way through the pipeline. One goroutine calls
// its methods in this order; BodyUnseen and Abort may come at any point.
type Message interface {
	// Header takes one field; the value has its leading white space, and bare
	// LF or CRLF at its folds.
	Header(name, value string)
	EndOfHeader(ctx context.Context)
	Body(p []byte)
	// BodyUnseen: no signature can be judged by this body.
	BodyUnseen(why string)
	Finish(ctx context.Context) pipeline.Outcome
	Abort(reason string)
}

// Defaults of Config.
const (
	DefaultMaxConnections = 1024
	DefaultIdleTimeout    = 30 * time.Second
	DefaultRequestTimeout = 5 * time.Minute
	DefaultWriteTimeout   = 10 * time.Second
	DefaultFinishTimeout  = 15 * time.Second
)

// Config is everything a Server needs.
type Config struct {
	// Listen are the sockets: "unix:/path", "inet:127.0.0.1:11335", "inet6:[::1]:11335".
	Listen []string
	// SocketMode are the permissions of unix sockets; 0: 0660.
	SocketMode os.FileMode
	// SocketGroup owns unix sockets, by name or number; empty: the group of the process.
	SocketGroup string
	// MaxConnections are served at once, the next waits in the kernel's queue; 0: 1024.
	MaxConnections int
	// Begin starts a message. Its envelope is complete but for the queue id's echo.
	Begin  func(*message.Envelope) Message
	Logger *slog.Logger
	// Meter counts connections; nil: nobody does.
	Meter socket.Meter
	// IdleTimeout is how long a peer may send nothing, and how long it may take
	// over the lines in front of the message; 0: 30 seconds.
	IdleTimeout time.Duration
	// RequestTimeout bounds a whole request up to its end; 0: 5 minutes.
	RequestTimeout time.Duration
	// WriteTimeout is how long the peer may leave the answer unread; 0: 10 seconds.
	WriteTimeout time.Duration
	// FinishTimeout bounds the end of a message; 0: 15 seconds, which is less
	// than Exim waits (packaging/exim: 20 s).
	FinishTimeout time.Duration
}

// Server serves Exim on all its sockets.
type Server struct {
	cfg       Config
	listeners []net.Listener
	slots     chan struct{} // one for each connection being served

	base     context.Context // ends when connections are cut
	cut      context.CancelFunc
	stopping chan struct{} // closed when no more connections are taken
	stop     sync.Once

	opened     time.Time
	fullLogged atomic.Int64 // how long after opened the cap was last logged; 0: never

	mu      sync.Mutex
	stopped bool
	open    map[*exchange]struct{}
	active  sync.WaitGroup // exchanges
	serving sync.WaitGroup // accept loops
}

// New opens every socket. All that is wrong with the configuration or the
// sockets is reported, joined; then none stays open.
func New(cfg Config) (*Server, error) {
	if cfg.Begin == nil || cfg.Logger == nil {
		return nil, errors.New("exim: Begin and Logger are required")
	}
	if cfg.MaxConnections < 0 {
		return nil, errors.New("exim.max_connections: must be positive")
	}
	if cfg.Meter == nil {
		cfg.Meter = socket.Unmetered{}
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = DefaultMaxConnections
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&cfg.IdleTimeout, DefaultIdleTimeout},
		{&cfg.RequestTimeout, DefaultRequestTimeout},
		{&cfg.WriteTimeout, DefaultWriteTimeout},
		{&cfg.FinishTimeout, DefaultFinishTimeout},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	listeners, err := socket.Listen(socket.Config{
		Name: "exim", Listen: cfg.Listen, Mode: cfg.SocketMode, Group: cfg.SocketGroup,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		opened:    time.Now(),
		listeners: listeners,
		slots:     make(chan struct{}, cfg.MaxConnections),
		stopping:  make(chan struct{}),
		open:      make(map[*exchange]struct{}),
	}
	s.base, s.cut = context.WithCancel(context.Background())
	return s, nil
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
	if s.stopped {
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
	// fullEvery is the least time between two lines about the cap of connections.
	fullEvery = time.Minute
)

// accept takes connections from one socket, and only while a slot is free: the
// rest waits in the kernel's queue, where it costs nothing here.
func (s *Server) accept(ln net.Listener) {
	backoff := minBackoff
	for s.acquire() {
		// Not held while waiting: with several sockets, a quiet one would
		// keep slots from a busy one.
		<-s.slots
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
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
		s.cfg.Logger.Warn("as many connections of Exim as allowed are open, the next one waits", "max_connections", s.cfg.MaxConnections)
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-s.stopping:
		return false
	}
}

// serveConn starts serving a connection that holds a slot.
func (s *Server) serveConn(conn net.Conn) {
	x := newExchange(s, conn)
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		_ = conn.Close()
		<-s.slots
		return
	}
	s.open[x] = struct{}{}
	s.active.Add(1)
	s.mu.Unlock()
	s.cfg.Meter.Connection(socket.Opened)
	go func() {
		defer s.forget(x)
		x.run()
	}()
}

func (s *Server) forget(x *exchange) {
	s.mu.Lock()
	delete(s.open, x)
	s.mu.Unlock()
	s.cfg.Meter.Connection(socket.Closed)
	<-s.slots
	s.active.Done()
}

// cutGrace is how long cut connections may take to end. They have nothing to
// wait for any more; one that stays is a defect, and must not keep the process.
const cutGrace = 5 * time.Second

// Shutdown stops taking connections and removes the unix sockets, closes the
// connections that have not sent anything yet, and lets the others be answered.
// When ctx ends first it cuts what is left and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.stopAccepting()
	s.mu.Lock()
	for x := range s.open {
		x.closeIfSilent()
	}
	s.mu.Unlock()
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
		s.active.Wait()
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
		s.stopped = true
		s.mu.Unlock()
		close(s.stopping)
		for _, ln := range s.listeners {
			faults = append(faults, ln.Close())
		}
	})
	return errors.Join(faults...)
}

func (s *Server) cutAll() error {
	s.cut()
	s.mu.Lock()
	for x := range s.open {
		_ = x.wire.conn.Close()
	}
	left := len(s.open)
	s.mu.Unlock()
	select {
	case <-s.ended():
		return nil
	case <-time.After(cutGrace):
		return fmt.Errorf("exim: %d connections did not end", left)
	}
}
