//go:build !linux

package keys

import "golang.org/x/sys/unix"

// bootClock is not asked: only Linux tells one boot from another.
const bootClock = unix.CLOCK_MONOTONIC
