package resolver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/resolver"

	"github.com/miekg/dns"
)

// flightWorld is a resolver in a bubble; its one server answers after delay.
func flightWorld(t *testing.T, delay time.Duration, config resolver.Config) (*resolver.Resolver, *bubble) {
	t.Helper()
	network := newBubble(func(_ string, h heard) {
		time.Sleep(delay) //nolint:forbidigo // synctest: no time passes
		h.reply(h.txt("key"))
	})
	config.Servers = []string{"192.0.2.1"}
	config.Attempts = 1
	config.Dial = network.dial
	r, err := resolver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return r, network
}

func closeFlight(t *testing.T, r *resolver.Resolver, network *bubble) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	network.running.Wait()
}

func TestManyWaitersMakeOneQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, network := flightWorld(t, 900*time.Millisecond, resolver.Config{})
		var waiters sync.WaitGroup
		for i := range 1000 {
			waiters.Go(func() {
				name := keyName
				if i%2 == 1 {
					name = strings.ToUpper(keyName) + "."
				}
				answer, err := r.TXT(t.Context(), name)
				if err != nil || len(answer.Records) != 1 {
					t.Errorf("got %v, %v", answer, err)
				}
			})
		}
		waiters.Wait()
		if got := len(network.visited()); got != 1 {
			t.Errorf("%d queries; want 1", got)
		}
		closeFlight(t, r, network)
	})
}

// TestWaiterCancelsOnlyItsWaiting: the one who started the query gives up, the
// other still gets the answer of that query.
func TestWaiterCancelsOnlyItsWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, network := flightWorld(t, 900*time.Millisecond, resolver.Config{})
		impatient, cancel := context.WithTimeoutCause(t.Context(), 450*time.Millisecond, errors.New("message deadline"))
		defer cancel()
		var waiters sync.WaitGroup
		waiters.Go(func() {
			_, err := r.TXT(impatient, keyName)
			if !errors.Is(err, resolver.ErrTemporary) || !strings.Contains(err.Error(), "message deadline") {
				t.Errorf("impatient: got %v", err)
			}
			if took := time.Since(network.start); took != 450*time.Millisecond {
				t.Errorf("impatient: took %v; want 450ms", took)
			}
		})
		synctest.Wait()
		waiters.Go(func() {
			if _, err := r.TXT(t.Context(), keyName); err != nil {
				t.Errorf("patient: %v", err)
			}
			if took := time.Since(network.start); took != 900*time.Millisecond {
				t.Errorf("patient: took %v; want 900ms", took)
			}
		})
		waiters.Wait()
		if got := len(network.visited()); got != 1 {
			t.Errorf("%d queries; want 1", got)
		}
		closeFlight(t, r, network)
	})
}

// TestLastWaiterEndsTheQuery: nobody waits any more, so the socket closes at
// once, nothing is cached, and the next caller starts anew.
func TestLastWaiterEndsTheQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var open, dials atomic.Int64
		silent := newBubble(func(string, heard) {})
		r, err := resolver.New(resolver.Config{Servers: []string{"192.0.2.1"}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := silent.dial(ctx, network, address)
			open.Add(1)
			dials.Add(1)
			return counted{conn, &open}, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var waiters sync.WaitGroup
		for range 3 {
			waiters.Go(func() {
				if _, err := r.TXT(ctx, keyName); !errors.Is(err, context.Canceled) || !errors.Is(err, resolver.ErrTemporary) {
					t.Errorf("got %v; want canceled", err)
				}
			})
		}
		synctest.Wait()
		if open.Load() != 1 {
			t.Errorf("%d sockets; want 1", open.Load())
		}
		cancel()
		waiters.Wait()
		synctest.Wait()
		if open.Load() != 0 || dials.Load() != 1 {
			t.Errorf("%d of %d sockets are open though nobody waits; want 0 of 1", open.Load(), dials.Load())
		}
		if _, err, ok := r.Cached(keyName); ok {
			t.Errorf("cached: %v", err)
		}
		if took := time.Since(silent.start); took != 0 {
			t.Errorf("took %v", took)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 900*time.Millisecond)
		defer cancel()
		_, _ = r.TXT(ctx, keyName)
		if got := len(silent.visited()); got != 2 {
			t.Errorf("%d queries; want 2", got)
		}
		closeFlight(t, r, silent)
	})
}

// counted is a socket that is counted until it is closed.
type counted struct {
	net.Conn
	open *atomic.Int64
}

func (c counted) Close() error {
	c.open.Add(-1)
	return c.Conn.Close()
}

func TestEndedContextAsksNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.resolver().TXT(ctx, keyName); !errors.Is(err, context.Canceled) || !errors.Is(err, resolver.ErrTemporary) {
		t.Errorf("got %v", err)
	}
	if got := w.server.Queries(keyName); got != 0 {
		t.Errorf("%d queries; want 0", got)
	}
}

