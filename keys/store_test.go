package keys_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/keys"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem", rfc8463PEM)
	w.write("example.org/domain.toml", "subdomains = true")
	w.write("own.example.org/s1.pem", rfc8463PEM)
	w.write("a.own.example.org/domain.toml", "") // no key: the domains above decide
	w.write("new.example.org/s1.pem.new", rfc8463PEM)
	w.write("example.com/s1.pem", rfc8463PEM)
	w.write("bücher.example/s1.pem", rfc8463PEM)
	w.write("XN--fsq.example./s1.pem", rfc8463PEM)
	w.write("waiting.example/s1.pem.new", rfc8463PEM)
	w.write("_tcp.example/s_1.pem", rfc8463PEM)
	s, faults := w.open()
	if len(faults) != 0 {
		t.Error(faults.Err())
	}
	for name, want := range map[domain.Name]domain.Name{
		"example.org":           "example.org",
		"mail.example.org":      "example.org",
		"b.mail.example.org":    "example.org",
		"own.example.org":       "own.example.org",
		"b.own.example.org":     "example.org", // the nearest one that says subdomains
		"a.own.example.org":     "example.org",
		"new.example.org":       "example.org", // its key does not sign yet
		"example.com":           "example.com",
		"mail.example.com":      "",
		"example.net":           "",
		"xn--bcher-kva.example": "xn--bcher-kva.example",
		"xn--fsq.example":       "xn--fsq.example",
		"waiting.example":       "",
		"_tcp.example":          "_tcp.example",
		"org":                   "",
		"notexample.org":        "",
		"":                      "",
		".":                     "",
	} {
		got := domain.Name("")
		if d := lookup(s, name); d != nil {
			got = d.Name
		}
		if got != want {
			t.Errorf("Lookup(%q): %q, want %q", name, got, want)
		}
	}
	var names []string
	for _, d := range s.Domains() {
		names = append(names, string(d.Name))
	}
	if got := strings.Join(names, " "); got != "_tcp.example a.own.example.org example.com example.org new.example.org own.example.org waiting.example xn--bcher-kva.example xn--fsq.example" {
		t.Errorf("Domains: %s", got)
	}
}

func TestReloadReusesUnchangedKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"same", "rewritten", "touched", "exchanged", "chmod", "faulty", "gone"} {
		w.write(name+".example/s1.pem", rfc8463PEM)
	}
	w.check(os.Chmod(w.path("faulty.example/s1.pem"), 0o644))
	first, _ := w.open()
	load := func(s *keys.Store, name string) *keys.Private {
		t.Helper()
		d := lookup(s, domain.Name(name+".example"))
		if d == nil {
			return nil
		}
		p, _ := d.Keys[0].Load(within(t))
		return p
	}
	before := map[string]*keys.Private{}
	for _, d := range first.Domains() {
		name := strings.TrimSuffix(string(d.Name), ".example")
		before[name] = load(first, name)
	}
	w.write("rewritten.example/s1.pem", rsaPEM())
	now := time.Now().Add(time.Second)
	w.check(os.Chtimes(w.path("touched.example/s1.pem"), now, now))
	w.write("new", rfc8463PEM)
	w.check(os.Rename(w.path("new"), w.path("exchanged.example/s1.pem")))
	w.check(os.Chmod(w.path("chmod.example/s1.pem"), 0o600))
	w.check(os.Chmod(w.path("faulty.example/s1.pem"), 0o600))
	w.check(os.RemoveAll(w.path("gone.example")))
	first.Close()
	second, faults := keys.Open(keys.Config{Directory: w.dir, Previous: first})
	t.Cleanup(second.Close)
	w.check(second.Wait(within(t)))
	if len(faults) != 0 {
		t.Error(faults.Err())
	}
	for name, reused := range map[string]bool{
		"same": true, "rewritten": false, "touched": false, "exchanged": false, "chmod": false, "faulty": false,
	} {
		p := load(second, name)
		if p == nil {
			t.Errorf("%s: no key", name)
		}
		if (p == before[name]) != reused {
			t.Errorf("%s: reused %v, want %v", name, p == before[name], reused)
		}
	}
	if load(second, "rewritten").Type != keys.RSA {
		t.Error("a rewritten file still gives the old key")
	}
	if lookup(second, "gone.example") != nil || lookup(first, "gone.example") == nil {
		t.Error("a removed domain stays, or leaves the old store too")
	}
}

