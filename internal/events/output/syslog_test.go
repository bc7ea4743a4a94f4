package output_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
	"dkimd/internal/events/output"
)

// messages are the datagrams that an output makes of events; a last record marks the end.
func messages(t *testing.T, cfg output.Config, r *receiver, all ...*events.Event) []string {
	t.Helper()
	l := open(t, cfg)
	for _, e := range all {
		l.Write(e)
	}
	l.Write(&events.Event{Time: eventstest.Sample().Time, ID: "the-end"})
	var list []string
	for {
		got := r.next(t)
		if strings.Contains(got, "the-end") {
			break
		}
		list = append(list, got)
	}
	if err := l.Close(); err != nil || l.Lost() > 0 {
		t.Errorf("%v, %d lost", err, l.Lost())
	}
	return list
}

func TestSyslogMessages(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	local := eventstest.Sample().Time.Local()
	old := fmt.Sprintf("%s dkimd[%d]: ", local.Format("Jan _2 15:04:05"), os.Getpid())
	ietf := fmt.Sprintf("1 2026-11-23T14:00:00.123456Z %s dkimd %d verify - ", host, os.Getpid())
	text := strings.TrimPrefix(strings.TrimSuffix(written("text", eventstest.Sample()), "\n"), "2026-11-23T14:00:00Z ")
	var exim []string
	for line := range strings.Lines(written("exim", eventstest.Sample())) {
		exim = append(exim, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), local.Format("2006-01-02 15:04:05 ")))
	}
	object := "@cee: " + strings.TrimSuffix(written("json", eventstest.Sample()), "\n")
	foreign := func(e *events.Event) { e.Sender = "jürgen@example.org" }
	tests := map[string]struct {
		output string
		format events.Format
		change func(e *events.Event)
		want   []string
	}{
		"json is text":                   {"syslog", "json", nil, []string{"<20>" + old + text}},
		"text":                           {"syslog", "text", nil, []string{"<20>" + old + text}},
		"a line each of exim":            {"syslog", "exim", nil, []string{"<20>" + old + exim[0], "<20>" + old + exim[1], "<20>" + old + exim[2]}},
		"RFC 5424 section 6":             {"syslog-rfc5424", "text", nil, []string{"<20>" + ietf + text}},
		"json in RFC 5424":               {"syslog-rfc5424", "json", nil, []string{"<20>" + ietf + object}},
		"json in RFC 5424 is ASCII":      {"syslog-rfc5424", "json", foreign, []string{"<20>" + ietf + strings.Replace(object, "bounce@esp.example", `j\u00fcrgen@example.org`, 1)}},
		"a BOM, RFC 5424 section 6.4":    {"syslog-rfc5424", "text", foreign, []string{"<20>" + ietf + "\ufeff" + strings.Replace(text, "bounce@esp.example", "jürgen@example.org", 1)}},
		"no BOM in RFC 3164":             {"syslog", "json", foreign, []string{"<20>" + old + strings.Replace(text, "bounce@esp.example", "jürgen@example.org", 1)}},
		"nothing to look at is info":     {"syslog", "json", func(e *events.Event) { e.Warnings = nil }, []string{"<22>" + old + strings.Replace(text, "; warning: a line is longer than 998 octets", "", 1)}},
		"deferred is a warning":          {"syslog", "json", func(e *events.Event) { e.Warnings, e.Verdict = nil, "tempfail" }, []string{"<20>" + old}},
		"a fault of our own is an error": {"syslog", "json", func(e *events.Event) { e.Error = "panic" }, []string{"<19>" + old}},
		"a mode that is no MSGID":        {"syslog-rfc5424", "json", func(e *events.Event) { e.Mode = "a b" }, []string{"<20>" + strings.Replace(ietf, " verify ", " - ", 1)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := receive(t, filepath.Join(t.TempDir(), "log"))
			e := eventstest.Sample()
			if test.change != nil {
				test.change(e)
			}
			got := messages(t, output.Config{Format: test.format, Outputs: []string{test.output + ":" + r.path}}, r, e)
			if len(got) != len(test.want) {
				t.Fatalf("got %q", got)
			}
			for i, want := range test.want {
				// Where only the head is of interest, the rest may be anything.
				if got[i] != want && (len(want) > 100 || !strings.HasPrefix(got[i], want)) {
					t.Errorf("got  %s\nwant %s", got[i], want)
				}
			}
		})
	}
}

