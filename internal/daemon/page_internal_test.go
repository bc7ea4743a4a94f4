package daemon

import (
	"fmt"
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
