package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
		"yesterday": "", "-3h": "", "": "", "3": "", "-1d": "", "99999999d": "",
	} {
		got, ok := pointInTime(text, now)
		if ok != (want != "") || ok && got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%q: %v %v; want %s", text, got, ok, want)
		}
	}
}
