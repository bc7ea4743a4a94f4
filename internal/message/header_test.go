package message_test

import (
	"fmt"
	"strings"
	"testing"

	"dkimd/internal/message"
)

func TestHeaderKeepsEveryByte(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ name, value, want string }{
		"plain":            {"Subject", " x", "Subject: x"},
		"no space":         {"Subject", "x", "Subject:x"},
		"empty":            {"Subject", "", "Subject:"},
		"fold with LF":     {"To", " a,\n\tb", "To: a,\r\n\tb"},
		"fold with CRLF":   {"To", " a,\r\n b", "To: a,\r\n b"},
		"8-bit":            {"X", " \xff\xfe\x80", "X: \xff\xfe\x80"},
		"space at the end": {"X", " a \t ", "X: a \t "},
		"space in name":    {"X ", " a", "X : a"},
		"lone CR":          {"X", " a\rb", "X: a\rb"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := new(message.Header)
			h.Add("First", " 1")
			h.Add(tt.name, tt.value)
			h.Add("Last", " 3")
			f := h.Fields()[1]
			if got := string(f.Raw()); got != tt.want {
				t.Errorf("raw %q, want %q", got, tt.want)
			}
			if f.Name() != strings.TrimRight(tt.name, " ") || !f.Is(strings.ToUpper(strings.TrimRight(tt.name, " "))) {
				t.Errorf("name %q", f.Name())
			}
		})
	}
}

func TestHeaderLimits(t *testing.T) {
	t.Parallel()
	h := new(message.Header)
	for i := range message.MaxFields {
		h.Add("X", fmt.Sprintf(" %d", i))
	}
	if h.Exceeded() != "" {
		t.Fatalf("exceeded %q at the limit", h.Exceeded())
	}
	h.Add("X", " one more")
	if h.Exceeded() != "header fields" || len(h.Fields()) != message.MaxFields {
		t.Errorf("exceeded %q with %d fields", h.Exceeded(), len(h.Fields()))
	}
	h.Add("From", " x@gmail.com")
	if got := message.ReadFrom(h); got.Fields != 1 || got.Domain() != "gmail.com" {
		t.Errorf("the author past the limit is lost: %+v", got)
	}

	h = new(message.Header)
	h.Add("X", strings.Repeat("a", message.MaxHeaderBytes-4))
	if h.Exceeded() != "" || h.Bytes() != message.MaxHeaderBytes {
		t.Fatalf("exceeded %q at %d bytes", h.Exceeded(), h.Bytes())
	}
	for range 10000 {
		h.Add("From", strings.Repeat("a", 100000))
	}
	if h.Exceeded() != "header bytes" || len(h.Fields()) > 100 {
		t.Errorf("exceeded %q with %d fields", h.Exceeded(), len(h.Fields()))
	}
}

// Nothing in front of a late From, and no length of it, may hide the author.
func TestHeaderLateFrom(t *testing.T) {
	t.Parallel()
	full := func() *message.Header {
		h := new(message.Header)
		for range message.MaxFields {
			h.Add("X", " x")
		}
		for range 1000 {
			h.Add("List-Id", " <x.evil.example>")
			h.Add("Sender", " x@evil.example")
		}
		return h
	}
	h := full()
	h.Add("From", strings.Repeat(" (x)", 15000)+" ceo@gmail.com")
	if got := message.ReadFrom(h); got.Domain() != "gmail.com" || got.Incomplete {
		t.Errorf("got %d fields, claimed %q", got.Fields, got.Claimed)
	}
	if len(h.Fields()) > message.MaxFields+66 || len(h.All("List-Id")) != 1 || len(h.All("Sender")) != 64 {
		t.Errorf("%d fields kept", len(h.Fields()))
	}

	h = full()
	for range 100 {
		h.Add("From", " x@evil.example")
	}
	h.Add("From", " ceo@gmail.com")
	if got := message.ReadFrom(h); !got.Incomplete {
		t.Errorf("a From field was lost, and %+v does not say so", got)
	}

	// The second is what a front door left of a field.
	for _, value := range []string{strings.Repeat(" ", 2<<20) + "ceo@gmail.com", strings.Repeat(" ", message.MaxHeaderBytes-100)} {
		h = full()
		h.Add("From", value)
		if got := message.ReadFrom(h); !got.Incomplete || got.Domain() != "" {
			t.Errorf("a From field was lost, and %+v does not say so", got)
		}
	}
}

func TestHeaderResetLeavesOldFieldsAlone(t *testing.T) {
	t.Parallel()
	h := new(message.Header)
	h.Add("Subject", " first")
	old := h.Fields()[0]
	h.Reset()
	h.Add("Subject", " other")
	if string(old.Raw()) != "Subject: first" || len(h.Fields()) != 1 {
		t.Errorf("old field %q, %d fields", old.Raw(), len(h.Fields()))
	}
}
