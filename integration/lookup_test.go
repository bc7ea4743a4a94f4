//go:build integration

package integration_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/integration/harness"

	"dkimd/internal/resolver/dnstest"

	"github.com/miekg/dns"
)

const (
	gmailKey      = "rsa._domainkey.gmail.com"
	otherGmailKey = "ed._domainkey.gmail.com"
)

// bothSigned is a message of gmail.com with two signatures: RSA below, Ed25519 on top.
func bothSigned(t *testing.T, subject string) []byte {
	t.Helper()
	return harness.SignWithPythonEd25519(t, harness.SignWithPython(t, "gmail.com", harness.NewMail(gmailUser, subject).Bytes()))
}

// What DNS may say to one of two keys: a real mail is never refused, and one that might be real is deferred.
func TestMailOfGmailMeetsOddDNS(t *testing.T) {
	t.Parallel()
	failing := func(name string) func(*testing.T, *dnstest.Server) {
		return func(_ *testing.T, s *dnstest.Server) { s.SetRcode(name, dns.RcodeServerFailure) }
	}
	zone := func(lines ...string) func(*testing.T, *dnstest.Server) {
		return func(t *testing.T, s *dnstest.Server) {
			t.Helper()
			if err := s.SetZone(strings.Join(lines, "\n")); err != nil {
				t.Error(err)
			}
		}
	}
	const deferred = "451 4.7.5 "
	broken := func(data []byte) []byte { return []byte(strings.Replace(string(data), "Dear", "Poor", 1)) }
	whole := func(data []byte) []byte { return data }
	tests := map[string]struct {
		dns     func(*testing.T, *dnstest.Server)
		data    func([]byte) []byte
		want    string
		results []string // Ed25519, RSA
	}{
		"one SERVFAIL, the other passes": {failing(gmailKey), whole, "250 ", []string{"pass", "temperror"}},
		"the other SERVFAIL, one passes": {failing(otherGmailKey), whole, "250 ", []string{"temperror", "pass"}},
		"one SERVFAIL, the other fails":  {failing(gmailKey), broken, deferred, []string{"fail", "temperror"}},
		"one silent, the other passes":   {func(_ *testing.T, s *dnstest.Server) { s.Drop(gmailKey) }, whole, "250 ", []string{"pass", "temperror"}},
		"one silent, the other fails":    {func(_ *testing.T, s *dnstest.Server) { s.Drop(gmailKey) }, broken, deferred, []string{"fail", "temperror"}},
		"one absent, the other passes":   {func(_ *testing.T, s *dnstest.Server) { s.Delete(gmailKey) }, whole, "250 ", []string{"pass", "permerror"}},
		"one SERVFAIL, the other absent": {func(_ *testing.T, s *dnstest.Server) {
			s.Delete(otherGmailKey)
			s.SetRcode(gmailKey, dns.RcodeServerFailure)
		}, whole, deferred, []string{"permerror", "temperror"}},
		"aliases to one key, none to another": {zone(gmailKey+". CNAME a.keys.test.", "a.keys.test. CNAME b.keys.test.", "b.keys.test. TXT \""+harness.ForeignRSA().Record[:200]+"\" \""+harness.ForeignRSA().Record[200:]+"\"", otherGmailKey+". CNAME gone.keys.test."), whole, "250 ", []string{"permerror", "pass"}},
		"aliases in a loop":                   {zone(gmailKey+". CNAME a.keys.test.", "a.keys.test. CNAME "+gmailKey+".", otherGmailKey+". CNAME a.keys.test."), whole, deferred, []string{"temperror", "temperror"}},
		"SPF of a wildcard beside the keys": {func(_ *testing.T, s *dnstest.Server) {
			for _, name := range []string{gmailKey, otherGmailKey} {
				s.AddTXT(name, "v=spf1 -all")
			}
		}, whole, "250 ", []string{"pass", "pass"}},
		"SPF of a wildcard in place of the keys": {func(_ *testing.T, s *dnstest.Server) {
			for _, name := range []string{gmailKey, otherGmailKey} {
				s.SetTXT(name, "v=spf1 -all")
			}
		}, whole, gmailReply, []string{"permerror", "permerror"}},
		"too long for UDP": {func(_ *testing.T, s *dnstest.Server) {
			s.SetTXT(gmailKey, strings.Repeat("x", 2000))
			s.AddTXT(gmailKey, harness.ForeignRSA().Record)
			s.SetRcode(otherGmailKey, dns.RcodeServerFailure)
		}, whole, "250 ", []string{"temperror", "pass"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newGmailWorld(t)
			test.dns(t, w.DNS)
			to := harness.Unique("odddns") + "@elsewhere.test"
			got := fromGmail(t, w).Send(gmailUser, to, test.data(bothSigned(t, "odd DNS")))
			if !strings.HasPrefix(got.String(), test.want) {
				t.Errorf("Postfix answers %q, want %q", got, test.want)
			}
			if r := w.Daemon.Stream.From(t, gmailUser); !slices.Equal(r.Results(), test.results) {
				t.Errorf("results %q, want %q", r.Results(), test.results)
			}
		})
	}
}

// A sender comes again until DNS answers, and dkimd does not hold the failure against him for long.
func TestMailComesThroughWhenDNSIsBack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		broken func(*dnstest.Server)
		first  string // the answer meanwhile
	}{
		"SERVFAIL": {func(s *dnstest.Server) { s.SetRcode(gmailKey, dns.RcodeServerFailure) }, "451 4.7.5 "},
		// The key is published only now, and its absence may be kept for a second: SOA minimum.
		"NXDOMAIN": {func(s *dnstest.Server) {
			s.Delete(gmailKey)
			if err := s.SetZone("gmail.com. 600 SOA ns.gmail.com. root.gmail.com. 1 2 3 4 1"); err != nil {
				panic(err)
			}
		}, gmailReply},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newGmailWorld(t)
			test.broken(w.DNS)
			data := harness.SignWithPython(t, "gmail.com", harness.NewMail(gmailUser, "one that comes again").Bytes())
			send := func() string {
				return fromGmail(t, w).Send(gmailUser, harness.Unique("again")+"@elsewhere.test", data).String()
			}
			later := func() string { <-time.After(time.Second); return send() }
			if got := send(); !strings.HasPrefix(got, test.first) {
				t.Fatalf("Postfix answers %q, want %q", got, test.first)
			}
			w.DNS.SetTXT(gmailKey, harness.ForeignRSA().Record)
			// Both are kept 5 seconds: docs/configuration.md.
			var got string
			if !harness.Poll(15*time.Second, func() bool { got = later(); return strings.HasPrefix(got, "250 ") }) {
				t.Errorf("Postfix still answers %q", got)
			}
			if n := w.DNS.Queries(gmailKey); n > 4 {
				t.Errorf("DNS was asked %d times", n)
			}
			// The next key has another selector: nothing that is kept stands in its way.
			signed := harness.SignWithPythonEd25519(t, harness.NewMail(gmailUser, "with the next key").Bytes())
			w.DNS.Delete(gmailKey)
			if got := fromGmail(t, w).Send(gmailUser, harness.Unique("next")+"@elsewhere.test", signed); got.Code != 250 {
				t.Errorf("with the next key Postfix answers %q", got)
			}
		})
	}
}
