package dkim_test

import (
	"errors"
	"testing"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

func TestParseCanonicalization(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][2]dkim.Canonicalization{
		"simple": {dkim.Simple, dkim.Simple}, "relaxed": {dkim.Relaxed, dkim.Simple}, // RFC 6376 section 3.5
		"simple/relaxed": {dkim.Simple, dkim.Relaxed}, "relaxed/relaxed": {dkim.Relaxed, dkim.Relaxed}, "Relaxed/SIMPLE": {dkim.Relaxed, dkim.Simple},
	} {
		header, body, err := dkim.ParseCanonicalization(value)
		if err != nil || header != want[0] || body != want[1] {
			t.Errorf("%q: %v/%v, %v", value, header, body, err)
		}
	}
	for _, value := range []string{"", "/", "relaxed/", "/simple", "nofws", "relaxed/relaxed/relaxed", "relaxed /simple"} {
		if _, _, err := dkim.ParseCanonicalization(value); !errors.Is(err, dkim.ErrSyntax) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestAppendField(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ name, value, relaxed string }{
		"the RFC's A, 3.4.5":              {"A", " X", "a:X"},
		"the RFC's B, 3.4.5":              {"B ", " Y\t\r\n\tZ  ", "b:Y Z"},
		"empty":                           {"Subject", "", "subject:"},
		"white space only":                {"Subject", " \t\r\n ", "subject:"},
		"value on the second line":        {"Subject", "\r\n\tx", "subject:x"},
		"fold with much white space":      {"Subject", " a \r\n \t b \r\n\t\r\n c", "subject:a b c"},
		"trailing fold":                   {"Subject", " a\r\n ", "subject:a"},
		"line end without white space":    {"Subject", " a\r\nb", "subject:ab"},
		"bare CR stays":                   {"Subject", " a\rb \r c\r", "subject:a\rb \r c\r"},
		"NUL, VT and FF stay":             {"Subject", " a\x00\v \f", "subject:a\x00\v \f"},
		"8-bit stays, no-break space too": {"Subject", " \u00a0\xff\x80 \u00c4\u00a0 ", "subject:\u00a0\xff\x80 \u00c4\u00a0"},
		"only ASCII letters of names":     {"SUBJ\u00c4ct\t", " x", "subj\u00c4ct:x"},
		"colons in the value":             {"Subject", ": a:b", "subject:: a:b"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := message.NewField(test.name, test.value)
			if got := string(dkim.Simple.AppendField([]byte("pre"), f)); got != "pre"+test.name+":"+test.value+"\r\n" {
				t.Errorf("simple: %q", got)
			}
			if got := string(dkim.Relaxed.AppendField([]byte("pre"), f)); got != "pre"+test.relaxed+"\r\n" {
				t.Errorf("relaxed: %q, want %q", got, test.relaxed)
			}
		})
	}
}
