package domain_test

import (
	"errors"
	"strings"
	"testing"

	"dkimd/internal/domain"
)

// One table for every way to read a name: what one of them takes and another does not is meant.
func TestWhatIsAName(t *testing.T) {
	t.Parallel()
	const same = "=" // the name comes back as it was written
	long := strings.Repeat("a.", 126) + "b"
	tests := map[string]struct{ lax, exact, dns, configured, labels string }{
		"example.org":     {same, same, same, same, same},
		"_dmarc.x.org":    {same, same, same, same, same},
		"localhost":       {same, same, same, same, same},
		long:              {same, same, same, same, same},
		"EXAMPLE.org":     {"example.org", "example.org", "example.org", "example.org", "example.org"},
		"example.org.":    {"example.org", "", "example.org", "example.org", "example.org"},
		" example.org":    {"example.org", "", "", "example.org", "example.org"},
		"b\u00fccher.org": {"xn--bcher-kva.org", "xn--bcher-kva.org", "", "xn--bcher-kva.org", "xn--bcher-kva.org"},
		// Deleted, or mapped to a letter or a dot, where a mail program would do so too.
		"exam\u00adple.org":    {"example.org", "", "", "example.org", "example.org"},
		"example.\u212aom":     {"example.kom", "", "", "example.kom", "example.kom"},
		"b\u00fccher\u3002org": {"xn--bcher-kva.org", "", "", "xn--bcher-kva.org", "xn--bcher-kva.org"},
		// In use, though no host name has them.
		"-a.example": {same, same, same, "", ""},
		"a-.example": {same, same, same, "", ""},
		// An address, not a name; but a selector may end in a number.
		"10.0.0.1":    {same, same, same, "", same},
		"example.123": {same, same, same, "", same},
		// No names at all.
		"":                                 {},
		".":                                {},
		"a..b":                             {},
		".example.org":                     {},
		"a b.org":                          {},
		"a@b.org":                          {},
		"[192.0.2.1]":                      {},
		"\xff.org":                         {},
		"a\x00.org":                        {},
		strings.Repeat("a", 64) + ".org":   {},
		"a" + long:                         {},
		strings.Repeat("\u00e4", 250) + "": {},
	}
	for written, want := range tests {
		for _, door := range []struct {
			name  string
			parse func(string) (domain.Name, error)
			want  string
		}{
			{"ParseLax", domain.ParseLax, want.lax},
			{"ParseExact", domain.ParseExact, want.exact},
			{"ParseDNS", domain.ParseDNS, want.dns},
			{"Parse", domain.Parse, want.configured},
			{"ParseLabels", domain.ParseLabels, want.labels},
		} {
			name := strings.Replace(door.want, same, written, 1)
			got, err := door.parse(written)
			if (err == nil) != (name != "") || err == nil && string(got) != name {
				t.Errorf("%s(%q) = %q, %v; want %q", door.name, written, got, err, name)
			}
			if err == nil && (!got.Lookable() || domain.Fold(string(got)) != got) {
				t.Errorf("%s(%q) = %q, which is not in the form of a Name", door.name, written, got)
			}
		}
		if got := domain.Fold(written).Lookable(); got != (want.lax != "") {
			t.Errorf("%q: lookable %v", written, got)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]error{
		"": domain.ErrEmpty, "a..b": domain.ErrEmptyLabel, "../etc": domain.ErrEmptyLabel, "a/b": domain.ErrCharacter,
		strings.Repeat("a", 64): domain.ErrLongLabel, "a" + strings.Repeat(".a", 127): domain.ErrLong,
		"-a.org": domain.ErrHyphen, "a-.org": domain.ErrHyphen, "192.0.2.1": domain.ErrNumber,
	} {
		if got, err := domain.Parse(written); got != "" || !errors.Is(err, want) {
			t.Errorf("Parse(%q) = %q, %v; want %v", written, got, err, want)
		}
	}
	if _, err := domain.ParseExact("b\u00fccher\u3002org"); !errors.Is(err, domain.ErrInternational) {
		t.Error(err)
	}
}

func TestFold(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]domain.Name{
		"Example.ORG": "example.org", "example.org.": "example.org", " example.org ": "example.org",
		"BÜCHER.example": "xn--bcher-kva.example", "_dmarc.x.org": "_dmarc.x.org", "": "",
		"example.org..": "example.org", "bücher.example。。": "xn--bcher-kva.example", "..": "",
		"bücher。example": "xn--bcher-kva.example", "[192.0.2.1]": "[192.0.2.1]",
	} {
		if got := domain.Fold(in); got != want {
			t.Errorf("Fold(%q) = %q, want %q", in, got, want)
		}
	}
}

// A name in the form already costs no memory, whoever reads it: most names of a message are.
func TestNamesInFormAreNotCopied(t *testing.T) {
	name := "s1._domainkey.mail.example.org"
	for door, parse := range map[string]func(string) (domain.Name, error){
		"ParseLax": domain.ParseLax, "ParseExact": domain.ParseExact, "ParseDNS": domain.ParseDNS, "Parse": domain.Parse,
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = parse(name) }); n != 0 {
			t.Errorf("%s: %v allocations", door, n)
		}
	}
}

func TestAligned(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b domain.Name
		want bool
	}{
		{"example.org", "example.org", true},
		{"a.example.org", "b.example.org", true},
		{"example.co.uk", "other.co.uk", false},
		{"co.uk", "co.uk", true},
		{"a.github.io", "b.github.io", false},
		{"org", "example.org", false},
		{"notexample.org", "example.org", false},
		{"", "", false},
		{"localhost", "localhost", true},
	} {
		if got := tt.a.Aligned(tt.b); got != tt.want {
			t.Errorf("%q.Aligned(%q) = %v", tt.a, tt.b, got)
		}
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, parent domain.Name
		want         bool
	}{
		{"example.org", "example.org", true},
		{"a.b.example.org", "example.org", true},
		{"badexample.org", "example.org", false},
		{"org", "example.org", false},
		{"example.org", "", false},
		{"", "", false},
	} {
		if got := tt.name.Within(tt.parent); got != tt.want {
			t.Errorf("%q.Within(%q) = %v", tt.name, tt.parent, got)
		}
	}
}

func TestIsPublicSuffix(t *testing.T) {
	t.Parallel()
	for name, want := range map[domain.Name]bool{
		"com": true, "co.uk": true, "example.co.uk": false, "github.io": false, "localhost": false, "": false, "x.ck": true, "www.ck": false,
	} {
		if got := name.IsPublicSuffix(); got != want {
			t.Errorf("%q.IsPublicSuffix() = %v", name, got)
		}
	}
}
