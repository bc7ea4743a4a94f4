package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/resolver"
)

// dnsFlood is what a sender may have DNS say, and his message.
type dnsFlood struct {
	from    string
	records func(name string, n int) []string // of a name, for his n-th message
	want    string                            // spf, dmarc
}

// Floods by what DNS says: another record for each message, so that nothing of it was read before. None costs more than
// ten times a plain message of the size, of what DNS sends and of the header together, and 50 ns an octet of From, which
// TestFromFloodsCostAtMostTenPlainMessages is about.
//
//nolint:paralleltest // it measures time
func TestPolicyFloodsCostAtMostTenPlainMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	many := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	full := func(term string) string { return strings.Repeat(term, 4000/len(term)) }
	// spf has one record at each name that is no policy; numbered makes it another one for each message.
	spf := func(text string) func(string, int) []string {
		return func(name string, n int) []string {
			if strings.HasPrefix(name, "_dmarc.") {
				return []string{"v=DMARC1; p=reject"}
			}
			return []string{fmt.Sprintf("v=spf1 x%d=%s", n, text)}
		}
	}
	dmarc := func(text string) func(string, int) []string {
		return func(name string, n int) []string {
			if strings.HasPrefix(name, "_dmarc.") {
				return []string{fmt.Sprintf("v=DMARC1; p=reject; x%d=%s", n, text)}
			}
			return []string{"v=spf1 -all"}
		}
	}
	one := "a@example.org"
	floods := map[string]dnsFlood{
		"includes in a circle":      {one, spf(" include:example.org -all"), "permerror fail"},
		"full includes in a circle": {one, spf(full(" ip4:192.0.2.1") + " include:example.org"), "permerror fail"},
		"ten includes in ten":       {one, spf(many(" include:i%d.example.org", 10)), "permerror fail"},
		"networks":                  {one, spf(full(" ip6:::")), "neutral fail"},
		"terms":                     {one, spf(full(" a")), "permerror fail"},
		"names":                     {one, spf(full(" a:b.c")), "permerror fail"},
		"names with masks":          {one, spf(full(" ?mx:b.cd/24//64")), "permerror fail"},
		"unknown modifiers":         {one, spf(full(" x=abcd")), "neutral fail"},
		"macros in modifiers":       {one, spf(full(" x=%{l}")), "permerror fail"},
		"macros":                    {one, spf(" exists:" + full("%{s}") + ".org -all"), "permerror fail"},
		"a hundred macros":          {one, spf(" exists:" + strings.Repeat("%{s}", 100) + ".org -all"), "fail fail"},
		"points":                    {one, spf(" a:" + full("a-.") + "1"), "permerror fail"},
		"a wrong term at the end":   {one, spf(full(" a:b.c") + " !"), "permerror fail"},
		"void lookups":              {one, spf(many(" a:h%d.void", 10)), "permerror fail"},
		"a hundred mail exchangers": {one, spf(" mx:hundred.mx -all"), "permerror fail"},
		"a record of 64 KiB":        {one, spf(strings.Repeat(" a:b.c", 10<<10)), "permerror fail"},
		"256 records": {one, func(_ string, n int) []string {
			return strings.Split(strings.Repeat(fmt.Sprintf("v=spf1 x%d= -all|", n), 256), "|")
		}, "permerror none"},
		"a policy of 64 KiB":          {one, dmarc(strings.Repeat("x; y=", 10<<10)), "fail permerror"},
		"a policy of tags":            {one, dmarc(full(";")), "fail fail"},
		"a policy of URIs":            {one, dmarc("x; rua=" + full(",")), "fail fail"},
		"1000 From domains":           {strings.TrimSuffix(many("a@a%d.example, ", 1000), ", "), spf(" -all"), "fail permerror"},
		"one From domain, 1000 times": {strings.TrimSuffix(strings.Repeat("a@example.org, ", 1000), ", "), spf(" -all"), "fail fail"},
		"a name of labels":            {"a@" + strings.Repeat("a.", 20_000) + "example.org", spf(" -all"), "fail permerror"},
		"a name that DNS cannot hold": {"a@" + strings.Repeat("a.", 150) + "example.org", spf(" -all"), "fail fail"},
		"a long walk":                 {"a@" + strings.Repeat("a.", 100) + "example.org", spf(" -all"), "fail fail"},
	}
	w := newWorld(t)
	w.config.SPF, w.cached = true, true
	p := w.pipeline()
	n, size := 0, 0 // messages, and the octets of DNS that the last one took
	run := func(k *killer, records func(string, int) []string) time.Duration {
		n, size = n+1, 0
		w.lookup = func(name string) (resolver.Answer, error) {
			switch name {
			case "hundred.mx":
				return resolver.Answer{Records: strings.Split(strings.TrimSuffix(many("10 h%d.example.org|", 100), "|"), "|")}, nil
			default:
				if strings.HasSuffix(name, ".void") {
					return resolver.Answer{}, resolver.ErrNotExist
				}
			}
			found := records(name, n)
			for i, r := range found {
				size += len(r)
				found[i] = r[:min(len(r), resolver.MaxRecord)] // as the resolver does
			}
			return resolver.Answer{Records: found}, nil
		}
		return cputime.Of(func() { w.take(p, k) })
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			k := &killer{head: []string{"From: " + flood.from}}
			got, usual, limit := time.Hour, time.Hour, time.Duration(0)
			for range 40 { // on a busy machine some rounds are slow
				got = min(got, run(k, flood.records))
				e := w.records[len(w.records)-1]
				if words := e.SPF.Result + " " + e.DMARC.Result; words != flood.want {
					t.Fatalf("spf and dmarc are %s; want %s", words, flood.want)
				}
				total := size + k.size()
				usual = min(usual, run(plain(total), spf(" -all")))
				if limit = slow * (10*usual + time.Duration(len(flood.from))*50*time.Nanosecond); got <= limit {
					break
				}
			}
			if got > limit {
				t.Errorf("takes %v, a plain message of that size %v", got, usual)
			}
			t.Logf("%v, plain %v, ratio %.1f", got, usual, float64(got)/float64(usual))
		})
	}
}
