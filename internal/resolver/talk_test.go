package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/resolver"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

const remote, other, third = "192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"

// inBubble hands a resolver of some servers to a test where no time passes.
func inBubble(t *testing.T, do func(address string, h heard), config resolver.Config, test func(t *testing.T, r *resolver.Resolver, network *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := newBubble(do)
		if config.Dial == nil {
			config.Dial = network.dial
		}
		r, err := resolver.New(config)
		if err != nil {
			t.Fatal(err)
		}
		test(t, r, network)
		closeFlight(t, r, network)
	})
}

func (b *bubble) took() time.Duration { return time.Since(b.start) }

// wantKey looks a name up that has a key.
func wantKey(t *testing.T, r *resolver.Resolver, name string) {
	t.Helper()
	if answer, err := r.TXT(t.Context(), name); err != nil || !cmp.Equal(answer.Records, []string{"key"}) {
		t.Errorf("%s: got %q, %v", name, answer.Records, err)
	}
}

// TestQueriesGoOutAgain: packets are lost, and answers may be late.
func TestQueriesGoOutAgain(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		servers  []string
		attempts int
		delays   []time.Duration // of the answers to the first, second... packet; -1: lost
		want     time.Duration
		next     []string // in which order they are asked then
	}{
		"nothing is lost":                      {[]string{remote}, 2, []time.Duration{0}, 0, []string{remote}},
		"the first is lost":                    {[]string{remote}, 2, []time.Duration{-1, 0}, time.Second, []string{remote}},
		"two are lost":                         {[]string{remote}, 2, []time.Duration{-1, -1, 0}, 2 * time.Second, []string{remote}},
		"three are lost":                       {[]string{remote}, 3, []time.Duration{-1, -1, -1, 0}, 3 * time.Second, []string{remote}},
		"a late answer to the first counts":    {[]string{remote}, 2, []time.Duration{4500 * time.Millisecond, -1, -1}, 4500 * time.Millisecond, []string{remote}},
		"and if each takes as long":            {[]string{remote}, 2, []time.Duration{1200 * time.Millisecond, 1200 * time.Millisecond}, 1200 * time.Millisecond, []string{remote}},
		"the next server":                      {[]string{remote, other}, 1, []time.Duration{-1, 0}, time.Second, []string{other, remote}},
		"the first one answers while both are": {[]string{remote, other}, 1, []time.Duration{1100 * time.Millisecond, -1}, 1100 * time.Millisecond, []string{remote, other}},
		"of three too":                         {[]string{remote, other, third}, 1, []time.Duration{1100 * time.Millisecond, -1}, 1100 * time.Millisecond, []string{remote, other, third}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var packets atomic.Int64
			answer := func(_ string, h heard) {
				delay := time.Duration(-1)
				if n := int(packets.Add(1)) - 1; n < len(test.delays) {
					delay = test.delays[n]
				}
				if delay >= 0 {
					time.Sleep(delay) //nolint:forbidigo // synctest: no time passes
					h.reply(h.txt("key"))
				}
			}
			inBubble(t, answer, resolver.Config{Servers: test.servers, Attempts: test.attempts}, func(t *testing.T, r *resolver.Resolver, network *bubble) {
				t.Helper()
				wantKey(t, r, keyName)
				if got := network.took(); got != test.want {
					t.Errorf("took %v; want %v", got, test.want)
				}
				network.visited()
				_, _ = r.TXT(t.Context(), "next.example.org")
				var order []string
				for _, v := range network.visited()[:len(test.servers)] {
					order = append(order, v.Address)
				}
				if !cmp.Equal(order, test.next) {
					t.Errorf("then %v are asked; want %v", order, test.next)
				}
			})
		})
	}
}

// TestServerThatRestartsIsWaitedFor: a resolver on this host is away for half a second.
func TestServerThatRestartsIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := newBubble(func(_ string, h heard) { h.reply(h.txt("key")) })
		var dials atomic.Int64
		r, err := resolver.New(resolver.Config{Servers: []string{"127.0.0.1", "::1"}, Dial: func(ctx context.Context, kind, address string) (net.Conn, error) {
			dials.Add(1)
			if network.took() < 500*time.Millisecond {
				return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
			}
			return network.dial(ctx, kind, address)
		}})
		if err != nil {
			t.Fatal(err)
		}
		wantKey(t, r, keyName)
		// Both are tried at once, and again after the pause.
		if took := network.took(); took < 500*time.Millisecond || took > time.Second || dials.Load() != 3 {
			t.Errorf("took %v and %d sockets", took, dials.Load())
		}
		closeFlight(t, r, network)
	})
}

