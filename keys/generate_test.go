package keys_test

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/resolver"
	"dkimd/internal/resolver/dnstest"
	"dkimd/keys"
)

func date() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

// From nothing to a key that signs: generate, publish as printed, check, activate.
func TestGeneratePublishActivate(t *testing.T) {
	t.Parallel()
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	for _, n := range []keys.New{
		{Domain: "example.org"},
		{Domain: "example.com", Type: keys.Ed25519},
		{Domain: "Bücher.example", Selector: "Mail.2026", Bits: 1024},
	} {
		t.Run(n.Domain, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n.Directory, n.Now = w.path("new/keys"), date
			g, err := keys.Generate(n)
			w.check(err)
			if want := filepath.Join(n.Directory, string(g.Domain), g.Selector+".pem.new"); g.Path != want {
				t.Errorf("path %s, want %s", g.Path, want)
			}
			r, err := resolver.New(resolver.Config{Servers: []string{server.Addr()}})
			w.check(err)
			t.Cleanup(func() { _ = r.Close() })
			activation := keys.Activation{Directory: n.Directory, Domain: n.Domain, Lookup: r}
			done, err := keys.Activate(within(t), activation)
			if !errors.Is(err, keys.ErrNotServed) || done.Check.State != keys.Absent {
				t.Fatalf("activated without a record: %v %v", done, err)
			}
			if s, _ := keys.Open(keys.Config{Directory: n.Directory}); lookup(s, g.Domain) != nil {
				t.Fatal("a key signs before it is activated")
			}
			w.check(server.SetZone(g.Record.String()))
			fresh, err := resolver.New(resolver.Config{Servers: []string{server.Addr()}})
			w.check(err)
			t.Cleanup(func() { _ = fresh.Close() })
			activation.Lookup = fresh
			done, err = keys.Activate(within(t), activation)
			w.check(err)
			if done.Path != strings.TrimSuffix(g.Path, ".new") || done.Selector != g.Selector || !done.Check.Serves() {
				t.Errorf("activated: %+v", done)
			}
			s, faults := keys.Open(keys.Config{Directory: n.Directory})
			t.Cleanup(s.Close)
			w.check(s.Wait(within(t)))
			d := lookup(s, g.Domain)
			if d == nil || len(faults) != 0 || len(d.Keys) != 1 || d.Keys[0].Selector != g.Selector || len(d.Pending) != 0 {
				t.Fatalf("%v %v", d, faults)
			}
			p, err := d.Keys[0].Load(within(t))
			w.check(err)
			if p.Type != g.Type || p.Bits != g.Bits {
				t.Errorf("%v, generated %v", p, g)
			}
			if _, err := os.Lstat(g.Path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there", g.Path)
			}
		})
	}
}

