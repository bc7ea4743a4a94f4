package daemon

import (
	"bytes"
	"fmt"
	"io"

	"dkimd/internal/events/output"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notify tells systemd what dkimd is about, where the unit asks for it (Type=notify).
func (d *daemon) notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		d.log.Warn("could not notify systemd", "state", state, "error", err)
	}
}

// notifyReady tells systemd that dkimd serves, and with what; systemctl status shows it.
func (d *daemon) notifyReady() {
	d.notify(systemd.SdNotifyReady + "\nSTATUS=" + d.summary())
}

// reloading is the state while dkimd reloads; systemd wants to know since when (sd_notify(3)).
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return systemd.SdNotifyReloading
	}
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", systemd.SdNotifyReloading, now.Nano()/1000)
}

// WithPriorities is stderr, where it ends in systemd's journal with the
// priority of each line in front (sd-daemon(3)).
func WithPriorities(stderr io.Writer) io.Writer {
	if output.Journaled(stderr) {
		return priorityWriter{stderr}
	}
	return stderr
}

type priorityWriter struct{ to io.Writer }

// Write takes a whole line, as log/slog and the commands write them.
func (w priorityWriter) Write(p []byte) (int, error) {
	priority := priorityOf(p)
	n, err := w.to.Write(append([]byte(priority), p...))
	return min(max(n-len(priority), 0), len(p)), err
}

// priorityOf reads the level of a line. A line of the log begins with its time,
// which has no blank, and the level: no text in it can claim another one.
func priorityOf(line []byte) string {
	if start, rest, found := bytes.Cut(line, []byte(" level=")); found && bytes.HasPrefix(start, []byte("time=")) && !bytes.ContainsRune(start, ' ') {
		switch {
		case bytes.HasPrefix(rest, []byte("ERROR")):
			return "<3>"
		case bytes.HasPrefix(rest, []byte("WARN")):
			return "<4>"
		}
		return "<6>"
	}
	switch {
	case bytes.HasPrefix(line, []byte("dkimd: warning: ")):
		return "<4>"
	case bytes.HasPrefix(line, []byte("dkimd: ")):
		return "<3>"
	}
	return ""
}