// TestServerSilentToEDNSIsAskedWithoutIt, and for a while not bothered with it again.
func TestServerSilentToEDNSIsAskedWithoutIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ string, h heard) {
		if h.query[11] == 0 {
			h.reply(h.txt("key"))
		}
	}, resolver.Config{Servers: []string{remote}}, func(t *testing.T, r *resolver.Resolver, network *bubble) {
		t.Helper()
		wantKey(t, r, keyName)
		want := []visit{{remote, 0, true}, {remote, time.Second, true}, {remote, 2 * time.Second, false}}
		if diff := cmp.Diff(want, network.visited()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		wantKey(t, r, "second.example.org")
		if diff := cmp.Diff([]visit{{remote, 2 * time.Second, false}}, network.visited()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		time.Sleep(10 * time.Minute) //nolint:forbidigo // synctest: no time passes
		wantKey(t, r, "third.example.org")
		if got := network.visited(); len(got) != 3 || !got[0].EDNS {
			t.Errorf("after ten minutes: got %v", got)
		}
	})
}

// TestServerThatKnowsEDNSGoesOnBeingAskedWithIt: it was slow, and answered the last query first.
func TestServerThatKnowsEDNSGoesOnBeingAskedWithIt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ string, h heard) {
		if !h.asks("slow") || h.query[11] == 0 {
			h.reply(h.message(func(m *dns.Msg) {
				m.Answer = []dns.RR{txtOf(m.Question[0].Name, "key")}
				if h.query[11] > 0 {
					m.SetEdns0(1232, false)
				}
			}))
		}
	}, resolver.Config{Servers: []string{remote}}, func(t *testing.T, r *resolver.Resolver, network *bubble) {
		t.Helper()
		wantKey(t, r, "first.example.org")
		wantKey(t, r, "slow.example.org")
		network.visited()
		wantKey(t, r, "last.example.org")
		if got := network.visited(); len(got) != 1 || !got[0].EDNS {
			t.Errorf("got %v", got)
		}
	})
}

// nameIn is the name asked for as it came.
func nameIn(t *testing.T, query []byte) string {
	t.Helper()
	name, _, err := dns.UnpackDomainName(query, 12)
	if err != nil {
		t.Error(err)
	}
	return name
}

// TestCaseOfNamesIsRandomTowardsOthers: who guesses an answer has to guess that too. On
// this host nobody can.
func TestCaseOfNamesIsRandomTowardsOthers(t *testing.T) {
	t.Parallel()
	for server, mixed := range map[string]bool{"192.0.2.1": true, "2001:db8::1": true, "127.0.0.1": false, "127.0.0.53": false, "::1": false} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			names := make(map[string]int)
			inBubble(t, func(_ string, h heard) {
				mu.Lock()
				names[nameIn(t, h.query)]++
				mu.Unlock()
				h.reply(h.message(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }))
			}, resolver.Config{Servers: []string{server}, Attempts: 1}, func(t *testing.T, r *resolver.Resolver, _ *bubble) {
				t.Helper()
				for range 20 {
					_, _ = r.TXT(t.Context(), keyName)
				}
			})
			for name := range names {
				if strings.ToLower(name) != keyName+"." {
					t.Errorf("asked for %q", name)
				}
			}
			if mixed != (len(names) > 15) || !mixed && names[keyName+"."] != 20 {
				t.Errorf("asked for %v", names)
			}
		})
	}
}

// TestAnswerInAnotherCaseIsNotBelieved over UDP.
func TestAnswerInAnotherCaseIsNotBelieved(t *testing.T) {
	t.Parallel()
	inCase := func(change func(string) string, text string) func(h heard) {
		return func(h heard) {
			h.reply(h.message(func(m *dns.Msg) {
				m.Question[0].Name = change(m.Question[0].Name)
				m.Answer = []dns.RR{txtOf(m.Question[0].Name, text)}
			}))
		}
	}
	absent := func(h heard) {
		h.reply(h.message(func(m *dns.Msg) {
			m.Question[0].Name, m.Rcode = strings.ToLower(m.Question[0].Name), dns.RcodeNameError
		}))
	}
	swap := func(s string) string {
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz", r) {
				return r - 'a' + 'A'
			}
			return []rune(strings.ToLower(string(r)))[0]
		}, s)
	}
	forgeries := map[string]func(heard){
		"lower case": inCase(strings.ToLower, "forged"), "upper case": inCase(strings.ToUpper, "forged"),
		"all the other way round": inCase(swap, "forged"), "absent": absent,
	}
	for name, forge := range forgeries {
		for what, tcp := range map[string]bool{"with TCP": true, "without TCP": false} {
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				var networks []string
				var mu sync.Mutex
				first := true
				inBubble(t, func(_ string, h heard) {
					mu.Lock()
					defer mu.Unlock()
					networks = append(networks, h.network)
					switch {
					case h.network == "tcp" && !tcp:
						return // silence
					case h.network == "tcp":
						// net.Pipe: the query comes with its length in front
						h.query = h.query[2:]
						packet := h.txt("key")
						h.reply(append([]byte{byte(len(packet) >> 8), byte(len(packet))}, packet...))
						return
					case first:
						first = false
						forge(h)
					}
					h.reply(h.txt("key"))
				}, resolver.Config{Servers: []string{remote}}, func(t *testing.T, r *resolver.Resolver, network *bubble) {
					t.Helper()
					wantKey(t, r, keyName)
					if took := network.took(); took > 2*time.Second {
						t.Errorf("took %v", took)
					}
				})
				want := []string{"udp", "tcp"}
				if !tcp {
					want = append(want, "udp")
				}
				if !cmp.Equal(want, networks) {
					t.Errorf("asked over %v; want %v", networks, want)
				}
			})
		}
	}
}

