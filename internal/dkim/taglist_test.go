package dkim_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/dkim"
)

func TestParseTagList(t *testing.T) {
	t.Parallel()
	tests := map[string]dkim.TagList{
		"a=1":                                {{"a", "1"}},
		"a=1;":                               {{"a", "1"}},
		"a=1; ":                              {{"a", "1"}},
		"a=1;\r\n ":                          {{"a", "1"}},
		" a = 1 ; b\t=\r\n\t2\r\n ;c3_=":     {{"a", "1"}, {"b", "2"}, {"c3_", ""}},
		"a=1 2\r\n 3\t\t4":                   {{"a", "1 2\r\n 3\t\t4"}},
		"a==;A=b=c":                          {{"a", "="}, {"A", "b=c"}}, // names are case-sensitive
		"a=\r\n \r\n 1":                      {{"a", "1"}},
		"a=\u00e4\u00a0":                     {{"a", "\u00e4\u00a0"}}, // RFC 8616; no-break space is no space
		"a=!\"#$%&'()*+,-./:<>?@[]^_`{|}~\\": {{"a", "!\"#$%&'()*+,-./:<>?@[]^_`{|}~\\"}},
	}
	for text, want := range tests {
		got, err := dkim.ParseTagList(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		for _, tag := range want {
			if value, ok := got.Lookup(tag.Name); !ok || value != tag.Value {
				t.Errorf("%q: %s is %q", text, tag.Name, value)
			}
		}
		if _, ok := got.Lookup("none"); ok {
			t.Errorf("%q: found what is not there", text)
		}
	}
}

func TestParseTagListRejects(t *testing.T) {
	t.Parallel()
	syntax := []string{
		"", " ", ";", "a", "a=1;;", "a=1;;b=2", ";a=1", "a=1; b", "a=1; b;", "=1", "1a=1", "_a=1", "a-b=1", "a b=1", "\u00e4=1",
		"a=\x00", "a=\x01b", "a=\x7f", "a=\r\n", "a=\r\nb", "a=b\rc", "a=b\nc", "a=b\r\n\r\nc", "a\r\n=1", "a=1\r\n;b=2", "a=\xff", "a=1;\r\n", "a=1;\x00",
		"\u00a0a=1", "a\u00a0=1",
	}
	for _, text := range syntax {
		if _, err := dkim.ParseTagList(text); !errors.Is(err, dkim.ErrSyntax) {
			t.Errorf("%q: %v", text, err)
		}
	}
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "t%d=x;", i)
	}
	if list, err := dkim.ParseTagList(many.String()); err != nil || len(list) != 100 {
		t.Error(len(list), err)
	}
	for _, text := range []string{"a=1;a=1", "a=1; b=2;\ta =3", many.String() + "t3=1", many.String() + "t31=1", many.String() + "t32=1", many.String() + "t99=1"} {
		list, err := dkim.ParseTagList(text)
		if !errors.Is(err, dkim.ErrDuplicateTag) {
			t.Errorf("%q: %v", text, err)
		}
		if len(list) == 0 {
			t.Errorf("%q: nothing of what came before the error", text)
		}
	}
}

func FuzzTagList(f *testing.F) {
	f.Add("v=1; a=rsa-sha256;\r\n\tb = a b c ;")
	f.Add("a=1;;b")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := dkim.ParseTagList(text)
		names := map[string]bool{}
		var rebuilt strings.Builder
		for _, tag := range list {
			if names[tag.Name] || tag.Name == "" || strings.ContainsAny(tag.Name, " ;=\r\n") || strings.Contains(tag.Value, ";") {
				t.Fatalf("%q: tag %q", text, tag)
			}
			names[tag.Name] = true
			fmt.Fprintf(&rebuilt, "%s=%s;", tag.Name, tag.Value)
		}
		if err != nil {
			return
		}
		again, err := dkim.ParseTagList(rebuilt.String())
		if err != nil || !slices.Equal(list, again) {
			t.Errorf("%q: %q, and then %q, %v", text, list, again, err)
		}
	})
}
