package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// flight is one lookup under way and those who wait for it.
type flight struct {
	waiters int // under flights.mu
	cancel  context.CancelFunc
	landed  chan struct{} // closed when entry is set
	entry   *entry
}

// flights are all lookups under way.
type flights struct {
	mu      sync.Mutex
	bySet   map[rrset]*flight
	closed  bool
	running sync.WaitGroup
}

// wait joins the lookup of a name, or starts it, and waits for what comes of
// it. An error says that the caller did not get to know that.
func (r *Resolver) wait(ctx context.Context, set rrset) (*entry, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, temporary(err)
	}
	f, landed := r.join(set)
	if landed != nil {
		return landed, nil
	}
	if f == nil {
		return nil, temporary(ErrClosed)
	}
	select {
	case <-f.landed:
		return f.entry, nil
	case <-ctx.Done():
		r.leave(set, f)
		return nil, temporary(context.Cause(ctx))
	}
}

// join adds a waiter to the lookup of a name; nothing comes back when the
// resolver is closed. One that landed since the caller looked into the cache
// comes back as its entry.
func (r *Resolver) join(set rrset) (*flight, *entry) {
	r.flights.mu.Lock()
	defer r.flights.mu.Unlock()
	if e := r.cache.get(set); e != nil {
		return nil, e
	}
	if r.flights.closed {
		return nil, nil
	}
	f := r.flights.bySet[set]
	if f == nil {
		// A name may be a part of a large header that is not worth keeping.
		set.name = strings.Clone(set.name)
		// The lookup outlives the waiter who started it, so it has a context of
		// its own; leave and close cancel it.
		flying, cancel := context.WithCancel(context.Background())
		f = &flight{cancel: cancel, landed: make(chan struct{})}
		r.flights.bySet[set] = f
		r.flights.running.Go(func() { r.fly(flying, set, f) })
	}
	f.waiters++
	return f, nil
}

// leave takes a waiter from a lookup, which ends when it was the last. Nobody
// can join it any more then: who comes next starts anew.
func (r *Resolver) leave(set rrset, f *flight) {
	r.flights.mu.Lock()
	defer r.flights.mu.Unlock()
	if f.waiters--; f.waiters == 0 {
		f.cancel()
		r.forget(set, f)
	}
}

// forget is called under the lock.
func (r *Resolver) forget(set rrset, f *flight) {
	if r.flights.bySet[set] == f {
		delete(r.flights.bySet, set)
	}
}

func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	for _, flight := range f.bySet {
		flight.cancel()
	}
	f.mu.Unlock()
	f.running.Wait()
}

// fly is the goroutine of a lookup. Whatever happens, waiters get an entry.
func (r *Resolver) fly(ctx context.Context, set rrset, f *flight) {
	defer func() {
		if fault := recover(); fault != nil {
			f.entry = r.panicked(set, fault)
		}
		r.flights.mu.Lock()
		r.forget(set, f)
		r.flights.mu.Unlock()
		close(f.landed)
		f.cancel()
	}()
	began := time.Now()
	e := r.recovered(ctx, set)
	if ctx.Err() != nil {
		// Cut short, the lookup says nothing about the name. Whoever still waits
		// does so because close did it.
		e = r.failed(ErrClosed, "")
	} else if e.expires > r.cache.now() {
		r.cache.put(set, e)
	}
	f.entry = e
	r.meter.LookedUp(e.err, time.Since(began))
}

// recovered is a lookup that takes its turn, keeps its time, and turns a panic
// into a temporary failure: one that is cached, so that an answer which makes
// us panic does so once in a while only.
func (r *Resolver) recovered(ctx context.Context, set rrset) (e *entry) {
	defer func() {
		if fault := recover(); fault != nil {
			e = r.panicked(set, fault)
		}
	}()
	taken, end, err := r.turns.take(ctx, set.name)
	if err != nil {
		return nil
	}
	defer end()
	timed, cancel := context.WithTimeout(taken, r.timeout)
	defer cancel()
	e = r.lookup(timed, set)
	if errors.Is(e.err, ErrTemporary) && errors.Is(context.Cause(taken), ErrCrowded) {
		return r.failed(ErrCrowded, e.server)
	}
	return e
}

// panicked counts a fault of ours, raises the alarm, and is what waiters get.
func (r *Resolver) panicked(set rrset, fault any) *entry {
	r.panics.Add(1)
	r.logger.Error("lookup panicked", slog.String("name", set.name), slog.String("fault", fmt.Sprint(fault)), slog.String("stack", string(debug.Stack())))
	return r.failed(ErrPanic, "")
}

// failed is the entry of a lookup that brought nothing. Most failures are not kept: those who
// wait for a name share one, and the first message after an outage finds DNS as it is then. A
// flood of names that fail gains nothing: it can as well be one of new names.
func (r *Resolver) failed(cause error, server string) *entry {
	e := &entry{err: temporary(cause), server: server, expires: r.cache.now()}
	if errors.Is(cause, ErrPanic) || errors.Is(cause, ErrAlias) { // what DNS holds makes it so
		e.expires += keepFailure
	}
	return e
}

// found is the entry of a lookup that DNS answered.
func (r *Resolver) found(e entry, ttl, least, most time.Duration) *entry {
	e.expires = r.cache.now() + min(max(ttl, least), most)
	return &e
}
