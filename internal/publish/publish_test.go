package publish_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkimd/internal/publish"
)

func change(old, text string) publish.Change {
	return publish.Change{Domain: "example.org", Selector: "s1", Name: "s1._domainkey.example.org", Zone: "example.org", Old: old, New: text, TTL: time.Hour}
}

// script writes a program and returns its path.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommand(t *testing.T) {
	t.Parallel()
	seen := filepath.Join(t.TempDir(), "seen")
	tests := map[string]struct {
		text string
		late bool
		want string // of the error
	}{
		"done":             {"cat >" + seen, false, ""},
		"later":            {"echo busy >&2; exit 75", true, "busy"},
		"failed":           {"printf 'no\\033[31m' >&2; exit 3", false, `exit status 3: no\x1b[31m`},
		"it does not end":  {"sleep 60 & sleep 60", true, "did not end in 300ms"},
		"no program there": {"", false, "no such file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := publish.Command{Args: []string{script(t, test.text), "$(touch x)"}, Time: 300 * time.Millisecond}
			if test.text == "" {
				c.Args[0] += "-absent"
			}
			if test.text[:min(len(test.text), 5)] != "sleep" {
				c.Time = 0
			}
			err := c.Apply(t.Context(), change("", "v=DKIM1; p=<a>"))
			if errors.Is(err, publish.ErrLater) != test.late || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want %q", err, test.want)
			}
			if name == "done" {
				const want = `{"op":"publish","name":"s1._domainkey.example.org","type":"TXT","value":"v=DKIM1; p=\u003ca\u003e","old":"","ttl":3600,"zone":"example.org","domain":"example.org","selector":"s1"}` + "\n"
				if got, err := os.ReadFile(seen); string(got) != want {
					t.Errorf("it read %s, %v", got, err)
				}
			}
		})
	}
}

func TestZoneFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	told := filepath.Join(dir, "told")
	z := publish.ZoneFile{Path: filepath.Join(dir, "keys.zone"), Args: []string{script(t, "echo told >>"+told)}}
	long := "v=DKIM1; p=" + strings.Repeat("A", 300)
	steps := []struct {
		change publish.Change
		err    error
		want   string
	}{
		{change("", long), nil, `s1._domainkey.example.org. 3600 IN TXT "` + long[:255] + `" "` + long[255:] + `"`},
		{change("", long), nil, `s1._domainkey.example.org. 3600 IN TXT "` + long[:255] + `" "` + long[255:] + `"`},
		{change("", "another"), publish.ErrTaken, `s1._domainkey.example.org. 3600 IN TXT "` + long[:255] + `" "` + long[255:] + `"`},
		{change(long, "v=DKIM1; p="), nil, `s1._domainkey.example.org. 3600 IN TXT "v=DKIM1; p="`},
		{change("v=DKIM1; p=", ""), nil, ""},
		{change("v=DKIM1; p=", ""), nil, ""},
		{change(long, "v=DKIM1; p="), publish.ErrTaken, ""}, // it stands elsewhere in the zone
	}
	for i, s := range steps {
		if err := z.Apply(t.Context(), s.change); !errors.Is(err, s.err) {
			t.Errorf("step %d: %v; want %v", i, err, s.err)
		}
		content, err := os.ReadFile(z.Path)
		_, got, _ := strings.Cut(strings.TrimSuffix(string(content), "\n"), "\n")
		if err != nil || got != s.want {
			t.Errorf("step %d: %q, %v; want %q", i, got, err, s.want)
		}
	}
	if runs, _ := os.ReadFile(told); strings.Count(string(runs), "told") != 5 {
		t.Errorf("the program ran %d times; want 5: after each change that was not refused", strings.Count(string(runs), "told"))
	}
	if err := os.WriteFile(z.Path, []byte("$TTL 60\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := z.Apply(t.Context(), change("", long)); !errors.Is(err, publish.ErrTaken) {
		t.Errorf("somebody else's file: %v", err)
	}
}
