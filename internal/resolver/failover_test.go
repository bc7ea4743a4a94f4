package resolver_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/resolver"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// TestNextServerIsAsked has a first server that fails in one way, and a second
// one that has the key.
func TestNextServerIsAsked(t *testing.T) {
	t.Parallel()
	code := func(rcode int) func(heard) {
		return func(h heard) { h.reply(h.message(func(m *dns.Msg) { m.Rcode = rcode })) }
	}
	tests := map[string]struct {
		first func(heard)
		times int64 // queries that the first server gets
	}{
		"SERVFAIL": {code(dns.RcodeServerFailure), 1},
		"REFUSED":  {code(dns.RcodeRefused), 1},
		"FORMERR, also without EDNS0, RFC 6891 7": {code(dns.RcodeFormatError), 2},
		"an unknown code":                         {code(11), 1},
		"lame: a referral": {func(h heard) {
			h.reply(h.message(func(m *dns.Msg) {
				m.RecursionAvailable = false
				m.Ns = []dns.RR{nsOf("org.", "a.ns.example.")}
			}))
		}, 1},
		"lame: NXDOMAIN out of nothing": {func(h heard) {
			h.reply(h.message(func(m *dns.Msg) {
				m.RecursionAvailable = false
				m.Rcode = dns.RcodeNameError
			}))
		}, 1},
		"record cut off": {func(h heard) {
			packet := h.txt("a key")
			h.reply(packet[:len(packet)-1])
		}, 1},
		"more records announced than there": {func(h heard) {
			packet := h.txt("a key")
			packet[7] = 2
			h.reply(packet)
		}, 1},
		"TXT string longer than its record": {func(h heard) {
			packet := h.txt("a key")
			packet[len(packet)-6] = 200
			h.reply(packet)
		}, 1},
		"truncated, and no TCP": {func(h heard) {
			if h.network == "udp" {
				h.reply(h.message(func(m *dns.Msg) { m.Truncated = true }))
				return
			}
			h.reply([]byte{1})
		}, 1},
		"truncated over TCP too": {func(h heard) {
			h.reply(h.message(func(m *dns.Msg) { m.Truncated = true }))
		}, 1},
		"another question's answer over TCP": {func(h heard) {
			h.reply(h.message(func(m *dns.Msg) {
				m.Truncated = h.network == "udp"
				if h.network == "tcp" {
					m.Question[0].Name = "other.example."
				}
			}))
		}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			first := startHostile(t, test.first)
			w.config.Servers = []string{first.addr, w.server.Addr()}
			answer, err := w.resolver().TXT(t.Context(), keyName)
			if err != nil || !cmp.Equal(answer.Records, []string{keyRecord}) || answer.Server != w.server.Addr() {
				t.Errorf("got %+v, %v; want the second server's answer", answer, err)
			}
			if got := first.udp.Load(); got != test.times {
				t.Errorf("the first server was asked %d times over UDP; want %d", got, test.times)
			}
		})
	}
}

func TestSilentServerIsAskedLastForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const silent, lively = "192.0.2.1:53", "192.0.2.2:53"
		var turned atomic.Bool
		network := newBubble(func(address string, h heard) {
			if (address == lively) != turned.Load() && !h.asks("dead") {
				h.reply(h.txt("key"))
			}
		})
		r, err := resolver.New(resolver.Config{Servers: []string{silent, lively}, Dial: network.dial})
		if err != nil {
			t.Fatal(err)
		}
		lookup := func(name string, want ...string) {
			t.Helper()
			if _, err := r.TXT(t.Context(), name); err != nil {
				t.Error(err)
			}
			var asked []string
			for _, v := range network.visited() {
				asked = append(asked, v.Address)
			}
			if diff := cmp.Diff(want, asked); diff != "" {
				t.Errorf("%s: asked (-want +got):\n%s", name, diff)
			}
		}
		lookup("a.example.org", silent, lively)
		lookup("b.example.org", lively)
		time.Sleep(31 * time.Second) //nolint:forbidigo // synctest: no time passes
		lookup("c.example.org", silent, lively)
		// A name that nobody answered for says nothing about the servers, whether
		// all were asked or the waiter left before.
		for _, patience := range []time.Duration{time.Minute, 2 * time.Second} {
			time.Sleep(31 * time.Second) //nolint:forbidigo // synctest: no time passes
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			if _, err := r.TXT(ctx, patience.String()+"dead.example.org"); !errors.Is(err, resolver.ErrTemporary) {
				t.Errorf("got %v", err)
			}
			cancel()
			synctest.Wait()
			network.visited()
			lookup(patience.String()+"d.example.org", silent, lively)
		}
		// The silent one is back, and the other gone: it need not wait for its turn.
		turned.Store(true)
		lookup("e.example.org", lively, silent)
		lookup("f.example.org", silent)
		turned.Store(false)
		lookup("g.example.org", silent, lively)
		lookup("h.example.org", lively)
		// A reload does not forget it.
		if r, err = resolver.New(resolver.Config{Servers: []string{silent, lively}, Dial: network.dial, Previous: r}); err != nil {
			t.Fatal(err)
		}
		lookup("i.example.org", lively)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		network.running.Wait()
	})
}

