package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/dkim"
	"dkimd/internal/logtest"
	"dkimd/internal/resolver"
	"dkimd/keys"
)

// zone is a DNS that has some records; those of failing names it does not tell.
type zone struct {
	mu         sync.Mutex
	has, fails map[string]bool // selectors
	records    map[string]string
	silent     bool // a name server of the zone does not answer
	elsewhere  bool // the name servers have the record that the resolver does not
	require    config.RequirePublished
}

func (z *zone) TXT(_ context.Context, name string) (resolver.Answer, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	selector, _, _ := strings.Cut(name, ".")
	switch {
	case z.fails[selector]:
		return resolver.Answer{}, errors.Join(resolver.ErrTemporary, errors.New("a test"))
	case z.has[selector]:
		return resolver.Answer{Records: []string{z.records[name]}}, nil
	}
	return resolver.Answer{}, resolver.ErrNotExist
}

// A key is withheld once no name server has had its record for a day, while another one is served; never
// for want of an answer. It signs again when it is served, or no other key is.
func TestKeysAreWithheld(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	records := map[string]string{}
	for _, selector := range []string{"a", "b"} {
		g, err := keys.Generate(keys.New{Directory: dir, Domain: "d.example", Selector: selector, Type: keys.Ed25519})
		if err == nil {
			_, err = keys.Activate(t.Context(), keys.Activation{Directory: dir, Domain: "d.example", Selector: selector, Force: true})
		}
		if err != nil {
			t.Fatal(err)
		}
		records[dkim.RecordName(selector, "d.example")] = g.Record.Text
	}
	store, _ := keys.Open(keys.Config{Directory: dir})
	t.Cleanup(store.Close)
	for _, k := range store.Domains()[0].Keys {
		if _, err := k.Load(t.Context()); err != nil { // so that nothing is read in the bubble
			t.Fatal(err)
		}
	}
	const day = 24 * time.Hour
	type moment struct {
		at     time.Duration
		change func(z *zone)
		want   string // the keys that are withheld then
	}
	lose := func(selectors ...string) func(z *zone) {
		return func(z *zone) {
			for _, s := range selectors {
				delete(z.has, s)
			}
		}
	}
	tests := map[string]struct {
		require config.RequirePublished
		moments []moment
	}{
		"absent for a day, and back": {config.WithholdUnpublished, []moment{
			{0, lose("a"), ""}, {day, nil, ""}, {day + 12*time.Minute, func(z *zone) { z.has["a"] = true }, "a"}, {day + 23*time.Minute, nil, ""},
		}},
		"absent only now and then": {config.WithholdUnpublished, []moment{
			{0, lose("a"), ""},
			{day / 2, func(z *zone) { z.has["a"] = true }, ""},
			{day/2 + 11*time.Minute, nil, ""},
			{2 * day, lose("a"), ""},
			{2*day + day/2, nil, ""},
		}},
		"another key goes, too": {config.WithholdUnpublished, []moment{
			{0, lose("a"), ""}, {day + 12*time.Minute, lose("b"), "a"}, {day + 23*time.Minute, nil, ""}, {4 * day, nil, ""},
		}},
		"none is served":             {config.WithholdUnpublished, []moment{{0, lose("a", "b"), ""}, {3 * day, nil, ""}}},
		"a name server is silent":    {config.WithholdUnpublished, []moment{{0, func(z *zone) { lose("a")(z); z.silent = true }, ""}, {3 * day, nil, ""}}},
		"the name servers have it":   {config.WithholdUnpublished, []moment{{0, func(z *zone) { lose("a")(z); z.elsewhere = true }, ""}, {3 * day, nil, ""}}},
		"DNS fails":                  {config.WithholdUnpublished, []moment{{0, func(z *zone) { z.fails["a"] = true }, ""}, {3 * day, nil, ""}}},
		"DNS fails for the other":    {config.WithholdUnpublished, []moment{{0, func(z *zone) { lose("a")(z); z.fails["b"] = true }, ""}, {3 * day, nil, ""}}},
		"DNS fails for all then":     {config.WithholdUnpublished, []moment{{0, lose("a"), ""}, {day + 12*time.Minute, func(z *zone) { z.fails["a"], z.fails["b"] = true, true }, "a"}, {3 * day, nil, "a"}}},
		"DNS fails for it meanwhile": {config.WithholdUnpublished, []moment{{0, lose("a"), ""}, {day / 2, func(z *zone) { z.fails["a"] = true }, ""}, {day - time.Hour, func(z *zone) { clear(z.fails) }, ""}, {day + 12*time.Minute, nil, "a"}}},
		"a name server is silent then": {config.WithholdUnpublished, []moment{
			{0, lose("a"), ""}, {day / 2, func(z *zone) { z.silent = true }, ""}, {2 * day, func(z *zone) { z.silent = false }, ""}, {2*day + 11*time.Minute, nil, "a"},
		}},
		"to be ignored from now on": {config.WithholdUnpublished, []moment{
			{0, lose("a"), ""}, {day + 12*time.Minute, func(z *zone) { z.require = config.IgnoreUnpublished }, "a"}, {day + 23*time.Minute, nil, ""}, {3 * day, nil, ""},
		}},
		"to be warned of only": {config.WarnUnpublished, []moment{{0, lose("a"), ""}, {3 * day, nil, ""}}},
		"to be ignored":        {config.IgnoreUnpublished, []moment{{0, lose("a"), ""}, {3 * day, nil, ""}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				z := &zone{require: test.require, has: map[string]bool{"a": true, "b": true}, fails: map[string]bool{}, records: records}
				log, set := new(logtest.Lines), withheld{}
				w := &keyWatch{
					log: slog.New(slog.NewTextHandler(log, nil)), lookup: z, domains: store.Domains, pause: watchPause,
					compared: func(comparison) {}, require: func() config.RequirePublished {
						z.mu.Lock()
						defer z.mu.Unlock()
						return z.require
					},
					gone: func(context.Context, *keys.CheckResult) (gone, known bool) {
						z.mu.Lock()
						defer z.mu.Unlock()
						return !z.silent && !z.elsewhere, !z.silent
					},
					withhold: set.set, absent: map[keyName]*absence{},
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				start := time.Now()
				go func() { defer close(ended); w.run(ctx, watchFirst) }()
				for _, m := range test.moments {
					time.Sleep(time.Until(start.Add(m.at))) //nolint:forbidigo // the clock is that of synctest
					synctest.Wait()
					got := strings.ReplaceAll(strings.Join(set.list(), " "), "d.example/", "")
					if got != m.want || set.has("d.example", "a") != (m.want == "a") {
						t.Errorf("after %v: %q; want %q\n%s", m.at, got, m.want, log.String())
					}
					if m.change != nil {
						z.mu.Lock()
						m.change(z)
						z.mu.Unlock()
					}
				}
				cancel()
				<-ended
				if told := strings.Contains(log.String(), "a key signs no more"); told != slices.ContainsFunc(test.moments, func(m moment) bool { return m.want != "" }) {
					t.Errorf("the log: %s", log.String())
				}
				if name == "absent for a day, and back" && !strings.Contains(log.String(), "a key signs again: DNS serves it") {
					t.Errorf("the log: %s", log.String())
				}
			})
		})
	}
}

