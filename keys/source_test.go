package keys_test

import (
	"fmt"
	"strings"
	"testing"

	"dkimd/keys"
)

// The map is asked before the tables, these before the directory, and it before the layouts.
func TestOrderOfSources(t *testing.T) {
	t.Parallel()
	w, c := tables(t, fourKeys, "joe@one.example a\n*@two.example b\n*@mapped.example c\n")
	for _, name := range []string{"one.example", "two.example", "three.example", "mapped.example"} {
		w.write(name+"/tree.pem", rfc8463PEM)
		w.write("../layout/"+name+".pem", rfc8463PEM)
	}
	w.write("../layout/four.example.pem", rfc8463PEM)
	c.Layouts, c.Selector = []string{w.path("../layout/{domain}.pem")}, "layout"
	c.Map = []keys.Mapping{
		{From: []string{"joe@mapped.example", ".mapped.example"}, SignAs: "one.example", Identity: "joe@one.example"},
		{From: []string{"joe@mapped.example", "mapped.example"}, SignAs: "four.example", Selectors: []string{"layout"}},
		{From: []string{"absent.example"}, SignAs: "none.example", Path: "/etc/dkimd.toml", Line: 7},
		{From: []string{"unknown.example"}, SignAs: "one.example", Selectors: []string{"s9"}, Path: "/etc/dkimd.toml", Line: 9},
	}
	s := w.with(c)
	for address, want := range map[string]string{
		"joe@one.example": "a.example/s1", "ann@one.example": "one.example/tree", "ann@two.example": "b.example/s1", "ann@three.example": "three.example/tree",
		"ann@four.example": "four.example/layout", "joe@mapped.example": "one.example/treejoe@one.example", "ann@x.mapped.example": "one.example/treejoe@one.example",
		"ann@mapped.example": "four.example/layout", "ann@absent.example": "!none.example", "ann@unknown.example": "!one.example", "ann@five.example": "",
	} {
		if got := signers(s, address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	text := s.Faults().Err().Error()
	for _, want := range []string{"/etc/dkimd.toml:7: sign.map: got no keys of none.example", "/etc/dkimd.toml:9: sign.map: got no key one.example/s9"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s; want %s", text, want)
		}
	}
}

// A domain.toml lets another domain sign; where that has no keys the mail does not go out unsigned.
func TestSignAs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("one.example/s1.pem", rfc8463PEM)
	w.write("one.example/domain.toml", "identity = \"@one.example\"\n")
	w.write("alias.example/domain.toml", "sign_as = \"One.example\"\nsubdomains = true\n")
	w.write("lost.example/domain.toml", "sign_as = \"none.example\"\n")
	w.write("broken.example/domain.toml", "sign_as = \"one.example\"\nexpiry = \"7d\"\n")
	w.write("wrong.example/domain.toml", "sign_as = one.example\n")
	w.write("below.example/domain.toml", "sign_as = \"one.example\"\nsubdomains = \"only\"\n")
	s, faults := w.open()
	for address, want := range map[string]string{
		"joe@alias.example": "one.example/s1@one.example", "joe@x.alias.example": "one.example/s1@one.example", "joe@lost.example": "!none.example",
		"joe@broken.example": "!broken.example", "joe@wrong.example": "!wrong.example", "joe@below.example": "", "joe@x.below.example": "one.example/s1@one.example",
	} {
		if got := signers(s, address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	if text := w.texts(faults); !strings.Contains(text, "lost.example/domain.toml: sign_as: got no keys of none.example") || len(faults) != 3 {
		t.Error(text)
	}
}

// With subdomains = "only" a domain signs for what is below it, and not for itself.
func TestSubdomainsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.com/s1.pem", rfc8463PEM)
	w.write("example.com/domain.toml", "subdomains = \"only\"\n")
	w.write("parent.example/s1.pem", rfc8463PEM)
	w.write("parent.example/domain.toml", "subdomains = true\n")
	w.write("x.parent.example/s2.pem", rfc8463PEM)
	w.write("x.parent.example/domain.toml", "subdomains = \"only\"\n")
	s, _ := w.open()
	for address, want := range map[string]string{
		"joe@example.com": "", "joe@a.example.com": "example.com/s1", "joe@b.a.example.com": "example.com/s1",
		"joe@x.parent.example": "parent.example/s1", "joe@y.x.parent.example": "x.parent.example/s2",
	} {
		if got := signers(s, address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

func TestParsePattern(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"Joe@Example.com": "joe@example.com", "@example.com": "example.com", "example.com": "example.com", "*@example.com": "example.com",
		"*@*.example.com": ".example.com", "*.example.com": ".example.com", ".example.com": ".example.com", "joe@*.example.com": "joe@.example.com",
		"joe@*": "joe@*", "*": "*", "*@*": "*", "*@Bücher.example": "xn--bcher-kva.example",
		"": "!", "@": "!", "joe@": "!", "a b@example.com": "!", "*@a*.example": "!", "*@-a.example": "!", strings.Repeat("a", 65) + "@example.com": "!",
	} {
		got, err := keys.ParsePattern(written)
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: %q (%v), want %q", written, got, err, want)
		}
	}
}

func TestAdjustNames(t *testing.T) {
	t.Parallel()
	inherited := []string{"From", "To", "List-*"}
	for _, test := range []struct{ written, want []string }{
		{nil, inherited},
		{[]string{"From"}, []string{"From"}},
		{[]string{"+X-Mine", "-to", "+List-*"}, []string{"From", "X-Mine", "List-*"}},
		{[]string{}, []string{}},
	} {
		if got := keys.AdjustNames(inherited, test.written); fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%q: %q, want %q", test.written, got, test.want)
		}
	}
}
