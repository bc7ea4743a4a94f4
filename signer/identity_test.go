package signer_test

import (
	"strings"
	"testing"

	"dkimd/keys"
	"dkimd/signer"
)

// RFC 6376 section 3.5: i= is within d=. The keys package refuses other files;
// whoever fills in a keys.Domain by hand gets no signature either.
func TestIdentityStaysWithinTheDomain(t *testing.T) {
	t.Parallel()
	for identity, signs := range map[string]bool{
		"": true, "@example.org": true, "joe@example.org": true, "@a.example.org": true,
		"@example.com": false, "@badexample.org": false, "@org": false, "joe": false, "@": false,
		strings.Repeat("x", 64) + "@example.org": true, strings.Repeat("x", 65) + "@example.org": false,
	} {
		w := newWorld(t)
		store, faults := keys.Open(keys.Config{Directory: w.dir})
		if err := faults.Err(); err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		w.config.Keys = func(name string) *keys.Domain {
			d := store.Lookup(name)
			if d == nil {
				return nil
			}
			options := d.Options
			options.Identity = identity
			return &keys.Domain{Name: d.Name, Options: options, Keys: d.Keys}
		}
		s, err := signer.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = w.sign(s)
		if (err == nil) != signs {
			t.Errorf("identity %q: %v", identity, err)
		}
	}
}
