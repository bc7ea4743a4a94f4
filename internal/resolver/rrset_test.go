package resolver_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dkimd/internal/resolver"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestLookupOfEachType(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.zone(`
a.example.org. A 192.0.2.1
a.example.org. A 192.0.2.2
a.example.org. AAAA 2001:db8::1
a.example.org. TXT "text"
alias.example.org. CNAME a.example.org.
x.example.org. MX 10 MX1.Example.org.
x.example.org. MX 0 .
1.2.0.192.in-addr.arpa. CNAME 1.0/25.2.0.192.in-addr.arpa.
1.0/25.2.0.192.in-addr.arpa. PTR A.example.ORG.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.example.org.
b+c=d._spf.example.org. A 127.0.0.2
a\ b.example.org. A 127.0.0.3
`)
	r := w.resolver()
	tests := []struct {
		name   string
		rrtype resolver.Type
		want   []string
		err    error
	}{
		{"a.example.org", resolver.A, []string{"192.0.2.1", "192.0.2.2"}, nil},
		{"A.example.org.", resolver.AAAA, []string{"2001:db8::1"}, nil},
		{"a.example.org", resolver.TXT, []string{"text"}, nil},
		{"alias.example.org", resolver.AAAA, []string{"2001:db8::1"}, nil},
		{"x.example.org", resolver.MX, []string{"10 mx1.example.org", "0 ."}, nil},
		{"x.example.org", resolver.A, nil, resolver.ErrNoData},
		{"y.example.org", resolver.MX, nil, resolver.ErrNotExist},
		{"b+c=d._spf.example.org", resolver.A, []string{"127.0.0.2"}, nil},
		{"a b.example.org", resolver.A, []string{"127.0.0.3"}, nil},
		{"a\tb.example.org", resolver.A, nil, resolver.ErrName},
		{`a\b.example.org`, resolver.A, nil, resolver.ErrName},
		{"a..example.org", resolver.A, nil, resolver.ErrName},
		{".example.org", resolver.A, nil, resolver.ErrName},
		{".", resolver.A, nil, resolver.ErrName},
		{strings.Repeat("a", 64) + ".org", resolver.A, nil, resolver.ErrName},
		{strings.Repeat("a.", 126) + "bc", resolver.A, nil, resolver.ErrName},
	}
	for again := range 2 { // the second time from the cache
		for _, test := range tests {
			_, cause, cached := r.LookupCached(test.name, test.rrtype)
			if known := again > 0 || errors.Is(test.err, resolver.ErrName); cached != known || known && !errors.Is(cause, test.err) {
				t.Errorf("%s %d: %t, %v from the cache", test.name, test.rrtype, cached, cause)
			}
			answer, err := r.Lookup(t.Context(), test.name, test.rrtype)
			if kept, _, _ := r.LookupCached(test.name, test.rrtype); !cmp.Equal(kept.Records, test.want) {
				t.Errorf("%s %d: %v from the cache", test.name, test.rrtype, kept.Records)
			}
			if diff := cmp.Diff(test.want, answer.Records); diff != "" || !errors.Is(err, test.err) {
				t.Errorf("%s %d: %v; (-want +got):\n%s", test.name, test.rrtype, err, diff)
			}
		}
		for addr, want := range map[string]string{"192.0.2.1": "a.example.org", "::ffff:192.0.2.1": "a.example.org", "2001:db8::1": "six.example.org"} {
			if answer, err := r.Reverse(t.Context(), netip.MustParseAddr(addr)); err != nil || !cmp.Equal(answer.Records, []string{want}) {
				t.Errorf("%s: %v, %v; want %s", addr, answer.Records, err, want)
			}
		}
	}
	if got := w.server.Queries("x.example.org"); got != 2 {
		t.Errorf("%d queries for two types of one name; want 2", got)
	}
	if _, err := r.Reverse(t.Context(), netip.Addr{}); !errors.Is(err, resolver.ErrName) {
		t.Errorf("no address: %v", err)
	}
}

// What a record of a type holds must be of the form of that type.
func TestBrokenRecordsAreMalformed(t *testing.T) {
	t.Parallel()
	for rrtype, broken := range map[resolver.Type][]string{
		resolver.A:    {"", "abc", "abcde", strings.Repeat("a", 16)},
		resolver.AAAA: {"abcd", strings.Repeat("a", 15), strings.Repeat("a", 17)},
		resolver.MX:   {"", "\x00\x01", "\x00\x01\x05ab", "\x00\x01\x00x", "\x00\x01\xc0\xff"},
		resolver.PTR:  {"", "\x05ab", "\x01a", "\x00x", "\xc0\xff"},
	} {
		for _, data := range broken {
			server := startHostile(t, func(h heard) {
				packet := h.message(func(*dns.Msg) {})
				packet[7] = 1 // one answer
				packet = append(packet, 0xc0, 12)
				packet = binary.BigEndian.AppendUint16(packet, uint16(rrtype))
				packet = append(packet, 0, 1, 0, 0, 1, 0, 0, byte(len(data)))
				h.reply(append(packet, data...))
			})
			r := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough, Attempts: 1})
			if answer, err := r.Lookup(t.Context(), "example.org", rrtype); !errors.Is(err, resolver.ErrMalformed) {
				t.Errorf("type %d, %q: got %q, %v; want malformed", rrtype, data, answer.Records, err)
			}
			server.stop()
		}
	}
}

// An answer to a question about another type is no answer.
func TestAnswerToAnotherTypeIsNone(t *testing.T) {
	t.Parallel()
	server := startHostile(t, func(h heard) {
		packet := h.txt("text")
		if h.network == "tcp" {
			h.reply(packet)
			return
		}
		packet[len(h.query[:12])+len("\x07example\x03org\x00")+1] = byte(dns.TypeTXT)
		for range 20 {
			h.reply(packet)
		}
	})
	r := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough, Attempts: 1})
	if answer, err := r.Lookup(t.Context(), "example.org", resolver.A); !errors.Is(err, resolver.ErrNoData) || server.tcp.Load() != 1 {
		t.Errorf("got %v, %v after %d queries over TCP; want the answer over TCP", answer.Records, err, server.tcp.Load())
	}
}

// RFC 9989 section 4.10 asks every message's top-level domain.
func TestAbsenceAtTopLevelIsKeptAsItsZoneSays(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]time.Duration{
		"_dmarc.com": 900 * time.Second, "_dmarc.a.com": time.Minute, "a.com": time.Minute, "com": time.Minute, "_dmarc.org": time.Hour,
	} {
		w := newWorld(t)
		w.zone("com. 900 SOA ns.com. root.com. 1 2 3 4 86400\norg. 86400 SOA ns.org. root.org. 1 2 3 4 86400")
		answer, err := w.resolver().TXT(t.Context(), name)
		if err == nil || answer.TTL.Round(time.Second) != want {
			t.Errorf("%s: %v, %v; want %v", name, answer.TTL, err, want)
		}
	}
}
