package resolver_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/resolver"

	"github.com/miekg/dns"
)

// TestCacheKeepsWithinItsBounds: what came of a lookup is served until just
// before its time is over, and not a moment longer.
func TestCacheKeepsWithinItsBounds(t *testing.T) {
	t.Parallel()
	soa := func(ttl, minimum int) string {
		return fmt.Sprintf("example.org. %d SOA ns.example.org. root.example.org. 1 2 3 4 %d\n", ttl, minimum)
	}
	tests := map[string]struct {
		zone string
		do   func(*world)
		want time.Duration
		err  error
	}{
		"TTL":                                {zone: keyName + ". 300 TXT k", want: 300 * time.Second},
		"TTL 0: 30 s":                        {zone: keyName + ". 0 TXT k", want: 30 * time.Second},
		"TTL 29 s: 30 s":                     {zone: keyName + ". 29 TXT k", want: 30 * time.Second},
		"TTL 31 s":                           {zone: keyName + ". 31 TXT k", want: 31 * time.Second},
		"TTL of a day: 1 h":                  {zone: keyName + ". 86400 TXT k", want: time.Hour},
		"TTL with the highest bit, RFC 2181": {zone: keyName + ". 4294967295 TXT k", want: 30 * time.Second},
		"the least TTL of several records":   {zone: keyName + ". 300 TXT k\n" + keyName + ". 100 TXT l", want: 100 * time.Second},
		"the least TTL of a chain":           {zone: keyName + ". 70 CNAME k.example.org.\nk.example.org. 300 TXT k", want: 70 * time.Second},
		"NXDOMAIN: SOA minimum":              {zone: soa(300, 20), do: func(w *world) { w.server.Delete(keyName) }, want: 20 * time.Second, err: resolver.ErrNotExist},
		"NXDOMAIN: SOA TTL, RFC 2308 5":      {zone: soa(15, 20), do: func(w *world) { w.server.Delete(keyName) }, want: 15 * time.Second, err: resolver.ErrNotExist},
		"NXDOMAIN: at most 60 s":             {zone: soa(86400, 86400), do: func(w *world) { w.server.Delete(keyName) }, want: time.Minute, err: resolver.ErrNotExist},
		"NXDOMAIN: at least 5 s":             {zone: soa(0, 0), do: func(w *world) { w.server.Delete(keyName) }, want: 5 * time.Second, err: resolver.ErrNotExist},
		"no data: SOA minimum":               {zone: soa(300, 20) + keyName + ". A 192.0.2.1", want: 20 * time.Second, err: resolver.ErrNoData},
		"no data: at most 60 s":              {zone: soa(300, 300) + keyName + ". A 192.0.2.1", want: time.Minute, err: resolver.ErrNoData},
		"alias to nothing: alias TTL":        {zone: soa(300, 50) + keyName + ". 10 CNAME gone.example.org.", want: 10 * time.Second, err: resolver.ErrNotExist},
		"an alias of itself: 5 s":            {zone: keyName + ". 300 CNAME " + keyName + ".", want: 5 * time.Second, err: resolver.ErrAlias},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.zone(test.zone)
			if test.do != nil {
				test.do(w)
			}
			var clock clock
			w.config.Now = clock.now
			r := w.resolver()
			answer, err := r.TXT(t.Context(), keyName)
			if !errors.Is(err, test.err) {
				t.Fatalf("got %v; want %v", err, test.err)
			}
			if answer.TTL != test.want {
				t.Errorf("TTL %v; want %v", answer.TTL, test.want)
			}
			asked := w.server.Queries(keyName)
			clock.forward(test.want - 1)
			answer, err, ok := r.Cached(keyName)
			if !ok || !errors.Is(err, test.err) || answer.TTL != 1 {
				t.Errorf("1 ns before the end: got %+v, %v, %t", answer, err, ok)
			}
			if _, err := r.TXT(t.Context(), keyName); !errors.Is(err, test.err) || w.server.Queries(keyName) != asked {
				t.Errorf("1 ns before the end: got %v after %d queries; want no other query", err, w.server.Queries(keyName)-asked)
			}
			clock.forward(1)
			if _, err, ok := r.Cached(keyName); ok {
				t.Errorf("served past its end: %v", err)
			}
			if _, err := r.TXT(t.Context(), keyName); !errors.Is(err, test.err) {
				t.Errorf("asked again: got %v; want %v", err, test.err)
			}
		})
	}
}

