//go:build !linux

package daemon

import "golang.org/x/sys/unix"

// hardenProcess keeps private keys out of core dumps.
func hardenProcess() error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) }