func TestGenerateDefaults(t *testing.T) {
	t.Parallel()
	for n, want := range map[*keys.New]string{
		{}:                     "DIR/example.org/s20261123.pem.new: rsa key of 2048 bits for example.org, selector s20261123",
		{Type: keys.Ed25519}:   "DIR/example.org/s20261123-ed25519.pem.new: ed25519 key of 256 bits for example.org, selector s20261123-ed25519",
		{Domain: "A.Example."}: "DIR/a.example/s20261123.pem.new: rsa key of 2048 bits for a.example, selector s20261123",
	} {
		w := newWorld(t)
		n.Directory, n.Now = w.dir, date
		if n.Domain == "" {
			n.Domain = "example.org"
		}
		g, err := keys.Generate(*n)
		w.check(err)
		if got := strings.ReplaceAll(g.String(), w.dir, "DIR"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// RFC 6376 section 3.3.2 asks for 65537.
func TestGeneratedKeysHaveTheUsualExponent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g, err := keys.Generate(keys.New{Directory: w.dir, Domain: "example.org", Bits: keys.MinRSABits})
	w.check(err)
	record, err := dkim.ParseKeyRecord(g.Record.Text)
	w.check(err)
	if public, ok := record.PublicKey.(*rsa.PublicKey); !ok || public.E != 65537 {
		t.Errorf("the public key is %v", record.PublicKey)
	}
}

func TestGenerateRefuses(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]keys.New{
		`domain: got ""; want a domain: it is empty`: {},
		`domain: got "localhost"; want a domain: it has one label only, and verifiers reject signatures of such a domain (RFC 6376 section 3.5)`: {Domain: "localhost"},
		`domain: got "co.uk"; want a domain: it is a public suffix, and verifiers reject signatures of such a domain`:                            {Domain: "co.uk"},
		`domain: got "a b"; want a domain: it has a character that no domain has`:                                                                {Domain: "a b"},
		`domain: got "../etc"; want a domain: it has an empty label`:                                                                             {Domain: "../etc"},
		`domain: got "a/b"; want a domain: it has a character that no domain has`:                                                                {Domain: "a/b"},
		`domain: got "-a.example"; want a domain: a label begins or ends with a hyphen`:                                                          {Domain: "-a.example"},
		`selector: got "../s1"; want letters, digits, hyphens and dots (RFC 6376 section 3.1): it has an empty label`: {
			Domain: "example.org", Selector: "../s1",
		},
		`selector: got "s_1"; want letters, digits, hyphens and dots (RFC 6376 section 3.1): it has an underscore`: {
			Domain: "example.org", Selector: "s_1",
		},
		`selector: got "` + strings.Repeat("a", 64) + `"; want letters, digits, hyphens and dots (RFC 6376 section 3.1): it has a label of more than 63 characters`: {
			Domain: "example.org", Selector: strings.Repeat("a", 64),
		},
		`type: got "dsa"; want rsa or ed25519`:                                               {Domain: "example.org", Type: "dsa"},
		`bits: got 512; want a multiple of 8 from 1024 to 4096 (RFC 8301 section 3.2)`:       {Domain: "example.org", Bits: 512},
		`bits: got 8192; want a multiple of 8 from 1024 to 4096 (RFC 8301 section 3.2)`:      {Domain: "example.org", Bits: 8192},
		`bits: got 1025; want a multiple of 8 from 1024 to 4096 (RFC 8301 section 3.2)`:      {Domain: "example.org", Bits: 1025},
		`bits: got -8; want a multiple of 8 from 1024 to 4096 (RFC 8301 section 3.2)`:        {Domain: "example.org", Bits: -8},
		`bits: got 2048; want none: every ed25519 key has 256`:                               {Domain: "example.org", Type: keys.Ed25519, Bits: 2048},
		"domain: got \"\"; want a domain: it is empty\ntype: got \"x\"; want rsa or ed25519": {Type: "x"},
	} {
		w := newWorld(t)
		n.Directory = w.dir
		if _, err := keys.Generate(n); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
		if made := must(os.ReadDir(w.dir)); len(made) != 0 {
			t.Errorf("%s: made %v", want, made)
		}
	}
	if _, err := keys.Generate(keys.New{Domain: "example.org"}); err == nil || err.Error() != "directory: got none; want the directory of the keys" {
		t.Errorf("without a directory: %v", err)
	}
}

func TestGenerateNeverOverwrites(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"s1.pem", "s1.pem.new"} {
		w := newWorld(t)
		path := w.write("example.org/"+file, "precious")
		_, err := keys.Generate(keys.New{Directory: w.dir, Domain: "example.org", Selector: "s1", Type: keys.Ed25519})
		if !errors.Is(err, fs.ErrExist) || err.Error() != "generate key example.org/s1: "+path+": file already exists; a key is never overwritten, choose another selector" {
			t.Errorf("%s: %v", file, err)
		}
		if got := string(must(os.ReadFile(path))); got != "precious" {
			t.Errorf("%s is overwritten", file)
		}
	}
	// Not even through a link that leads nowhere yet.
	w := newWorld(t)
	w.check(os.Mkdir(w.path("example.org"), 0o750))
	w.check(os.Symlink(w.path("victim"), w.path("example.org/s1.pem.new")))
	if _, err := keys.Generate(keys.New{Directory: w.dir, Domain: "example.org", Selector: "s1", Type: keys.Ed25519}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("through a link: %v", err)
	}
	w.write("file", "")
	if _, err := keys.Generate(keys.New{Directory: w.path("file"), Domain: "example.org", Type: keys.Ed25519}); err == nil {
		t.Error("a key in a file")
	}
}

