package keys_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"weak"

	"dkimd/internal/domain"
	"dkimd/keys"
)

// With more keys in use than stay parsed, each still signs; those used again and
// again are not read again, and those that were dropped are.
func TestParsedKeysAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const domains, limit = 40, 10
	for i := range domains {
		w.write(fmt.Sprintf("d%02d.example/s1.pem", i), rfc8463PEM)
	}
	s, _ := keys.Open(keys.Config{Directory: w.dir, MaxParsed: limit})
	defer s.Close()
	w.check(s.Wait(within(t)))
	key := func(i int) *keys.Key { return lookup(s, domain.Name(fmt.Sprintf("d%02d.example", i))).Keys[0] }
	favourite, err := key(0).Load(within(t))
	w.check(err)
	w.check(os.Remove(key(0).Path))
	for round := range 3 {
		for i := 1; i < domains; i++ {
			if _, err := key(i).Load(within(t)); err != nil {
				t.Fatal(err)
			}
			if again, err := key(0).Load(within(t)); err != nil || again != favourite {
				t.Fatalf("round %d, after key %d: a key in use was read again: %v", round, i, err)
			}
		}
	}
	ready := 0
	for i := range domains {
		if _, _, known := key(i).Ready(); known {
			ready++
		}
	}
	if ready != limit {
		t.Errorf("%d keys are parsed, want %d", ready, limit)
	}
	if s.Faults() != nil {
		t.Error(s.Faults().Err())
	}
	// A later store has the same bound and the same keys.
	later, _ := keys.Open(keys.Config{Directory: w.dir, Previous: s})
	defer later.Close()
	w.check(later.Wait(within(t)))
	ready = 0
	for _, d := range later.Domains() {
		for _, k := range d.Keys {
			if _, _, known := k.Ready(); known {
				ready++
			}
		}
	}
	if ready > limit {
		t.Errorf("after a reload %d keys are parsed, want %d at most", ready, limit)
	}
}

// A dropped key whose file has gone or gone bad is a fault then, and no sooner.
func TestDroppedKeyIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone, changed := w.write("a.example/s1.pem", rfc8463PEM), w.write("b.example/s1.pem", rfc8463PEM)
	w.write("c.example/s1.pem", rfc8463PEM)
	s, _ := keys.Open(keys.Config{Directory: w.dir, MaxParsed: 1})
	defer s.Close()
	w.check(s.Wait(within(t)))
	begun := map[domain.Name]*keys.Domain{} // a message has found its domain, and then the file goes
	load := func(name domain.Name) (*keys.Private, error) {
		if begun[name] == nil {
			begun[name] = lookup(s, name)
		}
		return begun[name].Keys[0].Load(within(t))
	}
	for _, name := range []domain.Name{"a.example", "b.example", "c.example"} {
		_, err := load(name)
		w.check(err)
	}
	w.check(os.Remove(gone))
	w.write("b.example/s1.pem", rsaPEM())
	if _, err := load("a.example"); err == nil || err.Error() != gone+": got no such file or directory; want a file" {
		t.Errorf("a key whose file is gone: %v", err)
	}
	if p, err := load("b.example"); err != nil || p.Type != keys.RSA {
		t.Errorf("%s is another key now: %v %v", changed, p, err)
	}
	if len(s.Faults()) != 1 {
		t.Error(s.Faults().Err())
	}
}

// All keys are checked, whatever their number; the first hundred are kept and described.
func TestBackgroundChecksAllAndKeepsSome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const good, kept = 130, 100
	for i := range good {
		w.write(fmt.Sprintf("d%03d.example/s1.pem", i), rsaPEM())
	}
	bad := w.write("z.example/s1.pem", "junk")
	var log bytes.Buffer
	s, faults := keys.Open(keys.Config{Directory: w.dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	w.check(s.Wait(within(t)))
	s.Close()
	if len(faults) != 0 {
		t.Error(faults.Err())
	}
	if got := s.Faults(); len(got) != 1 || got[0].Path != bad {
		t.Errorf("faults: %v", got.Err())
	}
	ready := 0
	for _, d := range s.Domains() {
		if p, _, known := d.Keys[0].Ready(); known && p != nil {
			ready++
		}
	}
	if ready != kept {
		t.Errorf("%d keys are parsed, want %d", ready, kept)
	}
	text := log.String()
	for part, want := range map[string]int{
		"level=INFO msg=rsa engine=":                                    kept,
		" domain=d000.example selector=s1 bits=2048 sign=":              1,
		`level=INFO msg="keys checked" domains=131 keys=131 faults=1 `:  1,
		`level=WARN msg="key cannot be used" domain=z.example selector`: 1,
	} {
		if got := strings.Count(text, part); got != want {
			t.Errorf("the log has %q %d times, want %d", part, got, want)
		}
	}
	if n := strings.Count(text, "\n"); n != kept+2 {
		t.Errorf("%d lines", n)
	}
}

// Faults of directories and options are in the log, too, once each.
func TestFaultsAreLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("stray.pem", rfc8463PEM)
	w.write("a.example/s1.pem", rfc8463PEM)
	w.write("a.example/domain.toml", "subdomain = true")
	w.write("b.example/s1.pem", rfc8463PEM)
	w.check(os.Chmod(w.path("b.example/s1.pem"), 0o604))
	var log bytes.Buffer
	s, _ := keys.Open(keys.Config{Directory: w.dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	w.check(s.Wait(within(t)))
	s.Close()
	_ = s.Domains()
	for _, want := range []string{
		`level=WARN msg="fault in the directory of keys" fault="` + w.path("stray.pem"),
		`level=WARN msg="fault in the keys of a domain" domain=a.example fault="` + w.path("a.example/domain.toml") + ":1",
		`level=WARN msg="key cannot be used" domain=b.example selector=s1 fault="` + w.path("b.example/s1.pem"),
	} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("not once in the log: %s", want)
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 3 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
}

// Reload after reload, no store is kept by the next.
func TestOldStoresAreNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 20 {
		w.write(fmt.Sprintf("d%d.example/s1.pem", i), rfc8463PEM)
	}
	var old []weak.Pointer[keys.Store]
	var removed weak.Pointer[keys.Private]
	s, _ := keys.Open(keys.Config{Directory: w.dir})
	w.check(s.Wait(within(t)))
	p, err := lookup(s, "d7.example").Keys[0].Load(within(t))
	w.check(err)
	removed, p = weak.Make(p), nil
	w.check(os.RemoveAll(filepath.Join(w.dir, "d7.example")))
	for range 5 {
		next, _ := keys.Open(keys.Config{Directory: w.dir, Previous: s})
		w.check(next.Wait(within(t)))
		s.Close()
		old = append(old, weak.Make(s))
		s = next
	}
	for range 3 {
		runtime.GC()
	}
	for i, store := range old {
		if store.Value() != nil {
			t.Errorf("store %d is still there", i)
		}
	}
	if removed.Value() != nil {
		t.Error("a key that was taken away is still there")
	}
	runtime.KeepAlive(s)
	_ = p
}
