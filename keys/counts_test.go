package keys_test

import (
	"testing"

	"dkimd/keys"
)

// Counts tells keys that sign from those that should, and domains with one from those without.
func TestCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("good.example/s1.pem", rfc8463PEM)
	w.write("good.example/s2.pem", rfc8463PEM)
	w.write("half.example/s1.pem", rfc8463PEM)
	w.write("half.example/s2.pem", "junk")
	w.write("bad.example/s1.pem", "junk")
	w.write("options.example/s1.pem", rfc8463PEM)
	w.write("options.example/domain.toml", "expiry = 7")
	w.write("waiting.example/s1.pem.new", rfc8463PEM) // does not sign yet
	w.write("empty.example/domain.toml", "")
	w.write("s1.pem", rfc8463PEM)
	w.write("no..domain/s1.pem", rfc8463PEM)
	s, _ := w.open()
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := keys.Counts{Keys: 3, UnusableKeys: 2, Domains: 2, UnusableDomains: 2, Strays: 2}
	if got := s.Counts(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
