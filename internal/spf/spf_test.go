package spf_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/domain"
	"dkimd/internal/resolver"
	"dkimd/internal/spf"
)

// world is DNS: "TYPE name" to records, parted by "|". What is not in it does not exist.
type world struct {
	records map[string]string
	delay   time.Duration
	asked   []string
	cached  bool // all of it
	// everywhere is the TXT record of each name, where nothing else is.
	everywhere string
}

// Instead of records.
const (
	nodata   = "NODATA"
	servfail = "SERVFAIL"
	broken   = "BROKEN" // an error of no known kind
)

var types = map[resolver.Type]string{resolver.TXT: "TXT", resolver.A: "A", resolver.AAAA: "AAAA", resolver.MX: "MX", resolver.PTR: "PTR"}

func (w *world) Lookup(ctx context.Context, name string, rrtype resolver.Type) (resolver.Answer, error) {
	key := types[rrtype] + " " + name
	w.asked = append(w.asked, key)
	if w.delay > 0 {
		select {
		case <-time.After(w.delay):
		case <-ctx.Done():
			return resolver.Answer{}, ctx.Err()
		}
	}
	switch text, ok := w.records[key]; {
	case !ok && rrtype == resolver.TXT && w.everywhere != "":
		return resolver.Answer{Records: []string{w.everywhere}}, nil
	case !ok:
		return resolver.Answer{}, resolver.ErrNotExist
	case text == nodata:
		return resolver.Answer{}, resolver.ErrNoData
	case text == servfail:
		return resolver.Answer{}, &resolver.Failure{Cause: resolver.ErrServerFailure}
	case text == broken:
		return resolver.Answer{}, errors.New("broken")
	default:
		return resolver.Answer{Records: strings.Split(text, "|")}, nil
	}
}

func (w *world) LookupCached(name string, rrtype resolver.Type) (a resolver.Answer, err error, ok bool) { //nolint:revive // as the interface has it
	if w.cached {
		a, err = w.Lookup(context.Background(), name, rrtype)
	}
	return a, err, w.cached
}

func (w *world) Reverse(ctx context.Context, addr netip.Addr) (resolver.Answer, error) {
	return w.Lookup(ctx, addr.String(), resolver.PTR)
}

func zone(lines ...string) *world {
	w := &world{records: map[string]string{}}
	for _, line := range lines {
		key, text, _ := strings.Cut(line, ": ")
		w.records[key] = text
	}
	return w
}

func check(t *testing.T, w *world, client, helo, sender string) spf.Outcome {
	t.Helper()
	c, r := checker(t, w), spf.Request{Client: netip.MustParseAddr(client), HELO: helo, Sender: sender}
	got := c.Check(t.Context(), r)
	sameFromCache(t, c, r, w, got)
	return got
}