// TestSyslogStream: where a stream socket listens, each message is a line, also over the next connection.
func TestSyslogStream(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	l := open(t, output.Config{Outputs: []string{"syslog:" + listener.Addr().String()}})
	for n := range 3 {
		l.Write(&events.Event{ID: fmt.Sprintf("id%d0", n)})
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		l.Write(&events.Event{ID: fmt.Sprintf("id%d1", n)})
		lines := bufio.NewScanner(conn)
		for i := range 2 {
			if !lines.Scan() || !strings.Contains(lines.Text(), fmt.Sprintf("]: id%d%d ", n, i)) {
				t.Errorf("got %q, %v", lines.Text(), lines.Err())
			}
		}
		_ = conn.Close()
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestSyslogMessagesAreBounded: receivers cut at 8 KiB. What decides is in front, and the
// rule is still there whatever a stranger adds.
func TestSyslogMessagesAreBounded(t *testing.T) {
	t.Parallel()
	many := eventstest.Sample()
	for len(many.Signatures) < 100 {
		s := many.Signatures[0]
		s.Reason = strings.Repeat("long ", 100)
		many.Signatures = append(many.Signatures, s)
	}
	broad := eventstest.Sample()
	broad.Sender, broad.Helo, broad.Auth, broad.MessageID = strings.Repeat("ü", 500), strings.Repeat("\x00", 900), strings.Repeat("\x01", 900), strings.Repeat("\x02", 900)
	for _, name := range []string{"syslog", "syslog-rfc5424"} {
		r := receive(t, filepath.Join(t.TempDir(), "log"))
		cfg := output.Config{Format: "text", Outputs: []string{name + ":" + r.path}}
		got := messages(t, cfg, r, many, broad)
		if len(got) != 2 {
			t.Fatalf("%d messages", len(got))
		}
		for _, m := range got {
			if len(m) > 8000 || !utf8.ValidString(m) || !strings.Contains(m, "4Xyz8q2Nk1z REJECT     verify ") {
				t.Errorf("%s: %d bytes: %.200q", name, len(m), m)
			}
		}
		if !strings.Contains(got[0], "; left out: 97 signatures") || !strings.Contains(got[0], `rule gmail.com.toml "gmail must be signed" reject`) || strings.HasSuffix(got[0], "...") {
			t.Errorf("%s: %q", name, got[0])
		}
		if len(got[1]) < 7990 || !strings.HasSuffix(got[1], "...") {
			t.Errorf("%s: %d bytes, %q", name, len(got[1]), got[1])
		}
		cfg.Format = "exim"
		for _, m := range messages(t, cfg, r, many, broad) {
			if len(m) > 8000 || !utf8.ValidString(m) {
				t.Errorf("%s, exim: %d bytes: %.200q", name, len(m), m)
			}
		}
	}
}

// TestSyslogJSONFits: a record in JSON is whole however much strangers write. What it leaves out, it says.
func TestSyslogJSONFits(t *testing.T) {
	t.Parallel()
	long := func(e *events.Event) *events.Event { // of each list more than fits
		for range 100 {
			e.From, e.Warnings = append(e.From, e.Sender), append(e.Warnings, e.Sender)
			e.Signatures, e.Signed, e.Policy = append(e.Signatures, e.Signatures[0]), append(e.Signed, events.Signed{Domain: e.Sender}), append(e.Policy, e.Policy[0])
		}
		return e
	}
	worst := long(eventstest.Poisoned(strings.Repeat("\xff", 2000)))
	worst.Mode = strings.Repeat("m", 32)
	for len(worst.Signatures[0].Duplicates) < 20 {
		worst.Signatures[0].Duplicates = append(worst.Signatures[0].Duplicates, "Content-Transfer-Encoding")
	}
	helo := eventstest.Sample()
	helo.Helo, helo.Auth = strings.Repeat("\x00", 900), strings.Repeat("\x01", 900)
	tests := map[string]struct {
		event   *events.Event
		verdict string
		said    []string // in warnings
	}{
		"much in lists":   {long(eventstest.Sample()), "reject", []string{"leaves out 99 of 102 signatures", " of 102 policy", " of 101 from"}},
		"two texts":       {helo, "reject", []string{"keeps 256 bytes of each text"}},
		"all that can be": {worst, strings.Repeat("\ufffd", 24) + "...", []string{"keeps 24 bytes of each text", "leaves out 100 of 101 signatures", "leaves out 101 of 102 from", "leaves out 101 of 102 warnings"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := strings.Repeat("h", 255)
			lines := events.Syslog{Format: events.JSON, IETF: true, Host: host, PID: 4194304}
			message := strings.TrimSuffix(string(lines.Append(nil, test.event)), "\n")
			_, object, found := strings.Cut(message, " 4194304 "+test.event.Mode+" - @cee: ")
			if !found || len(message) > 8000 || strings.ContainsFunc(object, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("%d bytes: %q", len(message), message)
			}
			var got events.Event
			if err := json.Unmarshal([]byte(object), &got); err != nil {
				t.Fatalf("%v: %s", err, object)
			}
			if got.Verdict != test.verdict {
				t.Errorf("verdict %q", got.Verdict)
			}
			for _, want := range test.said {
				if !slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.HasPrefix(w, "dkimd: this record ") && strings.Contains(w, want) }) {
					t.Errorf("it does not say %q: %q", want, got.Warnings)
				}
			}
		})
	}
}

// TestSyslogIsNotForged: whatever a stranger writes, a record has its own messages and no other.
func TestSyslogIsNotForged(t *testing.T) {
	t.Parallel()
	head := regexp.MustCompile(`^<\d\d>(1 \S+ \S+ dkimd \d+ \S+ - (\x{feff})?|\w{3} [ \d]\d \d\d:\d\d:\d\d dkimd\[\d+\]: )`)
	for text, value := range eventstest.Hostile() {
		for _, name := range []string{"syslog", "syslog-rfc5424"} {
			for _, format := range []events.Format{events.JSON, events.Text, events.Exim} {
				r := receive(t, filepath.Join(t.TempDir(), "log"))
				got := messages(t, output.Config{Format: format, Outputs: []string{name + ":" + r.path}}, r, eventstest.Poisoned(value))
				if want := map[events.Format]int{events.JSON: 1, events.Text: 1, events.Exim: 2}[format]; len(got) != want {
					t.Errorf("%s, %s, %s: %d messages: %q", text, name, format, len(got), got)
				}
				for _, m := range got {
					rest := head.ReplaceAllString(m, "")
					if rest == m || strings.ContainsFunc(rest, func(r rune) bool { return !unicode.IsPrint(r) }) || len(m) > 8000 {
						t.Errorf("%s, %s, %s: %q", text, name, format, m)
					}
				}
			}
		}
	}
}
