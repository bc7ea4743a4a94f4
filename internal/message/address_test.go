package message_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"dkimd/internal/cputime"
	"dkimd/internal/domain"
	"dkimd/internal/message"

	"github.com/google/go-cmp/cmp"
)

func header(fields ...string) *message.Header {
	h := new(message.Header)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		h.Add(name, value)
	}
	return h
}

func TestReadFrom(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("(", 60000)
	tests := map[string]struct {
		from     []string
		domains  []string // of Addresses
		claimed  []string
		readable bool
	}{
		"bare address":                  {[]string{" joe@Example.ORG"}, []string{"example.org"}, []string{"example.org"}, true},
		"name and address":              {[]string{" Joe Q. Public <joe@example.org>"}, []string{"example.org"}, []string{"example.org"}, true},
		"quoted name with an address":   {[]string{` "x@gmail.com" <joe@example.org>`}, []string{"example.org"}, []string{"example.org"}, true},
		"quoted name with a comma":      {[]string{` "Public, Joe" <joe@example.org>`}, []string{"example.org"}, []string{"example.org"}, true},
		"comment with an address":       {[]string{" joe@example.org (x@gmail.com)"}, []string{"example.org"}, []string{"example.org"}, true},
		"nested comment":                {[]string{` (a(b\)c)d) joe@(x)example(y).(z)org`}, []string{"example.org"}, []string{"example.org"}, true},
		"folded":                        {[]string{"\r\n Joe\r\n\t<joe@example.org>"}, []string{"example.org"}, []string{"example.org"}, true},
		"quoted local part":             {[]string{` "joe@gmail.com"@example.org`}, []string{"example.org"}, []string{"example.org", "gmail.com"}, true},
		"route":                         {[]string{" <@gmail.com,@b.net:joe@example.org>"}, []string{"example.org"}, []string{"example.org", "gmail.com", "b.net"}, true},
		"domain literal":                {[]string{" joe@[192.0.2.1]"}, []string{"[192.0.2.1]"}, []string{"[192.0.2.1]"}, true},
		"international domain":          {[]string{" joe@bücher.example"}, []string{"xn--bcher-kva.example"}, []string{"xn--bcher-kva.example"}, true},
		"encoded word":                  {[]string{" =?utf-8?q?J=C3=B6?= <joe@example.org>"}, []string{"example.org"}, []string{"example.org"}, true},
		"two addresses":                 {[]string{" a@x.org, b@y.org"}, []string{"x.org", "y.org"}, []string{"x.org", "y.org"}, true},
		"same domain twice":             {[]string{" a@x.org, b@x.org"}, []string{"x.org", "x.org"}, []string{"x.org"}, true},
		"group":                         {[]string{" friends: a@x.org, Bo <b@y.org>;"}, []string{"x.org", "y.org"}, []string{"x.org", "y.org"}, true},
		"empty group":                   {[]string{" undisclosed:;"}, nil, nil, false},
		"empty list entries":            {[]string{" ,, a@x.org ,"}, []string{"x.org"}, []string{"x.org"}, true},
		"dot at the end":                {[]string{" joe@example.org."}, []string{"example.org"}, []string{"example.org"}, false},
		"empty":                         {[]string{" "}, nil, nil, false},
		"no From":                       {nil, nil, nil, false},
		"name only":                     {[]string{" Joe"}, nil, nil, false},
		"two fields":                    {[]string{" a@x.org", " b@gmail.com"}, []string{"x.org", "gmail.com"}, []string{"x.org", "gmail.com"}, true},
		"unquoted address as a name":    {[]string{" x@gmail.com <joe@evil.example>"}, []string{"gmail.com", "evil.example"}, []string{"gmail.com", "evil.example"}, false},
		"address without comma":         {[]string{" x@gmail.com joe@evil.example"}, []string{"gmail.com", "evil.example"}, []string{"gmail.com", "evil.example"}, false},
		"two angle addresses":           {[]string{" <joe@evil.example> <x@gmail.com>"}, []string{"evil.example", "gmail.com"}, []string{"evil.example", "gmail.com"}, false},
		"at sign twice":                 {[]string{" x@gmail.com@evil.example"}, []string{"gmail.com", "evil.example"}, []string{"gmail.com", "evil.example"}, false},
		"unclosed quote hides address":  {[]string{` "x <x@gmail.com>`}, nil, []string{"gmail.com"}, false},
		"unclosed comment hides it":     {[]string{" joe@evil.example (x@gmail.com"}, []string{"evil.example"}, []string{"evil.example", "gmail.com"}, false},
		"unclosed angle":                {[]string{" <x@gmail.com"}, []string{"gmail.com"}, []string{"gmail.com"}, false},
		"words before a bare address":   {[]string{" Joe Public x@gmail.com"}, nil, []string{"gmail.com"}, false},
		"control character in a domain": {[]string{" x@gmail.com\x00.evil.example"}, []string{"gmail.com.evil.example"}, []string{"gmail.com.evil.example", "gmail.com"}, false},
		"stray backslash":               {[]string{` x\@gmail.com`}, []string{"gmail.com"}, []string{"gmail.com"}, false},
		"empty angle, then address":     {[]string{" <> x@gmail.com"}, []string{"gmail.com"}, []string{"gmail.com"}, false},
		"semicolon list":                {[]string{" a@x.org; b@gmail.com"}, []string{"x.org", "gmail.com"}, []string{"x.org", "gmail.com"}, false},
		"encoded word for an address":   {[]string{" =?utf-8?b?Q0VPIDxjZW9AZ21haWwuY29tPg==?="}, nil, []string{"gmail.com"}, false},
		"encoded words, other charset":  {[]string{" =?windows-1252?q?ceo=40?= =?x?Q?gmail=2Ecom?="}, nil, []string{"gmail.com"}, false},
		"encoded word for a domain":     {[]string{" ceo@=?utf-8?q?gmail.com?="}, []string{"=?utf-8?q?gmail.com?="}, []string{"gmail.com"}, false},
		"rubbish behind a domain":       {[]string{" ceo@gmail.com/"}, []string{"gmail.com/"}, []string{"gmail.com"}, false},
		"invisible behind a domain":     {[]string{" ceo@gmail.com\u200d"}, []string{"gmail.com\u200d"}, []string{"gmail.com"}, false},
		"broken UTF-8 behind a domain":  {[]string{" ceo@gmail.com\xff"}, []string{"gmail.com\ufffd"}, []string{"gmail.com"}, false},
		"invisible before a domain":     {[]string{" ceo@\u200egmail.com"}, []string{"\u200egmail.com"}, []string{"gmail.com"}, false},
		"invisible inside a domain":     {[]string{" ceo@gm\u2069ail.com"}, []string{"gm\u2069ail.com"}, []string{"gmail.com"}, false},
		"filler inside a domain":        {[]string{" ceo@gmail\u3164.com"}, []string{"gmail\u3164.com"}, []string{"gmail.com"}, false},
		"control inside a domain":       {[]string{" ceo@gm\x01ail.com"}, []string{"gm"}, []string{"gmail.com"}, false},
		"broken UTF-8 before a domain":  {[]string{" ceo@\xa0gmail.com"}, []string{"\ufffdgmail.com"}, []string{"gmail.com"}, false},
		"space of another kind":         {[]string{" ceo@\u2028gmail.com"}, []string{"gmail.com"}, []string{"gmail.com"}, true},
		"another dot":                   {[]string{" ceo@gmail\u2024com"}, []string{"gmail\u2024com"}, []string{"gmail.com"}, false},
		"another at sign":               {[]string{" ceo\uff20gmail.com"}, nil, []string{"gmail.com"}, false},
		"quoted domain":                 {[]string{` <ceo@"gmail.com">`}, nil, []string{"gmail.com"}, false},
		"quoted letter in a domain":     {[]string{` <ceo@gmai\l.com>`}, []string{"gmai"}, []string{"gmail.com"}, false},
		"backslash before a domain":     {[]string{` ceo@\gmail.com`}, nil, []string{"gmail.com"}, false},
		"angle around a domain":         {[]string{" ceo@<gmail.com>"}, nil, []string{"gmail.com"}, false},
		"comment for a domain":          {[]string{" ceo@(gmail.com)"}, nil, []string{"gmail.com"}, false},
		"literal of a name":             {[]string{" ceo@[gmail.com]"}, []string{"[gmail.com]"}, []string{"gmail.com"}, false},
		"base64 without padding":        {[]string{" =?utf-8?b?Ym9zc0BnbWFpbC5jb20?="}, nil, []string{"gmail.com"}, false},
		"base64 with too much padding":  {[]string{" =?utf-8?b?Ym9zc0BnbWFpbC5jb20==?="}, nil, []string{"gmail.com"}, false},
		"base64 with a space":           {[]string{" =?utf-8?b?Ym9z c0BnbWFpbC5jb20=?="}, nil, []string{"gmail.com"}, false},
		"base64 of half an octet":       {[]string{" =?utf-8?b?Ym9zc0BnbWFpbC5jb20Ym?="}, nil, []string{"gmail.com"}, false},
		"Q with a bad octet":            {[]string{" =?utf-8?q?=zz_boss=40gmail.com_=4?="}, nil, []string{"gmail.com"}, false},
		"encoded word in UTF-16":        {[]string{" =?utf-16be?b?AGIAQABnAG0AYQBpAGwALgBjAG8AbQ==?="}, nil, []string{"gmail.com"}, false},
		// RFC 2047 section 5: no encoded word in an address. Some programs decode it there, and cut at the NUL.
		"encoded words in a local part": {[]string{" =?utf-8?b?Ym9zc0BnbWFpbC5jb20=?==?utf-8?q?=00?=@evil.example"}, []string{"evil.example"}, []string{"evil.example", "gmail.com"}, false},
		"encoded word in quotes":        {[]string{` "=?utf-8?q?boss=40gmail.com=00?="@evil.example`}, []string{"evil.example"}, []string{"evil.example", "gmail.com"}, false},
		"equals signs in a local part":  {[]string{" bounce+joe=?x=example.com@evil.example"}, []string{"evil.example"}, []string{"evil.example"}, true},
		"address in a literal":          {[]string{" x@[evil ceo@gmail.com]"}, []string{"[evil ceo@gmail.com]"}, []string{"gmail.com"}, false},
		"IPv6 literal":                  {[]string{" x@[IPv6:2001:db8::1]"}, []string{"[ipv6:2001:db8::1]"}, []string{"[ipv6:2001:db8::1]"}, true},
		"sixty thousand comments":       {[]string{deep + " x@gmail.com"}, nil, []string{"gmail.com"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var fields []string
			for _, f := range tt.from {
				fields = append(fields, "From:"+f)
			}
			got := message.ReadFrom(header(fields...))
			var domains []string
			for _, a := range got.Addresses {
				domains = append(domains, string(a.Domain))
			}
			if diff := cmp.Diff(tt.domains, domains); diff != "" {
				t.Errorf("domains (-want +got):\n%s", diff)
			}
			for _, want := range tt.claimed {
				if !slices.Contains(got.Claimed, domain.Name(want)) {
					t.Errorf("claimed %q lacks %q", got.Claimed, want)
				}
			}
			if got.Readable && len(got.Claimed) != len(tt.claimed) {
				t.Errorf("claimed %q, want %q", got.Claimed, tt.claimed)
			}
			if got.Readable != tt.readable || got.Fields != len(tt.from) {
				t.Errorf("readable %v with %d fields, want %v with %d", got.Readable, got.Fields, tt.readable, len(tt.from))
			}
		})
	}
}

