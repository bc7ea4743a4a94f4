package socket

import (
	"errors"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections within the process, so that a test of time needs none of the system's.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// roomWorld is a server with a limit on a fake clock.
func roomWorld(t *testing.T, limit int) (w *world, dial func() net.Conn) {
	t.Helper()
	w = newWorld(t, func(c *ServerConfig) { c.MaxConnections, c.Listen = limit, c.Listen[1:] })
	_ = w.listeners[0].Close()
	p := pipes{make(chan net.Conn), make(chan struct{})}
	w.listeners[0] = p
	w.start()
	return w, func() net.Conn {
		here, there := net.Pipe()
		p.conns <- there
		synctest.Wait()
		return here
	}
}

// open reports whether the server has not closed a connection.
func open(t *testing.T, conn net.Conn) bool {
	t.Helper()
	synctest.Wait()
	_ = conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// At the limit idle connections make room: those that brought no message first, of each kind the oldest,
// whatever else they say. One with a message under way never does.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, dial := roomWorld(t, 4)
		busy := dial()
		say(t, busy, "busy")
		brought := dial()
		say(t, brought, "mail")
		<-time.After(time.Minute)
		silent := dial()
		<-time.After(time.Minute)
		chatty := dial()
		<-time.After(2 * time.Second)
		say(t, chatty, "a") // no reason to stay
		for i, goes := range []net.Conn{silent, chatty} {
			began := time.Now()
			late := dial()
			say(t, late, "busy")
			if took := time.Since(began); took != 0 {
				t.Errorf("%d: the new connection waits %s", i, took)
			}
			if open(t, goes) || !open(t, brought) {
				t.Errorf("%d: the wrong connection made room", i)
			}
		}
		say(t, dial(), "mail")
		if open(t, brought) {
			t.Error("one that brought a message earlier keeps out a new one")
		}
		if !open(t, busy) {
			t.Error("a connection with a message under way was closed")
		}
		if n := w.meter.moments[MadeRoom]; n != 3 {
			t.Errorf("counted %d", n)
		}
		const line = `msg="idle connection closed to make room" front=milter`
		if n := strings.Count(w.logs.String(), line); n != 1 {
			t.Errorf("logged %d times:\n%s", n, w.logs)
		}
		close(w.leave)
		_ = w.Close()
	})
}

// A crowd that has only just come is left alone until its connections had time to begin.
func TestNewConnectionsHaveTimeToBegin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, dial := roomWorld(t, 2)
		first := dial()
		<-time.After(time.Millisecond) // the first one is the older one
		second := dial()
		late := dial()
		<-time.After(minIdle - roomDelay/2)
		if !open(t, first) || !open(t, second) {
			t.Error("closed before it was idle for long")
		}
		began := time.Now()
		say(t, late, "a")
		if took := time.Since(began); took > roomDelay {
			t.Errorf("served only after %s more", took)
		}
		if open(t, first) || !open(t, second) {
			t.Error("the wrong connection made room")
		}
		_ = w.Close()
	})
}

// With every connection busy the next one waits, however long, and gets the place of the first that ends.
func TestBusyConnectionsStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, dial := roomWorld(t, 2)
		first, second := dial(), dial()
		say(t, first, "busy")
		say(t, second, "busy")
		late := dial()
		<-time.After(time.Hour)
		if !open(t, first) || !open(t, second) {
			t.Error("a connection with a message under way was closed")
		}
		_ = first.Close()
		close(w.leave)
		say(t, late, "a")
		_ = w.Close()
	})
}

// On a unix socket the kernel says who connects.
func TestPeers(t *testing.T) {
	t.Parallel()
	me, group := strconv.Itoa(os.Getuid()), strconv.Itoa(os.Getgid())
	const nobody = "4294967294"
	names := []string{}
	if u, err := user.LookupId(me); err == nil {
		names = append(names, u.Username)
	}
	if g, err := user.LookupGroupId(group); err == nil {
		names = append(names, g.Name)
	}
	for _, allowed := range append(names, me, group) {
		w := newWorld(t, func(c *ServerConfig) { c.Peers = []string{nobody, allowed} }).start()
		say(t, w.dial(t, 0), "a")
	}
	w := newWorld(t, func(c *ServerConfig) { c.Peers, c.MaxConnections = []string{nobody}, 1 }).start()
	for range 3 {
		if n, err := w.dial(t, 0).Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a process that is none of the peers is served: %d %v", n, err)
		}
	}
	w.meter.wait(t, Refused, 3)
	line := `msg="connection refused: its user is not among the peers" front=milter local=` + w.Addrs()[0].String() +
		" uid=" + me + " gid=" + group + " pid=" + strconv.Itoa(os.Getpid()) + " count=1\n"
	if said := w.logs.String(); strings.Count(said, "is not among the peers") != 1 || !strings.Contains(said, line) {
		t.Errorf("logged:\n%swant once %s", said, line)
	}
	// Those refused take no place of the others. TCP does not tell who connects.
	say(t, w.dial(t, 1), "a")
	w.meter.mu.Lock()
	defer w.meter.mu.Unlock()
	if n := w.meter.moments[Opened]; n != 1 {
		t.Errorf("%d connections served", n)
	}
}

func TestPeersThatDoNotExist(t *testing.T) {
	t.Parallel()
	cfg := Config{Name: "exim", Peers: []string{"0", "no such user"}}
	const want = `exim.peers[2]: got "no such user"; want a user or a group of this host`
	if _, err := findPeers(cfg); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
}
