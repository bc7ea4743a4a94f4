//go:build integration

package integration_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// load is what clients did while something happened to dkimd.
type load struct {
	mu       sync.Mutex
	accepted map[string]string // recipient -> queue id
	deferred int
	other    []string // replies that are neither

	sent    atomic.Int64
	stop    chan struct{}
	finish  func() // ends the clients and waits for them
	working sync.WaitGroup
}

// hammer sends mail of ours over several connections at a time until the load
// is finished. A client that is deferred goes on with its next message.
func hammer(t *testing.T, w *harness.World) *load {
	t.Helper()
	const clients = 4
	l := &load{accepted: map[string]string{}, stop: make(chan struct{})}
	for range clients {
		l.working.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
					l.session(t, w.Outside, 10)
				}
			}
		})
	}
	l.finish = sync.OnceFunc(func() { close(l.stop); l.working.Wait() })
	t.Cleanup(l.finish)
	return l
}

// session sends some messages over one connection.
func (l *load) session(t *testing.T, port, messages int) {
	t.Helper()
	s, err := harness.TryDial(t, port)
	if err != nil {
		l.note("", harness.Reply{Text: err.Error()})
		return
	}
	defer s.HangUp()
	if _, err := s.Try("EHLO client.test"); err != nil {
		return
	}
	for range messages {
		to := harness.Unique("load") + "@elsewhere.test"
		r, err := s.Try("MAIL FROM:<alice@ours.test>", "RCPT TO:<"+to+">", "DATA")
		if err == nil && r.Code == 354 {
			w := s.Text.DotWriter()
			_, _ = w.Write(harness.NewMail("alice@ours.test", "load").Bytes())
			_ = w.Close()
			r, err = s.Read()
		}
		if err != nil {
			r.Text += err.Error()
		}
		l.note(to, r)
		if err != nil || r.Code == 421 {
			return
		}
		if r.Code != 250 {
			if _, err := s.Try("RSET"); err != nil {
				return
			}
		}
	}
	_, _ = s.Try("QUIT")
}

func (l *load) note(recipient string, r harness.Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case r.Code == 250:
		l.accepted[recipient] = r.QueueID()
	case r.Code/100 == 4:
		l.deferred++
	default:
		l.other = append(l.other, r.String())
	}
	l.sent.Add(1)
}

// deferredSoFar is how many messages were deferred up to now.
func (l *load) deferredSoFar() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deferred
}

// goOn waits until some more messages have been answered.
func (l *load) goOn(t *testing.T) {
	t.Helper()
	goal := l.sent.Load() + 20
	harness.Eventually(t, 2*time.Minute, "20 more messages", func() bool { return l.sent.Load() >= goal })
}

// check tests that each accepted message was delivered once, signed by both
// keys, and has one record; streams are those of every dkimd that ran.
func (l *load) check(t *testing.T, w *harness.World, streams ...*harness.Stream) {
	t.Helper()
	for _, o := range l.other {
		t.Errorf("Postfix answered %s", o)
	}
	recorded := map[string]int{}
	for _, s := range streams {
		for _, r := range s.All() {
			if r.Mode == "sign" && r.Verdict == "accept" {
				recorded[r.ID]++
			}
		}
	}
	for to, id := range l.accepted {
		data := w.Stage.Sink.Wait(t, to).Data
		if got := harness.FieldValues(data, "DKIM-Signature"); len(got) != 2 {
			t.Errorf("%s (%s) left with %d signatures, want 2", id, to, len(got))
		}
		if recorded[id] != 1 {
			t.Errorf("%s has %d records, want 1", id, recorded[id])
		}
	}
	t.Logf("%d accepted, %d deferred", len(l.accepted), l.deferred)
}

func TestReloadUnderLoadLosesNoMessage(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	l := hammer(t, w)
	l.goOn(t)
	for range 5 {
		w.Reload(t, "reloaded")
		l.goOn(t)
	}
	l.finish()
	l.check(t, w, w.Daemon.Stream)
	if l.deferred > 0 {
		t.Errorf("%d messages were deferred; a reload is no reason", l.deferred)
	}
}

func TestStopUnderLoadLosesNoMessage(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	l := hammer(t, w)
	var streams []*harness.Stream
	for range 3 {
		l.goOn(t)
		w.Daemon.Signal(syscall.SIGTERM)
		code, err := w.Daemon.Exit(35 * time.Second)
		if err != nil || code != 0 {
			t.Errorf("dkimd after SIGTERM: exit code %d, %v; want 0", code, err)
		}
		if strings.Contains(w.Daemon.Log.String(), "were cut") {
			t.Errorf("messages were cut:\n%s", w.Daemon.Log)
		}
		streams = append(streams, w.Daemon.Stream)
		w.Start(t)
	}
	l.goOn(t)
	l.finish()
	l.check(t, w, append(streams, w.Daemon.Stream)...)
}
