package filter

import (
	"syscall"
	"time"
	"unsafe"
)

// endAfter has the system end this process, which may wait for Exim: a signal is a failed filter to Exim. It is
// cheaper than a timer of Go's, and the threads that this takes.
func endAfter(limit time.Duration) {
	const (
		realTime   = 0 // ITIMER_REAL
		signalsSet = 8 // size of the kernel's sigset_t
	)
	byDefault := [8]uint64{} // struct sigaction: SIG_DFL, in place of Go's handler
	timer := struct{ interval, value syscall.Timeval }{value: syscall.NsecToTimeval(limit.Nanoseconds())}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGALRM), uintptr(unsafe.Pointer(&byDefault)), 0, signalsSet, 0, 0) //nolint:gosec // it asks for an address
	_, _, _ = syscall.RawSyscall(syscall.SYS_SETITIMER, realTime, uintptr(unsafe.Pointer(&timer)), 0)                                           //nolint:gosec // and so does this
}
