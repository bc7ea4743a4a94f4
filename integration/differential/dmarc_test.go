//go:build integration

package differential_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/resolver"
)

// TestDMARCIsWhatMailDMARCSays: Mail::DMARC follows RFC 7489. Where that and RFC 9989 agree it judges as we do: a domain that exists,
// with one valid record or none at the author's and at the organizational domain, none between these, and neither psd=, np=, t= nor
// pct=. A record below an organizational domain that has none makes another one by RFC 9989 section 4.10.2.
func TestDMARCIsWhatMailDMARCSays(t *testing.T) {
	t.Parallel()
	need(t, "/usr/bin/perl", "-MMail::DMARC::PurePerl", "-e1")
	peer := startPipe(t, "/usr/bin/perl", "testdata/dmarc.pl")
	const seed = 9989
	random := rand.New(rand.NewPCG(seed, seed))
	one := func(list ...string) string { return list[random.IntN(len(list))] }
	names := []string{"org.example.com", "example.com", "a.example.com", "b.a.example.com", "c.example.com", "example.net", "a.example.net", "notexample.com"}
	tag := func(name string, values ...string) string {
		if random.IntN(2) == 0 {
			return ""
		}
		return one(";", "; ", " ; ") + name + "=" + one(values...)
	}
	policies := []string{"none", "quarantine", "reject"}
	seen := map[string]int{}
	for range 2000 {
		author := one(names...)
		zone := map[string]string{}
		for _, at := range []string{"example.com", "example.net", author} {
			_, above, _ := strings.Cut(author, "example.")
			if org := "_dmarc.example." + above; random.IntN(3) > 0 && (at != author || author == "notexample.com" || "_dmarc."+author == org || zone[org] != "") {
				zone["_dmarc."+at] = "v=DMARC1; p=" + one(policies...) + tag("sp", policies...) + tag("adkim", "r", "s") + tag("aspf", "r", "s") + tag("x", "y") + one("", ";")
			}
		}
		var ids [2]string
		for i := range ids {
			if random.IntN(2) == 0 {
				ids[i] = one(names...)
			}
		}
		args := []string{author, ids[0], ids[1]}
		for name, text := range zone {
			args = append(args, name, text)
		}
		got, want := judgedHere(zone, author, ids), peer.ask(t, "judge", args...)
		if got != want {
			t.Errorf("From %s, DKIM %q, SPF %q, %v: %q here; Mail::DMARC says %q", author, ids[0], ids[1], zone, got, want)
		}
		seen[got]++
	}
	for _, word := range []string{"none none", "pass none", "fail none", "fail quarantine", "fail reject"} {
		if seen[word] < 20 {
			t.Errorf("only %d cases of %q: %v", seen[word], word, seen)
		}
	}
}

// judgedHere is our result, and what should become of the message.
func judgedHere(zone map[string]string, author string, ids [2]string) string {
	lookup := func(name string) (resolver.Answer, error) {
		if text, ok := zone[strings.ToLower(name)]; ok {
			return resolver.Answer{Records: []string{text}}, nil
		}
		return resolver.Answer{}, resolver.ErrNoData
	}
	var domains []domain.Name
	var passed []dmarc.Identifier
	for i, id := range ids {
		if id != "" {
			domains = append(domains, domain.Name(id))
			passed = append(passed, dmarc.Identifier{Method: []dmarc.Method{dmarc.DKIM, dmarc.SPF}[i], Domain: domain.Name(id)})
		}
	}
	verdict := dmarc.Discover(lookup, domain.Name(author), domains).Judge(passed, dmarc.SPFAsked)
	disposition := "none"
	if verdict.Result == dmarc.Fail {
		disposition = verdict.Policy.String()
	}
	return fmt.Sprintf("%s %s", verdict.Result, disposition)
}
