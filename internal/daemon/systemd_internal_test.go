package daemon

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestPriorityOfALine(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`time=2026-11-23T14:00:00.000Z level=ERROR msg="log records are lost"`: "<3>",
		`time=2026-11-23T14:00:00.000Z level=WARN msg=x`:                       "<4>",
		`time=2026-11-23T14:00:00.000Z level=INFO msg=x reason="level=ERROR"`:  "<6>",
		`time=x" level=ERROR" level=INFO msg=x`:                                "<3>", // a time never has a blank
		"dkimd: /etc/dkimd/dkimd.toml:1: hostname: got 1; want a string":       "<3>",
		"dkimd: warning: x":                            "<4>",
		`{"time":"2026", "helo":"a level=ERROR msg"`:   "",
		"2026-11-23T14:00:00Z 4Abc ACCEPT level=ERROR": "",
		"hint: dkimd check":                            "",
	} {
		if got := priorityOf([]byte(line)); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// TestPrioritiesOnlyInTheJournal: what is written anywhere else stays as it is.
func TestPrioritiesOnlyInTheJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat, _ := info.Sys().(*syscall.Stat_t)
	const line = "dkimd: x\n"
	for variable, want := range map[string]string{"": line, fmt.Sprintf("%d:%d", stat.Dev, stat.Ino): "<3>" + line} {
		t.Setenv("JOURNAL_STREAM", variable)
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if n, err := WithPriorities(f).Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if got, err := os.ReadFile(f.Name()); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", variable, got, err)
		}
	}
	var buf bytes.Buffer
	if _, err := WithPriorities(&buf).Write([]byte(line)); err != nil || buf.String() != line {
		t.Errorf("%q, %v", &buf, err)
	}
}
