package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"dkimd/internal/events"
	"dkimd/internal/terminal"
)

// A terminal gets our colours, and none of a stranger's.
func TestLogColours(t *testing.T) {
	t.Parallel()
	e := &events.Event{
		Time: time.Unix(0, 0), ID: "4Bad\x1b[32m", Mode: events.ModeVerify, Verdict: "reject", From: []string{"\x1b[32m@example.org"},
		Signatures: []events.Signature{{Domain: "\x1b[32m", Result: "fail", Reason: "\x1b[32m"}},
	}
	var summary events.Summary
	summary.Add(e)
	for _, colours := range []bool{true, false} {
		var b strings.Builder
		p := &painter{w: &b, Palette: terminal.Palette(colours)}
		p.line(e)
		p.details(e)
		p.summary(&summary, 10)
		if got := strings.Contains(b.String(), "\x1b[31m"); got != colours {
			t.Errorf("red with colours %v: %v", colours, got)
		}
		if strings.Contains(b.String(), "\x1b[32m") || !colours && strings.Contains(b.String(), "\x1b") {
			t.Errorf("a stranger's colours:\n%q", b.String())
		}
	}
}

func TestTailFollowsAFileThatIsCut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("first line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	in := &tail{ctx: ctx, path: path, file: f}
	next := func(want string) {
		t.Helper()
		buf := make([]byte, 100)
		if n, err := in.Read(buf); err != nil || string(buf[:n]) != want {
			t.Fatalf("%q %v; want %q", buf[:n], err, want)
		}
	}
	next("first line\n")
	if err := os.WriteFile(path, []byte("new\n"), 0o600); err != nil { // truncates, as copytruncate does
		t.Fatal(err)
	}
	next("new\n")
	cancel()
	if n, err := in.Read(make([]byte, 10)); n != 0 || err != io.EOF { //nolint:errorlint // io.Reader's own
		t.Errorf("%d %v; want the end", n, err)
	}
}

func TestPointInTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"24h": "2026-11-22T14:00:00Z", "7d": "2026-11-16T14:00:00Z", "2w": "2026-11-09T14:00:00Z", "1d12h": "2026-11-22T02:00:00Z", "90m": "2026-11-23T12:30:00Z",
		"2026-11-20": "2026-11-20T00:00:00Z", "2026-11-20 08:00": "2026-11-20T08:00:00Z", "2026-11-20T08:00:00+01:00": "2026-11-20T07:00:00Z",
		"today": "2026-11-23T00:00:00Z", "yesterday": "2026-11-22T00:00:00Z", "tomorrow": "", "-3h": "", "": "", "3": "", "-1d": "", "99999999d": "",
	} {
		got, ok := pointInTime(text, now)
		if ok != (want != "") || ok && got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%q: %v %v; want %s", text, got, ok, want)
		}
	}
}

// TestPointInTimeOnDaysOfAnotherLength: where the clocks change, yesterday begins at midnight all the same, and 24h ago is 24 hours ago.
func TestPointInTimeOnDaysOfAnotherLength(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	now := time.Date(2026, 3, 30, 0, 30, 0, 0, berlin) // the 29th had 23 hours
	for text, want := range map[string]string{
		"yesterday": "2026-03-29T00:00:00+01:00", "today": "2026-03-30T00:00:00+02:00", "24h": "2026-03-28T23:30:00+01:00",
		"2026-03-29 02:30": "2026-03-29T03:30:00+02:00", // there was none
		"2026-03-29":       "2026-03-29T00:00:00+01:00",
	} {
		if got, ok := pointInTime(text, now); !ok || got.Format(time.RFC3339) != want {
			t.Errorf("%q: %s; want %s", text, got.Format(time.RFC3339), want)
		}
	}
}

// TestListFitsTheTerminal: no line is longer than the terminal is wide, whatever is in the records.
func TestListFitsTheTerminal(t *testing.T) {
	t.Parallel()
	texts := []string{
		"short", strings.Repeat("long", 100), strings.Repeat("日本", 60), strings.Repeat("a\u0308", 90), "\x1b[31mred\x1b[0m\r\n\x00\u202e\u0085", "a\tb",
	}
	var records []logRecord
	for _, text := range texts {
		records = append(records, logRecord{&events.Event{
			ID: text, Mode: events.ModeVerify, Verdict: "quarantine", From: []string{text + "@" + text}, Client: "2001:db8:1234:5678:9abc:def0:1234:5678",
			Signatures: []events.Signature{{Domain: text, Result: "temperror", Reason: text}},
		}, false})
	}
	for width, want := range map[int]int{0: 6, 40: 3, 80: 5, 110: 5, 112: 6, 200: 6} {
		var b strings.Builder
		(&painter{w: &b, width: width}).list(records, false)
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != len(texts)+1 || len(strings.Fields(lines[0])) != want {
			t.Errorf("width %d: %d lines, %q; want %d columns", width, len(lines), lines[0], want)
		}
		for _, line := range lines {
			if terminal.Clip(line, max(width, 3)) != line && width > 0 || strings.ContainsFunc(line, unicode.IsControl) {
				t.Errorf("width %d: %q", width, line)
			}
		}
	}
}