func checker(tb testing.TB, dns spf.CachedDNS) *spf.Checker {
	tb.Helper()
	c, err := spf.New(dns)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// sameFromCache has the check made again where all of DNS is cached: it needs no query but for names of the client, and says the same.
func sameFromCache(t *testing.T, c *spf.Checker, r spf.Request, w *world, want spf.Outcome) {
	t.Helper()
	if cached, ok := c.CheckCached(r); ok && len(w.asked) > 0 {
		t.Errorf("%+v: got %+v from an empty cache", r, cached)
	}
	again := &world{records: w.records, everywhere: w.everywhere, cached: true}
	cached, ok := checker(t, again).CheckCached(r)
	if asksPTR := slices.ContainsFunc(w.asked, func(key string) bool { return strings.HasPrefix(key, "PTR") }); ok == asksPTR || ok && cached != want && w.delay == 0 {
		t.Errorf("%+v: got %+v, %t from the cache; want %+v", r, cached, ok, want)
	}
}

// Which domain is asked, and which are not (RFC 7208 sections 2.4, 4.1 and 4.3).
func TestIdentity(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64) + ".example"
	tests := []struct {
		helo, sender string
		asked        string // "" where DNS is not asked
		domain       domain.Name
		fromHELO     bool
		macro        string // of the local part and the domain
	}{
		{"mx.example", "a@example.org", "example.org", "example.org", false, "a.example.org"},
		{"mx.example", "a@EXAMPLE.org", "example.org", "example.org", false, "a.example.org"},
		{"mx.example", "", "mx.example", "mx.example", true, "postmaster.mx.example"},
		{"MX.Example.", "", "mx.example", "mx.example", true, "postmaster.mx.example"},
		{"mx.example", "postmaster", "mx.example", "mx.example", true, "postmaster.mx.example"},
		{"mx.example", "@example.org", "example.org", "example.org", false, "postmaster.example.org"},
		{"mx.example", `"a@b.example"@example.org`, "example.org", "example.org", false, `"a_b.example".example.org`},
		{"mx.example", "a@b\u00fccher.example", "xn--bcher-kva.example", "xn--bcher-kva.example", false, "a.xn--bcher-kva.example"},
		{"mx.example", "a@localhost", "", "localhost", false, ""},
		{"localhost", "", "", "localhost", true, ""},
		{"[192.0.2.1]", "", "", "[192.0.2.1]", true, ""},
		{"mx.example", "a@[192.0.2.1]", "", "[192.0.2.1]", false, ""},
		{"mx.example", "a@" + long, "", domain.Name(long), false, ""},
		{"mx.example", "a@b..example", "", "b..example", false, ""},
		{"mx.example", "a@example.org..", "", "example.org..", false, ""},
		{"mx.example", "a@b\x00c.example", "", "b?c.example", false, ""},
		{"", "", "", "", true, ""},
		{"mx.example", "a@", "", "", false, ""},
	}
	for _, test := range tests {
		w := zone()
		for _, name := range []string{"example.org", "mx.example", "xn--bcher-kva.example", "localhost"} {
			w.records["TXT "+name] = "v=spf1 exists:%{l}.%{o}.m.example -all"
		}
		w.records["A "+test.macro+".m.example"] = "127.0.0.2"
		got := check(t, w, "192.0.2.1", test.helo, test.sender)
		want := spf.Pass
		if test.asked == "" {
			want = spf.None
		}
		if got.Result != want || got.Domain != test.domain || got.HELO != test.fromHELO {
			t.Errorf("%q, %q: got %+v", test.helo, test.sender, got)
		}
		if test.asked == "" && len(w.asked) > 0 || test.asked != "" && w.asked[0] != "TXT "+test.asked {
			t.Errorf("%q, %q: asked %q", test.helo, test.sender, w.asked)
		}
		name, helo := spf.Request{HELO: test.helo, Sender: test.sender}.Identity()
		if string(name) != test.asked || helo != test.fromHELO {
			t.Errorf("%q, %q: Identity is %q, %t", test.helo, test.sender, name, helo)
		}
	}
	if got := checker(t, zone()).Check(t.Context(), spf.Request{Sender: "a@example.org"}); got.Result != spf.None {
		t.Errorf("no client address: %+v", got)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		zone   []string
		client string
		want   spf.Result
		reason string
	}{
		"pass":                                {[]string{"TXT e.org: v=spf1 ip4:192.0.2.0/24 -all"}, "192.0.2.1", spf.Pass, "matched ip"},
		"fail":                                {[]string{"TXT e.org: v=spf1 ip4:192.0.2.0/24 -all"}, "192.0.3.1", spf.Fail, "matched all"},
		"an IPv4-mapped client, section 5":    {[]string{"TXT e.org: v=spf1 ip4:192.0.2.0/24 -all"}, "::ffff:192.0.2.1", spf.Pass, "matched ip"},
		"softfail":                            {[]string{"TXT e.org: v=spf1 ~all"}, "192.0.2.1", spf.SoftFail, "matched all"},
		"neutral by default, 4.7":             {[]string{"TXT e.org: v=spf1"}, "192.0.2.1", spf.Neutral, ""},
		"no record, 4.5":                      {[]string{"TXT e.org: v=spf10 -all|something"}, "192.0.2.1", spf.None, "no DNS record found"},
		"NXDOMAIN, 4.3":                       {nil, "192.0.2.1", spf.None, "no DNS record found"},
		"no data, 4.5":                        {[]string{"TXT e.org: NODATA"}, "192.0.2.1", spf.None, "no DNS record found"},
		"two records, 4.5":                    {[]string{"TXT e.org: v=spf1 +all|v=SPF1"}, "192.0.2.1", spf.PermError, "multiple matching DNS records"},
		"SERVFAIL of the record, 4.4":         {[]string{"TXT e.org: SERVFAIL"}, "192.0.2.1", spf.TempError, "e.org: temporary DNS failure: SERVFAIL"},
		"an error of no known kind, 4.4":      {[]string{"TXT e.org: BROKEN"}, "192.0.2.1", spf.TempError, "e.org: broken"},
		"SERVFAIL of an include, 5.2":         {[]string{"TXT e.org: v=spf1 include:i.org +all", "TXT i.org: SERVFAIL"}, "192.0.2.1", spf.TempError, "i.org: temporary DNS failure: SERVFAIL"},
		"SERVFAIL of a, 5":                    {[]string{"TXT e.org: v=spf1 a +all", "A e.org: SERVFAIL"}, "192.0.2.1", spf.TempError, "e.org: temporary DNS failure: SERVFAIL"},
		"SERVFAIL of a, IPv6":                 {[]string{"TXT e.org: v=spf1 a +all", "AAAA e.org: SERVFAIL", "A e.org: 192.0.2.1"}, "2001:db8::1", spf.TempError, "e.org: temporary DNS failure: SERVFAIL"},
		"SERVFAIL of mx, 5":                   {[]string{"TXT e.org: v=spf1 mx +all", "MX e.org: SERVFAIL"}, "192.0.2.1", spf.TempError, "e.org: temporary DNS failure: SERVFAIL"},
		"SERVFAIL of an address of mx, 5":     {[]string{"TXT e.org: v=spf1 mx +all", "MX e.org: 10 m.e.org", "A m.e.org: SERVFAIL"}, "192.0.2.1", spf.TempError, "m.e.org: temporary DNS failure: SERVFAIL"},
		"SERVFAIL of exists, 5":               {[]string{"TXT e.org: v=spf1 exists:x.e.org +all", "A x.e.org: SERVFAIL"}, "192.0.2.1", spf.TempError, "x.e.org: temporary DNS failure: SERVFAIL"},
		"SERVFAIL of redirect, 6.1":           {[]string{"TXT e.org: v=spf1 redirect=r.org", "TXT r.org: SERVFAIL"}, "192.0.2.1", spf.TempError, "r.org: temporary DNS failure: SERVFAIL"},
		"SERVFAIL of ptr is no match, 5.5":    {[]string{"TXT e.org: v=spf1 ptr -all", "PTR 192.0.2.1: SERVFAIL"}, "192.0.2.1", spf.Fail, "matched all"},
		"a include without record, 5.2":       {[]string{"TXT e.org: v=spf1 include:i.org +all"}, "192.0.2.1", spf.PermError, "no DNS record found"},
		"redirect to nothing, 6.1":            {[]string{"TXT e.org: v=spf1 redirect=i.org"}, "192.0.2.1", spf.PermError, "no DNS record found"},
		"exists wants A, 5.7":                 {[]string{"TXT e.org: v=spf1 exists:x.e.org -all", "A x.e.org: 127.0.0.1"}, "2001:db8::1", spf.Pass, "matched exists"},
		"a, IPv6":                             {[]string{"TXT e.org: v=spf1 a -all", "AAAA e.org: 2001:db8::1"}, "2001:db8::1", spf.Pass, "matched a"},
		"mx":                                  {[]string{"TXT e.org: v=spf1 mx -all", "MX e.org: 10 m.e.org|20 n.e.org", "A n.e.org: 192.0.2.1"}, "192.0.2.1", spf.Pass, "matched mx"},
		"no mx, RFC 7505":                     {[]string{"TXT e.org: v=spf1 mx -all", "MX e.org: 0 ."}, "192.0.2.1", spf.Fail, "matched all"},
		"ptr":                                 {[]string{"TXT e.org: v=spf1 ptr -all", "PTR 192.0.2.1: m.e.org", "A m.e.org: 192.0.2.1"}, "192.0.2.1", spf.Pass, "matched ptr"},
		"a fault behind a match, 4.6":         {[]string{"TXT e.org: v=spf1 +all ip4:300.1.1.1"}, "192.0.2.1", spf.PermError, "record of e.org: wrong term ip4:300.1.1.1"},
		"a fault behind a match in include":   {[]string{"TXT e.org: v=spf1 include:i.org +all", "TXT i.org: v=spf1 +all nonsense"}, "192.0.2.1", spf.PermError, "record of i.org: wrong term nonsense"},
		"two redirects, 6":                    {[]string{"TXT e.org: v=spf1 +all redirect=a.org redirect=b.org"}, "192.0.2.1", spf.PermError, "record of e.org: wrong term redirect=b.org"},
		"an unknown modifier, 6":              {[]string{"TXT e.org: v=spf1 x=%{t} +all"}, "192.0.2.1", spf.Pass, "matched all"},
		"what is not ASCII, 3.1":              {[]string{"TXT e.org: v=spf1 +all x=\xc3\xa4"}, "192.0.2.1", spf.PermError, "record of e.org: wrong term x=??"},
		"a letter as in ip4, 3.1":             {[]string{"TXT e.org: v=spf1 \u0130p4:192.0.3.1 +all"}, "192.0.2.1", spf.PermError, "record of e.org: wrong term ??p4:192.0.3.1"},
		"a letter as in a name, 3.1":          {[]string{"TXT e.org: v=spf1 +all a:e.org.u\u212a"}, "192.0.2.1", spf.PermError, "record of e.org: wrong term a:e.org.u???"},
		"a letter as in a version, 4.5":       {[]string{"TXT e.org: v=\u017fpf1 +all"}, "192.0.2.1", spf.None, "no DNS record found"},
		"a slash in a name, 7.1":              {[]string{"TXT e.org: v=spf1 exists:%{l/}.e.org +all"}, "192.0.2.1", spf.PermError, "invalid macro"},
		"a record too long":                   {[]string{"TXT e.org: v=spf1 +all" + strings.Repeat(" ", 4096)}, "192.0.2.1", spf.PermError, "record of e.org: it is longer than 4096 octets"},
		"mask of a behind a match, 5.6":       {[]string{"TXT e.org: v=spf1 +all a/33"}, "192.0.2.1", spf.PermError, "record of e.org: wrong term a/33"},
		"mask of ip6 behind a match, 5.6":     {[]string{"TXT e.org: v=spf1 +all ip6:::1/129"}, "192.0.2.1", spf.PermError, "record of e.org: wrong term ip6:::1/129"},
		"IPv6 for ip4 behind a match, 5.6":    {[]string{"TXT e.org: v=spf1 +all ip4:::1"}, "192.0.2.1", spf.PermError, "record of e.org: wrong term ip4:::1"},
		"a domain of one label, 7.1":          {[]string{"TXT e.org: v=spf1 +all include:org"}, "192.0.2.1", spf.PermError, "record of e.org: wrong term include:org"},
		"names and results have no case, 4.6": {[]string{"TXT e.org: V=SPF1 IP4:192.0.2.1 -ALL"}, "192.0.2.1", spf.Pass, "matched ip"},
	}
	for name, test := range tests {
		if got := check(t, zone(test.zone...), test.client, "mx.example", "a@e.org"); got.Result != test.want || got.Reason != test.reason {
			t.Errorf("%s: got %+v; want %s, %q", name, got, test.want, test.reason)
		}
	}
}

