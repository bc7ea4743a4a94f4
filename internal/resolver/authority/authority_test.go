package authority_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"dkimd/internal/resolver/authority"
)

// world is some name servers by address. Each is authoritative for one zone; 192.0.2.1 is recursive and knows all.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	servers map[string]*nameServer
	at      map[string]string // address -> where it really listens
}

type nameServer struct {
	zone    string
	records []dns.RR
	down    bool   // it does not answer
	udp     string // a record that only UDP has
	lame    bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, servers: map[string]*nameServer{}, at: map[string]string{}}
	w.add("192.0.2.1:53", ".", `
. 60 IN NS ns.root.
ns.root. 60 IN A 192.0.2.2
org. 60 IN NS ns.org.
ns.org. 60 IN A 192.0.2.3
example.org. 60 IN NS ns1.example.org.
ns1.example.org. 60 IN A 192.0.2.11
ns2.example.org. 60 IN A 192.0.2.12
ns2.example.org. 60 IN AAAA 2001:db8::12
provider.org. 60 IN NS ns.provider.org.
ns.provider.org. 60 IN A 192.0.2.21
alias._domainkey.example.org. 60 IN CNAME s1.provider.org.
`)
	w.add("192.0.2.3:53", "org.", `
example.org. 60 IN NS ns1.example.org.
example.org. 60 IN NS ns2.example.org.
ns1.example.org. 60 IN A 192.0.2.11
ns2.example.org. 60 IN A 192.0.2.12
ns2.example.org. 60 IN AAAA 2001:db8::12
provider.org. 60 IN NS ns.provider.org.
ns.provider.org. 60 IN A 192.0.2.21
`)
	const zone = `
example.org. 3600 IN SOA ns1 host 1 2 3 4 900
s1._domainkey.example.org. 300 IN TXT "v=DKIM1; " "p=a\"b"
alias._domainkey.example.org. 60 IN CNAME s1.provider.org.
`
	w.add("192.0.2.11:53", "example.org.", zone)
	w.add("192.0.2.12:53", "example.org.", zone)
	w.add("192.0.2.21:53", "provider.org.", "provider.org. 100 IN SOA ns1 host 1 2 3 4 900\ns1.provider.org. 60 IN TXT \"there\"\n")
	return w
}

func (w *world) add(address, zone, records string) {
	w.t.Helper()
	s := &nameServer{zone: zone}
	parser := dns.NewZoneParser(strings.NewReader(records), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		s.records = append(s.records, rr)
	}
	if err := parser.Err(); err != nil {
		w.t.Fatal(err)
	}
	w.change(func(w *world) { w.servers[address] = s })
	for _, network := range []string{"udp", "tcp"} {
		server := &dns.Server{Net: network, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) { w.answer(s, network, rw, q) })}
		var err error
		w.mu.Lock()
		if network == "udp" {
			server.PacketConn, err = new(net.ListenConfig).ListenPacket(w.t.Context(), "udp", "127.0.0.1:0")
			w.at["udp"+address] = server.PacketConn.LocalAddr().String()
		} else {
			server.Listener, err = new(net.ListenConfig).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
			w.at["tcp"+address] = server.Listener.Addr().String()
		}
		w.mu.Unlock()
		if err != nil {
			w.t.Fatal(err)
		}
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		w.t.Cleanup(func() { _ = server.Shutdown() })
	}
}

// change changes the servers, which answer already.
func (w *world) change(f func(w *world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

func (w *world) answer(s *nameServer, network string, rw dns.ResponseWriter, q *dns.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.down {
		return
	}
	m := new(dns.Msg).SetReply(q)
	name := dns.CanonicalName(q.Question[0].Name)
	m.Authoritative = !s.lame && s.zone != "."
	for _, rr := range s.records {
		h := rr.Header()
		if dns.CanonicalName(h.Name) == name && (h.Rrtype == q.Question[0].Qtype || h.Rrtype == dns.TypeCNAME) {
			m.Answer = append(m.Answer, rr)
		}
		if strings.HasPrefix(h.Name, "*.") && strings.HasSuffix(name, h.Name[1:]) && h.Rrtype == q.Question[0].Qtype {
			rr = dns.Copy(rr)
			rr.Header().Name = name
			m.Answer = append(m.Answer, rr)
		}
		if h.Rrtype == dns.TypeSOA && len(m.Answer) == 0 {
			m.Ns = append(m.Ns, rr)
		}
	}
	if network == "udp" && s.udp != "" && q.Question[0].Qtype == dns.TypeTXT {
		m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}, Txt: []string{s.udp}}}
	}
	if s.zone == "org." { // a parent refers
		m.Authoritative, m.Ns, m.Answer = false, m.Answer, nil
	}
	_ = rw.WriteMsg(m)
}

func (w *world) config() authority.Config {
	return authority.Config{
		Recursive: []string{"192.0.2.1:53"},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "[") {
				return nil, &net.OpError{Op: "dial", Err: syscall.ENETUNREACH}
			}
			at := w.at[network+address]
			if at == "" {
				return nil, errors.New("no such server in this world: " + address)
			}
			return new(net.Dialer).DialContext(ctx, network, at)
		},
	}
}

