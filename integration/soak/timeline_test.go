//go:build integration

package soak_test

import (
	"sync"
	"testing"
)

// timeline is what was in force around dkimd, and when. Between announce and settle
// nobody knows whether it is the newest value or one before.
type timeline[T any] struct {
	mu      sync.Mutex
	values  []T
	settled int // the oldest value that may be in force
}

// startingWith is a timeline with its first value in force.
func startingWith[T any](v T) *timeline[T] { return &timeline[T]{values: []T{v}} }

// announce says that v may be in force from now on.
func (l *timeline[T]) announce(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.values = append(l.values, v)
}

// settle says that the newest value is in force, and no other one.
func (l *timeline[T]) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled = len(l.values) - 1
}

// withdraw says that the newest value was refused, and has never been in force.
func (l *timeline[T]) withdraw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.values[len(l.values)-1] = l.values[l.settled]
}

// mark is a point in time for since.
func (l *timeline[T]) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settled
}

// since returns what may have been in force from a mark until now.
func (l *timeline[T]) since(mark int) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]T(nil), l.values[mark:]...)
}

func TestTimelineKnowsWhatMayBeInForce(t *testing.T) {
	t.Parallel()
	l := startingWith("a")
	first := l.mark()
	l.announce("b")
	second := l.mark()
	if got := l.since(second); len(got) != 2 {
		t.Errorf("before b is settled: %q; want a and b", got)
	}
	l.settle()
	third := l.mark()
	l.announce("c")
	l.withdraw()
	if got := l.since(third); got[0] != "b" || got[len(got)-1] != "b" {
		t.Errorf("after c was refused: %q; want b alone", got)
	}
	if got := l.since(first); got[0] != "a" || got[1] != "b" {
		t.Errorf("since the start: %q; want a and b", got)
	}
}
