package output

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"dkimd/internal/events"
	"dkimd/internal/fault"
	"dkimd/internal/socket"
)

// Output is a place that records go to, as the key log.output names it.
type Output struct{ kind, path string }

// The kinds of outputs. All but file are also their names.
const (
	stdout  = "stdout"
	stderr  = "stderr"
	file    = "file"
	journal = "journal"
	syslog  = "syslog"
	rfc5424 = "syslog-rfc5424"
)

// The sockets of the usual receivers.
const (
	journalSocket = "/run/systemd/journal/socket"
	syslogSocket  = "/dev/log"
)

const names = "stdout, stderr, journal, syslog or the absolute path of a file"

// Parse reads the name of an output: stdout, stderr, journal, syslog, syslog-rfc5424, these two with
// :/PATH of a socket, or the absolute path of a file. The error is a fault.Fault with what is wanted and a
// hint. It does not look whether anybody listens at a socket: syslogd may be started later.
func Parse(s string) (Output, error) {
	kind, path, found := strings.Cut(s, ":")
	switch kind {
	case stdout, stderr, journal:
		switch {
		case found:
			return Output{}, fault.Fault{Want: names, Hint: "write " + strconv.Quote(kind)}
		case kind == journal && !hasJournal:
			return Output{}, fault.Fault{Want: "an output that this system has", Hint: `the journal is systemd's; write "syslog"`}
		}
		return Output{kind: kind}, nil
	case syslog, rfc5424:
		switch {
		case !found:
			return Output{kind: kind}, nil
		case !filepath.IsAbs(path):
			return Output{}, fault.Fault{Want: kind + " or " + kind + ":/PATH", Hint: "the path is that of a unix socket, and begins with /"}
		}
		path = filepath.Clean(path)
		if _, err := socket.ParseDial(path); err != nil {
			return Output{}, err
		}
		return Output{kind, path}, nil
	}
	if filepath.IsAbs(s) {
		return Output{file, filepath.Clean(s)}, nil
	}
	hint := ""
	if strings.Contains(strings.ToLower(kind), syslog) {
		hint = `write "syslog", or "syslog-rfc5424" where the receiver is set up for RFC 5424`
	}
	return Output{}, fault.Fault{Want: names, Hint: hint}
}

// String is the name that Parse reads.
func (o Output) String() string {
	switch {
	case o.kind == file:
		return o.path
	case o.path != "":
		return o.kind + ":" + o.path
	}
	return o.kind
}

// IsFile reports whether String is the path of a file.
func (o Output) IsFile() bool { return o.kind == file }

// target is an output that can be opened.
type target struct {
	Output
	encode events.Encoder // appends a record as open's sink takes it
	open   func() (sink, error)
}

// newTarget makes the target of one of the names of log.output.
func newTarget(cfg Config, name string) (target, error) {
	format := cfg.Format
	switch format {
	case events.JSON, events.Text, events.Exim:
	case "":
		format = events.JSON
	default:
		return target{}, fmt.Errorf("log.format: got %q; want json, text or exim", format)
	}
	o, err := Parse(name)
	if err != nil {
		return target{}, fmt.Errorf("log.output: got %q: %w", name, err)
	}
	to := target{Output: o, encode: func(dst []byte, e *events.Event) []byte { return append(format.Append(dst, e), '\n') }}
	switch o.kind {
	case stdout:
		to.standard(cfg, cfg.Stdout, format)
	case stderr:
		to.standard(cfg, cfg.Stderr, format)
	case file:
		to.open = func() (sink, error) { return openFile(o.path) }
	case journal:
		to.encode = events.Journal(format.AppendUntimed, events.JSON.Append)
		to.open = func() (sink, error) { return openJournal(cfg), nil }
	case syslog, rfc5424:
		host, _ := os.Hostname()
		lines := &events.Syslog{Format: format, IETF: o.kind == rfc5424, Host: host, PID: os.Getpid()}
		to.encode = lines.Append
		path := o.path
		if path == "" {
			path = syslogSocket
		}
		// Which kind of socket it is shows only when connecting. glibc tries in this order, too.
		to.open = func() (sink, error) { return newSocketSink(path, sendLines, "unixgram", "unix"), nil }
	}
	return to, nil
}

// standard sets up stdout or stderr. Where it leads into the journal, the journal's own
// protocol is used instead, as systemd.exec(5) suggests: the records are the same and carry fields.
func (t *target) standard(cfg Config, w io.Writer, format events.Format) {
	if w == nil {
		w = io.Discard
	}
	t.open = func() (sink, error) { return &lineSink{w: w}, nil }
	if !Journaled(w) {
		return
	}
	receiver := openJournal(cfg)
	defer receiver.close() //nolint:errcheck // nothing was written
	if receiver.reach() == nil {
		t.encode = events.Journal(format.Append, nil)
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

// Reach says why the receiver of an output cannot be reached now, or why this process could not open the file. It
// writes nothing, and returns nil for stdout and stderr.
func Reach(name string) error {
	to, err := newTarget(Config{}, name)
	if err != nil {
		return err
	}
	if to.IsFile() {
		return reachFile(to.path)
	}
	out, err := to.open()
	if err != nil {
		return err
	}
	defer out.close() //nolint:errcheck // nothing was written
	if receiver, ok := out.(*socketSink); ok {
		return receiver.reach()
	}
	return nil
}