// TestAbsenceWithoutSOAIsKeptShortly: RFC 2308 section 5 would not keep it at
// all; a query for each message is no better.
func TestAbsenceWithoutSOAIsKeptShortly(t *testing.T) {
	t.Parallel()
	for _, rcode := range []int{dns.RcodeSuccess, dns.RcodeNameError} {
		server := startHostile(t, func(h heard) { h.reply(h.message(func(m *dns.Msg) { m.Rcode = rcode })) })
		var clock clock
		answer, _ := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: enough, Now: clock.now}).TXT(t.Context(), keyName)
		if answer.TTL != 5*time.Second {
			t.Errorf("%s: TTL %v; want 5s", dns.RcodeToString[rcode], answer.TTL)
		}
	}
}

// TestExpiryGoesByTheRealClock: without Now, time.Now counts.
func TestExpiryGoesByTheRealClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, network := flightWorld(t, 0, resolver.Config{})
		if _, err := r.TXT(t.Context(), keyName); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300*time.Second - 1) //nolint:forbidigo // synctest: no time passes
		if _, _, ok := r.Cached(keyName); !ok {
			t.Error("gone before its TTL")
		}
		time.Sleep(time.Nanosecond) //nolint:forbidigo // synctest: no time passes
		if _, _, ok := r.Cached(keyName); ok {
			t.Error("served past its TTL")
		}
		closeFlight(t, r, network)
	})
}

// TestServerIsAskedAgainWhenItRecovers: failures are not kept.
func TestServerIsAskedAgainWhenItRecovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.SetRcode(keyName, dns.RcodeServerFailure)
	r := w.resolver()
	answer, err := r.TXT(t.Context(), keyName)
	if !errors.Is(err, resolver.ErrServerFailure) || answer.TTL != 0 {
		t.Fatalf("got %v, to be kept for %v", err, answer.TTL)
	}
	if _, err, ok := r.Cached(keyName); ok {
		t.Errorf("kept: %v", err)
	}
	w.server.SetRcode(keyName, dns.RcodeSuccess)
	if _, err := r.TXT(t.Context(), keyName); err != nil {
		t.Error(err)
	}
}

func TestCacheHoldsNoMoreThanItsEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.CacheEntries = 10
	r := w.resolver()
	held := 0
	for i := range 200 {
		name := fmt.Sprintf("k%d.example.org", i)
		w.server.SetTXT(name, "k")
		if _, err := r.TXT(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		if _, _, ok := r.Cached(fmt.Sprintf("k%d.example.org", i)); ok {
			held++
		}
	}
	if held == 0 || held > 10 {
		t.Errorf("%d entries; want 1 to 10", held)
	}
}

// TestPreviousHandsOverItsCache: a reload does not forget, unless it asks others.
func TestPreviousHandsOverItsCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := startServer(t)
	old := w.resolver()
	if _, err := old.TXT(t.Context(), keyName); err != nil {
		t.Fatal(err)
	}
	config := w.config
	config.Previous, config.CacheEntries = old, 50
	same := newResolver(t, config)
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	if _, err, ok := same.Cached(keyName); !ok || err != nil {
		t.Errorf("same server: got %v, %t; want the old answer", err, ok)
	}
	config.Servers = []string{other.Addr()}
	if _, err, ok := newResolver(t, config).Cached(keyName); ok {
		t.Errorf("other server: got %v; want nothing", err)
	}
}

// TestCachedDoesNotAllocate is not parallel: AllocsPerRun counts for all.
func TestCachedDoesNotAllocate(t *testing.T) {
	w := newWorld(t)
	r := w.resolver()
	for name, wanted := range map[string]error{keyName: nil, "none.example.org": resolver.ErrNotExist, "no name": resolver.ErrName} {
		_, _ = r.TXT(t.Context(), name)
		if got := testing.AllocsPerRun(1000, func() {
			if _, err, ok := r.Cached(name); !ok || !errors.Is(err, wanted) {
				t.Errorf("%s: got %v, %t", name, err, ok)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations; want none", name, got)
		}
	}
}
