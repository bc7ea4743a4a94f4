package output_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
	"dkimd/internal/events/output"
	"dkimd/internal/logtest"

	"github.com/google/go-cmp/cmp"
)

// entry reads an entry as journald does: fields by name, in their order.
func entry(t *testing.T, data []byte) map[string][]string {
	t.Helper()
	fields := map[string][]string{}
	for len(data) > 0 {
		line, rest, found := bytes.Cut(data, []byte("\n"))
		name, value, plain := bytes.Cut(line, []byte("="))
		if !plain {
			if len(rest) < 8 {
				t.Fatalf("no length after %q", line)
			}
			size := binary.LittleEndian.Uint64(rest)
			rest = rest[8:]
			if uint64(len(rest)) <= size || rest[size] != '\n' {
				t.Fatalf("%s does not end after %d bytes", line, size)
			}
			value, rest = rest[:size], rest[size+1:]
		}
		if !found || strings.Trim(string(name), "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
			t.Fatalf("not a field: %q", line)
		}
		fields[string(name)] = append(fields[string(name)], string(value))
		data = rest
	}
	return fields
}

func TestJournalEntry(t *testing.T) {
	t.Parallel()
	r := receive(t, filepath.Join(t.TempDir(), "socket"))
	cfg := output.Config{Outputs: []string{"journal"}, Journal: r.path}
	ours := eventstest.Signed()
	ours.Error = "half a fault"
	foreign := eventstest.Sample()
	foreign.SPF.Result, foreign.DMARC.Result = "softfail", "fail"
	got := messages(t, cfg, r, foreign, ours)
	if len(got) != 2 {
		t.Fatalf("%d entries", len(got))
	}
	untimed := func(e *events.Event) string {
		return strings.TrimPrefix(strings.TrimSuffix(written("text", e), "\n"), "2026-11-23T14:00:00Z ")
	}
	wants := []map[string][]string{{
		"MESSAGE": {untimed(foreign)}, "PRIORITY": {"4"}, "SYSLOG_IDENTIFIER": {"dkimd"}, "SYSLOG_FACILITY": {"2"},
		"DKIMD_ID": {"4Xyz8q2Nk1z"}, "DKIMD_MESSAGE_ID": {"<a.b@gmail.com>"}, "DKIMD_FRONT": {"milter"}, "DKIMD_MODE": {"verify"},
		"DKIMD_CLIENT": {"203.0.113.9"}, "DKIMD_HELO": {"mail.example.net"}, "DKIMD_SENDER": {"bounce@esp.example"}, "DKIMD_VERDICT": {"reject"},
		"DKIMD_FROM": {"alice@gmail.com"}, "DKIMD_SIGNATURE": {"gmail.com", "esp.example"}, "DKIMD_RESULT": {"fail", "pass"},
		"DKIMD_RULES_FILE": {"esp.example.toml", "gmail.com.toml"}, "DKIMD_RULE": {"try", "gmail must be signed"},
		"DKIMD_SPF": {"softfail"}, "DKIMD_DMARC": {"fail"},
	}, {
		"MESSAGE": {untimed(ours)}, "PRIORITY": {"3"}, "SYSLOG_IDENTIFIER": {"dkimd"}, "SYSLOG_FACILITY": {"2"},
		"DKIMD_ID": {"4Abc"}, "DKIMD_FRONT": {"milter"}, "DKIMD_MODE": {"sign"}, "DKIMD_REASON_CODE": {"local"}, "DKIMD_REASON": {"submitted on this host"}, "DKIMD_CLIENT": {"local"}, "DKIMD_AUTH": {"bob"},
		"DKIMD_SENDER": {"bob@example.org"}, "DKIMD_VERDICT": {"accept"}, "DKIMD_ERROR": {"half a fault"}, "DKIMD_FROM": {"bob@example.org"},
		"DKIMD_SIGNED": {"example.org", "example.org"},
	}}
	document, err := os.ReadFile("../../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range wants {
		want[events.JournalRecord] = []string{strings.TrimSuffix(written("json", []*events.Event{foreign, ours}[i]), "\n")}
		fields := entry(t, []byte(got[i]))
		if diff := cmp.Diff(want, fields); diff != "" {
			t.Error(diff)
		}
		for name := range fields {
			if !strings.Contains(string(document), "`"+name+"`") {
				t.Errorf("docs/events.md does not name %s", name)
			}
		}
	}

	cfg.Format = "exim"
	got = messages(t, cfg, r, eventstest.Sample())
	message := entry(t, []byte(got[0]))["MESSAGE"]
	if len(got) != 1 || len(message) != 1 || strings.Count(message[0], "\n") != 2 || !strings.HasPrefix(message[0], "4Xyz8q2Nk1z DKIM: d=gmail.com ") {
		t.Errorf("exim: %d entries, %q", len(got), message)
	}
}

func TestJournalIsNotForged(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	r := receive(t, filepath.Join(t.TempDir(), "socket"))
	cfg := output.Config{Outputs: []string{"journal"}, Journal: r.path}
	for name := range entry(t, []byte(messages(t, cfg, r, eventstest.Poisoned("x"))[0])) {
		known[name] = true
	}
	values := eventstest.Hostile()
	values["a field"] = "x\nPRIORITY=0\nDKIMD_VERDICT=accept"
	for name, value := range values {
		got := messages(t, cfg, r, eventstest.Poisoned(value))
		if len(got) != 1 {
			t.Fatalf("%s: %d entries", name, len(got))
		}
		for field, all := range entry(t, []byte(got[0])) {
			if !known[field] || field == "PRIORITY" && all[0] != "3" || len(all) > 2 {
				t.Errorf("%s: %s=%q", name, field, all)
			}
			for _, v := range all {
				if strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("%s: %s=%q", name, field, v)
				}
			}
		}
	}
}

