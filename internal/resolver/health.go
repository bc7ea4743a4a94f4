package resolver

import (
	"sync/atomic"
	"time"
)

// health is whether the servers answer. A reload hands it over.
type health struct {
	since   atomic.Int64            // the first question since the last answer, on clock time; 0: none
	failure atomic.Pointer[failure] // the last one
}

func (h *health) asked(now time.Duration) { h.since.CompareAndSwap(0, max(int64(now), 1)) }
func (h *health) answered()               { h.since.Store(0) }
func (h *health) failed(why failure)      { h.failure.Store(&why) }
