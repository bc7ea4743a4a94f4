package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
)

// ErrNotServed says that the record of a key that was to be activated was not found in DNS.
var ErrNotServed = errors.New("its record is not seen in DNS")

// Activation describes a key that is to sign from now on.
type Activation struct {
	Directory string // the directory of all keys
	Owners    []int  // see Config
	Domain    string
	Selector  string // may be empty when only one key waits
	Lookup    Lookup
	Force     bool // whatever DNS says; it is not asked
}

// Activated is a key that signs once dkimd has reloaded.
type Activated struct {
	Domain   domain.Name
	Selector string
	Path     string      // SELECTOR.pem
	Check    CheckResult // what DNS said; of Force: nothing
	Excluded bool        // the domain's domain.toml selects other keys: it does not sign
}

// String tells what was done, in one line.
func (a Activated) String() string {
	if a.Excluded {
		return fmt.Sprintf("%s: signs for %s only after selector %s is added to selectors in %s",
			a.Path, a.Domain, a.Selector, filepath.Join(filepath.Dir(a.Path), optionsFile))
	}
	return fmt.Sprintf("%s: signs for %s with selector %s once dkimd has reloaded", a.Path, a.Domain, a.Selector)
}

// Activate renames SELECTOR.pem.new to SELECTOR.pem, once DNS serves its record:
// mail signed before that fails everywhere. ErrNotServed when that was not seen;
// then Activated.Check has what it serves instead. A key that cannot be used is not activated even by Force.
func Activate(ctx context.Context, a Activation) (Activated, error) {
	d, err := Find(Config{Directory: a.Directory, Owners: a.Owners}, a.Domain)
	if err != nil {
		return Activated{}, fmt.Errorf("activate: %w", err)
	}
	key, err := d.waiting(a.Selector)
	if err != nil {
		return Activated{}, fmt.Errorf("activate: %w", err)
	}
	done := Activated{
		Domain: key.Domain, Selector: key.Selector, Path: strings.TrimSuffix(key.Path, ".new"),
		Excluded: d.Options.Selectors != nil && !slices.Contains(d.Options.Selectors, key.Selector),
	}
	if there, err := os.Lstat(done.Path); err == nil {
		if waits, err := os.Lstat(key.Path); err == nil && os.SameFile(there, waits) {
			return done, finish(key.Path) // an earlier rename was cut off in the middle
		}
		return done, fmt.Errorf("activate %s: %s: %w; a key is never overwritten, generate one with another selector", key, done.Path, fs.ErrExist)
	}
	if _, err := key.Load(ctx); err != nil {
		return done, fmt.Errorf("activate %s: %w", key, err)
	}
	if !a.Force {
		if done.Check = Check(ctx, a.Lookup, key); !done.Check.Serves() {
			return done, fmt.Errorf("activate %s: %w: %s", key, ErrNotServed, done.Check.Words())
		}
	}
	if err := rename(key.Path, done.Path); err != nil {
		return done, fmt.Errorf("activate %s: %w", key, err)
	}
	return done, nil
}

// waiting is the key of SELECTOR.pem.new.
func (d *Domain) waiting(selector string) (*Key, error) {
	if selector == "" {
		switch len(d.Pending) {
		case 0:
			return nil, fmt.Errorf("%s: no key waits in %s", d.Name, d.Path)
		case 1:
			return d.Pending[0], nil
		}
		return nil, fmt.Errorf("%s: several keys wait, name the selector of one: %s", d.Name, names(d.Pending))
	}
	name, err := dkim.ParseSelector(selector, d.Name, dkim.AsPublished)
	if err != nil {
		return nil, fmt.Errorf("selector %q: %w", selector, err)
	}
	is := func(k *Key) bool { return k.Selector == name }
	if i := slices.IndexFunc(d.Pending, is); i >= 0 {
		return d.Pending[i], nil
	}
	if slices.ContainsFunc(d.Keys, is) {
		return nil, fmt.Errorf("%s/%s: is active already", d.Name, name)
	}
	return nil, fmt.Errorf("%s/%s: there is no %s", d.Name, name, filepath.Join(d.Path, name+pendingSuffix))
}

// rename gives a file a name that no file has, which rename(2) does not promise.
func rename(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return finish(from)
}

func finish(from string) error {
	if err := os.Remove(from); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(from))
}