// TestAbsenceCountsFromWhoCouldKnow: some forwarders leave the SOA record out.
func TestAbsenceCountsFromWhoCouldKnow(t *testing.T) {
	t.Parallel()
	soa, err := dns.NewRR("example.org. 60 SOA ns.example.org. root.example.org. 1 2 3 4 5")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(*dns.Msg)
		want   error
	}{
		"recursion available": {func(*dns.Msg) {}, resolver.ErrNoData},
		"authoritative":       {func(m *dns.Msg) { m.RecursionAvailable, m.Authoritative = false, true }, resolver.ErrNoData},
		"SOA record":          {func(m *dns.Msg) { m.RecursionAvailable, m.Ns = false, []dns.RR{soa} }, resolver.ErrNoData},
		"none of these":       {func(m *dns.Msg) { m.RecursionAvailable = false }, resolver.ErrLame},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startHostile(t, func(h heard) { h.reply(h.message(test.change)) })
			_, err := newResolver(t, resolver.Config{Servers: []string{server.addr}}).TXT(t.Context(), keyName)
			if !errors.Is(err, test.want) || errors.Is(err, resolver.ErrTemporary) != errors.Is(test.want, resolver.ErrLame) {
				t.Errorf("got %v; want %v", err, test.want)
			}
		})
	}
}

func TestServerWithoutEDNSIsAskedWithoutIt(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]func(heard) []byte{
		"FORMERR": func(h heard) []byte { return h.message(func(m *dns.Msg) { m.Rcode = dns.RcodeFormatError }) },
		"FORMERR without question": func(h heard) []byte {
			return h.message(func(m *dns.Msg) { m.Rcode, m.Question = dns.RcodeFormatError, nil })
		},
		"NOTIMP": func(h heard) []byte { return h.message(func(m *dns.Msg) { m.Rcode = dns.RcodeNotImplemented }) },
		"BADVERS": func(h heard) []byte {
			return h.message(func(m *dns.Msg) { m.SetEdns0(512, false); m.Rcode = dns.RcodeBadVers })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startHostile(t, func(h heard) {
				if h.query[11] > 0 { // additional records: OPT
					h.reply(refusal(h))
					return
				}
				h.reply(h.txt("key"))
			})
			answer, err := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough}).TXT(t.Context(), keyName)
			if err != nil || !cmp.Equal(answer.Records, []string{"key"}) {
				t.Errorf("got %q, %v", answer.Records, err)
			}
		})
	}
}

// TestTimeIsDividedOverServersAndAttempts: two servers, two attempts and one without
// EDNS0, 5 s, and nobody answers: a sixth of it passes after each, and at 5 s it is over.
func TestTimeIsDividedOverServersAndAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := newBubble(func(string, heard) {})
		r, err := resolver.New(resolver.Config{Servers: []string{"192.0.2.1", "192.0.2.2"}, Dial: network.dial})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.TXT(t.Context(), keyName)
		if !errors.Is(err, resolver.ErrTimeout) || !errors.Is(err, resolver.ErrTemporary) {
			t.Errorf("got %v; want a timeout", err)
		}
		if took := time.Since(network.start); took != 5*time.Second {
			t.Errorf("took %v; want 5s", took)
		}
		const pause = 5 * time.Second / 6
		want := []visit{
			{"192.0.2.1:53", 0, true},
			{"192.0.2.2:53", 1 * pause, true},
			{"192.0.2.1:53", 2 * pause, true},
			{"192.0.2.2:53", 3 * pause, true},
			{"192.0.2.1:53", 4 * pause, false},
			{"192.0.2.2:53", 5 * pause, false},
		}
		if diff := cmp.Diff(want, network.visited()); diff != "" {
			t.Errorf("tries (-want +got):\n%s", diff)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		network.running.Wait()
	})
}