// What a stranger can make of a record costs a bounded number of lookups and a bounded time (RFC 7208 section 4.6.4, 11.1).
func TestFloods(t *testing.T) {
	t.Parallel()
	many := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	hosts := strings.TrimPrefix(many("|%[1]d m%[1]d.e.org", 11), "|")
	tests := map[string]struct {
		zone    []string
		want    spf.Result
		lookups int // at most
	}{
		"includes in a circle":     {[]string{"TXT e.org: v=spf1 include:f.org", "TXT f.org: v=spf1 include:e.org"}, spf.PermError, 11},
		"a record includes itself": {[]string{"TXT e.org: v=spf1 redirect=e.org"}, spf.PermError, 11},
		"eleven terms that ask":    {[]string{"TXT e.org: v=spf1" + many(" a:h%d.e.org", 11), "A h0.e.org: 1.1.1.1"}, spf.PermError, 12},
		"void lookups":             {[]string{"TXT e.org: v=spf1" + many(" a:h%d.e.org", 9)}, spf.PermError, 4},
		"void lookups of no data":  {[]string{"TXT e.org: v=spf1 a mx ptr +all", "A e.org: NODATA", "MX e.org: NODATA", "PTR 192.0.2.1: NODATA"}, spf.PermError, 4},
		"two void lookups":         {[]string{"TXT e.org: v=spf1 a:a.e.org a:b.e.org +all"}, spf.Pass, 3},
		"eleven mail exchangers":   {[]string{"TXT e.org: v=spf1 mx +all", "MX e.org: " + hosts}, spf.PermError, 2},
		"a thousand names":         {[]string{"TXT e.org: v=spf1 ptr -all", "PTR 192.0.2.1: n.e.org" + strings.Repeat("|n.e.org", 999)}, spf.Fail, 12},
		"300 records":              {[]string{"TXT e.org: v=spf1 -all" + strings.Repeat("|x", 299)}, spf.Fail, 1},
		"4096 octets of terms":     {[]string{"TXT e.org: v=spf1" + strings.Repeat(" ?all", 800)}, spf.Neutral, 1},
		"100 macros":               {[]string{"TXT e.org: v=spf1 exists:" + strings.Repeat("%{s}", 100) + ".org -all"}, spf.Fail, 2},
		"101 macros":               {[]string{"TXT e.org: v=spf1 exists:" + strings.Repeat("%{s}", 101) + ".org +all"}, spf.PermError, 1},
		"%% is no macro":           {[]string{"TXT e.org: v=spf1 exists:%{d}" + strings.Repeat("%%", 60) + ".org -all"}, spf.Fail, 2},
		"4096 octets of points":    {[]string{"TXT e.org: v=spf1 a:" + strings.Repeat("a-.", 1300) + "1"}, spf.PermError, 1},
	}
	for name, test := range tests {
		w := zone(test.zone...)
		var got spf.Outcome
		took := cputime.Of(func() { got = check(t, w, "192.0.2.1", "mx.example", strings.Repeat("x", 64)+"@e.org") })
		if got.Result != test.want || len(w.asked) > test.lookups {
			t.Errorf("%s: got %+v after %d lookups", name, got, len(w.asked))
		}
		if took > 200*time.Millisecond {
			t.Errorf("%s: took %v of the processor", name, took)
		}
	}
}

