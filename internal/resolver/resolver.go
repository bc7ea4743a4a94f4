// Package resolver looks up what the authentication of mail needs of the DNS: TXT records, which are
// DKIM keys and DMARC and SPF policies, and for SPF addresses, mail exchangers and reverse names. It is a
// stub resolver (RFC 1034 section 5.3.1): it asks recursive servers over UDP
// with EDNS0 (RFC 6891) and, unless they are on this host, for names in random
// case; it goes on to TCP where an answer does not fit (RFC 7766), and to the next
// server where one fails or is slow; it keeps answers and absences (RFC 2308). It tells "there is no such record" from "nobody could
// tell", never uses a search list, and takes whatever DNS sends for hostile.
// It does not judge what the records say, and does not validate DNSSEC: it
// reports what the server did.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// What a lookup comes to when it brings no record. Compare with errors.Is.
var (
	// ErrNotExist: the name does not exist (NXDOMAIN).
	ErrNotExist = errors.New("name does not exist")
	// ErrNoData: the name exists and has no record of the type.
	ErrNoData = errors.New("name has no such record")
	// ErrName: what was asked for cannot be a name that we would look up, so DNS was not asked. It is an ErrNotExist too.
	ErrName = fmt.Errorf("not a DNS name: %w", ErrNotExist)
	// ErrTemporary: nobody could tell. It wraps one of the causes below, or the
	// error of the context of the waiter who gave up.
	ErrTemporary = errors.New("temporary DNS failure")
)

// Dangling is an ErrNotExist or ErrNoData at the end of a chain of aliases (CNAME records).
type Dangling struct {
	Target string // the last name of the chain
	Err    error
}

func (d *Dangling) Error() string { return "alias of " + d.Target + ": " + d.Err.Error() }
func (d *Dangling) Unwrap() error { return d.Err }

// Failure is an ErrTemporary with its cause.
type Failure struct{ Cause error }

func (f *Failure) Error() string { return ErrTemporary.Error() + ": " + f.Cause.Error() }

// Unwrap makes it both for errors.Is.
func (f *Failure) Unwrap() []error { return []error{ErrTemporary, f.Cause} }

// Why a lookup failed: what was wrong with the last server asked.
var (
	ErrTimeout       = errors.New("no answer in time")
	ErrServerFailure = errors.New("SERVFAIL")
	ErrRefused       = errors.New("REFUSED")
	ErrMalformed     = errors.New("malformed answer")
	ErrLame          = errors.New("server does not resolve for us (a referral without recursion)")
	ErrAlias         = errors.New("alias chain is a loop or too long")
	ErrNetwork       = errors.New("network error")
	ErrClosed        = errors.New("resolver is closed")
	// ErrCrowded: the lookup took long, and others waited for its place.
	ErrCrowded = errors.New("cut short, too many lookups at once")
	// ErrPanic: our own fault; the stack is in the log.
	ErrPanic = errors.New("internal fault in the lookup")
)

// Defaults of Config, and of the table [dns] in dkimd.toml.
const (
	DefaultTimeout      = 5 * time.Second
	DefaultAttempts     = 2
	DefaultCacheEntries = 100_000
)

const (
	defaultMaxQueries = 1024
	defaultResolvConf = "/etc/resolv.conf"

	// MaxRecords is how many records of one name are kept: a large organization has dozens of TXT
	// records at its domain, and one of them is its SPF record.
	MaxRecords = 256
	// MaxRecord is how many octets of one record are kept: one more than the
	// longest key record the verifier reads (4096), so that it sees the excess.
	MaxRecord = 4096 + 1
)

// Answer is what DNS holds at a name. It is shared with the cache: read only.
type Answer struct {
	// Records are at most MaxRecords. A TXT record is the concatenation of its strings (RFC 6376
	// section 3.6.2.2), raw: any octets, cut at MaxRecord. See Type for the others.
	Records []string
	// Authenticated is the AD bit (RFC 6840 section 5.8) over all of an alias
	// chain, from a server on this host or one that Config.TrustAD is about.
	Authenticated bool
	// TTL is how much longer the answer may be used.
	TTL time.Duration
	// Server is who answered, as "address:port".
	Server string
}

