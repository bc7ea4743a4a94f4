package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/resolver"

	"github.com/miekg/dns"
)

// crowdWorld is a resolver in a bubble. Its server never answers for a name with
// "stall" in it, and has a key for others.
func crowdWorld(t *testing.T, config resolver.Config) (*resolver.Resolver, *bubble) {
	t.Helper()
	network := newBubble(func(_ string, h heard) {
		switch {
		case h.asks("stall"):
		case h.asks("alias"):
			h.reply(h.message(func(m *dns.Msg) {
				label, _, _ := strings.Cut(m.Question[0].Name, ".")
				m.Answer = []dns.RR{cnameOf(m.Question[0].Name, label+".stall.example.")}
			}))
		default:
			time.Sleep(50 * time.Millisecond) //nolint:forbidigo // synctest: no time passes
			h.reply(h.txt("key"))
		}
	})
	config.Servers = []string{"192.0.2.1", "192.0.2.2"}
	config.Dial = network.dial
	r, err := resolver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return r, network
}

// TestStallingDomainsDoNotHoldUpOthers: 600 messages with ten keys each that
// nobody answers for, and then others whose keys are there.
// Not parallel: it takes all processors, and other tests have deadlines.
func TestStallingDomainsDoNotHoldUpOthers(t *testing.T) {
	of := func(pattern string) func(i int) string {
		return func(i int) string { return fmt.Sprintf(pattern, i) }
	}
	for what, name := range map[string]func(i int) string{
		"one domain":                   of("k%d._domainkey.stall.example"),
		"many subdomains":              of("k._domainkey.d%d.stall.example"),
		"many domains":                 of("k._domainkey.stall%d.example"),
		"as many as have a share each": func(i int) string { return fmt.Sprintf("k%d._domainkey.stall%d.example", i, i%10) },
		"a domain below a suffix":      of("k._domainkey.stall%d.co.uk"),
		"aliases into one domain":      of("k%d._domainkey.alias.example"),
		"aliases of many domains":      of("k._domainkey.alias%d.example"),
		"no key names":                 of("k%d.stall.example"),
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, network := crowdWorld(t, resolver.Config{})
				ctx, cancel := context.WithCancel(t.Context())
				var waiters sync.WaitGroup
				var wrong atomic.Int64
				for i := range 6000 {
					waiters.Go(func() {
						if _, err := r.TXT(ctx, name(i)); !errors.Is(err, resolver.ErrTemporary) {
							wrong.Add(1)
						}
					})
				}
				for i := range 8 {
					time.Sleep(100 * time.Millisecond) //nolint:forbidigo // synctest: no time passes
					start := time.Now()
					if _, err := r.TXT(t.Context(), fmt.Sprintf("s._domainkey.genuine%d.example", i)); err != nil {
						t.Error(err)
					}
					if took := time.Since(start); took >= time.Second {
						t.Errorf("message %d: took %v; want less than 1s", i, took)
					}
				}
				cancel()
				waiters.Wait()
				if wrong.Load() > 0 {
					t.Errorf("%d lookups were not temporary failures", wrong.Load())
				}
				closeFlight(t, r, network)
			})
		})
	}
}

// TestDomainHasAnEighthOfTheLookups counts those of one organizational domain that are under way at once.
func TestDomainHasAnEighthOfTheLookups(t *testing.T) {
	t.Parallel()
	for max, want := range map[int]int{1024: 128, 16: 2, 7: 1, 1: 1} {
		synctest.Test(t, func(t *testing.T) {
			r, network := crowdWorld(t, resolver.Config{MaxQueries: max})
			ctx, cancel := context.WithCancel(t.Context())
			var waiters sync.WaitGroup
			for i := range 200 {
				waiters.Go(func() { _, _ = r.TXT(ctx, fmt.Sprintf("k._domainkey.d%d.stall.example", i)) })
			}
			synctest.Wait()
			if got := len(network.visited()); got != want {
				t.Errorf("of %d: %d queries; want %d", max, got, want)
			}
			cancel()
			waiters.Wait()
			synctest.Wait()
			// All places are free again: also those of the ones that waited.
			var others sync.WaitGroup
			for i := range 200 {
				others.Go(func() {
					if _, err := r.TXT(t.Context(), fmt.Sprintf("s%d._domainkey.stal.example", i)); err != nil {
						t.Error(err)
					}
				})
			}
			others.Wait()
			closeFlight(t, r, network)
		})
	}
}

