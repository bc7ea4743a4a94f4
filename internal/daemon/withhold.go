package daemon

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"dkimd/internal/domain"
	"dkimd/keys"
)

const (
	// absentTime is how long DNS has not to serve a key before it is withheld.
	absentTime = 24 * time.Hour
	// absentEvery is how often DNS is asked about such keys; other keys wait for watchEvery.
	absentEvery = 10 * time.Minute
	// maxAbsent bounds them: where DNS serves none of so many keys, it is this host that sees another DNS.
	maxAbsent = 1000
)

// keyName is a key by its name in DNS.
type keyName struct {
	domain   domain.Name
	selector string
}

func (k keyName) String() string { return string(k.domain) + "/" + k.selector }

// withheld is the set of keys that sign only where no other key of their domain does. Each message asks it.
type withheld struct {
	names atomic.Pointer[map[keyName]bool] // nil: none
}

func (w *withheld) has(name domain.Name, selector string) bool {
	names := w.names.Load()
	return names != nil && (*names)[keyName{name, selector}]
}

func (w *withheld) set(names map[keyName]bool) {
	if len(names) == 0 {
		w.names.Store(nil)
		return
	}
	w.names.Store(&names)
}

// list is the set as text, sorted.
func (w *withheld) list() (all []string) {
	if names := w.names.Load(); names != nil {
		for name := range *names {
			all = append(all, name.String())
		}
	}
	slices.SortFunc(all, strings.Compare)
	return all
}

// absence is a key that no server of its zone has.
type absence struct {
	since    time.Time
	withheld bool
	seen     bool // in the round under way
	sure     bool // its servers said so then
}

// gone asks the servers of a key's zone.
func (d *daemon) gone(ctx context.Context, r *keys.CheckResult) (gone, known bool) {
	s := d.current.Load()
	return Rotation(s.Config, currentDNS{d}, s.Resolver.Servers(), d.log).Gone(ctx, r.Key.Domain, r.Key.Selector, r.Record.Text)
}

// note takes in what DNS says of the keys of a domain. What it did not say changes nothing.
func (w *keyWatch) note(ctx context.Context, results []keys.CheckResult) {
	served, unknown := 0, false
	for i := range results {
		r := &results[i]
		if r.Key.Pending() || r.State == keys.Unusable {
			continue
		}
		unknown = !w.noteKey(ctx, r) || unknown
		if r.State == keys.Published || r.State == keys.Weak {
			served++
		}
	}
	if served == 0 && unknown {
		return
	}
	for i := range results {
		name := keyName{results[i].Key.Domain, results[i].Key.Selector}
		a := w.absent[name]
		if a == nil {
			continue
		}
		withhold := served > 0 && (a.withheld || a.sure && time.Since(a.since) >= absentTime)
		if withhold && !a.withheld {
			w.log.Warn("a key signs no more: no name server has had its record for a day", "domain", string(name.domain), "selector", name.selector,
				"hint", "dkimd key show "+string(name.domain)+" "+name.selector)
		}
		if !withhold && a.withheld {
			w.log.Warn("a key signs again though DNS does not serve it: no other key of the domain is served", "domain", string(name.domain), "selector", name.selector)
		}
		a.withheld = withhold
	}
}

// noteKey notes whether a key is absent. It reports whether DNS has told.
func (w *keyWatch) noteKey(ctx context.Context, r *keys.CheckResult) bool {
	name := keyName{r.Key.Domain, r.Key.Selector}
	a := w.absent[name]
	if a != nil {
		a.seen, a.sure = true, false
	}
	gone, known := false, r.State != keys.Unreachable
	if known && !r.Serves() && (a != nil || len(w.absent) < maxAbsent) {
		gone, known = w.gone(ctx, r)
	}
	switch {
	case !known:
	case gone && a == nil:
		w.absent[name] = &absence{since: time.Now(), seen: true, sure: true}
	case gone:
		a.sure = true
	case !gone && a != nil:
		delete(w.absent, name)
		if a.withheld {
			w.log.Info("a key signs again: DNS serves it", "domain", string(name.domain), "selector", name.selector)
		}
	}
	return known
}

// settle ends a round: keys that are not there any more are forgotten, and the signer is told.
func (w *keyWatch) settle() {
	names := map[keyName]bool{}
	for name, a := range w.absent {
		if !a.seen {
			delete(w.absent, name)
			continue
		}
		a.seen = false
		if a.withheld {
			names[name] = true
		}
	}
	w.withhold(names)
}

// again looks at the domains of absent keys between two rounds.
func (w *keyWatch) again(ctx context.Context) {
	defer w.rescue()
	wanted := map[domain.Name]bool{}
	for name := range w.absent {
		wanted[name.domain] = true
	}
	domains := slices.DeleteFunc(w.domains(), func(d *keys.Domain) bool { return !wanted[d.Name] })
	if err := keys.CheckAll(ctx, w.lookup, domains, 1, func(_ *keys.Domain, results []keys.CheckResult) error {
		w.note(ctx, results)
		return context.Cause(ctx)
	}); err == nil {
		w.settle()
	}
}