// Config says whom to ask and what to keep. The zero value works.
type Config struct {
	// Servers are recursive resolvers: an IP address, or address and port
	// ("127.0.0.1:5353", "[::1]:53"; zone ids are fine). Empty: those of
	// ResolvConf.
	Servers []string
	// ResolvConf is read by New, and by Attend when it has changed; default
	// /etc/resolv.conf. Only its nameserver lines count. Where it names none, or does not exist, the server
	// is on this host (resolv.conf(5)).
	ResolvConf string
	// TrustAD says that nobody can change what servers on other hosts answer, so that
	// their AD bit counts.
	TrustAD bool
	// Timeout is for one lookup, over all servers and attempts; default 5 s.
	// Waiting for a free slot (MaxQueries) comes before it.
	Timeout time.Duration
	// Attempts is how often the list of servers is gone through; default 2. Servers
	// that stay silent are asked once more, without EDNS0.
	Attempts int
	// CacheEntries is how many names are kept, default 100,000; records longer
	// than usual count as several, so memory stays under 640 octets an entry.
	CacheEntries int
	// MaxQueries is how many lookups are under way at once, default 1024; an eighth
	// of them for one organizational domain.
	MaxQueries int
	// Previous hands its cache over if it asks the same servers or both ask those of resolv.conf. It may be used
	// on, and closed at any time.
	Previous *Resolver
	// Dial opens "udp" and "tcp" sockets; nil: as net.Dialer does. For tests.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock that the cache goes by; nil: time.Now. For tests.
	Now func() time.Time
	// Logger gets faults, and at debug level each failed query; nil: none.
	Logger *slog.Logger
	// Meter counts lookups; nil: nobody does.
	Meter Meter
}

// Meter counts lookups. Many goroutines tell it, and it must not make them wait.
type Meter interface {
	// Asked is told of each answer that is given from the cache, and of each caller for whom DNS is asked.
	Asked(cached bool)
	// LookedUp is told how long DNS was asked for a name, a wait for one's turn
	// included, and what came of it: nil or one of the errors of Lookup. Cut short it is ErrClosed.
	LookedUp(err error, took time.Duration)
}

type unmetered struct{}

func (unmetered) Asked(bool)                    {}
func (unmetered) LookedUp(error, time.Duration) {}

// Resolver looks up records. It is safe for concurrent use.
type Resolver struct {
	list     atomic.Pointer[serverList]
	conf     *resolvConf // nil: the configuration names the servers
	timeout  time.Duration
	attempts int
	trustAD  bool
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	logger   *slog.Logger
	meter    Meter
	cache    *cache
	health   *health
	flights  flights
	turns    *turns
	panics   atomic.Uint64
}

// New reads the list of servers. Errors name the key of section [dns] and the
// value, all of them joined.
func New(config Config) (*Resolver, error) {
	var faults []error
	number := func(key string, value, usual int) int {
		if value < 0 {
			faults = append(faults, fmt.Errorf("%s: got %d; want a positive number", key, value))
		}
		if value == 0 {
			return usual
		}
		return value
	}
	r := &Resolver{dial: config.Dial, logger: config.Logger, meter: config.Meter, timeout: config.Timeout, trustAD: config.TrustAD}
	r.attempts = number("attempts", config.Attempts, DefaultAttempts)
	entries := number("cache_entries", config.CacheEntries, DefaultCacheEntries)
	queries := number("max_queries", config.MaxQueries, defaultMaxQueries)
	if config.Timeout < 0 {
		faults = append(faults, fmt.Errorf("timeout: got %s; want a positive duration", config.Timeout))
	}
	if config.Timeout == 0 {
		r.timeout = DefaultTimeout
	}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	if r.meter == nil {
		r.meter = unmetered{}
	}
	if r.dial == nil {
		r.dial = new(net.Dialer).DialContext
	}
	list, err := r.newList(config)
	if err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	r.list.Store(list)
	r.turns = newTurns(queries)
	r.flights.bySet = make(map[rrset]*flight)
	if previous := config.Previous; previous != nil {
		r.health = previous.health
		if asksAs(r, previous) {
			r.cache = previous.cache // and so its clock, by which is known when servers failed
			r.cache.resize(entries)
			r.list.Store(&serverList{remembered(list.servers, previous.list.Load().servers), list.trouble})
			return r, nil
		}
	}
	if r.cache, err = newCache(entries, config.Now); err != nil {
		return nil, fmt.Errorf("cache_entries: %w", err)
	}
	if r.health == nil {
		r.health = &health{clock: r.cache.clock}
	}
	return r, nil
}

