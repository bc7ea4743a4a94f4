package rotate

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"dkimd/internal/dkim"
	"dkimd/keys"
)

// date is what a template of selectors has for the day.
const date = "{date}"

// errors of beginning a rotation. Compare with errors.Is.
var (
	// ErrNoKey: there is no key that the next one could be like.
	ErrNoKey = errors.New("no key signs for it")
	// ErrPair: each of the selectors that are used in turn is still in use.
	ErrPair = errors.New("no selector is free yet")
)

// Begin makes up its mind: from then on Step takes the domain from the keys that sign to new ones. A rotation that is
// under way goes on instead. A domain without any key gets its first if first is a type of key.
func (e *Engine) Begin(ctx context.Context, name, first string) error {
	j, unlock, err := e.open(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	return j.begin(ctx, nil, first)
}

// underWay reports whether a new key is on its way, or has not taken over yet.
func (j *job) underWay() bool {
	return slices.ContainsFunc(j.held, func(k keys.Held) bool {
		early := k.Life.Stage == keys.StageMade || k.Life.Stage == keys.StagePublished
		return k.Recorded && k.Life.Rotating && (early || len(k.Life.Replaces) > 0)
	})
}

// next is the key that is to be made, and those that retire for it.
type next struct {
	life     keys.Life
	selector string
	replaced []keys.Held
}

func (j *job) begin(ctx context.Context, types []string, first string) error {
	if j.underWay() {
		return nil
	}
	n, err := j.next(ctx, types, first)
	if err != nil {
		return fmt.Errorf("rotate %s: %w", j.domain.Name, err)
	}
	// The old ones first: whatever this is stopped at, none retires that does not know how.
	for _, k := range n.replaced {
		k.Life.Rotating = true
		if k.Life.Since.IsZero() {
			k.Life.Since = j.Now().Wall
		}
		if err := j.domain.SaveLife(k.Selector, k.Life); err != nil {
			return err
		}
	}
	j.Logger.Info("key rotation begins", "domain", string(j.domain.Name), "selector", n.selector, "type", n.life.Type, "replaces", n.life.Replaces)
	return j.domain.SaveLife(n.selector, n.life)
}

// next decides about the next key. Of several types only the first one rotates now.
func (j *job) next(ctx context.Context, types []string, first string) (next, error) {
	kinds := map[string][]keys.Held{}
	bits := 0
	for _, k := range j.held {
		if k.Place != keys.Signing {
			continue
		}
		private, err := j.load(ctx, k.Selector)
		if err != nil {
			continue // it does not sign: whoever left it there decides
		}
		if err := j.complete(ctx, &k); err != nil {
			return next{}, err
		}
		k.Life.Stage = keys.StageActive
		kinds[private.Type] = append(kinds[private.Type], k)
		if private.Type == keys.RSA {
			bits = max(bits, private.Bits)
		}
	}
	if len(types) == 0 {
		types = slices.DeleteFunc([]string{keys.RSA, keys.Ed25519}, func(t string) bool { return len(kinds[t]) == 0 })
	}
	switch {
	case len(types) == 0 && first == "":
		return next{}, ErrNoKey
	case len(types) == 0:
		types = []string{first}
	}
	now := j.Now()
	n := next{life: keys.Life{Stage: keys.StageMade, Since: now.Wall, Looked: now, Rotating: true, Type: types[0], Then: types[1:]}}
	if types[0] == keys.RSA {
		n.life.Bits = max(bits, 2048)
	}
	for _, k := range kinds[types[0]] {
		if err := j.claimed(ctx, k.Selector); err != nil {
			return next{}, err
		}
		n.replaced = append(n.replaced, k)
		n.life.Replaces = append(n.life.Replaces, k.Selector)
	}
	var err error
	if n.selector, n.life.Before, err = j.selector(types[0], now.Wall); err != nil {
		return next{}, err
	}
	for _, kind := range n.life.Then { // what can never be is told before anything is made
		if _, _, err := j.selector(kind, now.Wall); err != nil && !errors.Is(err, ErrPair) {
			return next{}, err
		}
	}
	if only := j.domain.Options.Selectors; only != nil && !slices.Contains(only, n.selector) {
		return next{}, fmt.Errorf("its domain.toml has selectors, and a key with another selector would not sign: take selectors out, or add %q", n.selector)
	}
	return n, j.checkMap(n)
}

// checkMap refuses to replace keys by whose selectors a table of [[sign.map]] signs: its mail could not be signed.
func (j *job) checkMap(n next) error {
	for _, m := range j.Keys.Map {
		named := func(selector string) bool { return slices.Contains(m.Selectors, selector) }
		if slices.Contains(j.names, m.SignAs) && slices.ContainsFunc(n.life.Replaces, named) && !named(n.selector) {
			return fmt.Errorf("%s:%d: a table of sign.map has selectors, and a key with another selector would not sign: take selectors out, or add %q", m.Path, m.Line, n.selector)
		}
	}
	return nil
}

// selector is the one of the next key, and the record that DNS may still have of its last life.
func (j *job) selector(kind string, now time.Time) (selector, before string, err error) {
	templates := j.Selectors
	if own := j.domain.Options.RotateSelectors; own != nil {
		templates = own
	}
	find := func(selector string) *keys.Held {
		i := slices.IndexFunc(j.held, func(k keys.Held) bool { return k.Selector == selector })
		if i < 0 {
			return nil
		}
		return &j.held[i]
	}
	suffix := ""
	if kind == keys.Ed25519 {
		suffix = "-" + keys.Ed25519
	}
	if len(templates) == 1 {
		base := strings.ReplaceAll(templates[0], date, now.UTC().Format("20060102")) + suffix
		for _, more := range append([]string{""}, strings.Split("bcdefghijklmnopqrstuvwxyz", "")...) {
			if selector, err = j.parse(base+more, dkim.AsSpecified); err != nil {
				return "", "", err
			}
			if find(selector) == nil && !j.domain.HasFile(selector) {
				return selector, "", nil
			}
		}
		return "", "", fmt.Errorf("%w: %s and those after it have keys", ErrPair, base)
	}
	var oldest *keys.Held
	for _, name := range templates {
		if selector, err = j.parse(name+suffix, dkim.AsPublished); err != nil {
			return "", "", err
		}
		k := find(selector)
		if k == nil && !j.domain.HasFile(selector) {
			return selector, "", nil
		}
		if k != nil && k.Life.Stage == keys.StageDestroyed && (oldest == nil || k.Life.Since.Before(oldest.Life.Since)) {
			oldest = k
		}
	}
	if oldest == nil {
		return "", "", fmt.Errorf("%w: the keys of %s have not come to their end", ErrPair, strings.Join(templates, ", "))
	}
	return oldest.Selector, oldest.Life.Record, nil
}

// parse reads a selector with which each domain whose keys these are can have a record.
func (j *job) parse(text string, g dkim.Grammar) (selector string, err error) {
	for _, name := range j.names {
		if selector, err = dkim.ParseSelector(text, name, g); err != nil {
			return "", fmt.Errorf("selector %q of %s: %w", text, name, err)
		}
	}
	return selector, nil
}

// Plan is what Begin and Step would do, in words, with times. Nothing is changed, and DNS is only asked.
func (e *Engine) Plan(ctx context.Context, name, first string) ([]string, error) {
	j, unlock, err := e.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if j.underWay() {
		return []string{fmt.Sprintf("%s: a rotation is under way; it goes on", j.domain.Name)}, nil
	}
	n, err := j.next(ctx, nil, first)
	if err != nil {
		return nil, fmt.Errorf("rotate %s: %w", j.domain.Name, err)
	}
	kind := n.life.Type + " key"
	if n.life.Bits > 0 {
		kind += fmt.Sprintf(" of %d bits", n.life.Bits)
	}
	plan := []string{fmt.Sprintf("%s: make an %s with selector %s", j.domain.Name, kind, n.selector)}
	say := func(format string, args ...any) { plan = append(plan, "  "+fmt.Sprintf(format, args...)) }
	facts := j.facts(ctx, n.selector)
	hold := time.Duration(0)
	for _, said := range facts.Said {
		hold = max(hold, said.Negative, said.TTL)
	}
	for _, name := range j.names {
		target, zone, err := j.DNS.Place(ctx, dkim.RecordName(n.selector, name))
		if err != nil {
			say("its zone cannot be found now: %v", err)
			continue
		}
		say("publish %s in the zone %s, %s", target, zone, j.Publisher(target).Method)
	}
	say("sign with it once all servers have the record and %s later, for caches that remember its absence: %s", span(hold), servers(facts))
	ends := e.Now().Wall.Add(hold + e.Policy.Keep + j.Publisher(dkim.RecordName(n.selector, j.domain.Name)).TTL)
	end := "revoke"
	if e.Policy.Withdraw {
		end = "withdraw"
	}
	for _, old := range n.life.Replaces {
		say("retire %s then, %s its record %s later, not before %s, and destroy its private key", old, end, span(e.Policy.Keep), ends.UTC().Format("2006-01-02 15:04 MST"))
	}
	for _, kind := range n.life.Then {
		say("rotate its %s key after that", kind)
	}
	return plan, nil
}

func servers(f Facts) string {
	if f.Err != nil {
		return f.Err.Error()
	}
	var all []string
	for _, s := range f.Said {
		if text := s.Server; !slices.Contains(all, text) {
			if s.Err != nil {
				text += " (now: " + s.Err.Error() + ")"
			}
			all = append(all, text)
		}
	}
	return strings.Join(all, ", ")
}

// Turn is whether a domain has to be looked after.
type Turn struct {
	Moving  bool         // a rotation is under way
	Waiting bool         // and a new key waits for DNS
	Due     bool         // a key is old enough
	First   string       // the type of the first key that it is to have; empty: it has one, or is to have none
	Stages  []keys.Stage // of all keys
}

// Look tells whose turn it is, from files alone: every is how old a key gets, 0 for any age. It changes nothing.
func (e *Engine) Look(name string, every time.Duration, first bool) (Turn, error) {
	d, err := keys.Find(e.Keys, name)
	if err != nil {
		return Turn{}, err
	}
	held, faults := d.Held()
	if len(faults) > 0 {
		return Turn{}, faults
	}
	var t Turn
	if own := d.Options.RotateEvery; own != nil {
		every = *own
	}
	now := e.Now().Wall
	for _, k := range held {
		if k.Recorded && k.Life.Rotating {
			t.Moving = true
			t.Waiting = t.Waiting || k.Life.Stage == keys.StageMade || k.Life.Stage == keys.StagePublished
		}
		t.Stages = append(t.Stages, k.Stage())
		if k.Place == keys.Signing && every > 0 && due(name, every, k.Life.Since, now) {
			t.Due = true
		}
	}
	if first && len(held) == 0 && d.Options.SignAs == "" && len(d.Faults()) == 0 {
		t.First = keys.RSA
	}
	return t, nil
}

// due reports whether a key is to be replaced now. The days of a domain, one in each span of every, follow from its
// name, so that domains take turns; a key that is younger than half of that is left for the next one.
func due(name string, every time.Duration, since, now time.Time) bool {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))
	phase := time.Duration(hash.Sum64() % uint64(every)) //nolint:gosec // every is positive
	late := time.Duration(now.UnixNano())%every - phase
	if late < 0 {
		late += every
	}
	// Who was away on the day itself has a tenth of the time to make up for it.
	return now.Sub(since) >= every/2 && late < every/10
}
