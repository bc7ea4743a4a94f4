package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

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
func (w *keyWatch) note(results []keys.CheckResult, answers []answer) {
	served, unknown := 0, false
	for i := range results {
		r := &results[i]
		if r.Key.Pending() || r.State == keys.Unusable {
			continue
		}
		unknown = !w.noteKey(r, answers[i]) || unknown
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
		if withhold && !a.withheld && w.mayTell() {
			w.log.Warn("a key signs no more: no name server has had its record for a day", "domain", string(name.domain), "selector", name.selector,
				"hint", "dkimd key show "+string(name.domain)+" "+name.selector)
		}
		if !withhold && a.withheld && w.mayTell() {
			w.log.Warn("a key signs again though DNS does not serve it: no other key of the domain is served", "domain", string(name.domain), "selector", name.selector)
		}
		a.withheld = withhold
	}
}

// mayTell reports whether one more key may be told of in this round.
func (w *keyWatch) mayTell() bool {
	w.told++
	return w.told <= maxWatchWarnings
}

// answer is what the servers of a zone say of a key.
type answer struct{ gone, known bool }

// ask asks for the keys of a domain that DNS does not serve. It changes nothing, and may be called by several goroutines at once
// while nobody notes.
func (w *keyWatch) ask(ctx context.Context, results []keys.CheckResult) []answer {
	answers := make([]answer, len(results))
	for i := range results {
		r := &results[i]
		answers[i].known = r.State != keys.Unreachable
		_, absent := w.absent[keyName{r.Key.Domain, r.Key.Selector}]
		if r.State != keys.Unreachable && r.State != keys.Unusable && !r.Key.Pending() && !r.Serves() && (absent || len(w.absent) < maxAbsent) {
			answers[i].gone, answers[i].known = w.gone(ctx, r)
		}
	}
	return answers
}

// noteKey notes whether a key is absent. It reports whether DNS has told.
func (w *keyWatch) noteKey(r *keys.CheckResult, said answer) bool {
	name := keyName{r.Key.Domain, r.Key.Selector}
	a := w.absent[name]
	if a != nil {
		a.seen, a.sure = true, false
	}
	switch {
	case !said.known:
	case said.gone && a == nil:
		w.absent[name] = &absence{since: time.Now(), seen: true, sure: true}
	case said.gone:
		a.sure = true
	case a != nil:
		delete(w.absent, name)
		if a.withheld && w.mayTell() {
			w.log.Info("a key signs again: DNS serves it", "domain", string(name.domain), "selector", name.selector)
		}
	}
	return said.known
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
	if more := w.told - maxWatchWarnings; more > 0 {
		w.log.Warn("further keys sign no more, or again", "keys", more, "hint", "dkimd key list")
	}
	w.told = 0
}

// again looks at the domains of absent keys between two rounds.
func (w *keyWatch) again(ctx context.Context) {
	defer w.rescue()
	wanted := map[domain.Name]bool{}
	for name := range w.absent {
		wanted[name.domain] = true
	}
	domains := slices.DeleteFunc(w.domains(), func(d *keys.Domain) bool { return !wanted[d.Name] })
	checked := make([][]keys.CheckResult, len(domains))
	answers := make([][]answer, len(domains))
	var asking errgroup.Group
	asking.SetLimit(rotateParallel)
	for i, d := range domains {
		asking.Go(func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			checked[i] = keys.CheckDomain(ctx, w.lookup, d, "")
			answers[i] = w.ask(ctx, checked[i])
			return context.Cause(ctx)
		})
	}
	if err := asking.Wait(); err != nil {
		if ctx.Err() == nil {
			w.log.Error("could not compare keys with DNS", "error", err.Error())
		}
		return
	}
	for i := range domains {
		w.note(checked[i], answers[i])
	}
	w.settle()
}