// A domain keeps the directory it has, however that is written.
func TestGenerateUsesTheDomainsDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("bücher.example/s1.pem", rfc8463PEM)
	g, err := keys.Generate(keys.New{Directory: w.dir, Domain: "xn--bcher-kva.example", Selector: "s2", Type: keys.Ed25519})
	w.check(err)
	if g.Path != w.path("bücher.example/s2.pem.new") {
		t.Error(g.Path)
	}
}

// Whatever the umask, what is made can be read by those who should and nobody else.
func TestGenerateModes(t *testing.T) { //nolint:paralleltest // sets the umask of the process
	for _, umask := range []int{0, 0o077} {
		for _, owner := range []struct {
			uid, gid int
			key      fs.FileMode
		}{{0, 0, 0o600}, {0, 4711, 0o640}, {4712, 4711, 0o600}} {
			w := newWorld(t)
			if os.Geteuid() != 0 {
				if owner.gid != 0 {
					continue
				}
				owner.uid, owner.gid = os.Geteuid(), os.Getegid()
			} else {
				w.check(os.Chown(w.dir, owner.uid, owner.gid))
			}
			before := syscall.Umask(umask)
			g, err := keys.Generate(keys.New{Directory: w.path("keys"), Domain: "example.org", Type: keys.Ed25519})
			syscall.Umask(before)
			w.check(err)
			for path, mode := range map[string]fs.FileMode{g.Path: owner.key, filepath.Dir(g.Path): 0o750, w.path("keys"): 0o750} {
				info := must(os.Stat(path))
				st := info.Sys().(*syscall.Stat_t)
				if info.Mode().Perm() != mode || int(st.Uid) != owner.uid || int(st.Gid) != owner.gid {
					t.Errorf("umask %o, directory of %d:%d: %s has mode %v and owner %d:%d, want %v",
						umask, owner.uid, owner.gid, filepath.Base(path), info.Mode(), st.Uid, st.Gid, mode)
				}
			}
			w.check(os.Rename(g.Path, strings.TrimSuffix(g.Path, ".new")))
			s, _ := keys.Open(keys.Config{Directory: w.path("keys")})
			w.check(s.Wait(within(t)))
			if faults := s.Faults(); len(faults) != 0 {
				t.Errorf("what we generate is at fault: %v", faults.Err())
			}
			s.Close()
		}
	}
}

