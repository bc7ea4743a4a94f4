package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// A mail server gets 0 or 75 from a reply, whatever happens.
func TestReplyNeverBounces(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		work   func() error
		status int
		said   string
	}{
		"done":    {func() error { return nil }, 0, ""},
		"a panic": {func() error { panic("a\x1bb") }, 75, `dkimd: report: panic: a\x1bb`},
		"ours":    {func() error { return userError{errors.New("x"), ""} }, 75, "dkimd: report: x"},
		"quiet":   {func() error { return errQuiet }, 75, ""},
	} {
		var said bytes.Buffer
		if got := replyStatus(stdio{err: &said}, test.work); got != test.status || strings.TrimSpace(said.String()) != test.said {
			t.Errorf("%s: status %d, %q", name, got, said.String())
		}
	}
	for _, line := range []string{"report --reply --none", "--config none.toml report --reply", "report --reply=maybe", "report --reply=1 --client x"} {
		var out, said bytes.Buffer
		if got := run(t.Context(), strings.Fields(line), stdio{strings.NewReader("From: a@example.org\n\n"), &out, &said}); got != 75 || out.Len() > 0 || said.Len() == 0 {
			t.Errorf("%s: status %d, %q, %q", line, got, out.String(), said.String())
		}
	}
}

// It is said why a message is not answered.
func TestReplySaysWhyNot(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"From: a@example.org\nAuto-Submitted: auto-replied\n\n": "no answer: a program sent it: Auto-Submitted",
		"From: a@example.org\nList-Id: x\n\n":                   "no answer: it came over a list: List-*",
		"Subject: x\n\n":                                        "no answer: From is not one plain address",
	} {
		var out, said bytes.Buffer
		got := run(t.Context(), []string{"report", "--reply", "--sender", "a@example.org", "--state", t.TempDir() + "/state"}, stdio{strings.NewReader(message), &out, &said})
		if got != 0 || out.Len() > 0 || said.String() != "dkimd: report: "+want+"\n" {
			t.Errorf("status %d, %q, %q", got, out.String(), said.String())
		}
	}
}
