package resolver_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"dkimd/internal/resolver"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestTXTReadsRecords(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 60)
	tests := map[string]struct {
		zone func(*world)
		ask  string
		want []string
	}{
		"one record":                        {func(*world) {}, keyName, []string{keyRecord}},
		"final dot":                         {func(*world) {}, keyName + ".", []string{keyRecord}},
		"case, RFC 1035 2.3.3":              {func(*world) {}, "S1._DomainKey.Example.ORG", []string{keyRecord}},
		"strings joined, RFC 6376 3.6.2.2":  {func(w *world) { w.server.SetTXT(keyName, "v=DKIM1; p", "=", "", "abc") }, keyName, []string{"v=DKIM1; p=abc"}},
		"strings over 255 octets":           {func(w *world) { w.server.SetTXT(keyName, long) }, keyName, []string{long}},
		"raw octets":                        {func(w *world) { w.server.SetTXT(keyName, "n=\"a\\b\\065\"\t\x00\x7f\xff;") }, keyName, []string{"n=\"a\\b\\065\"\t\x00\x7f\xff;"}},
		"several records":                   {func(w *world) { w.server.AddTXT(keyName, "v=spf1 -all") }, keyName, []string{keyRecord, "v=spf1 -all"}},
		"empty record":                      {func(w *world) { w.server.SetTXT(keyName, "") }, keyName, []string{""}},
		"alias":                             {func(w *world) { w.zone(`k.example.org. CNAME ` + keyName + `.`) }, "k.example.org", []string{keyRecord}},
		"chain of 8 aliases":                {func(w *world) { w.zone(chain(8)) }, "a0.example.org", []string{keyRecord}},
		"answer over 1232 octets, by TCP":   {func(w *world) { w.server.SetTXT(keyName, strings.Repeat(long, 4)) }, keyName, []string{strings.Repeat(long, 4)}},
		"record over MaxRecord is cut":      {func(w *world) { w.server.SetTXT(keyName, strings.Repeat("x", 60_000)) }, keyName, []string{strings.Repeat("x", resolver.MaxRecord)}},
		"record of exactly 4096 is not cut": {func(w *world) { w.server.SetTXT(keyName, strings.Repeat("x", 4096)) }, keyName, []string{strings.Repeat("x", 4096)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.zone(w)
			r := w.resolver()
			answer, err := r.TXT(t.Context(), test.ask)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, answer.Records); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			if answer.Server != w.server.Addr() || answer.Authenticated {
				t.Errorf("got server %q, authenticated %t", answer.Server, answer.Authenticated)
			}
			cached, err, ok := r.Cached(test.ask)
			if !ok || err != nil || !cmp.Equal(cached.Records, test.want) {
				t.Errorf("cached: got %v, %v, %t", cached, err, ok)
			}
		})
	}
}

// chain is n aliases that lead to the key, in zone-file form.
func chain(n int) string {
	var zone strings.Builder
	for i := range n - 1 {
		fmt.Fprintf(&zone, "a%d.example.org. CNAME a%d.example.org.\n", i, i+1)
	}
	fmt.Fprintf(&zone, "a%d.example.org. CNAME %s.\n", n-1, keyName)
	return zone.String()
}

func (w *world) zone(text string) {
	w.t.Helper()
	if err := w.server.SetZone(text); err != nil {
		w.t.Fatal(err)
	}
}

