package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/rotate"
	"dkimd/keys"
)

const anothersKey = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

// misfortune has something go wrong in a world, or mends it, and says what.
func (w *world) misfortune(r *rand.Rand) string {
	const year = 365 * 24 * time.Hour
	flip := func(what string, is *bool) string {
		*is = !*is
		return fmt.Sprint(what, " ", *is)
	}
	broken := func(what string, err *error) string {
		if *err == nil {
			*err = errors.New("refused")
		} else {
			*err = nil
		}
		return fmt.Sprint(what, " ", *err)
	}
	switch r.IntN(10) {
	case 0:
		w.kill = 1 + r.IntN(12)
		return fmt.Sprint("killed at call ", w.kill)
	case 1:
		jump := time.Duration(r.Int64N(int64(2*year))) - year
		w.now.Wall = w.now.Wall.Add(jump)
		return fmt.Sprint("the clock is set by ", jump)
	case 2:
		w.pass(time.Minute)
		w.now.Boot, w.now.Up, w.running = w.now.Boot+"x", time.Minute, w.files()
		return "boot"
	case 3:
		if w.lags {
			w.second = maps.Clone(w.primary)
		}
		return flip("the second server lags:", &w.lags)
	case 4:
		return flip("the second server is down:", &w.down)
	case 5:
		return flip("our resolver is blind:", &w.blind)
	case 6:
		return broken("updates:", &w.refuse)
	case 7:
		return broken("reload:", &w.reload)
	}
	early := w.early()
	if len(early) == 0 {
		return "nothing"
	}
	name := early[r.IntN(len(early))] + "._domainkey." + org
	if r.IntN(2) == 0 {
		delete(w.primary, name)
		delete(w.second, name)
		delete(w.foreign, name)
		return "no record at " + name
	}
	w.primary[name], w.second[name], w.foreign[name] = anothersKey, anothersKey, anothersKey
	return "another's record at " + name
}

// early are the selectors that do not sign yet.
func (w *world) early() (all []string) {
	w.t.Helper()
	d, err := keys.Find(keys.Config{Directory: w.dir}, org)
	if err != nil {
		w.t.Fatal(err)
	}
	held, _ := d.Held()
	for _, h := range held {
		if (h.Life.Stage == keys.StageMade || h.Life.Stage == keys.StagePublished) && h.Place != keys.Signing {
			all = append(all, h.Selector)
		}
	}
	return all
}

// mend ends all misfortune.
func (w *world) mend() {
	w.kill, w.lags, w.down, w.blind, w.refuse, w.reload = 0, false, false, false, nil, nil
	for name := range w.foreign {
		delete(w.primary, name)
		delete(w.foreign, name)
	}
	w.second = maps.Clone(w.primary)
}

// survives reports whether something was not killed.
func survives(do func()) (alive bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(killed); !ok {
				panic(p)
			}
			alive = false
		}
	}()
	do()
	return true
}

// Whatever goes wrong, in any order, what must be so is so, and once all is mended one key signs and the others come to their end.
func TestAnyMisfortune(t *testing.T) {
	t.Parallel()
	const seeds = 20
	ended := 0
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 14))
		w := newWorld(t)
		w.signs("old", keys.Ed25519)
		w.keep = 2 * time.Hour
		e := w.engine(func(c *rotate.Config) {
			c.Reload = func(context.Context, []domain.Name) error {
				w.point()
				if w.reload == nil {
					w.running = w.files()
				}
				return w.reload
			}
		})
		w.running = w.files()
		var story []string
		for range 60 {
			if r.IntN(3) == 0 {
				story = append(story, w.misfortune(r))
			}
			if r.IntN(20) == 0 {
				survives(func() { _ = e.Begin(t.Context(), org, "") })
			}
			after := time.Minute
			alive := survives(func() {
				if report, err := e.Step(t.Context(), org); err != nil {
					story = append(story, err.Error())
				} else if report.After > 0 {
					after = report.After
				}
			})
			if !alive && r.IntN(2) == 0 {
				w.running = w.files() // it was the daemon
			}
			w.look()
			w.pass(min(max(after, time.Second), time.Duration(r.Int64N(int64(40*time.Minute)))))
			story = append(story, w.states())
		}
		w.mend()
		survives(func() { _ = e.Begin(t.Context(), org, "") })
		w.step(e, 10*24*time.Hour)
		got := w.states()
		if strings.Count(got, "active") != 1 || strings.Count(got, "destroyed") != strings.Count(got, ",") {
			t.Errorf("in the end: %s", got)
		}
		if ended += strings.Count(got, "destroyed"); t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(slices.Compact(story), "\n"))
		}
	}
	if ended < seeds {
		t.Errorf("%d keys have come to their end", ended)
	}
}

// files are the selectors of the keys whose files sign.
func (w *world) files() (all []string) {
	w.t.Helper()
	d, err := keys.Find(keys.Config{Directory: w.dir}, org)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, k := range d.Keys {
		all = append(all, k.Selector)
	}
	return all
}
