package resolver

import (
	"math"
	"time"

	"github.com/maypok86/otter/v2"
)

// How long what came of a lookup is kept.
const (
	minPositive = 30 * time.Second
	maxPositive = time.Hour
	minNegative = 5 * time.Second // or a zone with TTL 0 would cost a query a message
	maxNegative = time.Minute
	keepFailure = 5 * time.Second // where it is kept, see Resolver.failed
)

const (
	// entrySize is the memory, in octets, that an entry with a usual record takes:
	// an RSA key of 2048 bits. Measured, see TestCacheMemory. A smaller one counts
	// the same, so that CacheEntries is the most there can be; a larger one counts more.
	entrySize = 665
	// entryOverhead is the part of it that is neither name nor records.
	entryOverhead = 180
	// recordOverhead is for one record: a string header and what is lost to rounding up.
	recordOverhead = 24
	// largeRecord is where rounding up begins to cost up to a fifth of the length.
	largeRecord = 1024
)

// entry is what came of one lookup. It does not change.
type entry struct {
	records       []string
	err           error
	server        string
	expires       time.Duration // on the cache's clock
	authenticated bool
}

// cache keeps entries, bounded in number and in memory. Reads
// take no lock. See docs/adr/0006-dns-cache.md.
type cache struct {
	entries *otter.Cache[rrset, *entry]
	clock   func() time.Time
	epoch   time.Time
}

func newCache(size int, clock func() time.Time) (*cache, error) {
	if clock == nil {
		clock = time.Now
	}
	// Expiry is our own: with otter's, each entry costs 24 octets more and the
	// cache a goroutine. What has expired stays until it is replaced or evicted.
	entries, err := otter.New(&otter.Options[rrset, *entry]{
		MaximumWeight: weight(size),
		Weigher:       weigh,
		// Upkeep is done by who calls, a bounded piece at a time: no goroutine
		// without an owner.
		Executor: func(do func()) { do() },
		Logger:   &otter.NoopLogger{},
	})
	if err != nil {
		return nil, err
	}
	return &cache{entries: entries, clock: clock, epoch: clock()}, nil
}

// weight is the most that all entries may weigh together.
func weight(entries int) uint64 {
	return uint64(entries) * entrySize //nolint:gosec // New refuses negative numbers
}

// weigh is about the memory that an entry takes.
func weigh(set rrset, e *entry) uint32 {
	size := entryOverhead + len(set.name)
	for _, record := range e.records {
		size += len(record) + recordOverhead
		if len(record) > largeRecord {
			size += len(record) / 5
		}
	}
	return uint32(min(max(size, entrySize), math.MaxUint32))
}

func (c *cache) resize(size int) { c.entries.SetMaximum(weight(size)) }

// now is the time on the cache's clock. It does not jump when the wall clock does.
func (c *cache) now() time.Duration { return c.clock().Sub(c.epoch) }

// get is the entry of an rrset, nil if there is none that may be used.
func (c *cache) get(set rrset) *entry {
	e, ok := c.entries.GetIfPresent(set)
	if !ok || e.expires <= c.now() {
		return nil
	}
	return e
}

func (c *cache) put(set rrset, e *entry) { c.entries.Set(set, e) }

// answer is an entry as callers see it.
func (c *cache) answer(e *entry) Answer {
	return Answer{Records: e.records, Authenticated: e.authenticated, TTL: max(e.expires-c.now(), 0), Server: e.server}
}
