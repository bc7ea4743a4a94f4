package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/logtest"
	"dkimd/internal/resolver"
	"dkimd/keys"
)

// answers is a DNS that says the same to all.
type answers struct {
	err   error
	panic bool
	asked atomic.Int64
}

func (a *answers) TXT(context.Context, string) (resolver.Answer, error) {
	a.asked.Add(1)
	if a.panic {
		panic("lookup")
	}
	return resolver.Answer{}, a.err
}

// keysOf makes a store with these many domains, each with one key that signs and one that waits.
func keysOf(t *testing.T, count int) *keys.Store {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	for i := range count {
		for _, selector := range []string{"a", "b"} {
			g, err := keys.Generate(keys.New{Directory: dir, Domain: fmt.Sprintf("d%03d.example", i), Selector: selector, Type: keys.Ed25519})
			if err != nil {
				t.Fatal(err)
			}
			if selector == "a" {
				if err := os.Rename(g.Path, strings.TrimSuffix(g.Path, ".new")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	store, faults := keys.Open(keys.Config{Directory: dir})
	t.Cleanup(store.Close)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for _, d := range store.Domains() {
		for _, k := range append(d.Keys, d.Pending...) {
			if _, err := k.Load(t.Context()); err != nil { // so that nothing is read in the bubble
				t.Fatal(err)
			}
		}
	}
	return store
}

func TestKeyWatchWarnsOfWhatIsNotPublished(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		dns   *answers
		want  map[string]int // lines of the first round
		again time.Duration
		told  []int // what metrics are told
	}{
		"absent": {
			&answers{err: resolver.ErrNotExist},
			map[string]int{"DNS does not publish a key that signs": maxWatchWarnings, "further keys that sign are not published\" keys=5": 1, "not_published=25 unknown=0": 1},
			watchEvery,
			[]int{25, 0},
		},
		"DNS fails": {
			&answers{err: errors.Join(resolver.ErrTemporary, io.EOF)},
			map[string]int{"does not publish": 0, "could not look up the records of keys that sign\" keys=25": 1, "not_published=0 unknown=25": 1},
			watchAgain,
			[]int{0, 25},
		},
		"a lookup panics": {&answers{panic: true}, map[string]int{"could not compare keys with DNS": 1, "does not publish": 0}, watchEvery, nil},
	}
	store := keysOf(t, 25)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := new(logtest.Lines)
				var told []int
				w := &keyWatch{
					log: slog.New(slog.NewTextHandler(log, nil)), lookup: tt.dns, domains: store.Domains, pause: watchPause,
					compared: func(c comparison) { told = []int{c.missing, c.unknown} },
					require:  func() config.RequirePublished { return config.WarnUnpublished }, withhold: func(map[keyName]bool) {},
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); w.run(ctx, watchFirst) }()
				time.Sleep(watchFirst - time.Second) //nolint:forbidigo // the clock is that of synctest
				synctest.Wait()
				if log.String() != "" || tt.dns.asked.Load() > 0 {
					t.Errorf("before its time: %s", log.String())
				}
				time.Sleep(time.Minute) //nolint:forbidigo // the same
				synctest.Wait()
				for text, n := range tt.want {
					if got := strings.Count(log.String(), text); got != n {
						t.Errorf("%q %d times; want %d:\n%s", text, got, n, log.String())
					}
				}
				asked := tt.dns.asked.Load()
				time.Sleep(tt.again - 2*time.Minute) //nolint:forbidigo // the same
				synctest.Wait()
				if got := tt.dns.asked.Load(); got != asked {
					t.Errorf("asked again too early: %d after %d", got, asked)
				}
				time.Sleep(5 * time.Minute) //nolint:forbidigo // the same
				synctest.Wait()
				if got := tt.dns.asked.Load(); got != 2*asked {
					t.Errorf("asked %d times after a day, %d before", got, asked)
				}
				cancel()
				<-ended
				if !slices.Equal(told, tt.told) {
					t.Errorf("metrics were told %v, want %v", told, tt.told)
				}
			})
		})
	}
}

// Among many keys there is always one of which DNS does not tell: the others are not asked for every hour because of it.
func TestKeyWatchComesBack(t *testing.T) {
	t.Parallel()
	for c, want := range map[comparison]bool{
		{keys: 1, unknown: 1}:                             true,
		{keys: fewKeys, unknown: 1}:                       true,
		{keys: fewKeys + 1, unknown: 1}:                   false,
		{keys: 100_000, missing: 50_000, unknown: 10_000}: false,
		{keys: 100_000, unknown: 10_001}:                  true,
		{keys: 10, missing: 10}:                           false,
		{}:                                                false,
	} {
		if got := c.again(); got != want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