func TestCloseEndsLookups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := newBubble(func(string, heard) {})
		// Of three lookups one is under way and two wait for the one slot.
		r, err := resolver.New(resolver.Config{Servers: []string{"192.0.2.1"}, MaxQueries: 1, Dial: network.dial})
		if err != nil {
			t.Fatal(err)
		}
		var waiters sync.WaitGroup
		for i := range 3 {
			waiters.Go(func() {
				_, err := r.TXT(context.Background(), fmt.Sprintf("k%d.example.org", i))
				if !errors.Is(err, resolver.ErrClosed) || !errors.Is(err, resolver.ErrTemporary) {
					t.Errorf("got %v; want closed", err)
				}
			})
		}
		synctest.Wait()
		closeFlight(t, r, network)
		waiters.Wait()
		if took := time.Since(network.start); took != 0 {
			t.Errorf("took %v", took)
		}
		if _, err := r.TXT(t.Context(), keyName); !errors.Is(err, resolver.ErrClosed) {
			t.Errorf("after Close: got %v", err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	})
}

// TestCloseWaitsForItsGoroutines: one that does not hear of the end at once.
func TestCloseWaitsForItsGoroutines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r, err := resolver.New(resolver.Config{Servers: []string{"192.0.2.1"}, Dial: func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(time.Second) //nolint:forbidigo // synctest: no time passes
			return nil, io.EOF
		}})
		if err != nil {
			t.Fatal(err)
		}
		var waiter sync.WaitGroup
		waiter.Go(func() { _, _ = r.TXT(context.Background(), keyName) })
		synctest.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("Close took %v; want 1s", took)
		}
		waiter.Wait()
	})
}

// TestMaxQueriesBoundsSockets: ten lookups of 400 ms each, two at a time. The
// time that a lookup has starts when its turn comes.
func TestMaxQueriesBoundsSockets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, network := flightWorld(t, 400*time.Millisecond, resolver.Config{MaxQueries: 2, Timeout: time.Second})
		var waiters sync.WaitGroup
		for i := range 10 {
			waiters.Go(func() {
				if _, err := r.TXT(t.Context(), fmt.Sprintf("k._domainkey.d%d.example", i)); err != nil {
					t.Error(err)
				}
			})
		}
		waiters.Wait()
		perRound := make(map[time.Duration]int)
		for _, v := range network.visited() {
			perRound[v.After]++
		}
		for round := range 5 {
			at := time.Duration(round) * 400 * time.Millisecond
			if got := perRound[at]; got != 2 {
				t.Errorf("%d queries at %v; want 2", got, at)
			}
		}
		closeFlight(t, r, network)
	})
}

// TestPanicIsATemporaryFailureAndAnAlarm: whatever goes wrong in a lookup, its
// waiters hear of it, and the process lives.
func TestPanicIsATemporaryFailureAndAnAlarm(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	release := make(chan struct{})
	r := newResolver(t, resolver.Config{
		Servers: []string{"127.0.0.1"},
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		Dial: func(context.Context, string, string) (net.Conn, error) {
			<-release
			panic("injected")
		},
	})
	var waiters sync.WaitGroup
	for range 10 {
		waiters.Go(func() {
			if _, err := r.TXT(t.Context(), keyName); !errors.Is(err, resolver.ErrPanic) || !errors.Is(err, resolver.ErrTemporary) {
				t.Errorf("got %v", err)
			}
		})
	}
	close(release)
	waiters.Wait()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if r.Panics() != 1 {
		t.Errorf("%d panics counted; want 1", r.Panics())
	}
	for _, want := range []string{"level=ERROR", "lookup panicked", "injected", "flight_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}

// TestCloseLeavesNothingRunning uses real sockets and everything that can be
// under way. It is not parallel, so the goroutines are its own.
func TestCloseLeavesNothingRunning(t *testing.T) {
	w := newWorld(t)
	w.server.Drop("silent.example.org")
	w.server.SetRcode("failing.example.org", dns.RcodeServerFailure)
	w.server.SetTXT("long.example.org", strings.Repeat("x", 5000))
	r := w.resolver()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var waiters sync.WaitGroup
	for _, name := range []string{keyName, "silent.example.org", "failing.example.org", "long.example.org", "none.example.org"} {
		for range 20 {
			waiters.Go(func() { _, _ = r.TXT(ctx, name) })
		}
	}
	waiters.Wait()
	// One more that only Close ends.
	waiters.Go(func() { _, _ = r.TXT(context.Background(), "silent.example.org") })
	for w.server.Queries("silent.example.org") < 2 {
		runtime.Gosched()
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	waiters.Wait()
	w.server.Close()
	wantNothingRunning(t)
}
