package daemon

import (
	"errors"

	"golang.org/x/sys/unix"
)

// hardenProcess keeps private keys out of core dumps and away from debuggers.
func hardenProcess() error {
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
	)
}
