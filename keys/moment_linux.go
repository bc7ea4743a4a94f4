package keys

import "golang.org/x/sys/unix"

// bootClock goes on while the host sleeps, and nobody sets it.
const bootClock = unix.CLOCK_BOOTTIME