// No character that does not show hides a domain, wherever it stands.
func TestInvisibleCharactersHideNoDomain(t *testing.T) {
	t.Parallel()
	const address = "ceo@gmail.com"
	tried := 0
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || strings.ContainsRune("\t\r\n", r) {
			continue
		}
		tried++
		first := strings.IndexByte(address, '@') + 1
		for at := first; at <= len(address); at++ {
			if r > 0xffff && int(r)%(len(address)-first+1) != at-first {
				continue // thousands that are alike: one place each will do
			}
			value := address[:at] + string(r) + address[at:]
			if got := message.ReadFrom(header("From: " + value)); !slices.Contains(got.Claimed, "gmail.com") {
				t.Errorf("%q claims only %q", value, got.Claimed)
			}
		}
	}
	if tried < 4000 {
		t.Errorf("only %d characters tried", tried)
	}
}

// Thunderbird shows Sender where there is no From.
func TestReadFromSenderInstead(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fields []string
		want   []domain.Name
	}{
		"no From":               {[]string{"Sender: ceo@gmail.com"}, []domain.Name{"gmail.com"}},
		"empty From":            {[]string{"From:", "SENDER : ceo@gmail.com"}, []domain.Name{"gmail.com"}},
		"a group without one":   {[]string{"From: undisclosed:;", "Sender: ceo@gmail.com"}, []domain.Name{"gmail.com"}},
		"several":               {[]string{"Sender: x@evil.example", "Sender: ceo@gmail.com"}, []domain.Name{"evil.example", "gmail.com"}},
		"not well formed":       {[]string{"Sender: ceo@\u200egmail.com"}, []domain.Name{"\u200egmail.com", "gmail.com"}},
		"From names a domain":   {[]string{"From: x@evil.example", "Sender: ceo@gmail.com"}, nil},
		"From, not well formed": {[]string{"From: <x@evil.example", "Sender: ceo@gmail.com"}, nil},
		"neither":               {[]string{"Reply-To: ceo@gmail.com", "Resent-From: ceo@gmail.com"}, nil},
	}
	for name, tt := range tests {
		got := message.ReadFrom(header(tt.fields...))
		if !slices.Equal(got.Instead, tt.want) || got.Incomplete {
			t.Errorf("%s: %+v, want %q", name, got, tt.want)
		}
	}

	h := new(message.Header)
	for range message.MaxFields + 1 {
		h.Add("X", " x")
	}
	h.Add("Sender", " ceo@gmail.com")
	if got := message.ReadFrom(h); !slices.Equal(got.Instead, []domain.Name{"gmail.com"}) {
		t.Errorf("past the limit: %+v", got)
	}
	for range 64 {
		h.Add("Sender", " x@evil.example")
	}
	if got := message.ReadFrom(h); !got.Incomplete {
		t.Error("more than is kept past the limit")
	}
	h.Add("From", " x@evil.example")
	if got := message.ReadFrom(h); got.Incomplete || got.Instead != nil {
		t.Errorf("with a From nobody asks for Sender: %+v", got)
	}
}

