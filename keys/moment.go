package keys

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Moment is a time that can be compared with one of another process: the clock on the wall may have been set
// meanwhile, the time since the boot cannot.
type Moment struct {
	Wall time.Time
	Boot string        // which boot of this host; empty: unknown
	Up   time.Duration // since then
}

// Now is this moment.
func Now() Moment {
	m := Moment{Wall: time.Now()}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var up unix.Timespec
	if err == nil && unix.ClockGettime(bootClock, &up) == nil {
		m.Boot, m.Up = strings.TrimSpace(string(id)), time.Duration(up.Nano())
	}
	return m
}

// Since is how much time has passed for certain since an earlier moment. Of a time before the last boot only what
// passed since the boot is certain. Where the system tells nothing of boots, the clock on the wall is believed.
func (m Moment) Since(earlier Moment) time.Duration {
	switch {
	case earlier.Wall.IsZero():
		return 0
	case m.Boot == "" || earlier.Boot == "":
		return max(m.Wall.Sub(earlier.Wall), 0)
	case m.Boot == earlier.Boot:
		return max(m.Up-earlier.Up, 0)
	}
	return m.Up
}
