package socket

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/logtest"

	"github.com/google/go-cmp/cmp"
)

// tally is a Meter.
type tally struct {
	mu      sync.Mutex
	moments map[Moment]int
	changed chan struct{} // closed at the next moment
}

func newTally() *tally { return &tally{moments: map[Moment]int{}, changed: make(chan struct{})} }

func (c *tally) Connection(what Moment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moments[what]++
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait returns once a moment has come n times.
func (c *tally) wait(t *testing.T, what Moment, n int) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		c.mu.Lock()
		got, changed := c.moments[what], c.changed
		c.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("moment %d came %d times, want %d", what, got, n)
		}
	}
}

// echo is a session that sends back what it reads. On a connection on which "busy" was said something
// is under way; "mail" is a message that ends at once.
type echo struct {
	conn  *Conn
	ctx   context.Context
	leave <-chan struct{} // a busy session ends when this is closed, or by force
}

func (e *echo) Serve(done func()) {
	defer done()
	buf := make([]byte, 64)
	for {
		n, err := e.conn.Read(buf)
		if err != nil {
			return
		}
		word := string(buf[:n])
		if (word == "busy" || word == "mail") && !e.conn.Busy() {
			return
		}
		if word == "mail" {
			e.conn.Idle()
		}
		_, _ = e.conn.Write(buf[:n])
		if word == "busy" {
			select {
			case <-e.leave:
				_, _ = e.conn.Write([]byte("done"))
			case <-e.ctx.Done():
			}
			return
		}
	}
}

// world is a server whose sessions echo.
type world struct {
	*Server
	meter  *tally
	logs   *logtest.Lines
	leave  chan struct{}
	served chan error
}

func newWorld(t *testing.T, change func(*ServerConfig)) *world {
	t.Helper()
	w := &world{meter: newTally(), logs: &logtest.Lines{}, leave: make(chan struct{}), served: make(chan error, 1)}
	dir, err := os.MkdirTemp("", "s") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg := ServerConfig{
		Config:         Config{Name: "milter", Listen: []string{"unix:" + filepath.Join(dir, "s"), "inet:127.0.0.1:0"}},
		MaxConnections: 10, Meter: w.meter, Logger: w.logs.Logger(),
		Begin: func(ctx context.Context, conn *Conn) Session { return &echo{conn: conn, ctx: ctx, leave: w.leave} },
	}
	if change != nil {
		change(&cfg)
	}
	if w.Server, err = NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func (w *world) start() *world {
	go func() { w.served <- w.Serve() }()
	return w
}

// dial connects to one of the sockets.
func (w *world) dial(t *testing.T, which int) net.Conn {
	t.Helper()
	addr := w.Addrs()[which]
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// say sends a word and reads as much.
func say(t *testing.T, conn net.Conn, word string) {
	t.Helper()
	answer := make([]byte, len(word))
	if _, err := io.WriteString(conn, word); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != word {
		t.Fatalf("%q %v", answer, err)
	}
}

func TestServerConfigFaults(t *testing.T) {
	t.Parallel()
	good := ServerConfig{
		Config: Config{Name: "exim", Listen: []string{"inet:127.0.0.1:0"}}, MaxConnections: 1, Logger: slog.New(slog.DiscardHandler),
		Begin: func(context.Context, *Conn) Session { return nil },
	}
	for name, test := range map[string]struct {
		change func(*ServerConfig)
		want   string
	}{
		"no Begin":       {func(c *ServerConfig) { c.Begin = nil }, "exim: Begin and Logger are required"},
		"no Logger":      {func(c *ServerConfig) { c.Logger = nil }, "exim: Begin and Logger are required"},
		"no connections": {func(c *ServerConfig) { c.MaxConnections = 0 }, "exim.max_connections: must be positive"},
		"negative":       {func(c *ServerConfig) { c.MaxConnections = -1 }, "exim.max_connections: must be positive"},
		"no address":     {func(c *ServerConfig) { c.Listen = nil }, "exim.listen: got no address; want one to listen on"},
	} {
		cfg := good
		test.change(&cfg)
		if s, err := NewServer(cfg); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				_ = s.Close()
			}
		}
	}
	good.Meter = nil
	s, err := NewServer(good)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

// Each connection is counted as it comes and as it goes, and each time the next one waits.
func TestConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ServerConfig) { c.MaxConnections, c.Listen = 1, c.Listen[:1] }).start()
	for range 3 {
		conn := w.dial(t, 0)
		w.meter.wait(t, Opened, 1)
		next := w.dial(t, 0)
		w.meter.wait(t, Held, 1)
		_ = conn.Close()
		w.meter.wait(t, Opened, 2)
		_ = next.Close()
		w.meter.wait(t, Closed, 2)
		w.meter.mu.Lock()
		if diff := cmp.Diff(map[Moment]int{Opened: 2, Held: 1, Closed: 2}, w.meter.moments); diff != "" {
			t.Error(diff)
		}
		w.meter.moments = map[Moment]int{}
		w.meter.mu.Unlock()
	}
}

