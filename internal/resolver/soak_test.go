package resolver_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/resolver"

	"github.com/miekg/dns"
)

// TestHostileServerLeavesNothingBehind has a server that does anything it can
// think of, and waiters that leave at any moment. Each waiter must return in
// time with an outcome that exists, and in the end no goroutine and no socket is
// left. Not parallel: goroutines and sockets are counted.
func TestHostileServerLeavesNothingBehind(t *testing.T) {
	sockets := countSockets(t)
	moves := []func(heard){
		func(heard) {},
		func(h heard) { h.reply(h.txt("key")) },
		func(h heard) { h.reply(nil) },
		func(h heard) { h.reply(h.query) },
		func(h heard) { h.reply(h.txt("key")[:rand.IntN(40)]) },
		func(h heard) { h.reply(make([]byte, 65000)) },
		func(h heard) { h.reply(h.message(func(m *dns.Msg) { m.Truncated = true })) },
		func(h heard) { h.reply(h.message(func(m *dns.Msg) { m.Rcode = rand.IntN(16) })) },
		func(h heard) { h.reply(h.message(func(m *dns.Msg) { m.RecursionAvailable = false })) },
		func(h heard) {
			h.reply(h.message(func(m *dns.Msg) {
				// A chain that never ends, one alias an answer.
				m.Answer = []dns.RR{cnameOf(m.Question[0].Name, fmt.Sprintf("n%d.example.org.", rand.Int()))}
			}))
		},
		func(h heard) {
			for range 100 {
				h.reply(h.message(func(m *dns.Msg) { m.Id = uint16(rand.Uint32()) }))
			}
		},
		func(h heard) {
			packet := h.txt("key")
			packet[2+rand.IntN(len(packet)-2)] ^= byte(1 << rand.IntN(8))
			h.reply(packet)
		},
		func(h heard) {
			if h.network == "tcp" {
				h.raw([]byte{0xff, 0xff, 1, 2, 3})
				if rand.IntN(2) == 0 {
					h.hangUp()
				}
			}
		},
	}
	server := startHostile(t, func(h heard) { moves[rand.IntN(len(moves))](h) })
	const timeout = 300 * time.Millisecond
	r := newResolver(t, resolver.Config{Servers: []string{server.addr}, Timeout: timeout, MaxQueries: 32})
	var waiters sync.WaitGroup
	for range 64 {
		waiters.Go(func() {
			for range 10 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(timeout))))
				answer, err := r.TXT(ctx, fmt.Sprintf("k%d.example.org", rand.IntN(500)))
				cancel()
				switch {
				case err == nil && len(answer.Records) > 0:
				case errors.Is(err, resolver.ErrTemporary), errors.Is(err, resolver.ErrNotExist), errors.Is(err, resolver.ErrNoData):
				default:
					t.Errorf("got %v, %v", answer, err)
				}
				if errors.Is(err, resolver.ErrPanic) {
					t.Error(err)
				}
			}
		})
	}
	waiters.Wait()
	t.Logf("%d queries over UDP, %d over TCP", server.udp.Load(), server.tcp.Load())
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	server.stop()
	wantNothingRunning(t)
	if left := countSockets(t); left > sockets {
		t.Errorf("%d sockets are open; %d were before", left, sockets)
	}
}

// wantNothingRunning looks for goroutines of the resolver and of dnstest.
func wantNothingRunning(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "testing.(*T).Parallel") {
			continue // a test that waits for its turn
		}
		if strings.Contains(stack, "dkimd/internal/resolver.") || strings.Contains(stack, "dkimd/internal/resolver/dnstest.") {
			t.Errorf("still runs:\n%s", stack)
		}
	}
}

func countSockets(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no list of open files on this system: %v", err)
	}
	count := 0
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && strings.HasPrefix(target, "socket:") {
			count++
		}
	}
	return count
}
