package filter

import (
	"io"
	"os"
	"strings"
	"syscall"
	"time"
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

// muteStderr points standard error to nowhere: Exim gives its filters one pipe
// for both outputs, and a warning, ours or the runtime's, would be the first
// line of a mail. On a terminal, or another device, it stays.
func muteStderr() (complain func(string)) {
	const stderr = 2
	var st syscall.Stat_t
	if err := syscall.Fstat(stderr, &st); err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFCHR {
		return func(text string) { _, _ = os.Stderr.WriteString("dkimd: exim-sign: " + text + "\n") }
	}
	_ = syscall.Close(stderr)
	_, _ = syscall.Open("/dev/null", syscall.O_WRONLY, 0) // gets the lowest free number, that of stderr
	return func(string) {}
}
