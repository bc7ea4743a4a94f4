package spf

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"

	"dkimd/internal/resolver"
)

// same is DNS that has one record at each name, and hosts without an address.
type same func() string

func (s same) Lookup(_ context.Context, _ string, rrtype resolver.Type) (resolver.Answer, error) {
	if rrtype != resolver.TXT {
		return resolver.Answer{}, resolver.ErrNotExist
	}
	return resolver.Answer{Records: []string{s()}}, nil
}

func (same) Reverse(context.Context, netip.Addr) (resolver.Answer, error) {
	return resolver.Answer{}, resolver.ErrNotExist
}

func (s same) LookupCached(name string, rrtype resolver.Type) (resolver.Answer, error, bool) { //nolint:revive // as the interface has it
	a, err := s.Lookup(context.Background(), name, rrtype)
	return a, err, true
}

// Records that are kept take the memory that they may, whatever strangers publish. It is not parallel: the heap is everybody's.
func TestKeptMemory(t *testing.T) {
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for name, record := range map[string]string{
		"small": "v=spf1 a", "usual": "v=spf1" + strings.Repeat(" ip4:198.51.100.0/24", 10) + " ~all",
		"many terms": "v=spf1" + strings.Repeat(" a", 2000), "many networks": "v=spf1" + strings.Repeat(" ip6:::", 500), "broken": "v=spf1 " + strings.Repeat("x", 4000),
	} {
		c, err := New(same(nil))
		if err != nil {
			t.Fatal(err)
		}
		before := live()
		for i := range 3 * keptSize / int(weigh(record, readRecord(record))) {
			c.read(fmt.Sprintf("%s x%d=", record, i))
		}
		used, n := live()-before, c.kept.EstimatedSize()
		t.Logf("%s: %d records, %d octets", name, n, used)
		if used > keptSize*5/4 || n < 10 {
			t.Errorf("%s: %d records take %d octets; want at most %d", name, n, used, keptSize)
		}
		runtime.KeepAlive(c)
	}
}

// A record that is kept says each client what it says it, all at the same time; and one that DNS has no more says nothing.
func TestKeptRecordsAreThoseOfDNS(t *testing.T) {
	t.Parallel()
	text := "v=spf1 ip4:192.0.2.0/25 -all"
	c, err := New(same(func() string { return text }))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(client string, want Result) {
		r := Request{Client: netip.MustParseAddr(client), Sender: "a@example.org"}
		if got := c.Check(t.Context(), r); got.Result != want {
			t.Errorf("%s of %q: got %+v; want %s", client, text, got, want)
		}
		if got, ok := c.CheckCached(r); got.Result != want || !ok {
			t.Errorf("%s of %q: got %+v from the cache; want %s", client, text, got, want)
		}
	}
	all := func(low, high Result) {
		var checks sync.WaitGroup
		for i := range 8 {
			checks.Go(func() {
				for k := range 100 {
					ask(fmt.Sprintf("192.0.2.%d", k), low)
					ask(fmt.Sprintf("192.0.2.%d", 128+k+i), high)
				}
			})
		}
		checks.Wait()
	}
	all(Pass, Fail)
	text = "v=spf1 ip4:192.0.2.128/25 ?all"
	all(Neutral, Pass)
}