// A connection over the limit waits, and is served when another one ends. It is logged once, whichever socket it is.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ServerConfig) { c.MaxConnections = 2 }).start()
	first, second := w.dial(t, 0), w.dial(t, 1)
	say(t, first, "a")
	say(t, second, "b")
	third := w.dial(t, 0)
	if _, err := io.WriteString(third, "c"); err != nil {
		t.Fatal(err)
	}
	_ = third.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := third.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("served beyond the limit: %v", err)
	}
	_ = second.Close()
	_ = third.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := third.Read(make([]byte, 1)); n != 1 {
		t.Error(err)
	}
	_ = first.Close()
	_ = third.Close()
	// A quiet socket keeps no slot from a busy one.
	say(t, w.dial(t, 1), "d")
	say(t, w.dial(t, 1), "e")
	const line = `msg="connection limit reached, new connections wait" front=milter max_connections=2`
	if n := strings.Count(w.logs.String(), line); n != 1 {
		t.Errorf("logged %d times:\n%s", n, w.logs)
	}
}

// Idle connections are closed at once, a busy one when it is done, and none is taken any more.
func TestShutdownDrains(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil).start()
	idle, silent, busy := w.dial(t, 0), w.dial(t, 1), w.dial(t, 0)
	say(t, idle, "a")
	say(t, busy, "busy")
	w.meter.wait(t, Opened, 3)
	down := make(chan error, 1)
	go func() { down <- w.Shutdown(t.Context()) }()
	for _, conn := range []net.Conn{idle, silent} {
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%d %v", n, err)
		}
	}
	if err := <-w.served; err != nil {
		t.Error(err)
	}
	for _, addr := range w.Addrs() {
		if conn, err := net.Dial(addr.Network(), addr.String()); err == nil {
			_ = conn.Close()
			t.Error("connections are still taken at ", addr)
		}
	}
	select {
	case err := <-down:
		t.Fatalf("over with a busy session: %v", err)
	default:
	}
	close(w.leave)
	if answer, err := io.ReadAll(busy); string(answer) != "done" || err != nil {
		t.Errorf("%q %v", answer, err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// Shutdown closes by force what is left when its time is up; Close does at once.
func TestForceClose(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*world) error{
		"shutdown": func(w *world) error {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			if err := w.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return errors.New("no DeadlineExceeded")
			}
			return nil
		},
		"close": func(w *world) error { return w.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil).start()
			busy := w.dial(t, 0)
			say(t, busy, "busy")
			if err := stop(w); err != nil {
				t.Error(err)
			}
			if answer, _ := io.ReadAll(busy); len(answer) > 0 {
				t.Errorf("%q", answer)
			}
			w.meter.wait(t, Closed, 1)
		})
	}
}

// A session that stays is a defect; the process ends all the same, and says so.
func TestSessionThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		w := newWorld(t, func(c *ServerConfig) {
			c.Begin = func(context.Context, *Conn) Session { return stays{leave} }
		})
		here, there := net.Pipe()
		w.slots <- struct{}{}
		w.serve(there)
		began := time.Now()
		if err := w.Close(); err == nil || err.Error() != "milter: 1 connections did not end" {
			t.Error(err)
		}
		if took := time.Since(began); took != forceCloseTimeout {
			t.Errorf("took %s", took)
		}
		if _, err := here.Read(make([]byte, 1)); err == nil {
			t.Error("the connection is open")
		}
		close(leave)
	})
}

// stays is a session that ignores that its connection is closed.
type stays struct{ leave chan struct{} }

func (s stays) Serve(done func()) { <-s.leave; done() }

// A session that begins while the server stops is told to end.
func TestSessionBegunWhileStopping(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if err := w.stopAccepting(); err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	w.slots <- struct{}{}
	w.serve(there)
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestServeAfterClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := w.Serve(); err != nil {
		t.Error(err)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// flaky is a listener that fails at first.
type flaky struct {
	net.Listener
	failures int
	accepted chan net.Conn
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.failures--; f.failures >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	conn, ok := <-f.accepted
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (f *flaky) Close() error {
	close(f.accepted)
	return f.Listener.Close()
}

// TestAcceptGoesOn: out of descriptors, the server waits and tries again. Each failure is counted.
func TestAcceptGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *ServerConfig) { c.Listen = c.Listen[1:] })
		f := &flaky{Listener: w.listeners[0], failures: 10, accepted: make(chan net.Conn, 1)}
		w.listeners[0] = f
		w.start()
		here, there := net.Pipe()
		f.accepted <- there
		begin := time.Now()
		say(t, here, "a")
		// 5+10+20+40+80+160+320+640 ms and twice the longest.
		if got := time.Since(begin); got != 1275*time.Millisecond+2*maxBackoff {
			t.Errorf("served after %s", got)
		}
		if !strings.Contains(w.logs.String(), "too many open files") {
			t.Error("nothing in the log")
		}
		if n := w.meter.moments[Failed]; n != 10 {
			t.Errorf("counted %d failures", n)
		}
		_ = here.Close()
		_ = w.Close()
	})
}

// TestStopWhileAcceptFails: a server that waits to try again stops at once.
func TestStopWhileAcceptFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *ServerConfig) { c.Listen = c.Listen[1:] })
		w.listeners[0] = &flaky{Listener: w.listeners[0], failures: 1 << 30, accepted: make(chan net.Conn)}
		w.start()
		<-time.After(10 * time.Second)
		synctest.Wait()
		began := time.Now()
		if err := w.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}
