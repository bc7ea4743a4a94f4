package verifier_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/resolver"
	"dkimd/internal/resolver/dnstest"
	"dkimd/verifier"
)

// afterward holds a lookup up, on the clock of the bubble.
func afterward(d time.Duration) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", resolver.ErrTemporary, ctx.Err())
		}
	}
}

// deaf does not notice that it is cancelled.
func deaf(d time.Duration) func(context.Context, string) error {
	return func(context.Context, string) error {
		<-time.After(d)
		return nil
	}
}

func TestVerifyWaitsForLookups(t *testing.T) {
	t.Parallel()
	rsaKey()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.dns.slow = true
		w.dns.hold = afterward(3 * time.Second)
		report := w.verify(t)
		r := report.Results[0]
		if r.Status != verifier.Pass || r.Lookup != 3*time.Second || report.DNS != 3*time.Second {
			t.Errorf("got %s, lookup %s, DNS %s; want pass after 3 s", r.Status, r.Lookup, report.DNS)
		}
	})
}

func TestVerifyLooksUpInParallel(t *testing.T) {
	t.Parallel()
	rsaKey()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		for i := range 9 {
			w.add(fmt.Sprintf("z%d.example", i))
		}
		w.request.DMARC = true
		w.dns.records["_dmarc.example.org"] = []string{"v=DMARC1; p=none"}
		w.dns.slow = true
		w.dns.hold = afterward(3 * time.Second)
		start := time.Now()
		report := w.verify(t)
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("waited %s; want 3s for all together", waited)
		}
		if report.Results[0].Status != verifier.Pass || policyIn(report) != "none" {
			t.Errorf("got %v, %s", statuses(report), policyIn(report))
		}
	})
}

func TestVerifyDeadlineCountsFromBegin(t *testing.T) {
	t.Parallel()
	rsaKey()
	for name, hold := range map[string]func(context.Context, string) error{"obedient": afterward(time.Hour), "deaf": deaf(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.add("example.com")
				w.dns.slow = true
				w.dns.hold = hold
				w.request.DMARC = true
				start := time.Now()
				running := w.begin(t)
				<-time.After(20 * time.Second) // the body takes its time
				report := running.Finish(t.Context())
				waited := time.Since(start)
				if waited < 30*time.Second || waited > 31*time.Second {
					t.Errorf("waited %s; want 30s from Begin", waited)
				}
				for _, r := range report.Results {
					if r.Status != verifier.TempError || !errors.Is(r.Err, verifier.ErrKeyUnavailable) {
						t.Errorf("got %s (%s); want temperror", r.Status, r.Reason())
					}
				}
				if policyIn(report) != "temperror" || report.DNS < 30*time.Second {
					t.Errorf("got published %s, DNS %s", policyIn(report), report.DNS)
				}
				<-time.After(time.Hour)
			})
		})
	}
}

func TestVerifyKeepsWhatCameBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	rsaKey()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.add("late.example")
		w.dns.slow = true
		w.dns.hold = func(ctx context.Context, name string) error {
			if strings.Contains(name, "late") {
				return afterward(time.Hour)(ctx, name)
			}
			return nil
		}
		running := w.begin(t)
		<-time.After(time.Minute) // a slow client: the deadline is long over
		report := running.Finish(t.Context())
		if report.Results[0].Status != verifier.TempError || report.Results[1].Status != verifier.Pass {
			t.Errorf("got %v; want temperror and pass", statuses(report))
		}
	})
}

func TestFinishEndsWithItsContext(t *testing.T) {
	t.Parallel()
	rsaKey()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.dns.slow = true
		w.dns.hold = afterward(time.Hour)
		running := w.begin(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		report := running.Finish(ctx)
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("waited %s; want 1s", waited)
		}
		if r := report.Results[0]; r.Status != verifier.TempError || r.Lookup != time.Second {
			t.Errorf("got %s after %s", r.Status, r.Lookup)
		}
		if again := running.Finish(t.Context()); again != report {
			t.Error("a second Finish makes another report")
		}
	})
}

func TestCloseCancelsLookups(t *testing.T) {
	t.Parallel()
	rsaKey()
	synctest.Test(t, func(t *testing.T) { // the bubble fails if a goroutine stays
		w := newWorld()
		w.dns.slow = true
		w.dns.hold = afterward(time.Hour)
		running := w.begin(t)
		start := time.Now()
		running.Close()
		running.Close()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("Close took %s", waited)
		}
		if r := running.Finish(t.Context()).Results[0]; r.Status != verifier.TempError {
			t.Errorf("got %s from a closed verification", r.Status)
		}
	})
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	rsaKey()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.dns.slow = true
		w.dns.hold = deaf(time.Hour)
		running := w.begin(t)
		start := time.Now()
		running.Close()
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("Close took %s", waited)
		}
		if !strings.Contains(w.logged.String(), "still running after cancellation") {
			t.Errorf("logged %q", w.logged)
		}
		<-time.After(time.Hour) // it ends at last
	})
}

