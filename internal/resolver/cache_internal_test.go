package resolver

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/miekg/dns"
)

// usual is a key record of usual size: an RSA key of 2048 bits.
func usual() string { return strings.Clone("v=DKIM1; k=rsa; p=" + strings.Repeat("A", 392)) }

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// TestCacheMemory fills caches to the brim. It is not parallel: the heap is
// everybody's.
func TestCacheMemory(t *testing.T) {
	const limit = 64 << 20
	tests := map[string]struct {
		names   int
		records func() []string
		least   int // names to be found in the cache
	}{
		"105,000 usual keys": {105_000, func() []string { return []string{usual()} }, 99_000},
		"records as large as we take": {1_000, func() []string {
			records := make([]string, dns.MaxMsgSize/MaxRecord)
			for i := range records {
				records[i] = strings.Repeat("x", MaxRecord)
			}
			return records
		}, 500},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := newCache(DefaultCacheEntries, nil)
			if err != nil {
				t.Fatal(err)
			}
			before := heap()
			for i := range test.names {
				c.put(key(i), &entry{records: test.records(), server: "127.0.0.1:53", expires: time.Hour})
			}
			used := heap() - before
			held := 0
			for i := range test.names {
				if c.get(key(i)) != nil {
					held++
				}
			}
			t.Logf("%d entries, %.1f MiB, %d octets an entry", held, float64(used)/(1<<20), used/uint64(max(held, 1)))
			if used > limit {
				t.Errorf("%d octets; want at most %d", used, limit)
			}
			if held < test.least || held > DefaultCacheEntries {
				t.Errorf("%d entries; want %d to %d", held, test.least, DefaultCacheEntries)
			}
		})
	}
}

func key(i int) rrset {
	return rrset{fmt.Sprintf("selector%d._domainkey.customer.example.org", i), TXT}
}

// TestFloodDoesNotPushOutWhatIsUsed: mail with invented selectors must not cost
// a query for every key that is in daily use.
func TestFloodDoesNotPushOutWhatIsUsed(t *testing.T) {
	t.Parallel()
	c, err := newCache(1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Each key in use is read once in 2000 insertions: a cache of the 1000 names
	// used last would never hold it.
	const used, flood, period = 200, 40_000, 10
	reads, hits := 0, 0
	for i := range flood {
		c.put(key(used+i), &entry{expires: time.Hour})
		if i%period != 0 {
			continue
		}
		set := key(i / period % used)
		e := c.get(set)
		if e == nil {
			c.put(set, &entry{expires: time.Hour})
		}
		if i > flood/2 {
			reads++
			if e != nil {
				hits++
			}
		}
	}
	t.Logf("%d of %d reads were hits", hits, reads)
	if hits < reads*9/10 {
		t.Errorf("%d of %d reads were hits; want most", hits, reads)
	}
}

// TestJoinSeesWhatJustLanded: between a caller's look into the cache and its
// joining, the lookup may end; that must not cost a second query.
func TestJoinSeesWhatJustLanded(t *testing.T) {
	t.Parallel()
	r, err := New(Config{Servers: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	landed := &entry{expires: time.Hour}
	r.cache.put(key(0), landed)
	if f, e := r.join(key(0)); f != nil || e != landed {
		t.Errorf("got %v, %v; want the entry", f, e)
	}
}

// TestCacheKeepsNoMessages: names are cut out of headers of up to 1 MiB, which
// the cache must not hold on to.
func TestCacheKeepsNoMessages(t *testing.T) {
	t.Parallel()
	r, err := New(Config{Servers: []string{"127.0.0.1"}, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, io.EOF }})
	if err != nil {
		t.Fatal(err)
	}
	header := strings.Repeat(" ", 1<<20) + key(0).name
	name := header[1<<20:]
	if _, err := r.TXT(t.Context(), name); err == nil {
		t.Fatal("no error")
	}
	for kept := range r.cache.entries.All() {
		if unsafe.StringData(kept.name) == unsafe.StringData(name) {
			t.Error("the cache holds a part of the header")
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestCacheUnderLoad has readers and writers at once; the race detector looks on.
func TestCacheUnderLoad(t *testing.T) {
	t.Parallel()
	c, err := newCache(100, nil)
	if err != nil {
		t.Fatal(err)
	}
	var workers sync.WaitGroup
	var found atomic.Int64
	for worker := range 8 {
		workers.Go(func() {
			for i := range 5000 {
				set := key(i % 150)
				if e := c.get(set); e != nil {
					found.Add(1)
					if e.server != set.name {
						t.Errorf("%s: got the entry of %s", set.name, e.server)
					}
				} else {
					c.put(set, &entry{server: set.name, expires: time.Hour})
				}
				if i%1000 == 0 {
					c.resize(100 + worker)
				}
			}
		})
	}
	workers.Wait()
	if found.Load() == 0 {
		t.Error("nothing was ever found")
	}
}

func BenchmarkCached(b *testing.B) {
	r, err := New(Config{Servers: []string{"127.0.0.1"}})
	if err != nil {
		b.Fatal(err)
	}
	names := make([]string, 1000)
	for i := range names {
		names[i] = key(i).name
		r.cache.put(key(i), &entry{records: []string{usual()}, expires: time.Hour})
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, _, ok := r.Cached(names[i%len(names)]); !ok {
				b.Error("not cached")
			}
		}
	})
}
