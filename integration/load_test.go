//go:build integration

package integration_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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
func (w *world) hammer(t *testing.T) *load {
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
					l.session(t, w.outside, 10)
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
	s, err := tryDial(t, port)
	if err != nil {
		l.note("", reply{text: err.Error()})
		return
	}
	defer s.hangUp()
	if _, err := s.try("EHLO client.test"); err != nil {
		return
	}
	for range messages {
		to := unique("load") + "@elsewhere.test"
		r, err := s.try("MAIL FROM:<alice@ours.test>", "RCPT TO:<"+to+">", "DATA")
		if err == nil && r.code == 354 {
			w := s.text.DotWriter()
			_, _ = w.Write(newMail("alice@ours.test", "load").bytes())
			_ = w.Close()
			r, err = s.read()
		}
		if err != nil {
			r.text += err.Error()
		}
		l.note(to, r)
		if err != nil || r.code == 421 {
			return
		}
		if r.code != 250 {
			if _, err := s.try("RSET"); err != nil {
				return
			}
		}
	}
	_, _ = s.try("QUIT")
}

// try sends commands as long as they are taken, and returns the last answer.
func (s *session) try(commands ...string) (r reply, err error) {
	for _, c := range commands {
		if err = s.text.PrintfLine("%s", c); err != nil {
			return r, err
		}
		if r, err = s.read(); err != nil || r.code >= 400 {
			return r, err
		}
	}
	return r, nil
}

func (l *load) note(recipient string, r reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case r.code == 250:
		l.accepted[recipient] = r.queueID()
	case r.code/100 == 4:
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
	eventually(t, 2*time.Minute, "20 more messages", func() bool { return l.sent.Load() >= goal })
}

// check tests that each accepted message was delivered once, signed by both
// keys, and has one record; streams are those of every dkimd that ran.
func (l *load) check(t *testing.T, w *world, streams ...*stream) {
	t.Helper()
	for _, o := range l.other {
		t.Errorf("Postfix answered %s", o)
	}
	recorded := map[string]int{}
	for _, s := range streams {
		for _, r := range s.all() {
			if r.Mode == "sign" && r.Verdict == "accept" {
				recorded[r.ID]++
			}
		}
	}
	for to, id := range l.accepted {
		data := w.stage.sink.wait(t, to).data
		if got := named(data, "DKIM-Signature"); len(got) != 2 {
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
	w := newWorld(t, settings{})
	l := w.hammer(t)
	l.goOn(t)
	for range 5 {
		w.reload(t, "reloaded")
		l.goOn(t)
	}
	l.finish()
	l.check(t, w, w.daemon.stream)
	if l.deferred > 0 {
		t.Errorf("%d messages were deferred; a reload is no reason", l.deferred)
	}
}

func TestStopUnderLoadLosesNoMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	l := w.hammer(t)
	var streams []*stream
	for range 3 {
		l.goOn(t)
		w.daemon.signal(syscall.SIGTERM)
		code, err := w.daemon.exit(35 * time.Second)
		if err != nil || code != 0 {
			t.Errorf("dkimd after SIGTERM: exit code %d, %v; want 0", code, err)
		}
		if strings.Contains(w.daemon.log.String(), "were cut") {
			t.Errorf("messages were cut:\n%s", w.daemon.log)
		}
		streams = append(streams, w.daemon.stream)
		w.start(t)
	}
	l.goOn(t)
	l.finish()
	l.check(t, w, append(streams, w.daemon.stream)...)
}