// Ten lookups that take 5 s each are given up after 20 s: temperror, though a lookup cut short looks like a wrong one.
func TestAllLookupsEndAfter20Seconds(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"v=spf1 a:a.org a:b.org a:c.org a:d.org a:e.org -all", "v=spf1 ptr include:a.org ?all", "v=spf1 a:a.org a:b.org a:c.org ptr -all"} {
		synctest.Test(t, func(t *testing.T) {
			w := zone("TXT e.org: "+text, "TXT a.org: v=spf1 include:b.org", "TXT b.org: v=spf1 include:c.org", "TXT c.org: v=spf1 include:d.org", "TXT d.org: v=spf1 -all",
				"A a.org: 1.1.1.1", "A b.org: 1.1.1.1", "A c.org: 1.1.1.1", "A d.org: 1.1.1.1", "A e.org: 1.1.1.1", "PTR 192.0.2.1: x.org")
			w.delay = 5 * time.Second
			start := time.Now()
			got := check(t, w, "192.0.2.1", "mx.example", "a@e.org")
			if took := time.Since(start); got.Result != spf.TempError || took != 20*time.Second {
				t.Errorf("%q: %+v after %v", text, got, took)
			}
		})
	}
}

// FuzzCheck: whatever stands in a record, there is a result, and none of it is for a record that is broken.
func FuzzCheck(f *testing.F) {
	for _, text := range []string{"v=spf1 a mx/24//64 -all", "v=spf1 exists:%{l1r+-}._spf.%{d} ~all", "v=spf1 include:e.org", "v=spf1 %{", "v=spf1  ip4:1.2.3.4/33"} {
		f.Add(text, "a@e.org", "mx.example", "192.0.2.1")
	}
	f.Fuzz(func(t *testing.T, text, sender, helo, client string) {
		w := &world{records: map[string]string{"TXT e.org": text}}
		addr, err := netip.ParseAddr(client)
		if err != nil {
			return
		}
		got := check(t, w, addr.WithZone("").String(), helo, sender)
		if got.Result == spf.Unasked || got.Result.String() == "" || len(w.asked) > 200 {
			t.Errorf("%q: %+v after %d lookups", text, got, len(w.asked))
		}
		if strings.ContainsFunc(got.Reason+string(got.Domain), func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("not printable: %+v", got)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	w := zone("TXT e.org: v=spf1 include:_spf.a.org include:_spf.b.org ip4:192.0.2.0/24 ip6:2001:db8::/32 ~all",
		"TXT _spf.a.org: v=spf1 include:_n1.a.org include:_n2.a.org ~all",
		"TXT _n1.a.org: v=spf1"+strings.Repeat(" ip4:198.51.100.0/24", 12)+" ~all", "TXT _n2.a.org: v=spf1"+strings.Repeat(" ip6:2001:db8:1234::/48", 8)+" ~all",
		"TXT _spf.b.org: v=spf1"+strings.Repeat(" ip4:203.0.113.0/24", 10)+" ~all")
	c := checker(b, w)
	b.ReportAllocs()
	for b.Loop() {
		w.asked = w.asked[:0]
		if got := c.Check(b.Context(), spf.Request{Client: netip.MustParseAddr("192.0.2.1"), HELO: "mx.e.org", Sender: "a@e.org"}); got.Result != spf.Pass {
			b.Fatal(got)
		}
	}
}