// A forger may write as many addresses as he likes in front of the one that is shown.
func TestReadFromManyAddresses(t *testing.T) {
	t.Parallel()
	got := message.ReadFrom(header("From: " + strings.Repeat("x@evil.example, ", 4000) + "ceo@gmail.com"))
	if got.Readable || got.Incomplete || !slices.Contains(got.Claimed, "gmail.com") || len(got.Addresses) > 1000 {
		t.Errorf("readable %v, incomplete %v, claimed %q, %d addresses", got.Readable, got.Incomplete, got.Claimed, len(got.Addresses))
	}
	var many strings.Builder
	for i := range 1001 {
		fmt.Fprintf(&many, "x@%d.evil.example, ", i)
	}
	if got := message.ReadFrom(header("From: " + many.String() + "ceo@gmail.com")); !got.Incomplete {
		t.Errorf("%d domains claimed, and nothing said of the others", len(got.Claimed))
	}
}

// The cost of a From field must not grow with the square of its length.
func TestReadFromCost(t *testing.T) {
	t.Parallel()
	var ideographs strings.Builder
	for c := rune(0x4e00); c < 0x9f00; c++ {
		ideographs.WriteRune(c)
	}
	froms := func(n int) map[string]string {
		return map[string]string{
			"U-label":       strings.Repeat("@"+ideographs.String()+" ", n/ideographs.Len()),
			"words":         strings.Repeat("=?u?b? ", n/7),
			"encoded words": strings.Repeat("=?u?b?YUBi?= ", n/13),
			"at signs":      strings.Repeat("@", n),
			"domains":       strings.Repeat("@b.c ", n/5),
			"comments":      strings.Repeat("(", n),
			"local part":    strings.Repeat("a.", n/2) + "@b.c",
		}
	}
	cost := func(value string) time.Duration {
		h := header("From: " + value)
		return cputime.Least(2, func() { message.ReadFrom(h) })
	}
	small := froms(1 << 13)
	for name, value := range froms(1 << 16) {
		// Eight times the size; the square of it would be 64 times the cost.
		if part, whole := cost(small[name]), cost(value); whole > 24*part+100*time.Millisecond {
			t.Errorf("%s: %v for %d bytes, %v for %d", name, part, len(small[name]), whole, len(value))
		}
	}
}

