package events

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// target is an output as log.output names it.
type target struct {
	name   string
	encode func(dst []byte, e *Event) []byte // appends a record as open's sink takes it
	open   func() (sink, error)
	file   bool // opened anew by Reopen
}

// Where those listen who take records from a socket.
const (
	journalSocket = "/run/systemd/journal/socket"
	syslogSocket  = "/dev/log"
)

// newTarget is what the key log.output says with one of its names.
func newTarget(cfg Config, name string) (target, error) {
	line, ok := map[string]func([]byte, *Event) []byte{
		"": appendJSON, "json": appendJSON, "text": appendText, "exim": appendExim,
	}[cfg.Format]
	if !ok {
		return target{}, fmt.Errorf("log.format: got %q; want json, text or exim", cfg.Format)
	}
	to := target{name: name, encode: func(dst []byte, e *Event) []byte { return append(line(dst, e), '\n') }}
	kind, path, _ := strings.Cut(name, ":")
	switch {
	case name == "stdout":
		to.standard(cfg, cfg.Stdout, line)
	case name == "stderr":
		to.standard(cfg, cfg.Stderr, line)
	case filepath.IsAbs(name):
		to.file = true
		to.open = func() (sink, error) { return openFile(name) }
	case name == "journal":
		lines := timeless(cfg.Format)
		to.encode = journalFormat(func(dst []byte, e *Event) []byte { return lines(dst, e, maxListBytes) })
		to.open = func() (sink, error) { return openJournal(cfg), nil }
	case (kind == "syslog" || kind == "syslog-rfc5424") && (kind == name || filepath.IsAbs(path)):
		if path == "" {
			path = syslogSocket
		}
		to.encode = newSyslogFormat(timeless(cfg.Format), kind == "syslog-rfc5424").append
		// Nobody says in advance which kind of socket it is. glibc tries in this order, too.
		to.open = func() (sink, error) { return newSocketSink(path, sendLines, "unixgram", "unix"), nil }
	default:
		return target{}, fmt.Errorf("log.output: got %q; want stdout, stderr, journal, syslog, syslog-rfc5424 or the absolute path of a file", name)
	}
	return to, nil
}

// standard sets up stdout or stderr. One that ends in the journal is left
// for the journal's own protocol, as systemd.exec(5) suggests: the records are
// the same, and carry fields.
func (t *target) standard(cfg Config, w io.Writer, line func([]byte, *Event) []byte) {
	if w == nil {
		w = io.Discard
	}
	t.open = func() (sink, error) { return &lineSink{w: w}, nil }
	if !Journaled(w) {
		return
	}
	journal := openJournal(cfg)
	defer journal.close() //nolint:errcheck // nothing was written
	if journal.reach() == nil {
		t.encode = journalFormat(line)
		t.open = func() (sink, error) { return openJournal(cfg), nil }
	}
}

func openJournal(cfg Config) *socketSink {
	path := cfg.Journal
	if path == "" {
		path = journalSocket
	}
	return newSocketSink(path, sendJournal, "unixgram")
}

// timeless are the lines of a record where the receiver has the time already,
// with lists of at most so many bytes. JSON is for programs that read a file;
// where a line may be cut, or is read with journalctl, it is the text for people.
func timeless(format string) func(dst []byte, e *Event, listBytes int) []byte {
	if format == "exim" {
		return func(dst []byte, e *Event, listBytes int) []byte { return appendEximLines(dst, e, "", listBytes) }
	}
	return appendTextLine
}

// Reach says why whoever listens for an output cannot be reached now. It
// writes nothing; of stdout, stderr and files it knows nothing.
func Reach(name string) error {
	to, err := newTarget(Config{}, name)
	if err != nil || to.file {
		return err
	}
	out, err := to.open()
	if err != nil {
		return err
	}
	defer out.close() //nolint:errcheck // nothing was written
	if socket, ok := out.(*socketSink); ok {
		return socket.reach()
	}
	return nil
}