// Of many such keys the servers are asked for some at once, and not all are told of.
func TestManyKeysAreWithheld(t *testing.T) {
	t.Parallel()
	const domains = 30
	store := keysOf(t, domains)
	synctest.Test(t, func(t *testing.T) {
		log, set := new(logtest.Lines), withheld{}
		var asking, most atomic.Int64
		w := &keyWatch{
			log: slog.New(slog.NewTextHandler(log, nil)), lookup: &answers{err: resolver.ErrNotExist}, domains: store.Domains,
			gone: func(context.Context, *keys.CheckResult) (gone, known bool) {
				defer asking.Add(-1)
				most.Store(max(most.Load(), asking.Add(1)))
				time.Sleep(time.Second) //nolint:forbidigo // the clock is that of synctest
				return true, true
			},
			withhold: set.set, absent: map[keyName]*absence{},
		}
		for _, d := range store.Domains() {
			w.absent[keyName{d.Name, "a"}] = &absence{since: time.Now(), withheld: true}
		}
		began := time.Now()
		w.again(t.Context())
		if took := time.Since(began); most.Load() != rotateParallel || took > domains/rotateParallel*time.Second+time.Second {
			t.Errorf("%d at once, in %v", most.Load(), took)
		}
		text := log.String()
		if told := strings.Count(text, "a key signs again though"); told != maxWatchWarnings || !strings.Contains(text, fmt.Sprintf("or again\" keys=%d", domains-maxWatchWarnings)) {
			t.Errorf("%d told of: %s", told, text)
		}
	})
}
