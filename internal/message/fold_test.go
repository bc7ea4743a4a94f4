package message_test

import (
	"bytes"
	"strings"
	"testing"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

func always(message.Field) bool { return true }

func TestFold(t *testing.T) {
	t.Parallel()
	words := strings.Repeat(" <0.aaaaaaaaaaaaaaaaaaaaaa@example.org>", 40)
	tests := map[string]struct {
		value string
		folds bool
		fits  bool // no line over 998 octets is left
	}{
		"short":                           {" a b", false, true},
		"998 octets with the name":        {" " + strings.Repeat("a ", 495) + "aa", false, true},
		"999 octets with the name":        {" " + strings.Repeat("a ", 496) + "a", true, true},
		"references":                      {words, true, true},
		"no space after the colon":        {words[1:], true, true},
		"tabs":                            {strings.ReplaceAll(words, " ", "\t"), true, true},
		"runs of white space":             {strings.ReplaceAll(words, " ", " \t  "), true, true},
		"white space at the end":          {words + strings.Repeat(" ", 100), true, true},
		"a fold first":                    {"\r\n" + words, true, true},
		"a second line":                   {" short\r\n" + words + "\r\n short", true, true},
		"a quoted string":                 {` "` + words + `\" ` + words + `" <a@example.org>`, true, true},
		"white space behind backslashes":  {" " + strings.Repeat(`aaaaaaaa\ `, 150), false, false},
		"encoded words":                   {strings.Repeat(" =?UTF-8?Q?gr=C3=BC=C3=9Fe?=", 60), true, true},
		"8-bit text":                      {strings.Repeat(" gr\xfc\xdfe", 300), true, true},
		"non-breaking spaces":             {strings.Repeat("\u00a0a", 600), false, false},
		"one token":                       {" " + strings.Repeat("a", 2000), false, false},
		"a token behind others":           {words + " " + strings.Repeat("a", 2000), true, false},
		"white space only":                {strings.Repeat(" ", 2000), false, true},
		"NUL, which no milter hands back": {words + "\x00", false, false},
		"a bare CR":                       {words + "\r" + words, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var h message.Header
			h.Add("subject", " x")
			h.Add("Subj", test.value)
			before := h.Fields()[1]
			list := h.Fold(always)
			if folds := len(list) == 1; folds != test.folds {
				t.Fatalf("folded %d fields", len(list))
			}
			after := h.Fields()[1]
			if !test.folds {
				if !bytes.Equal(before.Raw(), after.Raw()) {
					t.Errorf("%q became %q", before.Raw(), after.Raw())
				}
				return
			}
			checkFolded(t, before, after, test.fits)
			if list[0].Name != "Subj" || list[0].Index != 1 || list[0].Value != string(after.Value()) {
				t.Errorf("got %+v", list[0])
			}
		})
	}
}

// checkFolded: the same under relaxed canonicalization, and valid lines.
func checkFolded(t *testing.T, before, after message.Field, fits bool) {
	t.Helper()
	if a, b := dkim.Relaxed.AppendField(nil, before), dkim.Relaxed.AppendField(nil, after); !bytes.Equal(a, b) {
		t.Errorf("it means something else: %q, %q", a, b)
	}
	long := false
	for i, line := range strings.Split(string(after.Raw()), "\r\n") {
		long = long || len(line) > 998
		if strings.TrimSpace(line) == "" || i > 0 && line[0] != ' ' && line[0] != '\t' {
			t.Errorf("line %d is %q", i, line)
		}
		if strings.HasSuffix(line, `\`) {
			t.Errorf("line %d ends in a backslash", i)
		}
	}
	if long == fits {
		t.Errorf("a line over 998 octets is left: %t, want %t", long, !fits)
	}
}

func TestFoldCountsFieldsOfTheName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(" aaaaaaaaa", 120)
	var h message.Header
	for _, f := range [][2]string{{"Comments", " x"}, {"X", long}, {"COMMENTS ", " y"}, {"Comments", long}, {"Not", long}} {
		h.Add(f[0], f[1])
	}
	size := h.Bytes()
	list := h.Fold(func(f message.Field) bool { return !f.Is("Not") })
	if len(list) != 2 || list[0].Name != "X" || list[0].Index != 1 || list[1].Name != "Comments" || list[1].Index != 3 {
		t.Errorf("got %+v", list)
	}
	if string(h.Fields()[4].Value()) != long || h.Bytes() <= size {
		t.Error("a field that was not chosen was folded, or the size is that of before")
	}
}

// A stranger's line of white space and words costs no more than its length.
func TestFoldIsLinear(t *testing.T) {
	t.Parallel()
	var h message.Header
	h.Add("A", strings.Repeat(" a", 1<<18)+strings.Repeat(" ", 1<<18)+"b")
	if got := h.Fold(always); len(got) != 1 {
		t.Errorf("folded %d fields", len(got))
	}
}