// A key that the closed store has not read is read by the message that needs it.
func TestLoadAfterClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 200 {
		w.write(fmt.Sprintf("d%d.example/s1.pem", i), rsaPEM())
	}
	s, _ := keys.Open(keys.Config{Directory: w.dir})
	s.Close()
	s.Close()
	if err := s.Wait(within(t)); err != nil && !errors.Is(err, keys.ErrClosed) {
		t.Errorf("Wait: %v", err)
	}
	for i := range 200 {
		if _, err := lookup(s, domain.Name(fmt.Sprintf("d%d.example", i))).Keys[0].Load(within(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoadFromManyMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const domains = 30
	for i := range domains {
		w.write(fmt.Sprintf("d%d.example/s1.pem", i), rsaPEM())
		w.write(fmt.Sprintf("d%d.example/s2.pem", i), "broken")
	}
	s, _ := keys.Open(keys.Config{Directory: w.dir})
	var readers sync.WaitGroup
	for i := range 2 * domains {
		readers.Go(func() {
			d := lookup(s, domain.Name(fmt.Sprintf("d%d.example", i%domains)))
			first, err := d.Keys[0].Load(t.Context())
			again, _ := d.Keys[0].Load(t.Context())
			if err != nil || first != again {
				t.Errorf("two reads of one key: %v %v %v", first, again, err)
			}
			if _, err := d.Keys[1].Load(t.Context()); err == nil {
				t.Error("a broken key loads")
			}
			if p, err, known := d.Keys[0].Ready(); p != first || err != nil || !known {
				t.Errorf("Ready: %v %v %v", p, err, known)
			}
			_ = d.Faults()
			_ = d.Usable()
			_ = s.Faults()
		})
	}
	for range 3 { // reload meanwhile
		later, _ := keys.Open(keys.Config{Directory: w.dir, Previous: s})
		readers.Go(func() { _ = later.Faults() })
		later.Close()
	}
	readers.Wait()
	s.Close()
	if n := len(s.Faults()); n != domains {
		t.Errorf("%d faults", n)
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem", rsaPEM())
	d, err := keys.Find(keys.Config{Directory: w.dir}, "example.org")
	w.check(err)
	cause := errors.New("the MTA left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	// Whichever comes first, it never hangs, and the key is there for the next one.
	if p, err := d.Keys[0].Load(ctx); p == nil && !errors.Is(err, cause) {
		t.Errorf("Load: %v", err)
	}
	if _, err := d.Keys[0].Load(within(t)); err != nil {
		t.Error(err)
	}
}

// Once read, a key lives without its file; a file that vanishes before is a fault.
func TestNothingIsReadTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := w.write("example.org/s1.pem", rfc8463PEM)
	s, _ := w.open()
	late, err := keys.Find(keys.Config{Directory: w.dir}, "example.org")
	w.check(err)
	w.check(os.Remove(path))
	if _, err := lookup(s, "example.org").Keys[0].Load(within(t)); err != nil {
		t.Error(err)
	}
	_, err = late.Keys[0].Load(within(t))
	if fault, ok := errors.AsType[fault.Fault](err); !ok || fault.Error() != path+": got no such file or directory; want a file" {
		t.Errorf("Load of a vanished file: %v", err)
	}
	w.write("example.org/s1.pem", rfc8463PEM)
	if _, err := late.Keys[0].Load(within(t)); err == nil {
		t.Error("a key is read twice")
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("bücher.example/s1.pem", rfc8463PEM)
	w.write("file.example", "")
	for domain, want := range map[string]string{
		"xn--bcher-kva.example": "",
		"Bücher.example.":       "",
		"example.org":           "no keys for example.org: there is no DIR/example.org",
		"file.example":          "DIR/file.example: got a file; want the directory of the domain's keys (hint: move it away)",
		"a b":                   `domain "a b": it has a character that no domain has`,
	} {
		d, err := keys.Find(keys.Config{Directory: w.dir}, domain)
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), w.dir, "DIR")
		}
		if got != want || err == nil && d.Name != "xn--bcher-kva.example" {
			t.Errorf("Find(%q): %v %q, want %q", domain, d, got, want)
		}
	}
	if _, err := keys.Find(keys.Config{Directory: w.path("absent")}, "example.org"); !errors.Is(err, keys.ErrNoKeys) || err.Error() != "no keys for example.org: there is no "+w.path("absent") {
		t.Errorf("Find in an absent directory: %v", err)
	}
}

// A link makes one domain's keys and options those of another one: each signs under its own name.
func TestLinkedDomainSignsUnderItsOwnName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem", rfc8463PEM)
	w.write("example.org/domain.toml", "subdomains = true\n")
	w.check(os.Symlink("example.org", w.path("alias.example")))
	s, faults := w.open()
	if len(faults) > 0 {
		t.Fatal(w.texts(faults))
	}
	for name, want := range map[domain.Name]domain.Name{"example.org": "example.org", "alias.example": "alias.example", "news.alias.example": "alias.example"} {
		d := lookup(s, name)
		if d == nil || d.Name != want || len(d.Keys) != 1 || d.Keys[0].Domain != want || d.Keys[0].Selector != "s1" {
			t.Errorf("%s: %+v", name, d)
			continue
		}
		if _, err := d.Keys[0].Load(within(t)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
