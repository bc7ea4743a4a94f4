package socket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
	// complainEvery is the least time between two lines about the limit of connections, or about peers.
	complainEvery = time.Minute
	// forceCloseTimeout is how long connections may take to end once they are closed. They have
	// nothing to wait for any more; one that stays is a defect, and must not keep the process.
	forceCloseTimeout = 5 * time.Second
	// At the limit a connection that has been idle for minIdle makes room for a new one: long enough
	// for a crowd of MTA processes to come and begin. Until there is one, roomDelay is between two looks.
	minIdle   = time.Second
	roomDelay = 100 * time.Millisecond
)

// Session serves one connection.
type Session interface {
	// Serve runs on a goroutine of its own, and has done called once, when the session has ended.
	// That may be after Serve has returned. done closes the connection.
	//
	// It tells its Conn when something is under way, and ends by itself when nothing is and the
	// server is Stopping.
	Serve(done func())
}

// ServerConfig is everything a Server needs.
type ServerConfig struct {
	Config
	// MaxConnections are served at once. The next one waits, until another ends or, idle, is closed for it.
	MaxConnections int
	// Begin makes the session of a connection. It should not wait: meanwhile no other connection
	// of the same socket is accepted. ctx ends when connections are closed by force.
	Begin  func(ctx context.Context, conn *Conn) Session
	Logger *slog.Logger
	// Meter counts connections; nil: they are not counted.
	Meter Meter
}

// Server accepts connections on its sockets, serves a limited number of them at once, and ends them in good order.
type Server struct {
	cfg       ServerConfig
	listeners []net.Listener
	peers     *peers        // nil: anyone may connect
	slots     chan struct{} // one for each connection being served

	base     context.Context // ends when connections are closed by force
	cancel   context.CancelFunc
	stopping chan struct{} // closed when no more connections are accepted
	stop     sync.Once

	full, closed, refused complaint

	mu        sync.Mutex
	sessions  map[*Conn]struct{}
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
	allowed, err := findPeers(cfg.Config)
	if err != nil {
		return nil, err
	}
	listeners, err := Listen(cfg.Config)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		listeners: listeners,
		peers:     allowed,
		slots:     make(chan struct{}, cfg.MaxConnections),
		stopping:  make(chan struct{}),
		sessions:  make(map[*Conn]struct{}),
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

// accept takes connections from one socket. At the limit one waits here for a slot, and the
// rest in the kernel's queue, where it costs nothing.
func (s *Server) accept(ln net.Listener) {
	backoff := minBackoff
	for {
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
		if !s.admit(conn) {
			_ = conn.Close()
			continue
		}
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
	if _, due := s.full.add(); due {
		s.cfg.Logger.Warn("connection limit reached, new connections wait", "front", s.cfg.Name, "max_connections", s.cfg.MaxConnections)
	}
	look := time.NewTicker(roomDelay)
	defer look.Stop()
	for {
		s.makeRoom()
		select {
		case s.slots <- struct{}{}:
			return true
		case <-s.stopping:
			return false
		case <-look.C:
		}
	}
}

// makeRoom closes one idle connection: otherwise anyone who can connect could stop all mail, by
// connecting often and saying nothing.
func (s *Server) makeRoom() {
	var first *Conn
	s.mu.Lock()
	for conn := range s.sessions {
		if conn.state.Load() == connIdle && time.Since(conn.idleSince()) >= minIdle && (first == nil || conn.goesBefore(first)) {
			first = conn
		}
	}
	s.mu.Unlock()
	if first == nil || !first.closeIfIdle() {
		return
	}
	s.cfg.Meter.Connection(MadeRoom)
	if n, due := s.closed.add(); due {
		args := append(s.describe(first.Conn), "idle", time.Since(first.idleSince()).Round(time.Millisecond), "count", n)
		s.cfg.Logger.Warn("idle connection closed to make room", args...)
	}
}

// admit reports whether the process that connected is one of those that may.
func (s *Server) admit(conn net.Conn) bool {
	if s.peers == nil || conn.LocalAddr().Network() != "unix" {
		return true
	}
	who, err := credentials(conn)
	if err == nil && s.peers.allow(who) {
		return true
	}
	s.cfg.Meter.Connection(Refused)
	if n, due := s.refused.add(); due {
		s.cfg.Logger.Warn("connection refused: its user is not among the peers", append(s.describe(conn), "count", n)...)
	}
	return false
}

// describe says for the log which process is at the other end.
func (s *Server) describe(conn net.Conn) []any {
	args := []any{"front", s.cfg.Name, "local", Local(conn)}
	if who, err := credentials(conn); err == nil {
		return append(args, "uid", who.uid, "gid", who.gid, "pid", who.pid)
	}
	return append(args, "peer", conn.RemoteAddr().String())
}

// complaint counts what happens often, and says when a line in the log is due.
type complaint struct {
	mu    sync.Mutex
	last  time.Time
	count int
}

// add counts once more. When a line is due it returns how often that was since the last line.
func (c *complaint) add() (count int, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	if !c.last.IsZero() && time.Since(c.last) < complainEvery {
		return 0, false
	}
	count, c.count, c.last = c.count, 0, time.Now()
	return count, true
}

// serve starts serving a connection that holds a slot.
func (s *Server) serve(accepted net.Conn) {
	conn := &Conn{Conn: accepted, began: time.Now()}
	session := s.cfg.Begin(s.base, conn)
	s.mu.Lock()
	s.sessions[conn] = struct{}{}
	s.open.Add(1)
	stopping := s.Stopping()
	s.mu.Unlock()
	s.cfg.Meter.Connection(Opened)
	if stopping {
		conn.closeIfIdle() // Shutdown did not see it
	}
	go session.Serve(func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.sessions, conn)
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
	s.each(func(conn *Conn) { conn.closeIfIdle() })
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
	s.each(func(conn *Conn) { _ = conn.Close() })
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

// each calls f for every connection there is.
func (s *Server) each(f func(*Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.sessions {
		f(conn)
	}
}
