package filter

import (
	"io"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	// DefaultTimeout is less than packaging/exim lets Exim wait (transport_filter_timeout
	// = 2m): a timeout of Exim's makes it think ill of the host it delivers to.
	DefaultTimeout = 60 * time.Second
	// exitTempFail is EX_TEMPFAIL of sysexits.h.
	exitTempFail = 75
)

// Command carries out a command line without the program's name, and is the exit status:
// 75 wherever anything is in doubt, so that Exim keeps the message.
func Command(args []string, in io.Reader, out io.Writer) (status int) {
	complain := muteStderr()
	f, limit, ok := readArgs(args)
	if !ok {
		complain("want the arguments [--fail-open] [--timeout=DURATION] SOCKET ID CLIENT PROTOCOL")
		return exitTempFail
	}
	endAfter(limit)
	// Asking ends first: with fail-open there is time left to write.
	f.Deadline = time.Now().Add(limit - limit/10)
	if err := f.Run(in, out); err != nil {
		complain(err.Error())
		return exitTempFail
	}
	return 0
}

func readArgs(args []string) (f Filter, limit time.Duration, ok bool) {
	limit = DefaultTimeout
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name, value, hasValue := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
		args = args[1:]
		switch {
		case name == "fail-open" && !hasValue:
			f.FailOpen = true
			continue
		case name == "timeout" && !hasValue && len(args) > 0:
			value, args = args[0], args[1:]
		case name != "timeout":
			return f, limit, false
		}
		var err error
		if limit, err = time.ParseDuration(value); err != nil || limit <= 0 {
			return f, limit, false
		}
	}
	if len(args) != 4 {
		return f, limit, false
	}
	f.Socket, f.QueueID, f.Client, f.Protocol = args[0], args[1], args[2], args[3]
	return f, limit, true
}

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

// muteStderr points standard error to nowhere: Exim gives its filters one pipe
// for both outputs, and a warning, ours or the runtime's, would be the first
// line of a mail. On a terminal it stays.
func muteStderr() (complain func(string)) {
	const stderr = 2
	var terminal syscall.Termios
	if _, _, fault := syscall.Syscall(syscall.SYS_IOCTL, stderr, syscall.TCGETS, uintptr(unsafe.Pointer(&terminal))); fault == 0 { //nolint:gosec // see above
		return func(text string) { _, _ = os.Stderr.WriteString("dkimd: exim-sign: " + text + "\n") }
	}
	null, err := syscall.Open("/dev/null", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err == nil {
		err = syscall.Dup3(null, stderr, 0)
	}
	if err != nil {
		_ = syscall.Close(stderr)
	}
	return func(string) {}
}