// TXT looks up the TXT records of a name, which is absolute with or without a
// final dot. Errors: ErrName, ErrNotExist, ErrNoData, ErrTemporary; the Answer
// then still says who answered. Many waiters for one name make one query; the
// end of ctx ends the waiting of this caller only.
func (r *Resolver) TXT(ctx context.Context, name string) (Answer, error) {
	set, err := txtOf(name)
	if err != nil {
		return Answer{}, err
	}
	return r.answer(ctx, set)
}

// Lookup is TXT for records of any Type, and for any name that can be written in printable characters: SPF
// makes names of local parts (RFC 7208 section 7).
func (r *Resolver) Lookup(ctx context.Context, name string, rrtype Type) (Answer, error) {
	set, err := setOf(name, rrtype)
	if err != nil {
		return Answer{}, err
	}
	return r.answer(ctx, set)
}

// Reverse is Lookup for the names of an address (PTR records, RFC 1035 section 3.5, RFC 3596 section 2.5).
func (r *Resolver) Reverse(ctx context.Context, addr netip.Addr) (Answer, error) {
	name, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return Answer{}, ErrName
	}
	return r.Lookup(ctx, name, PTR)
}

func (r *Resolver) answer(ctx context.Context, set rrset) (Answer, error) {
	if e := r.cache.get(set); e != nil {
		r.meter.Asked(true)
		return r.cache.answer(e), e.err
	}
	r.meter.Asked(false)
	e, err := r.wait(ctx, set)
	if err != nil {
		return Answer{}, err
	}
	return r.cache.answer(e), e.err
}

// Cached is TXT without asking anyone: ok is false where DNS must be asked. It
// neither waits nor allocates.
//
//nolint:revive // the order says: the answer of TXT, and whether there is one
func (r *Resolver) Cached(name string) (a Answer, err error, ok bool) {
	set, err := txtOf(name)
	if err != nil {
		return Answer{}, err, true
	}
	return r.cached(set)
}

// LookupCached is Lookup as Cached is TXT.
//
//nolint:revive // as there
func (r *Resolver) LookupCached(name string, rrtype Type) (a Answer, err error, ok bool) {
	set, err := setOf(name, rrtype)
	if err != nil {
		return Answer{}, err, true
	}
	return r.cached(set)
}

//nolint:revive // as there
func (r *Resolver) cached(set rrset) (a Answer, err error, ok bool) {
	e := r.cache.get(set)
	if e == nil {
		return Answer{}, nil, false
	}
	r.meter.Asked(true)
	return r.cache.answer(e), e.err, true
}

// Servers are the servers asked, in order, as "address:port".
func (r *Resolver) Servers() []string { return addresses(r.list.Load().servers) }

// asksAs reports whether two resolvers ask the same servers, or those of resolv.conf,
// whichever these are.
func asksAs(a, b *Resolver) bool {
	return a.conf != nil && b.conf != nil && a.conf.path == b.conf.path || slices.Equal(a.Servers(), b.Servers())
}

// Entries is about how many names are in the cache.
func (r *Resolver) Entries() int { return r.cache.entries.EstimatedSize() }

// Panics is how many lookups ended in a fault of ours.
func (r *Resolver) Panics() uint64 { return r.panics.Load() }

// Close ends all lookups under way (their waiters get ErrTemporary) and returns
// when nothing of the resolver runs. What is cached is still served.
func (r *Resolver) Close() error {
	r.flights.close()
	return nil
}

// temporary is the failure of a lookup as callers see it.
func temporary(cause error) error { return &Failure{cause} }