func TestActivateRefuses(t *testing.T) {
	t.Parallel()
	published := "v=DKIM1; k=ed25519; p=" + rfc8463Public
	other := "v=DKIM1; k=ed25519; p=" + rfc8463Seed // some other 32 bytes
	waits := func(w *world) { w.write("example.org/s1.pem.new", rfc8463PEM) }
	tests := map[string]struct {
		make     func(*world)
		zone     *zone
		selector string
		force    bool
		want     string // empty: activated
	}{
		"published":    {waits, serving(published), "s1", false, ""},
		"the only one": {waits, serving(published), "", false, ""},
		"testing":      {waits, serving(published + "; t=y"), "s1", false, ""},
		"by force":     {waits, &zone{}, "s1", true, ""},
		"cut off in a rename": {func(w *world) {
			waits(w)
			w.check(os.Link(w.path("example.org/s1.pem.new"), w.path("example.org/s1.pem")))
		}, &zone{}, "s1", false, ""},
		"absent": {
			waits, &zone{}, "s1", false,
			"activate example.org/s1: its record is not seen in DNS: DNS has no TXT record at s1._domainkey.example.org; publish it, and give resolvers that have remembered its absence some minutes",
		},
		"another key": {
			waits, serving(other), "s1", false,
			`activate example.org/s1: its record is not seen in DNS: DNS serves another key at s1._domainkey.example.org: "` + other + `"; publish this key's record, or sign with the key that belongs to the published one`,
		},
		"DNS fails": {
			waits, &zone{failure: resolver.ErrTemporary}, "s1", false,
			"activate example.org/s1: its record is not seen in DNS: DNS could not be asked for s1._domainkey.example.org: temporary DNS failure",
		},
		"active already":       {func(w *world) { w.write("example.org/s1.pem", rfc8463PEM) }, &zone{}, "s1", true, "activate: example.org/s1: is active already"},
		"another one is there": {func(w *world) { waits(w); w.write("example.org/s1.pem", rsaPEM()) }, &zone{}, "s1", true, "activate example.org/s1: DIR/example.org/s1.pem: file already exists; a key is never overwritten, generate one with another selector"},
		"no such selector":     {waits, &zone{}, "s2", true, "activate: example.org/s2: there is no DIR/example.org/s2.pem.new"},
		"no selector":          {waits, &zone{}, "../s1", true, `activate: selector "../s1": it has an empty label`},
		"none waits":           {func(w *world) { w.write("example.org/x", "") }, &zone{}, "", true, "activate: example.org: no key waits in DIR/example.org"},
		"several wait":         {func(w *world) { waits(w); w.write("example.org/s2.pem.new", rsaPEM()) }, &zone{}, "", true, "activate: example.org: several keys wait, name the selector of one: s1, s2"},
		"no domain":            {func(*world) {}, &zone{}, "s1", true, "activate: no keys for example.org: there is no DIR/example.org"},
		"a broken key":         {func(w *world) { w.write("example.org/s1.pem.new", "junk") }, serving(published), "s1", true, "activate example.org/s1: DIR/example.org/s1.pem.new: got no PEM block; want one RSA or Ed25519 private key as PEM (hint: move it away; dkimd key generate example.org makes a new key)"},
		"an open key": {
			func(w *world) { waits(w); w.check(os.Chmod(w.path("example.org/s1.pem.new"), 0o644)) }, serving(published), "s1", true,
			"activate example.org/s1: DIR/example.org/s1.pem.new: got mode 0644, with which everybody can read the key; want a key file that others cannot read and only its owner can write (hint: chmod 0640 DIR/example.org/s1.pem.new)",
		},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.make(w)
			before := must(os.ReadDir(w.dir))
			done, err := keys.Activate(within(t), keys.Activation{
				Directory: w.dir, Domain: "example.org", Selector: test.selector, Lookup: test.zone, Force: test.force,
			})
			got := ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), w.dir, "DIR")
			}
			if got != test.want {
				t.Fatalf("%s\nwant %s", got, test.want)
			}
			if test.force && test.zone.asked > 0 {
				t.Error("by force DNS is asked")
			}
			if err != nil {
				if after := must(os.ReadDir(w.dir)); fmt.Sprint(after) != fmt.Sprint(before) {
					t.Errorf("a refusal changes %v to %v", before, after)
				}
				return
			}
			files := must(os.ReadDir(w.path("example.org")))
			if len(files) != 1 || files[0].Name() != "s1.pem" || string(must(os.ReadFile(done.Path))) != rfc8463PEM {
				t.Errorf("after it: %v", files)
			}
			if got := strings.ReplaceAll(done.String(), w.dir, "DIR"); got != "DIR/example.org/s1.pem: signs for example.org with selector s1 once dkimd has reloaded" {
				t.Error(got)
			}
		})
	}
}

func TestActivateSaysWhenOptionsLeaveTheKeyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem.new", rfc8463PEM)
	w.write("example.org/s0.pem", rfc8463PEM)
	w.write("example.org/domain.toml", `selectors = "s0"`)
	done, err := keys.Activate(within(t), keys.Activation{Directory: w.dir, Domain: "example.org", Force: true})
	w.check(err)
	if got := strings.ReplaceAll(done.String(), w.dir, "DIR"); got != "DIR/example.org/s1.pem: signs for example.org only after selector s1 is added to selectors in DIR/example.org/domain.toml" {
		t.Error(got)
	}
}

func removeAll(dir string) error { return os.RemoveAll(dir) }
