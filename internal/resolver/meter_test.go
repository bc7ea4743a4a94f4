package resolver_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"dkimd/internal/resolver"

	"github.com/miekg/dns"
)

// tally is a resolver.Meter.
type tally struct {
	mu           sync.Mutex
	hits, misses int
	lookups      []error
	took         time.Duration
}

func (c *tally) Asked(cached bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cached {
		c.hits++
	} else {
		c.misses++
	}
}

func (c *tally) LookedUp(err error, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookups = append(c.lookups, err)
	c.took += took
}

// What DNS is asked counts once, however many wait for it, and what the cache knows as a hit.
func TestLookupsAreCounted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		do  func(*world)
		err error
	}{
		"found":    {func(*world) {}, nil},
		"NXDOMAIN": {func(w *world) { w.server.Delete(keyName) }, resolver.ErrNotExist},
		"SERVFAIL": {func(w *world) { w.server.SetRcode(keyName, dns.RcodeServerFailure) }, resolver.ErrServerFailure},
		"REFUSED":  {func(w *world) { w.server.SetRcode(keyName, dns.RcodeRefused) }, resolver.ErrRefused},
		"network":  {func(w *world) { w.server.Close() }, resolver.ErrNetwork},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.do(w)
			meter := &tally{}
			w.config.Meter = meter
			r := w.resolver()
			if _, _, ok := r.Cached(keyName); ok || meter.hits+meter.misses > 0 {
				t.Errorf("nobody was asked, and %+v", meter)
			}
			for range 2 {
				if _, err := r.TXT(t.Context(), keyName); !errors.Is(err, test.err) {
					t.Fatal(err)
				}
			}
			asked := 1
			if errors.Is(test.err, resolver.ErrServerFailure) || errors.Is(test.err, resolver.ErrRefused) || errors.Is(test.err, resolver.ErrNetwork) {
				asked = 2 // failures are not kept
			}
			if _, _, ok := r.Cached(keyName); ok != (asked == 1) {
				t.Errorf("cached: %t", ok)
			}
			if _, err := r.TXT(t.Context(), "not a name"); err == nil {
				t.Error("a name")
			}
			_ = r.Close() // what is counted last is
			if meter.misses != asked || meter.hits != 2*(2-asked) || len(meter.lookups) != asked || !errors.Is(meter.lookups[0], test.err) || meter.took <= 0 {
				t.Errorf("got %+v", meter)
			}
			if r.Entries() != 2-asked {
				t.Errorf("%d entries", r.Entries())
			}
		})
	}
}

// A lookup that nobody waits for any more is one that was cut short.
func TestALookupCutShortIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asked := make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	meter := &tally{}
	w.config.Meter = meter
	w.config.Dial = hanging(asked)
	r := w.resolver()
	go func() { <-asked; leave() }()
	if _, err := r.TXT(ctx, keyName); !errors.Is(err, resolver.ErrTemporary) {
		t.Error(err)
	}
	_ = r.Close()
	if len(meter.lookups) != 1 || !errors.Is(meter.lookups[0], resolver.ErrClosed) || r.Entries() != 0 {
		t.Errorf("got %+v, %d entries", meter, r.Entries())
	}
}

// hanging is a Dial that says that it was asked, and waits for its end.
func hanging(asked chan struct{}) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
}
