package keys_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/resolver"
	"dkimd/keys"
)

// crowdedDNS has no records, and knows how many asked it at a time.
type crowdedDNS struct {
	asked, now, most atomic.Int64
	cancel           func(int64)
}

func (d *crowdedDNS) TXT(ctx context.Context, _ string) (resolver.Answer, error) {
	n := d.now.Add(1)
	defer d.now.Add(-1)
	for most := d.most.Load(); n > most; most = d.most.Load() {
		d.most.CompareAndSwap(most, n)
	}
	if asked := d.asked.Add(1); d.cancel != nil {
		d.cancel(asked)
	}
	return resolver.Answer{}, errors.Join(resolver.ErrNotExist, ctx.Err())
}

func TestCheckAllKeepsOrderAndBounds(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	const count = 150
	for i := range count {
		if _, err := keys.Generate(keys.New{Directory: dir, Domain: fmt.Sprintf("d%03d.example", i), Selector: "s", Type: keys.Ed25519}); err != nil {
			t.Fatal(err)
		}
	}
	store, faults := keys.Open(keys.Config{Directory: dir})
	t.Cleanup(store.Close)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	dns := &crowdedDNS{}
	seen := 0
	err := keys.CheckAll(t.Context(), dns, store.Domains(), 8, func(d *keys.Domain, results []keys.CheckResult) error {
		if want := domain.Name(fmt.Sprintf("d%03d.example", seen)); d.Name != want || len(results) != 1 || results[0].State != keys.Absent || results[0].Key.Domain != want {
			t.Errorf("%s %v; want %s absent", d.Name, results, want)
		}
		seen++
		return nil
	})
	if err != nil || seen != count || dns.asked.Load() != count || dns.most.Load() > 8 {
		t.Errorf("%d of %d domains, %d questions, %d at a time, %v", seen, count, dns.asked.Load(), dns.most.Load(), err)
	}

	ended := errors.New("enough")
	if err := keys.CheckAll(t.Context(), dns, store.Domains(), 8, func(*keys.Domain, []keys.CheckResult) error { return ended }); !errors.Is(err, ended) {
		t.Errorf("%v; want %v", err, ended)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	dns = &crowdedDNS{cancel: func(asked int64) {
		if asked == 3 {
			cancel(ended)
		}
	}}
	if err := keys.CheckAll(ctx, dns, store.Domains(), 1, func(*keys.Domain, []keys.CheckResult) error { return nil }); !errors.Is(err, ended) || dns.asked.Load() >= count {
		t.Errorf("%v after %d questions; want %v", err, dns.asked.Load(), ended)
	}
}