// TestLargeEntryIsAFileInMemory: what no datagram holds comes as a sealed memfd.
func TestLargeEntryIsAFileInMemory(t *testing.T) {
	t.Parallel()
	r := receive(t, filepath.Join(t.TempDir(), "socket"))
	e := eventstest.Sample()
	for range 100 {
		e.From = append(e.From, strings.Repeat("\x00", 1000))
		e.Signatures = append(e.Signatures, events.Signature{Domain: strings.Repeat("\x00", 1000), Selector: "s", Result: strings.Repeat("\x00", 1000)})
		e.Signed = append(e.Signed, events.Signed{Domain: strings.Repeat("\x00", 1000)})
		e.Policy = append(e.Policy, events.Decision{File: strings.Repeat("\x00", 1000), Rule: strings.Repeat("\x00", 1000)})
	}
	log := &logtest.Lines{}
	l := open(t, output.Config{Outputs: []string{"journal"}, Journal: r.path, Logger: log.Logger()})
	l.Write(e)
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf, control := make([]byte, 1<<20), make([]byte, 64)
	n, controlled, _, _, err := r.ReadMsgUnix(buf, control)
	if err != nil || n != 0 {
		t.Fatalf("%d bytes, %v: %s", n, err, log)
	}
	all, err := syscall.ParseSocketControlMessage(control[:controlled])
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	fds, err := syscall.ParseUnixRights(&all[0])
	if err != nil || len(fds) != 1 {
		t.Fatal(fds, err)
	}
	file := os.NewFile(uintptr(fds[0]), "entry")
	defer func() { _ = file.Close() }()
	if _, err := file.WriteAt([]byte("x"), 0); err == nil {
		t.Error("it is not sealed")
	}
	data, err := io.ReadAll(io.NewSectionReader(file, 0, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	if got := entry(t, data); got["DKIMD_ID"][0] != "4Xyz8q2Nk1z" || len(data) < 200<<10 || len(data) > 1<<20 {
		t.Errorf("%d bytes, id %q", len(data), got["DKIMD_ID"])
	}
	l.Write(&events.Event{ID: "small"})
	if got := r.next(t); !strings.Contains(got, "DKIMD_ID=small\n") {
		t.Errorf("after it: %.200q", got)
	}
	if err := l.Close(); err != nil || l.Lost() != 0 {
		t.Errorf("%v, %d lost", err, l.Lost())
	}
}

// journalStream is a file that systemd says is the journal's. Not parallel: it is said in the environment.
func journalStream(t *testing.T) (stdout, behind *os.File) {
	t.Helper()
	behind, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = behind.Close(), stdout.Close() })
	info, err := stdout.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat, _ := info.Sys().(*syscall.Stat_t)
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", stat.Dev, stat.Ino))
	return stdout, behind
}

// TestStdoutOfAServiceHasFields: the record stays as the format has it.
func TestStdoutOfAServiceHasFields(t *testing.T) {
	stdout, _ := journalStream(t)
	r := receive(t, filepath.Join(t.TempDir(), "socket"))
	for _, format := range []events.Format{events.JSON, events.Text, events.Exim} {
		cfg := output.Config{Format: format, Stdout: stdout, Journal: r.path}
		got := messages(t, cfg, r, eventstest.Sample())
		if len(got) != 1 {
			t.Fatalf("%d entries", len(got))
		}
		fields := entry(t, []byte(got[0]))
		if want := strings.TrimSuffix(written(format, eventstest.Sample()), "\n"); fields["MESSAGE"][0] != want || fields["DKIMD_ID"][0] != "4Xyz8q2Nk1z" {
			t.Errorf("got  %q\nwant %s", fields["MESSAGE"], want)
		}
		if fields[events.JournalRecord] != nil {
			t.Error("the record is there twice")
		}
	}
}

// TestStdoutStaysWhatItIs: without $JOURNAL_STREAM, with that of another stream, or when nobody listens.
func TestStdoutStaysWhatItIs(t *testing.T) {
	stdout, behind := journalStream(t)
	r := receive(t, filepath.Join(t.TempDir(), "socket"))
	absent := filepath.Join(t.TempDir(), "absent")
	right := os.Getenv("JOURNAL_STREAM")
	for name, test := range map[string]struct{ variable, socket string }{
		"nobody listens": {right, absent}, "another stream": {right + "1", r.path}, "no journal": {"", r.path}, "nonsense": {"x", r.path},
	} {
		t.Setenv("JOURNAL_STREAM", test.variable)
		l := open(t, output.Config{Stdout: stdout, Journal: test.socket})
		l.Write(numbered(7))
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		buf := make([]byte, 4096)
		n, err := behind.Read(buf)
		if err != nil || fmt.Sprint(ids(t, string(buf[:n]))) != "[7]" {
			t.Errorf("%s: %q, %v", name, buf[:n], err)
		}
	}
	if output.Journaled(io.Discard) {
		t.Error("what is no file cannot be the journal's")
	}
}
