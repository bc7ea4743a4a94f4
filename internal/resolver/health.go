package resolver

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// troubleAfter is how long no server answers until that is a trouble.
	troubleAfter = time.Minute
	// probeAfter is how long no server answers until they are asked for something else.
	probeAfter = 5 * time.Second
)

// health is whether the servers answer. A reload hands it over.
type health struct {
	clock   func() time.Time
	since   atomic.Pointer[time.Time] // the first question since the last answer; nil: none
	failure atomic.Pointer[failure]   // the last one
}

// asked is told of each question, and answered where a server answers it.
func (h *health) asked() {
	if h.since.Load() == nil {
		now := h.clock()
		h.since.CompareAndSwap(nil, &now)
	}
}

func (h *health) answered()          { h.since.Store(nil) }
func (h *health) failed(why failure) { h.failure.Store(&why) }

// unanswered is since when no server answers, if that is at least so long.
func (h *health) unanswered(least time.Duration) (since time.Time, ok bool) {
	first := h.since.Load()
	if first == nil || h.clock().Sub(*first) < least {
		return time.Time{}, false
	}
	return *first, true
}

// Attend does what is due every few seconds, beside the mail: it looks whether
// resolv.conf has changed and, where no server answers, whether one does again.
func (r *Resolver) Attend(ctx context.Context) {
	r.reread()
	if _, ok := r.health.unanswered(probeAfter); ok {
		ctx, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		// It may have been one domain whose servers are silent. Another name each time, so
		// that the answer is not what a server remembers from before it lost its network.
		names := strings.Fields("com net org info biz edu gov int arpa de uk fr nl eu jp br")
		_, _, _ = r.ask(ctx, rrset{names[rand.IntN(len(names))], TXT}) //nolint:gosec // which one does not matter
	}
}

// Troubles say what the administrator should know of the servers.
func (r *Resolver) Troubles() (troubles []string) {
	if list := r.list.Load(); list.trouble != "" {
		troubles = append(troubles, "DNS: "+list.trouble)
	}
	if since, ok := r.health.unanswered(troubleAfter); ok {
		words := "DNS: no name server has answered since " + since.UTC().Format(time.RFC3339)
		if why := r.health.failure.Load(); why != nil {
			words += ": " + why.err.Error() + " from " + why.server.address
		}
		troubles = append(troubles, words)
	}
	return troubles
}