// TestTXTErrors breaks one thing in a world where the key is found. What it
// comes to is one error and none of the others.
func TestTXTErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		breaks func(*world)
		want   error
		cause  error
	}{
		"nothing broken":                         {func(*world) {}, nil, nil},
		"NXDOMAIN":                               {func(w *world) { w.server.Delete(keyName) }, resolver.ErrNotExist, nil},
		"NXDOMAIN, by code":                      {func(w *world) { w.server.SetRcode(keyName, dns.RcodeNameError) }, resolver.ErrNotExist, nil},
		"no data":                                {func(w *world) { w.zone(keyName + ". A 192.0.2.1") }, resolver.ErrNoData, nil},
		"empty non-terminal, RFC 8020":           {func(w *world) { w.name = "_domainkey.example.org" }, resolver.ErrNoData, nil},
		"alias to nothing, RFC 6604":             {func(w *world) { w.zone(keyName + ". CNAME gone.example.org.") }, resolver.ErrNotExist, nil},
		"alias to no data":                       {func(w *world) { w.zone(keyName + ". CNAME a.example.org.\na.example.org. A 192.0.2.1") }, resolver.ErrNoData, nil},
		"alias to itself":                        {func(w *world) { w.zone(keyName + ". CNAME " + keyName + ".") }, resolver.ErrTemporary, resolver.ErrAlias},
		"alias loop":                             {func(w *world) { w.zone(keyName + ". CNAME b.example.org.\nb.example.org. CNAME " + keyName + ".") }, resolver.ErrTemporary, resolver.ErrAlias},
		"chain of 9 aliases":                     {func(w *world) { w.zone(chain(9)); w.name = "a0.example.org" }, resolver.ErrTemporary, resolver.ErrAlias},
		"alias to what is no name":               {func(w *world) { w.zone(keyName + `. CNAME a\032b.example.org.`) }, resolver.ErrTemporary, resolver.ErrMalformed},
		"SERVFAIL":                               {func(w *world) { w.server.SetRcode(keyName, dns.RcodeServerFailure) }, resolver.ErrTemporary, resolver.ErrServerFailure},
		"REFUSED":                                {func(w *world) { w.server.SetRcode(keyName, dns.RcodeRefused) }, resolver.ErrTemporary, resolver.ErrRefused},
		"FORMERR":                                {func(w *world) { w.server.SetRcode(keyName, dns.RcodeFormatError) }, resolver.ErrTemporary, nil},
		"NOTIMP":                                 {func(w *world) { w.server.SetRcode(keyName, dns.RcodeNotImplemented) }, resolver.ErrTemporary, nil},
		"YXDOMAIN":                               {func(w *world) { w.server.SetRcode(keyName, dns.RcodeYXDomain) }, resolver.ErrTemporary, nil},
		"silence":                                {func(w *world) { w.server.Drop(keyName); w.config.Timeout = 50 * time.Millisecond }, resolver.ErrTemporary, resolver.ErrTimeout},
		"answer too late":                        {func(w *world) { w.server.SetDelay(keyName, time.Hour); w.config.Timeout = 50 * time.Millisecond }, resolver.ErrTemporary, resolver.ErrTimeout},
		"nobody listens":                         {func(w *world) { w.server.Close() }, resolver.ErrTemporary, resolver.ErrNetwork},
		"empty name":                             {func(w *world) { w.name = "" }, resolver.ErrName, resolver.ErrNotExist},
		"root":                                   {func(w *world) { w.name = "." }, resolver.ErrName, resolver.ErrNotExist},
		"empty label":                            {func(w *world) { w.name = "s1.._domainkey.example.org" }, resolver.ErrName, resolver.ErrNotExist},
		"two final dots":                         {func(w *world) { w.name = keyName + ".." }, resolver.ErrName, resolver.ErrNotExist},
		"leading dot":                            {func(w *world) { w.name = "." + keyName }, resolver.ErrName, resolver.ErrNotExist},
		"label of 64 octets, RFC 1035 2.3.4":     {func(w *world) { w.name = strings.Repeat("a", 64) + ".example.org" }, resolver.ErrName, resolver.ErrNotExist},
		"label of 63 octets":                     {func(w *world) { w.name = strings.Repeat("a", 63) + ".example.org" }, resolver.ErrNotExist, nil},
		"name of 254 octets":                     {func(w *world) { w.name = strings.Repeat("a.", 126) + "aa" }, resolver.ErrName, resolver.ErrNotExist},
		"name of 253 octets":                     {func(w *world) { w.name = strings.Repeat("a.", 126) + "a" }, resolver.ErrNotExist, nil},
		"space":                                  {func(w *world) { w.name = "s 1._domainkey.example.org" }, resolver.ErrName, resolver.ErrNotExist},
		"line feed":                              {func(w *world) { w.name = "s1\n._domainkey.example.org" }, resolver.ErrName, resolver.ErrNotExist},
		"NUL":                                    {func(w *world) { w.name = "s1\x00._domainkey.example.org" }, resolver.ErrName, resolver.ErrNotExist},
		"backslash":                              {func(w *world) { w.name = `s1\046._domainkey.example.org` }, resolver.ErrName, resolver.ErrNotExist},
		"U-label, RFC 8616":                      {func(w *world) { w.name = "s1._domainkey.bücher.example" }, resolver.ErrName, resolver.ErrNotExist},
		"no-break space":                         {func(w *world) { w.name = "s1._domainkey.exam\u00a0ple.org" }, resolver.ErrName, resolver.ErrNotExist},
		"wildcard":                               {func(w *world) { w.name = "*._domainkey.example.org" }, resolver.ErrName, resolver.ErrNotExist},
		"relative name is not searched anywhere": {func(w *world) { w.name = "s1" }, resolver.ErrNotExist, nil},
	}
	outcomes := []error{resolver.ErrNotExist, resolver.ErrNoData, resolver.ErrTemporary, resolver.ErrName}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.breaks(w)
			r := w.resolver()
			answer, err := r.TXT(t.Context(), w.name)
			if !errors.Is(err, test.want) || test.cause != nil && !errors.Is(err, test.cause) {
				t.Fatalf("got %v; want %v (%v)", err, test.want, test.cause)
			}
			for _, other := range outcomes {
				wanted := errors.Is(test.want, other) // ErrName is an ErrNotExist
				if errors.Is(err, other) != wanted {
					t.Errorf("%v: errors.Is(%v) is %t", err, other, !wanted)
				}
			}
			if err != nil && len(answer.Records) != 0 {
				t.Errorf("records beside an error: %q", answer.Records)
			}
			if errors.Is(err, resolver.ErrName) && w.server.Queries(w.name) != 0 {
				t.Error("the name was sent to DNS")
			}
			// A failure is not kept, unless what DNS holds makes it.
			kept := !errors.Is(test.want, resolver.ErrTemporary) || errors.Is(test.cause, resolver.ErrAlias)
			_, again, ok := r.Cached(w.name)
			if ok != kept || ok && !errors.Is(again, test.want) {
				t.Errorf("cached: got %v, %t; want %v, %t", again, ok, test.want, kept)
			}
		})
	}
}

