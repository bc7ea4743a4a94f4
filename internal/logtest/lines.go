// Package logtest catches what is logged or printed, so that a test can wait for it.
package logtest

import (
	"bytes"
	"regexp"
	"sync"
	"testing"
	"time"
)

// patience is how long Wait waits.
const patience = 20 * time.Second

// Lines is an output that a test can wait on. It may be written and read at the same time.
type Lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed at the next write
}

// New returns an empty output.
func New() *Lines { return &Lines{more: make(chan struct{})} }

// Write is io.Writer.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.text.Write(p)
}

// String is all that was written.
func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Count is how often a pattern matches; ^ and $ match at lines.
func (l *Lines) Count(pattern string) int {
	return len(regexp.MustCompile("(?m)"+pattern).FindAllString(l.String(), -1))
}

// Wait returns once the pattern matches n times.
func (l *Lines) Wait(tb testing.TB, n int, pattern string) {
	tb.Helper()
	late := time.After(patience)
	for {
		l.mu.Lock()
		more := l.more
		l.mu.Unlock()
		if l.Count(pattern) >= n {
			return
		}
		select {
		case <-more:
		case <-late:
			tb.Fatalf("%q was not written %d times in:\n%s", pattern, n, l)
		}
	}
}
