package socket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
	// fullEvery is the least time between two lines about the limit of connections.
	fullEvery = time.Minute
	// forceCloseTimeout is how long connections may take to end once they are closed. They have
	// nothing to wait for any more; one that stays is a defect, and must not keep the process.
	forceCloseTimeout = 5 * time.Second
)

// Session serves one connection.
type Session interface {
	// Serve runs on a goroutine of its own, and has done called once, when the session has ended.
	// That may be after Serve has returned. done closes the connection.
	Serve(done func())
	// CloseIfIdle closes the connection if nothing is under way on it, and else makes it
	// end once that is done. Any goroutine may call it, also before Serve.
	CloseIfIdle()
}

// ServerConfig is everything a Server needs.
type ServerConfig struct {
	Config
	// MaxConnections are served at once, the next waits in the kernel's queue.
	MaxConnections int
	// Begin makes the session of a connection. It should not wait: meanwhile no other connection
	// of the same socket is accepted. ctx ends when connections are closed by force.
	Begin  func(ctx context.Context, conn net.Conn) Session
	Logger *slog.Logger
	// Meter counts connections; nil: they are not counted.
	Meter Meter
}

// Server accepts connections on its sockets, serves a limited number of them at once, and ends them in good order.
type Server struct {
	cfg       ServerConfig
	listeners []net.Listener
	slots     chan struct{} // one for each connection being served

	base     context.Context // ends when connections are closed by force
	cancel   context.CancelFunc
	stopping chan struct{} // closed when no more connections are accepted
	stop     sync.Once

	opened     time.Time
	fullLogged atomic.Int64 // how long after opened the limit was last logged; 0: never

	mu        sync.Mutex
	sessions  map[Session]net.Conn
	open      sync.WaitGroup // sessions
	accepting sync.WaitGroup // accept loops
}

// NewServer opens every socket. All that is wrong with the sockets is reported; then none stays open.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Begin == nil || cfg.Logger == nil {
		return nil, errors.New(cfg.Name + ": Begin and Logger are required")
	}
	if cfg.MaxConnections <= 0 {
		return nil, errors.New(cfg.Name + ".max_connections: must be positive")
	}
	if cfg.Meter == nil {
		cfg.Meter = Unmetered{}
	}
	listeners, err := Listen(cfg.Config)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		listeners: listeners,
		opened:    time.Now(),
		slots:     make(chan struct{}, cfg.MaxConnections),
		stopping:  make(chan struct{}),
		sessions:  make(map[Session]net.Conn),
	}
	s.base, s.cancel = context.WithCancel(context.Background())
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

// Serve accepts connections on every socket until Shutdown or Close. It returns nil once
// none is accepted any more; connections may still be served then.
func (s *Server) Serve() error {
	s.mu.Lock()
	if !s.Stopping() {
		for _, ln := range s.listeners {
			s.accepting.Go(func() { s.accept(ln) })
		}
	}
	s.mu.Unlock()
	s.accepting.Wait()
	return nil
}

// Stopping reports that no more connections are accepted.
func (s *Server) Stopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

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
			if errors.Is(err, net.ErrClosed) || s.Stopping() {
				return
			}
			// Out of descriptors or memory, mostly: it passes.
			s.cfg.Meter.Connection(Failed)
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
		s.serve(conn)
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
	s.cfg.Meter.Connection(Held)
	// Not the time of day: where that is set back, nothing would be logged until it has come again.
	now := max(int64(time.Since(s.opened)), 1)
	if last := s.fullLogged.Load(); (last == 0 || now-last >= int64(fullEvery)) && s.fullLogged.CompareAndSwap(last, now) {
		s.cfg.Logger.Warn("connection limit reached, new connections wait", "front", s.cfg.Name, "max_connections", s.cfg.MaxConnections)
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-s.stopping:
		return false
	}
}

// serve starts serving a connection that holds a slot.
func (s *Server) serve(conn net.Conn) {
	session := s.cfg.Begin(s.base, conn)
	s.mu.Lock()
	s.sessions[session] = conn
	s.open.Add(1)
	stopping := s.Stopping()
	s.mu.Unlock()
	s.cfg.Meter.Connection(Opened)
	if stopping {
		session.CloseIfIdle() // Shutdown did not see it
	}
	go session.Serve(func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.sessions, session)
		s.mu.Unlock()
		s.cfg.Meter.Connection(Closed)
		<-s.slots
		s.open.Done()
	})
}

// Shutdown stops accepting connections, removes the unix sockets and closes idle connections at once,
// the others when what is under way on them is done. When ctx ends first it closes those
// that are left by force, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.stopAccepting()
	s.each(func(session Session, _ net.Conn) { session.CloseIfIdle() })
	select {
	case <-s.ended():
		s.cancel()
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err(), s.forceClose())
	}
}

// Close closes every connection and waits for the last session to end.
func (s *Server) Close() error {
	return errors.Join(s.stopAccepting(), s.forceClose())
}

func (s *Server) stopAccepting() error {
	var faults []error
	s.stop.Do(func() {
		// Under the lock: from here on no accept loop begins, and a new session sees that it is to end.
		s.mu.Lock()
		close(s.stopping)
		s.mu.Unlock()
		for _, ln := range s.listeners {
			faults = append(faults, ln.Close())
		}
	})
	return errors.Join(faults...)
}

// ended is closed when no session is left. Only accept loops begin sessions: these end first.
func (s *Server) ended() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		s.accepting.Wait()
		s.open.Wait()
		close(ended)
	}()
	return ended
}

// forceClose closes every connection and waits for the sessions to end.
func (s *Server) forceClose() error {
	s.cancel()
	s.each(func(_ Session, conn net.Conn) { _ = conn.Close() })
	select {
	case <-s.ended():
		return nil
	case <-time.After(forceCloseTimeout):
		s.mu.Lock()
		left := len(s.sessions)
		s.mu.Unlock()
		return fmt.Errorf("%s: %d connections did not end", s.cfg.Name, left)
	}
}

// each calls f for every session there is.
func (s *Server) each(f func(Session, net.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session, conn := range s.sessions {
		f(session, conn)
	}
}
