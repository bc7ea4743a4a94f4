//go:build !linux

package filter

import (
	"syscall"
	"time"
)

// endAfter ends this process, which may wait for Exim.
func endAfter(limit time.Duration) {
	time.AfterFunc(limit, func() { syscall.Exit(exitTempFail) })
}
