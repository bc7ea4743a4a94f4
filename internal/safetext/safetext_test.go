package safetext_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"dkimd/internal/safetext"
)

func TestForms(t *testing.T) {
	t.Parallel()
	clip := func(s string) string { return safetext.Clip(s, 5) }
	tests := map[string]struct {
		form     func(string) string
		in, want string
	}{
		"printable, as it is":       {safetext.Printable, `grüße "a\b" 漢`, `grüße "a\b" 漢`},
		"printable, line ends":      {safetext.Printable, "a\r\nb\tc", `a\r\nb\tc`},
		"printable, terminal":       {safetext.Printable, "\x1b[31m\x7f\u0085", `\x1b[31m\x7f\u0085`},
		"printable, direction":      {safetext.Printable, "a\u202eb\u2028c\ufeff", `a\u202eb\u2028c\ufeff`},
		"printable, no UTF-8":       {safetext.Printable, "a\xffb\xe9", `a\xffb\xe9`},
		"printable, U+FFFD itself":  {safetext.Printable, "\uFFFD", "\uFFFD"},
		"bytes, as they are":        {safetext.Bytes, ` ~"\`, ` ~"\`},
		"bytes, line ends":          {safetext.Bytes, "a\r\nb\tc\x00", `a\r\nb\tc\x00`},
		"bytes, other letters":      {safetext.Bytes, "é\xe9\x7f", `\xc3\xa9\xe9\x7f`},
		"quote":                     {safetext.Quote, "a\"b\n\x00", `"a\"b\n\x00"`},
		"quote, longest":            {safetext.Quote, strings.Repeat("x", 60), `"` + strings.Repeat("x", 60) + `"`},
		"quote, too long":           {safetext.Quote, strings.Repeat("x", 61), `"` + strings.Repeat("x", 60) + `..." (61 bytes)`},
		"quote, what grows":         {safetext.Quote, strings.Repeat("\x00", 16), `"` + strings.Repeat(`\x00`, 15) + `..." (16 bytes)`},
		"clip, longest":             {clip, "12345", "12345"},
		"clip, too long":            {clip, "123456", "12345..."},
		"clip, within a character":  {clip, "1234é6", "1234..."},
		"clip, within a longer one": {clip, "12\U0001F6006", "12..."},
		"clip, no UTF-8":            {clip, "\x80\x80\x80\x80\x80\x80", "\x80..."},
		"ASCII, as it is":           {safetext.ASCII, ` ~"\`, ` ~"\`},
		"ASCII, a second line":      {safetext.ASCII, "a\r\n250 ok\x00", "a??250 ok?"},
		"ASCII, other letters":      {safetext.ASCII, "é\x7f", "???"},
		"domain":                    {safetext.Domain, "_dmarc.a-b.Example.ORG", "_dmarc.a-b.Example.ORG"},
		"domain, a sentence":        {safetext.Domain, "a b%s<x>:/\r\n", "a?b?s?x?????"},
		"domain, too long":          {safetext.Domain, strings.Repeat("a", 101), strings.Repeat("a", 100) + "..."},
		"field, folds":              {safetext.FieldValue, " 1;\r\n\t2\r\n 3", " 1;\n\t2\n 3"},
		"field, another field":      {safetext.FieldValue, "1\r\nFrom: x@example.com", "1 From: x@example.com"},
		"field, the body":           {safetext.FieldValue, "1\n\n\nbody\x00\r\n", "1   body "},
		"field, CR alone":           {safetext.FieldValue, "1\rFrom: x\r\r\n\r 2", "1From: x  2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.form(test.in); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

// FuzzForms: whatever comes in, what goes out is one line without control characters, and bounded where
// the form says so.
func FuzzForms(f *testing.F) {
	for _, s := range []string{"", "example.org", "a\r\n250 ok\x00", "\x1b[31m", "\u202e\u2028\ufeff", "\xff\xfe", "é\U0001F600", strings.Repeat("é", 90), "1\n\n 2\r\n\t3"} {
		f.Add(s, uint8(len(s)/2))
	}
	f.Fuzz(func(t *testing.T, s string, most uint8) {
		safe := func(form, out string, bound int) {
			t.Helper()
			if !safetext.IsPrintable(out) || !utf8.ValidString(out) || strings.ContainsFunc(out, unicode.IsControl) || len(out) > bound {
				t.Errorf("%s makes %q of %q", form, out, s)
			}
		}
		safe("Printable", safetext.Printable(s), 6*len(s))
		safe("Bytes", safetext.Bytes(s), 4*len(s))
		safe("Quote", safetext.Quote(s), 4*60+40)
		safe("ASCII", safetext.ASCII(s), len(s))
		safe("Domain", safetext.Domain(s), 103)
		if safetext.IsPrintable(s) && safetext.Printable(s) != s || safetext.IsASCII(s) && safetext.ASCII(s) != s {
			t.Errorf("%q is safe, and was changed", s)
		}
		clipped := safetext.Clip(s, int(most))
		if kept, cut := strings.CutSuffix(clipped, "..."); clipped != s && (!cut || len(kept) > int(most) || len(s) <= int(most) || !strings.HasPrefix(s, kept)) {
			t.Errorf("Clip makes %q of %q", clipped, s)
		}
		if utf8.ValidString(s) != utf8.ValidString(clipped) && utf8.ValidString(s) {
			t.Errorf("Clip cuts a character: %q of %q", clipped, s)
		}
		field := safetext.FieldValue(s)
		for i, line := range strings.Split(field, "\n") {
			if strings.ContainsAny(line, "\r\x00") || i > 0 && (line == "" || line[0] != ' ' && line[0] != '\t') {
				t.Errorf("FieldValue makes %q of %q", field, s)
			}
		}
	})
}