// TestSOABesideAnAliasEndsTheChain: it says that the target has no data, so the
// target need not be asked for.
func TestSOABesideAnAliasEndsTheChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.zone(keyName + ". CNAME a.example.org.\na.example.org. A 192.0.2.1")
	if _, err := w.resolver().TXT(t.Context(), keyName); !errors.Is(err, resolver.ErrNoData) {
		t.Errorf("got %v", err)
	}
	if got := w.server.Queries("a.example.org"); got != 0 {
		t.Errorf("the target was asked for %d times", got)
	}
}

func TestTXTKeepsAtMostMaxRecords(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{16: 16, 256: 256, 257: 256, 500: 256} {
		w := newWorld(t)
		w.server.SetTXT(keyName, "0")
		for i := 1; i < n; i++ {
			w.server.AddTXT(keyName, strconv.Itoa(i))
		}
		answer, err := w.resolver().TXT(t.Context(), keyName)
		if err != nil || len(answer.Records) != want {
			t.Errorf("of %d records got %d, %v; want %d", n, len(answer.Records), err, want)
		}
	}
}

func TestTXTGoesToTCPOnTruncation(t *testing.T) {
	t.Parallel()
	server := startHostile(t, func(h heard) {
		if h.network == "udp" {
			h.reply(h.message(func(m *dns.Msg) {
				// What a truncated answer holds is not to be used (RFC 2181 section 9).
				m.Truncated = true
				m.Answer = []dns.RR{txtOf(m.Question[0].Name, "half")}
			}))
			return
		}
		h.reply(h.txt("whole"))
	})
	answer, err := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough}).TXT(t.Context(), keyName)
	if err != nil || !cmp.Equal(answer.Records, []string{"whole"}) {
		t.Errorf("got %q, %v", answer.Records, err)
	}
	if server.udp.Load() != 1 || server.tcp.Load() != 1 {
		t.Errorf("asked %d times over UDP, %d over TCP; want once each", server.udp.Load(), server.tcp.Load())
	}
}

func TestTXTReportsAuthenticatedDataOfAllTheChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.SetAuthenticated(keyName)
	r := w.resolver()
	if answer, err := r.TXT(t.Context(), keyName); err != nil || !answer.Authenticated {
		t.Errorf("got %+v, %v; want authenticated", answer, err)
	}

	// The alias comes without its target, and only one of them authenticated.
	for _, signed := range []string{keyName + ".", "k.example.net."} {
		server := startHostile(t, func(h heard) {
			h.reply(h.message(func(m *dns.Msg) {
				m.AuthenticatedData = m.Question[0].Name == signed
				m.Answer = []dns.RR{cnameOf(keyName+".", "k.example.net.")}
				if m.Question[0].Name != keyName+"." {
					m.Answer = []dns.RR{txtOf("k.example.net.", "key")}
				}
			}))
		})
		answer, err := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough}).TXT(t.Context(), keyName)
		if err != nil || answer.Authenticated || !cmp.Equal(answer.Records, []string{"key"}) {
			t.Errorf("%s authenticated: got %+v, %v; want a key that is not", signed, answer, err)
		}
		if server.udp.Load() != 2 {
			t.Errorf("%d queries; want 2", server.udp.Load())
		}
	}
}

func TestQueryIsWhatServersExpect(t *testing.T) {
	t.Parallel()
	server := startHostile(t, func(h heard) {
		query := new(dns.Msg)
		if err := query.Unpack(h.query); err != nil {
			t.Error(err)
		}
		opt := query.IsEdns0()
		switch {
		case opt == nil || opt.UDPSize() != 1232 || opt.Do() || len(opt.Option) != 0:
			t.Errorf("EDNS0: got %v; want 1232 octets, no DO, no options (no client subnet)", opt)
		case !query.RecursionDesired || !query.AuthenticatedData || query.CheckingDisabled:
			t.Errorf("flags: got %+v; want RD and AD", query.MsgHdr)
		case len(query.Question) != 1 || query.Question[0] != dns.Question{Name: keyName + ".", Qtype: dns.TypeTXT, Qclass: dns.ClassINET}:
			t.Errorf("question: got %v", query.Question)
		}
		h.reply(h.txt("key"))
	})
	if _, err := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough}).TXT(t.Context(), keyName); err != nil {
		t.Error(err)
	}
}

func TestNewReportsAllFaults(t *testing.T) {
	t.Parallel()
	_, err := resolver.New(resolver.Config{
		Servers: []string{"ns.example.org", "127.0.0.1:0", "127.0.0.1"}, Timeout: -1, Attempts: -1, CacheEntries: -1, MaxQueries: -1,
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`servers: got "ns.example.org"`, `servers: got "127.0.0.1:0"`, "timeout: got", "attempts: got -1", "cache_entries: got -1", "max_queries: got -1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q; want it to say %q", err, want)
		}
	}
}
