package logtest_test

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/logtest"
)

func TestLogger(t *testing.T) {
	t.Parallel()
	var l logtest.Lines
	l.Logger().Debug("a b", "n", 1)
	l.Logger().Error("c")
	if want := "level=DEBUG msg=\"a b\" n=1\nlevel=ERROR msg=c\n"; l.String() != want {
		t.Errorf("got %q, want %q", l.String(), want)
	}
	if n := l.Count("^level=ERROR msg=c$"); n != 1 {
		t.Errorf("counted %d", n)
	}
}

// Whoever waits is woken by the write that completes the count.
func TestWaitEndsWithTheLastLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l logtest.Lines
		done := false
		go func() { l.Wait(t, 2, "^x$"); done = true }()
		for _, step := range []struct {
			text string
			done bool
		}{{"", false}, {"x\n", false}, {"y\n", false}, {"x\n", true}} {
			_, _ = l.Write([]byte(step.text))
			synctest.Wait()
			if done != step.done {
				t.Errorf("after %q: waiting is over: %v", l.String(), done)
			}
		}
	})
}

// What is not logged fails the test, in a time that it can wait for.
func TestWaitGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l logtest.Lines
		failed := &fatal{TB: t, ended: make(chan struct{})}
		start := time.Now()
		go l.Wait(failed, 1, "x")
		<-failed.ended
		if waited := time.Since(start); waited < time.Second || waited > time.Minute {
			t.Errorf("waited %v", waited)
		}
	})
}

// fatal is a test that notes its failure.
type fatal struct {
	testing.TB

	ended chan struct{}
}

func (f *fatal) Helper()               {}
func (f *fatal) Fatalf(string, ...any) { close(f.ended); runtime.Goexit() }
