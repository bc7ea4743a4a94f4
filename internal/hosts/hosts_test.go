package hosts_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/hosts"
	"dkimd/internal/logtest"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
)

// zone is a DNS: "NAME A", "NAME AAAA" and "ADDRESS PTR" to records separated by spaces; "SERVFAIL" fails, what is not there does not exist.
type zone struct {
	mu      sync.Mutex
	records map[string]string
	asked   []string
}

func (z *zone) set(question, records string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[question] = records
}

func (z *zone) find(question string) (resolver.Answer, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked = append(z.asked, question)
	switch records := z.records[question]; records {
	case "":
		return resolver.Answer{}, resolver.ErrNotExist
	case "SERVFAIL":
		return resolver.Answer{}, &resolver.Failure{Cause: resolver.ErrServerFailure}
	case "PANIC":
		panic("a fault of ours")
	default:
		return resolver.Answer{Records: strings.Fields(records)}, nil
	}
}

func (z *zone) Lookup(_ context.Context, name string, rrtype resolver.Type) (resolver.Answer, error) {
	return z.find(name + map[resolver.Type]string{resolver.A: " A", resolver.AAAA: " AAAA"}[rrtype])
}

func (z *zone) Reverse(_ context.Context, addr netip.Addr) (resolver.Answer, error) {
	return z.find(addr.String() + " PTR")
}

// entries reads them in the form of Entry.String.
func entries(list ...string) (all []hosts.Entry) {
	for _, s := range list {
		var e hosts.Entry
		s, e.Not = strings.CutPrefix(s, "!")
		if addr, err := netip.ParseAddr(s); err == nil {
			e.Network = netip.PrefixFrom(addr, addr.BitLen())
		} else if e.Network, err = netip.ParsePrefix(s); err != nil {
			s, e.Below = strings.CutPrefix(s, ".")
			e.Name = domain.Name(s)
		}
		all = append(all, e)
	}
	return all
}

