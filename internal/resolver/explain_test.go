package resolver_test

import (
	"errors"
	"strings"
	"testing"

	"dkimd/internal/resolver"

	"github.com/miekg/dns"
)

// TestServerExplainsItsAnswer: Extended DNS Errors (RFC 8914) are in the error, and safe to show.
func TestServerExplainsItsAnswer(t *testing.T) {
	t.Parallel()
	const servfail, nxdomain, refused = dns.RcodeServerFailure, dns.RcodeNameError, dns.RcodeRefused
	tests := map[string]struct {
		rcode int
		code  uint16
		text  string
		want  error
		words string // ends the error
	}{
		"bogus":                      {servfail, dns.ExtendedErrorCodeDNSBogus, "", resolver.ErrServerFailure, "temporary DNS failure: SERVFAIL (DNSSEC Bogus)"},
		"bogus, and how":             {servfail, dns.ExtendedErrorCodeDNSBogus, "no DNSKEY", resolver.ErrServerFailure, "SERVFAIL (DNSSEC Bogus: no DNSKEY)"},
		"the same twice":             {servfail, dns.ExtendedErrorCodeDNSBogus, "DNSSEC bogus", resolver.ErrServerFailure, "SERVFAIL (DNSSEC Bogus)"},
		"prohibited":                 {refused, dns.ExtendedErrorCodeProhibited, "", resolver.ErrRefused, "REFUSED (Prohibited)"},
		"unknown code":               {servfail, 4242, "", resolver.ErrServerFailure, "SERVFAIL (extended error 4242)"},
		"text of a stranger":         {servfail, 22, "a\r\nb\x1b[31m\x00\u202ec\"", resolver.ErrServerFailure, "SERVFAIL (No Reachable Authority: a??b?[31m????c\")"},
		"a long text":                {servfail, 22, strings.Repeat("x", 1000), resolver.ErrServerFailure, "(No Reachable Authority: " + strings.Repeat("x", 56) + ")"},
		"NUL at the end":             {servfail, 22, "a\x00", resolver.ErrServerFailure, "Authority: a)"},
		"blocked name":               {nxdomain, dns.ExtendedErrorCodeBlocked, "", resolver.ErrNotExist, "name does not exist (Blocked)"},
		"no data":                    {dns.RcodeSuccess, dns.ExtendedErrorCodeFiltered, "", resolver.ErrNoData, "name has no such record (Filtered)"},
		"stale absence is no answer": {nxdomain, dns.ExtendedErrorCodeStaleNXDOMAINAnswer, "", resolver.ErrTemporary, "SERVFAIL (Stale NXDOMAIN Answer)"},
		"stale no data neither":      {dns.RcodeSuccess, dns.ExtendedErrorCodeStaleAnswer, "", resolver.ErrTemporary, "SERVFAIL (Stale Answer)"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startHostile(t, func(h heard) {
				h.reply(h.message(func(m *dns.Msg) {
					m.Rcode = test.rcode
					opt := m.SetEdns0(1232, false).IsEdns0()
					opt.Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "24a5ac1223344556"}, &dns.EDNS0_EDE{InfoCode: test.code, ExtraText: test.text}}
				}))
			})
			_, err := newResolver(t, resolver.Config{Servers: []string{server.addr}}).TXT(t.Context(), keyName)
			if !errors.Is(err, test.want) || !strings.HasSuffix(err.Error(), test.words) {
				t.Errorf("got %v; want %v: ...%s", err, test.want, test.words)
			}
			for _, absence := range []error{resolver.ErrNotExist, resolver.ErrNoData} {
				if errors.Is(err, resolver.ErrTemporary) && errors.Is(err, absence) {
					t.Errorf("%v is temporary and %v", err, absence)
				}
			}
		})
	}
}

// TestExplanationThatCannotBeReadIsNone: the answer counts all the same.
func TestExplanationThatCannotBeReadIsNone(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]byte{
		"longer than the record": {0, 15, 0, 200, 0, 6}, "no code": {0, 15, 0, 1, 6}, "half an option": {0, 15, 0},
		"after one that is too long": {0, 10, 0xff, 0xff, 0, 15, 0, 2, 0, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startHostile(t, func(h heard) {
				packet := h.message(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })
				packet[11]++ // additional records
				packet = append(packet, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, byte(len(options)))
				h.reply(append(packet, options...))
			})
			_, err := newResolver(t, resolver.Config{Servers: []string{server.addr}}).TXT(t.Context(), keyName)
			if !errors.Is(err, resolver.ErrServerFailure) || !strings.HasSuffix(err.Error(), "SERVFAIL") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestADCountsFromWhereNobodyCanForgeIt: on this host, or where the administrator says so.
func TestADCountsFromWhereNobodyCanForgeIt(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		server    string
		says      bool
		trust     bool
		wantVouch bool
	}{
		"loopback": {"127.0.0.1", true, false, true}, "loopback, IPv6": {"::1", true, false, true}, "loopback without AD": {"127.0.0.1", false, true, false},
		"other host": {"192.0.2.1", true, false, false}, "trusted": {"192.0.2.1", true, true, true}, "trusted without AD": {"192.0.2.1", false, true, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(_ string, h heard) {
				h.reply(h.message(func(m *dns.Msg) {
					m.AuthenticatedData = test.says
					m.Answer = []dns.RR{txtOf(m.Question[0].Name, "key")}
				}))
			}, resolver.Config{Servers: []string{test.server}, TrustAD: test.trust}, func(t *testing.T, r *resolver.Resolver, _ *bubble) {
				t.Helper()
				answer, err := r.TXT(t.Context(), keyName)
				if err != nil || answer.Authenticated != test.wantVouch {
					t.Errorf("got %t, %v; want %t", answer.Authenticated, err, test.wantVouch)
				}
			})
		})
	}
}
