// Package logtest catches what is logged or printed, for tests that read it or wait for it.
package logtest

import (
	"bytes"
	"log/slog"
	"regexp"
	"sync"
	"testing"
	"time"
)

// patience is how long Wait waits: longer than a busy machine needs.
const patience = 20 * time.Second

// Lines is an output. Its zero value is ready, and any number of goroutines may write and read.
type Lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed at the next write; nil: nobody waits
}

// Write adds to the text.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
	return l.text.Write(p)
}

// String is the text so far.
func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Logger logs into l at every level, as the daemon does but without the time.
func (l *Lines) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// Count is how often a regular expression matches; ^ and $ are the ends of a line.
func (l *Lines) Count(pattern string) int {
	return len(regexp.MustCompile("(?m)"+pattern).FindAllString(l.String(), -1))
}

// Wait returns once the pattern matches n times, and fails the test if it does not.
func (l *Lines) Wait(tb testing.TB, n int, pattern string) {
	tb.Helper()
	late := time.After(patience)
	for {
		more := l.next()
		if l.Count(pattern) >= n {
			return
		}
		select {
		case <-more:
		case <-late:
			tb.Fatalf("%q was not logged %d times in:\n%s", pattern, n, l)
		}
	}
}

// next is closed at the next write.
func (l *Lines) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more == nil {
		l.more = make(chan struct{})
	}
	return l.more
}
