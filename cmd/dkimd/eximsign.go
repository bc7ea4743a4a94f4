package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"dkimd/internal/exim"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const (
	eximSignName = "exim-sign"
	// eximSignTime is less than packaging/exim lets Exim wait (transport_filter_timeout
	// = 2m): who lets Exim time out makes it think ill of the host it delivers to.
	eximSignTime = 60 * time.Second
	// exitTempFail is EX_TEMPFAIL of sysexits.h.
	exitTempFail = 75
)

// eximSignCommand describes exim-sign, and reads its flags into filter and limit.
func eximSignCommand(filter *exim.Filter, limit *time.Duration) *cobra.Command {
	c := &cobra.Command{
		Use:   eximSignName + " SOCKET ID CLIENT PROTOCOL",
		Short: "Sign a message that leaves Exim: its transport_filter",
		Long: `Exim-sign reads a message, has it signed by the dkimd that serves the Exim
socket SOCKET (a path, HOST:PORT, or as in dkimd.toml), and writes it with its
signatures on top. Exim calls it:

  transport_filter = /usr/bin/dkimd exim-sign /run/dkimd/exim.sock \
    $message_exim_id "$sender_host_address" "$received_protocol"

On any error it writes nothing and exits 75; Exim keeps the message and tries
again. It prints the error on a terminal only: Exim would take it for a part of
the message.`,
		Args: arguments("path of the socket", "queue id", "address of the client", "protocol"),
		// run takes all but a call for help before it comes to this.
		RunE: func(*cobra.Command, []string) error { return errQuiet },
	}
	c.Flags().BoolVar(&filter.FailOpen, "fail-open", false, "let mail go unsigned while dkimd is down")
	c.Flags().DurationVar(limit, "timeout", eximSignTime, "how long it may take in all")
	return c
}

// eximSign is run's way for exim-sign. It stands before everything else: its
// start is paid at each delivery.
func eximSign(args []string, in io.Reader, out io.Writer) int {
	complain := muteStderr()
	var filter exim.Filter
	var limit time.Duration
	flags := eximSignCommand(&filter, &limit).Flags()
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil || flags.NArg() != 4 || limit <= 0 {
		complain("want the arguments [--fail-open] [--timeout=DURATION] SOCKET ID CLIENT PROTOCOL")
		return exitTempFail
	}
	filter.Socket, filter.QueueID, filter.Client, filter.Protocol = flags.Arg(0), flags.Arg(1), flags.Arg(2), flags.Arg(3)
	// Asking ends first: with fail-open there is time left to write.
	ask, cancel := context.WithTimeout(context.Background(), limit-limit/10)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- filter.Run(ask, in, out) }()
	select {
	case err := <-done:
		if err == nil {
			return exitDone
		}
		complain(err.Error())
	case <-time.After(limit):
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
		return func(text string) { fmt.Fprintf(os.Stderr, "dkimd: %s: %s\n", eximSignName, text) }
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
