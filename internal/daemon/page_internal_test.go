package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/statuspage"
	"dkimd/keys"
)

// A key that is withheld is listed as such, and its domain before all that are well.
func TestPageTellsOfWithheldKeys(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	for i := range maxPageDomains + 2 {
		n := keys.New{Directory: dir, Domain: fmt.Sprintf("d%02d.example", i), Selector: "s", Type: keys.Ed25519}
		_, err := keys.Generate(n)
		if err == nil {
			_, err = keys.Activate(t.Context(), keys.Activation{Directory: dir, Domain: n.Domain, Selector: "s", Force: true})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	store, _ := keys.Open(keys.Config{Directory: dir})
	t.Cleanup(store.Close)
	if err := store.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := &daemon{}
	d.current.Store(&Setup{Keys: store})
	p := &statusPage{daemon: d}
	last := fmt.Sprintf("d%02d.example", maxPageDomains+1)
	listed := func() (statuspage.Key, bool) {
		for _, k := range p.keys(t.Context(), "").Listed {
			if k.Domain == last {
				return k, true
			}
		}
		return statuspage.Key{}, false
	}
	if k, there := listed(); there {
		t.Errorf("the last domain is listed though nothing is wrong: %+v", k)
	}
	d.withheld.set(map[keyName]bool{{domain.Name(last), "s"}: true})
	if k, _ := listed(); k.Trouble != "withheld: DNS does not serve it, so the other keys of the domain sign" {
		t.Errorf("%+v", k)
	}
}

// Whoever looks at the page does not wait for the directories of 100,000 domains: it reads that of the one asked for.
func TestPageReadsNoDirectories(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 300 {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprintf("d%d.example", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	_, err := keys.Generate(keys.New{Directory: dir, Domain: "z.example", Selector: "s", Type: keys.Ed25519})
	if err != nil {
		t.Fatal(err)
	}
	store, _ := keys.Open(keys.Config{Directory: dir})
	store.Close() // ends the reading in the background
	before := store.Counts().Unread
	if before < 2 {
		t.Skip("the background was faster")
	}
	d := &daemon{}
	d.current.Store(&Setup{Keys: store})
	p := &statusPage{daemon: d}
	if list := p.keys(t.Context(), ""); store.Counts().Unread != before || list.Left < before {
		t.Errorf("%d of %d are unread after the page, which leaves out %d", store.Counts().Unread, before, list.Left)
	}
	if list := p.keys(t.Context(), "z.example"); len(list.Listed) != 1 || store.Counts().Unread < before-1 {
		t.Errorf("%+v, %d of %d are unread", list, store.Counts().Unread, before)
	}
}
