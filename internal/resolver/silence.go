package resolver

import (
	"sync"
	"time"

	"dkimd/internal/domain"
)

const (
	// silentAfter is how many lookups in a row a domain leaves without an answer until it is asked less.
	silentAfter = 3
	// minRest and maxRest are how long it is not asked then. Each lookup that goes
	// out after such a rest doubles the next; one answer ends it.
	minRest = 2 * time.Second
	maxRest = 8 * time.Second
	// silentMemory is how long an unanswered lookup counts.
	silentMemory = time.Minute
	// slow is when a server's "I could not find out" counts as silence: it waited for the domain's servers.
	slow = time.Second
	// maxSilent bounds the domains remembered. Past it any of them is forgotten: it is asked again then.
	maxSilent = 4096
)

// silence remembers the domains whose name servers do not answer. Mail that
// needs them is told so at once (ErrSilent), and their lookups take no place.
// It is about the domain with the name servers that the name asked for belongs to,
// not the organizational one: others there should not fail because one part is silent.
type silence struct {
	mu      sync.Mutex
	domains map[domain.Name]*silentDomain
}

// silentDomain has times on the cache's clock.
type silentDomain struct {
	unanswered int
	rest       time.Duration
	until      time.Duration // of the rest or, before the first, of what is remembered
}

// resting reports whether a domain is not to be asked now.
func (s *silence) resting(name domain.Name, now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domains[name]
	return d != nil && d.unanswered == silentAfter && now < d.until
}

// admit reports whether a lookup may ask for a name of a domain now. Where a rest is
// over, one may, and the next rest begins.
func (s *silence) admit(name domain.Name, now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domains[name]
	if d == nil || d.unanswered < silentAfter {
		return true
	}
	if now < d.until {
		return false
	}
	d.rest = min(2*d.rest, maxRest)
	d.until = now + d.rest
	return true
}

// answered ends what is remembered of a domain.
func (s *silence) answered(name domain.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.domains, name)
}

// unanswered counts a lookup that nobody answered.
func (s *silence) unanswered(name domain.Name, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.domains[name]
	switch {
	case d == nil:
		if len(s.domains) >= maxSilent {
			for other := range s.domains {
				delete(s.domains, other)
				break
			}
		}
		d = new(silentDomain)
		s.domains[name] = d
	case d.unanswered == silentAfter:
		return // the rests go on
	case now >= d.until:
		d.unanswered = 0
	}
	d.unanswered++
	d.until = now + silentMemory
	if d.unanswered == silentAfter {
		d.rest = minRest
		d.until = now + d.rest
	}
}

// nameServed is the domain by which silence remembers a name. A name without an
// underscore is the target of an alias: many of these may lead to the same servers.
func nameServed(name string) domain.Name {
	if own := owner(name); len(own) < len(name) {
		return own
	}
	return organizational(name)
}
