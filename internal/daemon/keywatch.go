package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/resolver"
	"dkimd/keys"
)

const (
	// watchFirst is when signing keys are first compared with DNS after the start:
	// a name server that starts with the machine is there by then.
	watchFirst = time.Minute
	watchEvery = 24 * time.Hour
	// watchAgain is when they are compared again where DNS could not be asked. Among more keys than fewKeys there is always one
	// like that, and the others are not asked for every hour because of it.
	watchAgain = time.Hour
	fewKeys    = 1000
	// watchPause follows each domain: 100,000 of them take half an hour, in which mail goes on.
	watchPause = 20 * time.Millisecond
	// maxWatchWarnings bounds what one round logs.
	maxWatchWarnings = 20
)

// keyWatch warns of signing keys that DNS does not publish: what they sign fails
// everywhere, and nobody here would notice.
type keyWatch struct {
	log     *slog.Logger
	lookup  keys.Lookup
	domains func() []*keys.Domain
	pause   time.Duration // after each domain
	// compared is told at the end of a round.
	compared func(comparison)
	require  func() config.RequirePublished
	// gone asks each name server of a key's zone, and withhold is told the keys that are to sign no more.
	gone     func(ctx context.Context, r *keys.CheckResult) (gone, known bool)
	withhold func(map[keyName]bool)
	absent   map[keyName]*absence // that no server has; of withhold only
	told     int                  // how many of them this round has told of
	// seen is told what came of each domain; nil: nobody asks.
	seen func(results []keys.CheckResult)
}

// comparison is what came of comparing keys with DNS.
type comparison struct{ keys, missing, unknown int }

// bad reports whether DNS does not serve, or does not tell of, so many keys that something is wrong with it, or with our view of it.
func (c *comparison) bad() bool { return c != nil && 10*(c.missing+c.unknown) > c.keys }

// again reports whether keys should be compared before their time.
func (c *comparison) again() bool {
	return c.unknown > 0 && (c.keys <= fewKeys || 10*c.unknown > c.keys)
}

// currentDNS asks the resolver in force, whichever it is by now.
type currentDNS struct{ d *daemon }

// TXT is keys.Lookup.
func (c currentDNS) TXT(ctx context.Context, name string) (resolver.Answer, error) {
	return c.d.current.Load().Resolver.TXT(ctx, name)
}

// watchKeys compares the keys with DNS until ctx ends.
func (d *daemon) watchKeys(ctx context.Context) {
	w := &keyWatch{
		log: d.log, lookup: currentDNS{d}, pause: watchPause,
		domains: func() []*keys.Domain { return d.current.Load().Keys.Domains() },
		compared: func(c comparison) {
			d.compared.Store(&c)
			d.metrics.Keys.Compared(c.missing, c.unknown)
		},
		require: func() config.RequirePublished { return d.current.Load().Config.Sign.RequirePublished },
		gone:    d.gone, withhold: d.withheld.set, absent: map[keyName]*absence{},
	}
	if d.page != nil {
		w.seen = d.page.compared.add
	}
	w.run(ctx, watchFirst)
}

func (w *keyWatch) run(ctx context.Context, wait time.Duration) {
	next, require := time.Now().Add(wait), w.require()
	for sleep(ctx, wait) {
		switch {
		case !time.Now().Before(next), w.require() != require:
			next, require = time.Now().Add(watchEvery), w.require()
			if c := w.round(ctx); c.again() {
				next = time.Now().Add(watchAgain)
			}
		case len(w.absent) > 0:
			w.again(ctx)
		}
		if wait = min(time.Until(next), watchAgain); len(w.absent) > 0 { // require may change meanwhile
			wait = min(wait, absentEvery)
		}
	}
}

func (w *keyWatch) rescue() {
	if p := recover(); p != nil {
		w.log.Error("panic in comparing keys with DNS", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

// round compares all keys once.
func (w *keyWatch) round(ctx context.Context) (c comparison) {
	defer w.rescue()
	require := w.require()
	if require != config.WithholdUnpublished {
		clear(w.absent)
	}
	if require == config.IgnoreUnpublished {
		w.settle()
		w.compared(comparison{})
		return comparison{}
	}
	began := time.Now()
	var cause error
	err := keys.CheckAll(ctx, w.lookup, w.domains(), 1, func(_ *keys.Domain, results []keys.CheckResult) error {
		for _, r := range results {
			switch {
			case r.Key.Pending(), r.State == keys.Unusable: // does not sign; its fault is logged where it is read
				continue
			case r.State == keys.Unreachable:
				c.unknown, cause = c.unknown+1, r.Err
			case !r.Serves():
				if c.missing++; c.missing <= maxWatchWarnings {
					w.log.Warn("DNS does not publish a key that signs: what it signs fails at all receivers",
						"domain", string(r.Key.Domain), "selector", r.Key.Selector, "state", r.State.String(), "what", r.Words(),
						"hint", "dkimd key show "+string(r.Key.Domain)+" "+r.Key.Selector)
				}
			}
			c.keys++
		}
		if require == config.WithholdUnpublished {
			w.note(results, w.ask(ctx, results))
		}
		if w.seen != nil {
			w.seen(results)
		}
		if !sleep(ctx, w.pause) {
			return context.Cause(ctx)
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return c
	case err != nil:
		w.log.Error("could not compare keys with DNS", "error", err.Error())
		return c
	case c.missing > maxWatchWarnings:
		w.log.Warn("further keys that sign are not published", "keys", c.missing-maxWatchWarnings, "hint", "dkimd key check")
	}
	if c.unknown > 0 {
		w.log.Warn("could not look up the records of keys that sign", "keys", c.unknown, "error", cause.Error())
	}
	w.settle()
	w.compared(c)
	w.log.Info("keys compared with DNS", "keys", c.keys, "not_published", c.missing, "unknown", c.unknown,
		"took", time.Since(began).Round(time.Millisecond).String())
	return c
}

// sleep waits, and reports whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