func TestContains(t *testing.T) {
	t.Parallel()
	dns := map[string]string{
		"mx.example.org A": "192.0.2.1 192.0.2.2", "mx.example.org AAAA": "2001:db8::1",
		"a.example.com A": "198.51.100.1", "198.51.100.1 PTR": "a.example.com", "b.guests.example.com A": "198.51.100.2",
		"198.51.100.3 PTR": "a.example.com", // a stranger's reverse zone
		"198.51.100.4 PTR": "other.example a.example.com two.example.com", "two.example.com A": "198.51.100.9 198.51.100.4",
		"198.51.100.5 PTR": "SERVFAIL", "198.51.100.6 PTR": "dead.example.com", "dead.example.com A": "SERVFAIL",
		"198.51.100.7 PTR": "b.guests.example.com seven.example.com", "seven.example.com A": "198.51.100.7", "example.com A": "198.51.100.8",
		"2001:db8::5 PTR": "six.example.com", "six.example.com AAAA": "2001:db8::5", "six.example.com A": "192.0.2.200",
	}
	tests := map[string]struct {
		list  string
		in    string // clients that are in it: ADDRESS or ADDRESS=NAME
		out   string
		fails bool // DNS does not tell
	}{
		"nobody":                 {"", "", "192.0.2.1 ::1", false},
		"networks":               {"192.0.2.0/24 2001:db8::/32", "192.0.2.0 192.0.2.255 ::ffff:192.0.2.7 2001:db8::1", "192.0.3.0 2001:db9::1 local unreadable", false},
		"everybody":              {"0.0.0.0/0", "192.0.2.1", "::1 local", false},
		"an exclusion":           {"192.0.2.0/24 !192.0.2.7", "192.0.2.6 192.0.2.8", "192.0.2.7", false},
		"whatever comes first":   {"!192.0.2.7 192.0.2.0/24", "192.0.2.6", "192.0.2.7", false},
		"within an exclusion":    {"192.0.2.0/24 !192.0.2.0/28 192.0.2.7", "192.0.2.7 192.0.2.16", "192.0.2.8", false},
		"both ways":              {"192.0.2.7 !192.0.2.7 !192.0.2.8 192.0.2.8", "", "192.0.2.7 192.0.2.8", false},
		"only exclusions":        {"!192.0.2.7", "", "192.0.2.7 192.0.2.8", false},
		"a host":                 {"mx.example.org", "192.0.2.1 192.0.2.2 2001:db8::1 192.0.2.1=unknown", "192.0.2.3 192.0.2.9=mx.example.org", false},
		"a host excluded":        {"192.0.2.0/24 !mx.example.org", "192.0.2.3 192.0.2.3=a.example.org", "192.0.2.1 192.0.2.2 192.0.2.3=MX.example.org.", false},
		"a host in an exclusion": {"192.0.2.0/24 !192.0.2.0/30 mx.example.org", "192.0.2.1 192.0.2.4", "192.0.2.3", false},
		"a host that is absent":  {"gone.example.org 192.0.2.9", "192.0.2.9", "192.0.2.1", false},
		"below a domain": {
			".example.com", "198.51.100.1 198.51.100.1=a.example.com 198.51.100.1=A.Example.COM. 198.51.100.1=[198.51.100.1] 198.51.100.1=unknown 198.51.100.4 2001:db8::5",
			"198.51.100.3 198.51.100.3=a.example.com 198.51.100.8=example.com 198.51.100.1=a.badexample.com 198.51.100.1=other.example 192.0.2.1 192.0.2.200", false,
		},
		"below, but for some": {".example.com !.guests.example.com", "198.51.100.1", "198.51.100.2=b.guests.example.com 198.51.100.7", false},
		"below, and one of the excluded": {
			".example.com !.guests.example.com b.guests.example.com", "198.51.100.2=b.guests.example.com 198.51.100.2 198.51.100.7", "", false,
		},
		"a network, but for a domain": {"198.51.100.0/24 !.guests.example.com", "198.51.100.1=a.example.com 198.51.100.7", "198.51.100.9=x.guests.example.com", false},
		"a domain, but for a network": {".example.com !198.51.100.0/24", "2001:db8::5", "198.51.100.1 198.51.100.1=a.example.com", false},
		"DNS fails":                   {".example.com", "", "198.51.100.5 198.51.100.6 198.51.100.6=dead.example.com", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := hosts.New(hosts.Config{Entries: entries(strings.Fields(tt.list)...), DNS: &zone{records: dns}})
			l.Refresh(t.Context())
			check := func(clients string, want bool) {
				for c := range strings.FieldsSeq(clients) {
					address, name, _ := strings.Cut(strings.ReplaceAll(c, "local", ""), "=")
					in, err := l.Contains(t.Context(), message.NewClient(name, address))
					if in != want || (err != nil) != tt.fails {
						t.Errorf("%s: %v, %v", c, in, err)
					}
				}
			}
			check(tt.in, true)
			check(tt.out, false)
		})
	}
	if in, err := (*hosts.List)(nil).Contains(t.Context(), message.NewClient("", "192.0.2.1")); in || err != nil {
		t.Error("the nil list is not empty")
	}
}

