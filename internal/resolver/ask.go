package resolver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// askAgain is how long a server is waited for before a query goes out again, to the
// next one or the same. Whoever answers first counts, also to a query before that.
const askAgain = time.Second

// asking is one question to all servers.
type asking struct {
	r       *Resolver
	set     rrset
	talks   []*talk // one a server, in the order in which they are asked
	last    int     // of talks, who was asked last
	open    int     // talks under way
	pause   time.Duration
	ended   chan *talk
	running sync.WaitGroup
}

// talk is what one server is asked and says.
type talk struct {
	server *server
	began  int // how often
	since  time.Time
	open   bool
	rep    reply
	err    error // of the last time
}

// failure is why a server did not help.
type failure struct {
	server *server
	err    error
}

// ask asks one server after the other, the whole list as often as configured, until
// one knows. The next is asked at once where one fails, and soon where one says
// nothing; all have their turn in the time of ctx.
func (r *Resolver) ask(ctx context.Context, set rrset) (reply, string, error) {
	servers := r.order()
	deadline, _ := ctx.Deadline()
	rounds := r.attempts + 1 // the last is without EDNS0
	a := &asking{
		r: r, set: set, last: -1, talks: make([]*talk, len(servers)), ended: make(chan *talk, len(servers)),
		pause: min(askAgain, time.Until(deadline)/time.Duration(rounds*len(servers))),
	}
	for i, s := range servers {
		a.talks[i] = &talk{server: s}
	}
	r.health.asked()
	// Whoever ends ctx, no talk outlives this.
	talking, cancel := context.WithCancel(ctx)
	defer a.running.Wait()
	defer cancel()
	winner, why := a.run(talking)
	if winner != nil {
		a.noteSilence(winner)
		winner.rep.authenticated = winner.rep.authenticated && (r.trustAD || winner.server.local)
		r.health.answered()
		return winner.rep, winner.server.address, nil
	}
	if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		r.health.failed(why)
	}
	return reply{}, why.server.address, why.err
}

// run returns the talk that brought an answer, or the one that says best why none did.
func (a *asking) run(ctx context.Context) (winner *talk, why failure) {
	next := time.NewTimer(a.pause)
	defer next.Stop()
	a.begin(ctx, a.next())
	for ctx.Err() == nil && (a.open > 0 || a.next() != nil) {
		select {
		case <-ctx.Done():
		case <-next.C:
			if t := a.next(); t != nil {
				a.begin(ctx, t)
				next.Reset(a.pause)
			}
		case t := <-a.ended:
			a.open--
			t.open = false
			if t.err == nil {
				return t, failure{}
			}
			if ctx.Err() != nil {
				break
			}
			a.r.logger.Debug("dns query failed", slog.String("name", a.set.name), slog.String("server", t.server.address), slog.Any("error", t.err))
			why = failure{t.server, t.err}
			if errors.Is(t.err, ErrPanic) { // the next one would do the same to us
				return nil, why
			}
			// A server that is not there may be soon: that is worth the pause.
			if t := a.next(); t != nil && (t.began == 0 || !errors.Is(why.err, ErrNetwork)) {
				a.begin(ctx, t)
				next.Reset(a.pause)
			}
		}
	}
	if why.server == nil {
		why = failure{a.talks[a.last].server, ErrTimeout}
	}
	return nil, why
}

// next is the server whose turn it is: not one that may still answer. It is nil after the last.
func (a *asking) next() *talk {
	for i := range a.talks {
		if t := a.talks[(a.last+1+i)%len(a.talks)]; !t.open && t.began < a.r.attempts {
			return t
		}
	}
	return nil
}

// begin has a server asked.
func (a *asking) begin(ctx context.Context, t *talk) {
	for i := range a.talks {
		if a.talks[i] == t {
			a.last = i
		}
	}
	t.open, t.since = true, time.Now()
	t.began++
	a.open++
	a.running.Go(func() {
		defer func() {
			if fault := recover(); fault != nil {
				a.r.panicked(a.set, fault)
				t.err = ErrPanic
			}
			a.ended <- t
		}()
		t.rep, t.err = a.r.try(ctx, t.server, a.set, a.pause*time.Duration(len(a.talks)))
	})
}

// noteSilence has who said nothing where another knew asked last for a while. Where
// nobody knew, it is the domain's own servers that are slow or gone.
func (a *asking) noteSilence(winner *talk) {
	for _, t := range a.talks {
		if t.open && time.Since(t.since) >= a.pause || !t.open && errors.Is(t.err, ErrNetwork) {
			t.server.silent.note(a.r.cache.now(), retreat)
		}
	}
	winner.server.silent.forget()
}

// try asks one server: over UDP with EDNS0, without EDNS0 where the server does
// not know it (RFC 6891 section 7) or is silent, over TCP where the answer does not
// fit (RFC 7766 section 5) or somebody else answers too. A server that does not keep
// the case of a name cannot be told from somebody who guesses, but over TCP; where
// there is no TCP, it is asked in lower case.
func (r *Resolver) try(ctx context.Context, s *server, set rrset, pause time.Duration) (reply, error) {
	now := r.cache.now()
	how := manner{
		network: "udp", edns: !s.plain.noted(now), mixed: !s.local && !s.folds.noted(now),
		repeats: r.attempts, pause: pause,
	}
	folded := false
	for {
		rep, err := r.exchangeIn(ctx, s.address, set, how, folded)
		switch {
		case how.network == "udp" && (errors.Is(err, errFolded) || errors.Is(err, errForged) || err == nil && rep.truncated):
			how.network = "tcp"
			folded = errors.Is(err, errFolded)
		case folded && how.network == "tcp" && ctx.Err() == nil && (errors.Is(err, ErrTimeout) || errors.Is(err, ErrNetwork)):
			how.network, how.mixed = "udp", false
		case err != nil:
			return reply{}, err
		case how.edns && (rep.rcode == dns.RcodeFormatError || rep.rcode == dns.RcodeNotImplemented || rep.rcode == dns.RcodeBadVers):
			how.edns = false
		default:
			if err := rep.fault(); err != nil {
				return reply{}, err
			}
			s.learn(now, how, rep, folded)
			return rep, nil
		}
	}
}

// exchangeIn is exchange, which does not wait for long where TCP is only a way to make sure.
func (r *Resolver) exchangeIn(ctx context.Context, address string, set rrset, how manner, folded bool) (reply, error) {
	if folded && how.network == "tcp" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, how.pause)
		defer cancel()
	}
	return r.exchange(ctx, address, set, how)
}