// TestServerThatFoldsCaseIsRemembered: a server that always answers in lower case.
func TestServerThatFoldsCaseIsRemembered(t *testing.T) {
	t.Parallel()
	for what, tcp := range map[string]bool{"with TCP": true, "without TCP": false} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var streams atomic.Int64
			inBubble(t, func(_ string, h heard) {
				lower := func(query []byte) []byte {
					h.query = query
					return h.message(func(m *dns.Msg) {
						m.Question[0].Name = strings.ToLower(m.Question[0].Name)
						m.Answer = []dns.RR{txtOf(m.Question[0].Name, "key")}
					})
				}
				switch {
				case h.network == "udp":
					h.reply(lower(h.query))
				case tcp:
					streams.Add(1)
					packet := lower(h.query[2:])
					h.reply(append([]byte{byte(len(packet) >> 8), byte(len(packet))}, packet...))
				default:
					streams.Add(1)
				}
			}, resolver.Config{Servers: []string{remote}}, func(t *testing.T, r *resolver.Resolver, network *bubble) {
				t.Helper()
				wantKey(t, r, keyName)
				if streams.Load() != 1 {
					t.Errorf("%d queries over TCP; want 1", streams.Load())
				}
				network.visited()
				for i := range 10 {
					wantKey(t, r, fmt.Sprintf("k%d.example.org", i))
				}
				if streams.Load() != 1 || len(network.visited()) != 10 {
					t.Errorf("%d queries over TCP; want no more", streams.Load())
				}
				time.Sleep(10 * time.Minute) //nolint:forbidigo // synctest: no time passes
				wantKey(t, r, "later.example.org")
				if streams.Load() != 2 {
					t.Error("it is remembered for longer than ten minutes")
				}
			})
		})
	}
}

// TestOneForgeryDoesNotMakeUsCareless: a server that keeps the case is asked with random case
// after somebody guessed id and port as before.
func TestOneForgeryDoesNotMakeUsCareless(t *testing.T) {
	t.Parallel()
	var forged atomic.Bool
	var careless atomic.Int64
	inBubble(t, func(_ string, h heard) {
		if h.network == "tcp" {
			h.query = h.query[2:]
			packet := h.txt("key")
			h.reply(append([]byte{byte(len(packet) >> 8), byte(len(packet))}, packet...))
			return
		}
		if name := nameIn(t, h.query); name == strings.ToLower(name) {
			careless.Add(1)
		}
		if !forged.Swap(true) {
			h.reply(h.message(func(m *dns.Msg) {
				m.Question[0].Name = strings.ToLower(m.Question[0].Name)
				m.Answer = []dns.RR{txtOf(m.Question[0].Name, "forged")}
			}))
		}
		h.reply(h.txt("key"))
	}, resolver.Config{Servers: []string{remote}}, func(t *testing.T, r *resolver.Resolver, _ *bubble) {
		t.Helper()
		for i := range 10 {
			wantKey(t, r, fmt.Sprintf("k%d._domainkey.long.name.example.org", i))
		}
	})
	if careless.Load() > 0 {
		t.Errorf("%d names went out in lower case", careless.Load())
	}
}

// TestFailureOfSeveralServersNamesOne: the one that says most.
func TestFailureOfSeveralServersNamesOne(t *testing.T) {
	t.Parallel()
	inBubble(t, func(address string, h heard) {
		if address == remote {
			h.reply(h.message(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }))
		}
	}, resolver.Config{Servers: []string{remote, other}}, func(t *testing.T, r *resolver.Resolver, network *bubble) {
		t.Helper()
		answer, err := r.TXT(t.Context(), keyName)
		if !errors.Is(err, resolver.ErrServerFailure) || answer.Server != remote || network.took() != 5*time.Second {
			t.Errorf("got %v from %s after %v", err, answer.Server, network.took())
		}
	})
}
