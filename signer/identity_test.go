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

// RFC 6376 section 3.5: d=, s= and i= hold A-labels, also where a keys.Domain is filled in by hand.
func TestNamesAreWrittenInALabels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	store, faults := keys.Open(keys.Config{Directory: w.dir})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	d := store.Lookup("example.org")
	d.Keys[0].Selector = "schl\u00fcssel"
	w.config.Keys = func(string) *keys.Domain {
		return &keys.Domain{Name: "b\u00fccher.example", Options: keys.Options{Identity: "joe@mail.b\u00fccher.example"}, Keys: d.Keys}
	}
	s, err := signer.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	signed, _, err := w.sign(s)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"d": "xn--bcher-kva.example", "s": "xn--schlssel-95a", "i": "joe@mail.xn--bcher-kva.example"} {
		if got := tag(t, signed.Fields[0], name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
}