// What the MTA says of the client's name, or its address alone, settles most clients without DNS.
func TestDNSIsAskedOnlyWhereItDecides(t *testing.T) {
	t.Parallel()
	for client, want := range map[string]int{
		"192.0.2.1": 0, "192.0.2.1=unknown": 0, "203.0.113.1=mail.example.net": 0, "192.0.2.9": 0, "192.0.2.9=a.example.com": 0,
		"203.0.113.1=a.example.com": 1, "203.0.113.1": 1, "203.0.113.1=[203.0.113.1]": 1,
	} {
		z := &zone{}
		l := hosts.New(hosts.Config{Entries: entries("192.0.2.0/24", "!192.0.2.9", ".example.com"), DNS: z})
		address, name, _ := strings.Cut(client, "=")
		_, _ = l.Contains(t.Context(), message.NewClient(name, address))
		if len(z.asked) != want {
			t.Errorf("%s: asked %q", client, z.asked)
		}
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	var log logtest.Lines
	z := &zone{records: map[string]string{"mx.example.org A": "192.0.2.1", "mx.example.org AAAA": "2001:db8::1"}}
	config := hosts.Config{Key: "sign.networks", Entries: entries("mx.example.org", "mx.example.org", "!bad.example.org"), DNS: z, Logger: log.Logger()}
	l := hosts.New(config)
	in := func(l *hosts.List, address string) bool {
		in, _ := l.Contains(t.Context(), message.NewClient("", address))
		return in
	}
	if _, err := l.Contains(t.Context(), message.NewClient("", "192.0.2.1")); err == nil || !strings.Contains(err.Error(), "mx.example.org") {
		t.Errorf("before it was looked up: %v", err)
	}
	if in(l, "192.0.2.1") || !l.Refresh(t.Context()) || !in(l, "192.0.2.1") || !in(l, "2001:db8::1") {
		t.Error("known before it was looked up, or not after that")
	}
	if log.Count("a host has no address") != 1 || log.Count("host=bad.example.org") != 1 {
		t.Errorf("log: %s", &log)
	}
	if _, err := l.Contains(t.Context(), message.NewClient("", "192.0.2.9")); err != nil {
		t.Errorf("another address, when all are known: %v", err)
	}
	// One family fails, the other has moved.
	z.set("mx.example.org A", "SERVFAIL")
	z.set("mx.example.org AAAA", "2001:db8::2")
	for range 2 {
		if l.Refresh(t.Context()) || !in(l, "192.0.2.1") || in(l, "2001:db8::1") || !in(l, "2001:db8::2") {
			t.Error("an address is lost that DNS could not tell, or one kept that it no longer tells")
		}
	}
	if log.Count("level=WARN msg=\"addresses of a host could not be looked up: it keeps those it had\" key=sign.networks host=mx.example.org addresses=2") != 1 {
		t.Errorf("log: %s", &log)
	}
	// A reload keeps what is known, too.
	config.Previous = l
	l = hosts.New(config)
	if !in(l, "192.0.2.1") || l.Refresh(t.Context()) || !in(l, "192.0.2.1") || log.Count("could not be looked up") != 1 {
		t.Errorf("lost in a reload; log: %s", &log)
	}
	z.set("mx.example.org A", "PANIC")
	if l.Refresh(t.Context()) || !in(l, "192.0.2.1") || log.Count("panic in looking up the hosts of a list") == 0 {
		t.Errorf("after a panic; log: %s", &log)
	}
	// What DNS does not have any more may be a stranger's by now.
	z.set("mx.example.org A", "")
	z.set("mx.example.org AAAA", "")
	if !l.Refresh(t.Context()) || in(l, "192.0.2.1") || in(l, "2001:db8::2") || log.Count("host=mx.example.org addresses=0") != 1 {
		t.Errorf("an address is kept that DNS no longer has; log: %s", &log)
	}
	z.set("mx.example.org A", "192.0.2.3")
	if !l.Refresh(t.Context()) || !in(l, "192.0.2.3") || log.Count("addresses of a host are known again") != 1 {
		t.Errorf("log: %s", &log)
	}
}

func TestRefreshWhileAsked(t *testing.T) {
	t.Parallel()
	z := &zone{records: map[string]string{"mx.example.org A": "192.0.2.1"}}
	l := hosts.New(hosts.Config{Entries: entries("mx.example.org"), DNS: z})
	l.Refresh(t.Context())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				if in, _ := l.Contains(t.Context(), message.NewClient("", "192.0.2.1")); !in {
					t.Error("not in the list meanwhile")
				}
			}
		})
	}
	for range 100 {
		l.Refresh(t.Context())
	}
	all.Wait()
}

// The names in /etc/hosts count too.
func TestHostsFile(t *testing.T) {
	t.Parallel()
	l := hosts.New(hosts.Config{Entries: entries("localhost"), DNS: &zone{}})
	l.Refresh(t.Context())
	if in, _ := l.Contains(t.Context(), message.NewClient("localhost", "127.0.0.1")); !in {
		t.Error("localhost is not 127.0.0.1")
	}
}

// A list costs a message the same however long it is, and no memory.
func TestContainsCostsNoMemory(t *testing.T) {
	many := []string{"10.0.0.0/8", "!10.1.0.0/16", ".example.com"}
	for i := range 10_000 {
		many = append(many, fmt.Sprintf("172.%d.%d.0/24", i>>8, i&255))
	}
	l := hosts.New(hosts.Config{Entries: entries(many...), DNS: &zone{}})
	for _, client := range []message.Client{
		message.NewClient("mail.example.net", "203.0.113.1"), message.NewClient("", "10.1.2.3"), message.NewClient("", "172.3.7.1"), message.NewClient("x.example.net", "2001:db8::1"),
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = l.Contains(t.Context(), client) }); n != 0 {
			t.Errorf("%s: %v allocations", client, n)
		}
	}
}

func TestEntriesAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"192.0.2.0/24", "192.0.2.1", "!2001:db8::/32", "mx.example.org", ".example.org", "!.example.org"} {
		if got := entries(s)[0].String(); got != s {
			t.Errorf("%s is written %s", s, got)
		}
	}
}