// Every server of the parent's list counts, also one that the zone itself does not name, and each says one thing.
func TestLook(t *testing.T) {
	t.Parallel()
	const name = "s1._domainkey.example.org"
	tests := map[string]struct {
		change func(w *world)
		name   string
		want   string
	}{
		"both have it": {nil, name, `ns1.example.org (192.0.2.11:53): [v=DKIM1; p=a"b] 5m0s 15m0s; ns2.example.org (192.0.2.12:53): [v=DKIM1; p=a"b] 5m0s 15m0s`},
		"one is down": {
			func(w *world) { w.servers["192.0.2.12:53"].down = true }, name,
			`ns1.example.org (192.0.2.11:53): [v=DKIM1; p=a"b] 5m0s 15m0s; ns2.example.org (192.0.2.12:53): no answer over UDP`,
		},
		"one has only TCP right": {
			func(w *world) { w.servers["192.0.2.12:53"].udp = "else" }, name,
			`ns1.example.org (192.0.2.11:53): [v=DKIM1; p=a"b] 5m0s 15m0s; ns2.example.org (192.0.2.12:53): says something else over UDP than over TCP`,
		},
		"one is lame": {
			func(w *world) { w.servers["192.0.2.12:53"].lame = true }, name,
			`ns1.example.org (192.0.2.11:53): [v=DKIM1; p=a"b] 5m0s 15m0s; ns2.example.org (192.0.2.12:53): is not authoritative for s1._domainkey.example.org`,
		},
		"absent":   {nil, "s2._domainkey.example.org", `ns1.example.org (192.0.2.11:53): [] 0s 15m0s; ns2.example.org (192.0.2.12:53): [] 0s 15m0s`},
		"an alias": {nil, "alias._domainkey.example.org", `s1.provider.org: ns.provider.org (192.0.2.21:53): [there] 1m0s 1m40s`},
		"an alias that one server lacks": {
			func(w *world) { w.servers["192.0.2.12:53"].records = w.servers["192.0.2.12:53"].records[:2] }, "alias._domainkey.example.org",
			`s1.provider.org: ns2.example.org (192.0.2.12:53): does not have the alias of alias._domainkey.example.org to s1.provider.org; ns.provider.org (192.0.2.21:53): [there] 1m0s 1m40s`,
		},
		"one that only the zone itself names": {
			func(w *world) {
				for _, line := range []string{"example.org. 60 IN NS ns3.example.org.", "ns3.example.org. 60 IN A 192.0.2.13"} {
					rr, _ := dns.NewRR(line)
					w.servers["192.0.2.1:53"].records = append(w.servers["192.0.2.1:53"].records, rr)
				}
				w.servers["192.0.2.13:53"] = w.servers["192.0.2.12:53"]
				for _, network := range []string{"udp", "tcp"} {
					w.at[network+"192.0.2.13:53"] = w.at[network+"192.0.2.12:53"]
				}
			}, "s2._domainkey.example.org",
			`ns1.example.org (192.0.2.11:53): [] 0s 15m0s; ns2.example.org (192.0.2.12:53): [] 0s 15m0s; ns3.example.org (192.0.2.13:53): [] 0s 15m0s`,
		},
		"the parent is down": {
			func(w *world) { w.servers["192.0.2.3:53"].down = true }, name,
			"find the servers of s1._domainkey.example.org: delegation of example.org: no answer over UDP",
		},
		"a wildcard": {
			func(w *world) {
				rr, _ := dns.NewRR(`*._domainkey.example.org. 60 IN TXT "all"`)
				for _, a := range []string{"192.0.2.11:53", "192.0.2.12:53"} {
					w.servers[a].records = append(w.servers[a].records, rr)
				}
			}, "s3._domainkey.example.org",
			`ns1.example.org (192.0.2.11:53): [all] 1m0s 15m0s wildcard; ns2.example.org (192.0.2.12:53): [all] 1m0s 15m0s wildcard`,
		},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if test.change != nil {
				w.change(test.change)
			}
			v := w.config().Look(t.Context(), test.name, nil)
			if got := text(v, test.name); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// Servers that are named take the place of those of the zone.
func TestLookAtNamedServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.config().Look(t.Context(), "s1._domainkey.example.org", []string{"192.0.2.12"})
	if got, want := text(v, v.Name), `192.0.2.12:53: [v=DKIM1; p=a"b] 5m0s 15m0s`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, want := range map[string]string{
		"alias._domainkey.example.org": "s1.provider.org in provider.org", "s9._domainkey.example.org": "s9._domainkey.example.org in example.org",
	} {
		target, zone, err := w.config().Place(t.Context(), name)
		if got := target + " in " + zone; got != want || err != nil {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, want)
		}
	}
}

func text(v authority.View, name string) string {
	if v.Err != nil {
		return v.Err.Error()
	}
	var all []string
	for _, s := range v.Said {
		if s.Err != nil {
			all = append(all, s.Server+": "+s.Err.Error())
			continue
		}
		one := fmt.Sprintf("%s: %v %v %v", s.Server, s.Texts, s.TTL, s.Negative)
		if s.Wildcard {
			one += " wildcard"
		}
		all = append(all, one)
	}
	line := strings.Join(all, "; ")
	if v.Name != name {
		line = v.Name + ": " + line
	}
	return line
}

// Nothing waits longer than its context.
func TestLookEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.change(func(w *world) {
		for _, s := range w.servers {
			s.down = true
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if v := w.config().Look(ctx, "s1._domainkey.example.org", nil); v.Err == nil {
		t.Error("no error though nobody answers")
	}
}
