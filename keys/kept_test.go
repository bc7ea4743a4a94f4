package keys_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/domain"
	"dkimd/keys"
)

// reload opens a store after another one, as the daemon does.
func (w *world) reload(previous *keys.Store, parsed int) *keys.Store {
	w.t.Helper()
	s, _ := keys.Open(keys.Config{Directory: w.dir, Previous: previous, MaxParsed: parsed})
	w.t.Cleanup(s.Close)
	w.check(s.Wait(within(w.t)))
	if previous != nil {
		s.Keep(previous)
		previous.Close()
	}
	return s
}

// selectors are the keys of a domain that sign; "-" where it is not ours to sign.
func (w *world) selectors(s *keys.Store, name domain.Name) string {
	w.t.Helper()
	d := lookup(s, name)
	if d == nil {
		return "-"
	}
	var usable []string
	for _, k := range d.Keys {
		if _, err := k.Load(within(w.t)); err == nil {
			usable = append(usable, k.Selector)
		}
	}
	return strings.Join(usable, " ")
}

// Whatever breaks in a domain, its keys sign as they did before, for as many
// reloads as it stays broken; its neighbour's new key is taken.
func TestKeepSignsWithTheKeysBefore(t *testing.T) {
	t.Parallel()
	const name = "example.org"
	for what, test := range map[string]struct {
		spoil  func(w *world)
		before string
	}{
		"a key is junk":                {func(w *world) { w.write("example.org/s1.pem", "junk") }, "s1 s2"},
		"a key is junk, the other new": {func(w *world) { w.write("example.org/s1.pem", "junk"); w.write("example.org/s2.pem", rsaPEM()) }, "s1 s2"},
		"a key all can read":           {func(w *world) { w.check(os.Chmod(w.path("example.org/s2.pem"), 0o644)) }, "s1 s2"},
		"domain.toml":                  {func(w *world) { w.write("example.org/domain.toml", "expiry = 7") }, "s1 s2"},
		"rotated to a broken one": {func(w *world) {
			w.check(os.Remove(w.path("example.org/s1.pem")))
			w.check(os.Remove(w.path("example.org/s2.pem")))
			w.write("example.org/s3.pem", "junk")
		}, "s1 s2"},
		"the directory is a dead link": {func(w *world) {
			w.check(os.RemoveAll(w.path("example.org")))
			w.check(os.Symlink("nowhere", w.path("example.org")))
		}, "s1 s2"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("example.org/s1.pem", rfc8463PEM)
			w.write("example.org/s2.pem", rfc8463PEM)
			w.write("example.net/s1.pem", rfc8463PEM)
			s := w.reload(nil, 3)
			if got := w.selectors(s, name); got != "s1 s2" {
				t.Fatal(got)
			}
			test.spoil(w)
			w.write("example.net/s2.pem", rfc8463PEM)
			w.write("example.com/s1.pem", "junk") // was not ours to sign, and is not for this
			since := ""
			for range 3 {
				s = w.reload(s, 0)
				kept := s.Kept()
				if len(kept) != 2 || kept[1].Domain != name || len(kept[1].Faults) == 0 || since != "" && kept[1].Since.String() != since {
					t.Fatalf("kept: %v", kept)
				}
				since = kept[1].Since.String()
				if got := w.selectors(s, "example.net"); got != "s1 s2" { // and the limit of parsed keys is reached
					t.Errorf("the neighbour signs with %s", got)
				}
				if got := w.selectors(s, name); got != test.before {
					t.Errorf("signs with %q, want %q", got, test.before)
				}
				if got := w.selectors(s, "example.com"); got != "-" {
					t.Errorf("a broken new domain: %s", got)
				}
			}
			w.check(os.RemoveAll(w.path("example.org")))
			w.write("example.org/s4.pem", rfc8463PEM)
			w.check(os.RemoveAll(w.path("example.com")))
			s = w.reload(s, 0)
			if got := w.selectors(s, name); got != "s4" || s.Kept() != nil {
				t.Errorf("mended: signs with %s, kept %v", got, s.Kept())
			}
			w.check(os.RemoveAll(w.path("example.org")))
			if s = w.reload(s, 0); w.selectors(s, name) != "-" {
				t.Error("a domain that was taken away signs")
			}
		})
	}
}

// A domain that could not sign before is taken as it is now.
func TestKeepNothingThatDoesNotSign(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem", rfc8463PEM)
	w.write("example.org/domain.toml", "expiry = 7")
	s := w.reload(nil, 0)
	w.write("example.org/domain.toml", "")
	w.write("example.org/s2.pem", "junk")
	s = w.reload(s, 0)
	if got := w.selectors(s, "example.org"); got != "s1" {
		t.Errorf("signs with %q", got)
	}
}

// A key that is not in memory when its file breaks is left out; with none left, nothing is pretended.
func TestKeepWithoutWhatIsNotInMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem", rfc8463PEM)
	w.write("example.org/s2.pem", rfc8463PEM)
	w.write("example.net/s1.pem", rfc8463PEM)
	s := w.reload(nil, 1)
	w.selectors(s, "example.org")
	w.selectors(s, "example.net") // takes the only place
	w.write("example.org/s1.pem", "junk")
	s = w.reload(s, 0)
	if got := w.selectors(s, "example.org"); got != "s2" {
		t.Errorf("signs with %q", got)
	}
	w.selectors(s, "example.net")
	w.write("example.org/s2.pem", "junk")
	s = w.reload(s, 0)
	if d := lookup(s, "example.org"); d == nil || d.Usable() {
		t.Error("a domain none of whose keys is left")
	}
}

// Without a reload, a key that is not in memory is looked for again when its file was moved or exchanged.
func TestMovedKeyIsFoundAgain(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		move func(w *world)
		want string
	}{
		"renamed":             {func(w *world) { w.check(os.Rename(w.path("example.org/s1.pem"), w.path("example.org/s9.pem"))) }, "s9"},
		"exchanged":           {func(w *world) { w.write("example.org/s1.pem", rsaPEM()) }, "s1"},
		"moved away":          {func(w *world) { w.check(os.Rename(w.path("example.org/s1.pem"), w.path("example.org/s1.pem.old"))) }, "-"},
		"the domain is gone":  {func(w *world) { w.check(os.RemoveAll(w.path("example.org"))) }, "-"},
		"everything is gone":  {func(w *world) { w.check(os.RemoveAll(w.dir)) }, ""},
		"it is junk":          {func(w *world) { w.write("example.org/s1.pem", "junk") }, ""},
		"junk, and a new one": {func(w *world) { w.write("example.org/s1.pem", "junk"); w.write("example.org/s2.pem", rfc8463PEM) }, "s2"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("example.org/s1.pem", rfc8463PEM)
			w.write("example.net/s1.pem", rfc8463PEM)
			s := w.reload(nil, 1)
			w.selectors(s, "example.org")
			w.selectors(s, "example.net")
			test.move(w)
			for range 3 {
				if got := w.selectors(s, "example.org"); got != test.want {
					t.Errorf("signs with %q, want %q", got, test.want)
				}
			}
			if _, err := os.Stat(filepath.Dir(w.dir)); err != nil {
				t.Fatal(err)
			}
		})
	}
}
