package milter

import (
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"dkimd/internal/message"
	"dkimd/internal/milter/client"
	"dkimd/internal/socket"

	gomilter "github.com/emersion/go-milter"
)

// tally is a Meter.
type tally struct {
	mu       sync.Mutex
	moments  map[socket.Moment]int
	changed  chan struct{} // closed at the next moment
	withheld []string
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

func (c *tally) Withheld(action string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.withheld = append(c.withheld, action)
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
		Config: socket.Config{Listen: []string{"unix:" + filepath.Join(t.TempDir(), "s")}}, MaxConnections: 1,
		Logger: slog.New(slog.DiscardHandler), Meter: meter,
		Begin: func(*message.Envelope) Message { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, meter
}

// What an MTA does not let us do counts on each of its connections, though it is logged once.
func TestWithheldActionsAreCounted(t *testing.T) {
	t.Parallel()
	all := client.AllActions
	for name, test := range map[string]struct {
		actions uint32
		want    []string
	}{
		"nothing":    {all, nil},
		"quarantine": {all &^ uint32(gomilter.OptQuarantine), []string{WithheldQuarantine, WithheldQuarantine}},
		"adding":     {all &^ uint32(gomilter.OptAddHeader), []string{WithheldEdits, WithheldEdits}},
		"changing":   {all &^ uint32(gomilter.OptChangeHeader), []string{WithheldEdits, WithheldEdits}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, meter := metered(t)
			go func() { _ = s.Serve() }()
			for n := range 2 {
				mta, err := client.Dial(t.Context(), "unix", s.Addrs()[0].String(), client.Options{Version: 6, Actions: test.actions})
				if err != nil {
					t.Fatal(err)
				}
				_ = mta.Close()
				meter.wait(t, socket.Closed, n+1)
			}
			if !slices.Equal(meter.withheld, test.want) {
				t.Errorf("got %v", meter.withheld)
			}
		})
	}
}