// TestSlowLookupKeepsItsPlaceWhereNobodyWaits: only a crowd cuts it short.
func TestSlowLookupKeepsItsPlaceWhereNobodyWaits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		others int
		want   error
		took   time.Duration
	}{
		"alone":        {0, nil, 3 * time.Second},
		"places left":  {7, nil, 3 * time.Second},
		"others ready": {8, resolver.ErrCrowded, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, network := flightWorld(t, 3*time.Second, resolver.Config{MaxQueries: 8})
				start := time.Now()
				var waiters sync.WaitGroup
				waiters.Go(func() {
					_, err := r.TXT(t.Context(), "s._domainkey.first.example")
					if took := time.Since(start); !errors.Is(err, test.want) || took != test.took {
						t.Errorf("got %v after %v; want %v after %v", err, took, test.want, test.took)
					}
					if test.want != nil && !errors.Is(err, resolver.ErrTemporary) {
						t.Errorf("%v is not temporary", err)
					}
				})
				synctest.Wait()
				for i := range test.others {
					waiters.Go(func() { _, _ = r.TXT(t.Context(), fmt.Sprintf("s._domainkey.other%d.example", i)) })
				}
				waiters.Wait()
				closeFlight(t, r, network)
			})
		})
	}
}

// TestFirstMessageAfterAnOutageIsJudged: whatever DNS did for some seconds, it counts for
// nobody who asks when it is over. That goes for the very names that failed, and in a crowd.
func TestFirstMessageAfterAnOutageIsJudged(t *testing.T) {
	t.Parallel()
	for what, outage := range map[string]func(h heard){
		"silence":  func(heard) {},
		"SERVFAIL": func(h heard) { h.reply(h.message(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure })) },
		"REFUSED":  func(h heard) { h.reply(h.message(func(m *dns.Msg) { m.Rcode = dns.RcodeRefused })) },
		"junk":     func(h heard) { h.reply(h.txt("key")[:len(h.txt("key"))-1]) },
	} {
		for _, domains := range []int{3, 300} { // of 64 lookups at once
			t.Run(fmt.Sprint(what, " ", domains), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var over atomic.Bool
					network := newBubble(func(_ string, h heard) {
						if over.Load() {
							h.reply(h.txt("key"))
							return
						}
						outage(h)
					})
					r, err := resolver.New(resolver.Config{Servers: []string{"192.0.2.1", "192.0.2.2"}, Dial: network.dial, MaxQueries: 64})
					if err != nil {
						t.Fatal(err)
					}
					name := func(i int) string { return fmt.Sprintf("s._domainkey.d%d.example", i) }
					failed := func() error {
						var waiters sync.WaitGroup
						var wrong atomic.Value
						for i := range domains {
							waiters.Go(func() {
								if _, err := r.TXT(t.Context(), name(i)); !errors.Is(err, resolver.ErrTemporary) {
									wrong.Store(fmt.Sprint(err))
								}
							})
						}
						waiters.Wait()
						if w := wrong.Load(); w != nil {
							return fmt.Errorf("in the outage: got %v", w)
						}
						return nil
					}
					for range 4 {
						if err := failed(); err != nil {
							t.Error(err)
						}
					}
					over.Store(true)
					for i := range domains {
						start := time.Now()
						if _, err := r.TXT(t.Context(), name(i)); err != nil || time.Since(start) >= time.Second {
							t.Errorf("message %d after the outage: got %v after %v", i, err, time.Since(start))
						}
					}
					closeFlight(t, r, network)
				})
			})
		}
	}
}
