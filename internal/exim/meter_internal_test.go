package exim

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"dkimd/internal/message"
	"dkimd/internal/socket"

	"github.com/google/go-cmp/cmp"
)

// tally is a Meter.
type tally struct {
	mu      sync.Mutex
	moments map[socket.Moment]int
	changed chan struct{} // closed at the next moment
}

func newTally() *tally {
	return &tally{moments: map[socket.Moment]int{}, changed: make(chan struct{})}
}

func (c *tally) Connection(what socket.Moment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moments[what]++
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait returns once a moment has come n times.
func (c *tally) wait(t *testing.T, what socket.Moment, n int) {
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

// metered is a server for one connection at a time, and who counts them.
func metered(t *testing.T) (*Server, *tally) {
	t.Helper()
	meter := newTally()
	s, err := New(Config{
		Listen: []string{"unix:" + filepath.Join(t.TempDir(), "s")}, MaxConnections: 1,
		Logger: slog.New(slog.DiscardHandler), Meter: meter,
		Begin: func(*message.Envelope) Message { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, meter
}

// Each connection is counted as it comes and as it goes, and each time the next one waits.
func TestConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	s, meter := metered(t)
	go func() { _ = s.Serve() }()
	for range 3 {
		conn, err := net.Dial("unix", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		meter.wait(t, socket.Opened, 1)
		meter.wait(t, socket.Held, 1)
		_ = conn.Close()
		meter.wait(t, socket.Closed, 1)
		want := map[socket.Moment]int{socket.Opened: 1, socket.Held: 1, socket.Closed: 1}
		meter.mu.Lock()
		if diff := cmp.Diff(want, meter.moments); diff != "" {
			t.Error(diff)
		}
		meter.moments = map[socket.Moment]int{}
		meter.mu.Unlock()
	}
}

// exhausted is a listener for which the system has no descriptor once.
type exhausted struct {
	net.Listener
	failed bool
}

func (l *exhausted) Accept() (net.Conn, error) {
	if l.failed {
		return nil, net.ErrClosed
	}
	l.failed = true
	return nil, errors.New("too many open files")
}

func TestAcceptFailuresAreCounted(t *testing.T) {
	t.Parallel()
	s, meter := metered(t)
	s.accept(&exhausted{Listener: s.listeners[0]})
	if diff := cmp.Diff(map[socket.Moment]int{socket.Failed: 1}, meter.moments); diff != "" {
		t.Error(diff)
	}
}
