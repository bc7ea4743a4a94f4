package dkim_test

import (
	"bytes"
	"strings"
	"testing"

	"dkimd/internal/dkim"
	"dkimd/internal/dkim/dkimtest"
	"dkimd/internal/message"
)

// FuzzAppendField: canonical fields are those of another reading of the RFC, and
// canonical already.
func FuzzAppendField(f *testing.F) {
	f.Add("Subject", " a\r\n\t b  c ")
	f.Add("A \t", "\t\r\n \r\n\tx\x00\x0b\xff \t")
	f.Add("b", "")
	f.Add("DKIM-Signature", " v=1; b=\r\n x;")
	f.Fuzz(func(t *testing.T, name, value string) {
		// What is no field never gets here: names hold no colon, white space only at
		// their end, and line ends stand only before white space. 8-bit names have a test of their own.
		if strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) || strings.ContainsAny(name, ":\r\n") || strings.ContainsAny(strings.TrimRight(name, " \t"), " \t") {
			return
		}
		value = strings.NewReplacer("\r", "", "\n", "\r\n ").Replace(value)
		field := message.NewField(name, value)
		raw := bytes.Clone(field.Raw())
		for _, c := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
			got := c.AppendField(nil, field)
			if want := dkimtest.Field(append(bytes.Clone(raw), "\r\n"...), c == dkim.Relaxed); !bytes.Equal(got, want) {
				t.Errorf("%s: %q became %q, want %q", c, raw, got, want)
			}
			canonicalName, canonicalValue, _ := strings.Cut(strings.TrimSuffix(string(got), "\r\n"), ":")
			if again := c.AppendField(nil, message.NewField(canonicalName, canonicalValue)); !bytes.Equal(again, got) {
				t.Errorf("%s: %q, and from that %q", c, got, again)
			}
		}
		if !bytes.Equal(raw, field.Raw()) {
			t.Error("the field was changed")
		}
	})
}
