// Package cputime measures what a piece of work costs, for tests that hold a
// cost against a size. Wall time says more of the machine's other work than of
// ours: a test that trusts it fails on a busy day.
package cputime

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Of is the processor time that f takes on its own thread, user and system.
// Goroutines that f starts, and the collector's, are not counted.
func Of(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := used(unix.CLOCK_THREAD_CPUTIME_ID)
	f()
	return used(unix.CLOCK_THREAD_CPUTIME_ID) - before
}

// OfProcess is the processor time that the whole process takes while f runs.
func OfProcess(f func()) time.Duration {
	before := used(unix.CLOCK_PROCESS_CPUTIME_ID)
	f()
	return used(unix.CLOCK_PROCESS_CPUTIME_ID) - before
}

// Least is the least of what f takes in n runs.
func Least(runs int, f func()) time.Duration {
	least := Of(f)
	for range runs - 1 {
		least = min(least, Of(f))
	}
	return least
}

// used reads a clock of the processor. The usage that the kernel keeps for a process counts in ticks of some milliseconds.
func used(clock int32) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(clock, &now); err != nil {
		panic(err) // it fails for wrong arguments only
	}
	return time.Duration(now.Nano())
}
