package daemon

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	// crowdedGC is how many percent the heap may grow between two collections while messages
	// hold much: what they hold is bounded, what they left behind must not double it.
	crowdedGC = 25
	// freeDelay is how long after the end of a peak memory is given back: what is left of it may end meanwhile.
	freeDelay = 2 * time.Second
	// freeEvery is the least time between two times that memory is given back to the system.
	freeEvery = time.Minute
)

// watchMemory keeps the heap small while messages hold much, and gives its memory back to the system
// afterwards, until ctx ends.
func (d *daemon) watchMemory(ctx context.Context) {
	usual := 0 // percent; 0: in force
	var freed time.Time
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.memory.Changed():
			due = nil
			if !d.memory.Crowded() {
				due = time.After(max(freeDelay, time.Until(freed.Add(freeEvery))))
			} else if usual == 0 {
				usual = debug.SetGCPercent(crowdedGC)
			}
		case <-due:
			due, freed = nil, time.Now()
			if usual != 0 {
				debug.SetGCPercent(usual)
				usual = 0
			}
			debug.FreeOSMemory()
		}
	}
}
