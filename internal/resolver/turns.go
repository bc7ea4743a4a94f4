package resolver

import (
	"container/list"
	"context"
	"strings"
	"sync"
	"time"

	"dkimd/internal/domain"
)

const (
	// shares is how many organizational domains it takes to use up all places, and how
	// many passes it takes to free all: each has, or frees, an eighth.
	shares = 8
	// patience is how long a lookup keeps its place though others wait for one.
	patience = 500 * time.Millisecond
)

// turns bounds the lookups under way. Strangers choose the names that are looked
// up, and name servers may never answer. So that other mail does not wait for
// these, one organizational domain has only a share of the places; and while all
// places are taken, the lookups that have waited longest for DNS give theirs up.
type turns struct {
	limit, share int

	mu      sync.Mutex
	running list.List // of *turn, the oldest first
	// ready are the turns that wait for a place alone. The newest is at the back, and
	// goes first: in a flood some mail is still served in time, where the other
	// order would serve each message too late.
	ready    list.List
	domains  map[domain.Name]*domainTurns
	relief   *time.Timer // of the next relieve; nil: nobody is ready
	relieved time.Time   // when relieve last freed places
}

// domainTurns are the turns of one organizational domain.
type domainTurns struct {
	served  int       // running or ready, at most turns.share
	waiting list.List // of *turn: the rest, the oldest first
}

// turn is one lookup that waits for its place or has it.
type turn struct {
	domain domain.Name
	place  *list.Element // in the list that it is in
	began  chan struct{} // closed when it has its place
	start  time.Time
	cut    context.CancelCauseFunc // nil: it was called
}

func newTurns(limit int) *turns {
	return &turns{limit: limit, share: max(limit/shares, 1), domains: make(map[domain.Name]*domainTurns)}
}

// take waits for a place until ctx ends; the caller calls end. The context it
// returns ends early, with the cause ErrCrowded, when others need the place.
func (t *turns) take(ctx context.Context, name string) (taken context.Context, end func(), err error) {
	taken, cut := context.WithCancelCause(ctx)
	own := &turn{domain: organizational(name), began: make(chan struct{}), cut: cut}
	t.enter(own)
	end = func() {
		t.leave(own)
		cut(nil)
	}
	select {
	case <-own.began:
		return taken, end, nil
	case <-ctx.Done():
		end()
		return nil, nil, context.Cause(ctx)
	}
}

func (t *turns) enter(own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.domains[own.domain]
	if d == nil {
		d = new(domainTurns)
		t.domains[own.domain] = d
	}
	if d.served == t.share {
		own.place = d.waiting.PushBack(own)
		return
	}
	d.served++
	own.place = t.ready.PushBack(own)
	t.dispatch()
}

// leave gives up a place, or the wait for one.
func (t *turns) leave(own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.domains[own.domain]
	before := d.waiting.Len()
	// A list removes only what is in it.
	t.running.Remove(own.place)
	t.ready.Remove(own.place)
	d.waiting.Remove(own.place)
	if d.waiting.Len() == before {
		d.served--
		if next := d.waiting.Back(); next != nil {
			d.served++
			d.waiting.Remove(next)
			promoted := next.Value.(*turn) //nolint:forcetypeassert // nothing else is in it
			// Its domain has had its share: the newcomers of others go first.
			promoted.place = t.ready.PushFront(promoted)
		}
	}
	if d.served == 0 {
		delete(t.domains, own.domain)
	}
	t.dispatch()
}

// dispatch lets turns begin while there are places, and sees to it that there
// will be some. It is called under the lock.
func (t *turns) dispatch() {
	for t.running.Len() < t.limit && t.ready.Len() > 0 {
		next := t.ready.Remove(t.ready.Back()).(*turn) //nolint:forcetypeassert // nothing else is in it
		next.start = time.Now()
		next.place = t.running.PushBack(next)
		close(next.began)
	}
	switch {
	case t.ready.Len() > 0 && t.relief == nil:
		oldest := t.running.Front().Value.(*turn) //nolint:forcetypeassert // nothing else is in it
		last := oldest.start
		if t.relieved.After(last) {
			last = t.relieved
		}
		t.relief = time.AfterFunc(time.Until(last.Add(patience)), t.relieve)
	case t.ready.Len() == 0 && t.relief != nil:
		t.relief.Stop()
		t.relief = nil
	}
}

// relieve cuts lookups short that took longer than patience, for those that wait:
// an eighth of all at a time, so that DNS that is slow for all still answers most.
func (t *turns) relieve() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.relief = nil
	t.relieved = time.Now()
	wanted := min(t.ready.Len(), t.share)
	for place := t.running.Front(); place != nil && wanted > 0; place = place.Next() {
		oldest := place.Value.(*turn) //nolint:forcetypeassert // nothing else is in it
		if t.relieved.Sub(oldest.start) < patience {
			break
		}
		if oldest.cut != nil {
			oldest.cut(ErrCrowded)
			oldest.cut = nil
		}
		wanted-- // also for one that was cut before and has not ended yet
	}
	t.dispatch()
}

// organizational is the domain on whose account a name is looked up.
func organizational(name string) domain.Name {
	owner := owner(name)
	if org := owner.Organizational(); org != "" {
		return org
	}
	return owner
}

// owner is the domain whose name servers should know a name: what follows its
// labels with an underscore, as example.org in s1._domainkey.example.org.
func owner(name string) domain.Name {
	if at := strings.LastIndexByte(name, '_'); at >= 0 {
		_, name, _ = strings.Cut(name[at:], ".")
	}
	return domain.Name(name)
}
