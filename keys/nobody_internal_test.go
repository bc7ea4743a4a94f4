//go:build linux

package keys

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// asNobody runs a function with another user's rights on files.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		do() // a mode of 0 keeps us out as well
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Of this thread only; it takes away root's power over modes.
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	do()
	if err := unix.Setfsuid(0); err != nil {
		t.Fatal(err)
	}
}