// Whatever a From field looks like, a domain behind an @ that stands in it in
// the clear is among the domains it claims: else a forger hides from its rules.
func FuzzReadFrom(f *testing.F) {
	for _, s := range []string{"a@b.c", `"x" <a@b>`, "g:a@b;", "(((", `"`, "a@b@c", "<a@b", "<@a:b@c>", "\x00@"} {
		f.Add(s, " x@gmail.com")
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.ContainsAny(before, "\"(\\[\n\r<:@") || strings.ContainsAny(after, "\"()\\[]\n\r") {
			t.Skip()
		}
		got := message.ReadFrom(header("From:" + before + ", x@gmail.com," + after))
		if !slices.Contains(got.Claimed, "gmail.com") {
			t.Errorf("%q claims only %q", before+", x@gmail.com,"+after, got.Claimed)
		}
	})
}

// A local part that is no dot-atom stays in quotes: without them it names another domain.
func TestAddressString(t *testing.T) {
	t.Parallel()
	for _, field := range []string{
		"joe@example.org", "j.o.e+tag@example.org", `"ceo@gmail.com"@evil.example`, `"a b"@example.org`, `".a"@example.org`, `"a..b"@example.org`,
		`"\"\\"@example.org`, `""@example.org`, "jürgen@example.org", `"a,b"@example.org`, `joe@[192.0.2.1]`,
	} {
		addresses, ok := message.ReadAddresses([]byte(field))
		if len(addresses) != 1 || !ok || addresses[0].String() != field {
			t.Errorf("%s: %v", field, addresses)
		}
	}
}
