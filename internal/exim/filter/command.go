package filter

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
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
	var f Filter
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&f.FailOpen, "fail-open", false, "")
	limit := flags.Duration("timeout", DefaultTimeout, "")
	if err := flags.Parse(args); err != nil || flags.NArg() != 4 || *limit <= 0 {
		complain("want the arguments [--fail-open] [--timeout=DURATION] SOCKET ID CLIENT PROTOCOL")
		return exitTempFail
	}
	f.Socket, f.QueueID, f.Client, f.Protocol = flags.Arg(0), flags.Arg(1), flags.Arg(2), flags.Arg(3)
	// Asking ends first: with fail-open there is time left to write.
	ask, cancel := context.WithTimeout(context.Background(), *limit-*limit/10)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f.Run(ask, in, out) }()
	select {
	case err := <-done:
		if err == nil {
			return 0
		}
		complain(err.Error())
	case <-time.After(*limit):
		complain("it took too long")
	}
	return exitTempFail
}

// muteStderr points standard error to nowhere: Exim gives its filters one pipe
// for both outputs, and a warning, ours or the runtime's, would be the first
// line of a mail. On a terminal it stays.
func muteStderr() (complain func(string)) {
	const stderr = 2
	if _, err := unix.IoctlGetTermios(stderr, unix.TCGETS); err == nil {
		return func(text string) { fmt.Fprintf(os.Stderr, "dkimd: exim-sign: %s\n", text) }
	}
	null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Dup3(null, stderr, 0)
	}
	if err != nil {
		_ = unix.Close(stderr)
	}
	return func(string) {}
}