func TestVerifyStartsNoGoroutineForCachedKeys(t *testing.T) {
	w := newWorld() // not parallel: it counts goroutines
	w.add("example.com")
	w.request.DMARC = true
	w.dns.records["_dmarc.example.org"] = []string{"v=DMARC1; p=none"}
	w.dns.hold = func(context.Context, string) error {
		t.Error("TXT was called though everything is cached")
		return nil
	}
	before := runtime.NumGoroutine()
	running := w.begin(t)
	during := runtime.NumGoroutine()
	running.Finish(t.Context())
	if during > before {
		t.Errorf("got %d goroutines during a message; want %d as before", during, before)
	}
}

func TestLookupPanicIsTempError(t *testing.T) {
	t.Parallel()
	rsaKey()
	explode := func(context.Context, string) error { panic("the resolver\nbroke") }
	tests := map[string]struct {
		breaks func(*world)
		status verifier.Status
		dmarc  string
	}{
		"in TXT": {func(w *world) { w.dns.slow, w.dns.hold = true, explode }, verifier.TempError, "temperror"},
		"in TXT of the policy": {func(w *world) {
			w.dns.slow = true
			w.dns.hold = func(_ context.Context, name string) error {
				if strings.HasPrefix(name, "_dmarc") {
					panic("no")
				}
				return nil
			}
		}, verifier.Pass, "temperror"},
		"in Cached": {func(w *world) { w.config.Resolver = brokenCache{w.dns} }, verifier.TempError, "temperror"},
		"within the resolver": {func(w *world) {
			w.dns.slow = true
			w.dns.hold = func(context.Context, string) error {
				return fmt.Errorf("%w: %w", resolver.ErrTemporary, resolver.ErrPanic)
			}
		}, verifier.TempError, "temperror"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.request.DMARC = true
			w.dns.records["_dmarc.example.org"] = []string{"v=DMARC1; p=none"}
			test.breaks(w)
			report := w.verify(t)
			if r := report.Results[0]; r.Status != test.status {
				t.Errorf("got %s (%s); want %s", r.Status, r.Reason(), test.status)
			}
			if policyIn(report) != test.dmarc || !report.LookupPanic {
				t.Errorf("got published %s, panic %t", policyIn(report), report.LookupPanic)
			}
			if name != "within the resolver" && (!strings.Contains(w.logged.String(), "level=ERROR") || !strings.Contains(w.logged.String(), "stack=")) {
				t.Errorf("logged %q; want an error with the stack", w.logged)
			}
		})
	}
}

type brokenCache struct{ *fakeDNS }

//nolint:revive // the order is that of verifier.Resolver
func (brokenCache) Cached(string) (resolver.Answer, error, bool) { panic("no") }

func TestVerifyOverRealDNS(t *testing.T) {
	t.Parallel()
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	dns, err := resolver.New(resolver.Config{Servers: []string{server.Addr()}, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close() //nolint:errcheck // a test's own resolver
	key := rsaRecord(rsaKey())
	tests := []struct {
		name  string
		zone  func(name string)
		want  verifier.Status
		kind  error
		words string
	}{
		{"key in three strings", func(name string) { server.SetTXT(name, key[:100], key[100:250], key[250:]) }, verifier.Pass, nil, ""},
		{"alias", func(name string) {
			server.SetTXT("elsewhere.example", key)
			if err := server.SetZone(name + ". 300 IN CNAME elsewhere.example."); err != nil {
				t.Error(err)
			}
		}, verifier.Pass, nil, ""},
		{"nothing", func(string) {}, verifier.PermError, verifier.ErrKeyAbsent, "(NXDOMAIN)"},
		{"no data", func(name string) { server.SetTXT("below."+name, key) }, verifier.PermError, verifier.ErrKeyAbsent, "(no TXT record)"},
		{"SERVFAIL", func(name string) { server.SetRcode(name, 2) }, verifier.TempError, verifier.ErrKeyUnavailable, "key server failed: SERVFAIL from 127.0.0.1"},
		{"REFUSED", func(name string) { server.SetRcode(name, 5) }, verifier.TempError, verifier.ErrKeyUnavailable, "key server failed: REFUSED from 127.0.0.1"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			selector := fmt.Sprintf("s%d", i) // of its own: the resolver remembers
			name := selector + "._domainkey.example.org"
			test.zone(name)
			for _, round := range []string{"asked", "cached"} {
				w := newWorld()
				w.first().selector = selector
				w.config.Resolver = dns
				r := w.one(t)
				if r.Status != test.want || (test.kind != nil && !errors.Is(r.Err, test.kind)) || !strings.Contains(r.Reason(), test.words) {
					t.Errorf("%s: got %s (%s); want %s (%s)", round, r.Status, r.Reason(), test.want, test.words)
				}
			}
			if server.Queries(name) == 0 {
				t.Error("no query came")
			}
		})
	}
}
