package keys

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"dkimd/internal/fault"
)

// Err says why the directory of keys could not be listed; nil when it was.
func (s *Store) Err() error { return s.unlisted.Err() }

// Keep leaves domains as they are in previous where reading them anew brought a fault that they
// did not have: the keys before go on signing, from memory where their files have changed, or none
// signs where none did. It is called after Wait of both, and before the store is used.
func (s *Store) Keep(previous *Store) {
	entries := map[string]*Domain{}
	for _, d := range previous.domains {
		entries[d.entry] = d
	}
	for _, d := range s.domains {
		old := entries[d.entry]
		if d.entry == "" {
			old = previous.named[d.Name]
		} else if old == nil {
			old = previous.byPattern(strings.TrimPrefix(d.entry, brokenLine))
		}
		if old == nil {
			old = &Domain{Name: d.Name, Path: d.Path, reading: d.reading}
		}
		old = old.current()
		if broken := d.newFaults(old); len(broken) > 0 {
			if before := old.asBefore(broken, s.reader); before.Usable() || !before.signs {
				d.successor.Store(before)
			}
		}
	}
}

// Kept are the domains that are as they were before a reload, by name.
func (s *Store) Kept() []fault.Kept {
	var all []fault.Kept
	for _, d := range s.domains {
		if k := d.current().kept; k != nil {
			all = append(all, *k)
		}
	}
	return all
}

// newFaults are those of d that old does not have; on another line it is the same one.
func (d *Domain) newFaults(old *Domain) fault.Faults {
	known := map[fault.Fault]bool{}
	for _, f := range old.Faults() {
		f.Line = 0
		known[f] = true
	}
	return slices.DeleteFunc(d.Faults(), func(f fault.Fault) bool {
		f.Line = 0
		return known[f]
	})
}

// asBefore is the domain as it is in force, with what is broken on disk. A key whose file is
// another one now signs from memory, and is not dropped from there; one that is not
// in memory is left out if its file cannot be used.
func (d *Domain) asBefore(broken fault.Faults, r *reader) *Domain {
	kept := &Domain{
		Name: d.Name, Path: d.Path, Options: d.Options, Pending: d.Pending,
		signs: d.signs, faults: d.faults, reading: d.reading, places: d.places, elsewhere: d.elsewhere, entry: d.entry,
		kept: &fault.Kept{Domain: string(d.Name), Since: time.Now(), Faults: broken},
	}
	if d.kept != nil {
		kept.kept.Since = d.kept.Since
	}
	for _, k := range d.Keys {
		if k = k.pin(r); k.usable() {
			kept.Keys = append(kept.Keys, k)
		}
	}
	return kept
}

// pin is a key that signs as this one does, whatever becomes of its file, if it is in memory.
func (k *Key) pin(r *reader) *Key {
	o := k.snapshot.Load()
	now, err := stat(k.Path)
	switch {
	case err == nil && k.fits(now):
		return k
	case o.private != nil:
		pinned := k.fresh(o.file, r)
		pinned.pinned = true
		pinned.snapshot.Store(o)
		return pinned
	}
	again := k.fresh(now, r)
	<-again.read(toCheck).done
	return again
}

// fresh is a key that was not read yet.
func (k *Key) fresh(seen fingerprint, r *reader) *Key {
	n := newKey(k.Domain, k.Selector, k.Path, seen, r)
	n.Line, n.permissions, n.inline = k.Line, k.permissions, k.inline
	return n
}

// reread is the domain as its directory holds it now, if a key of d is lost.
func (s *Store) reread(d *Domain) *Domain {
	s.rereading.Lock()
	defer s.rereading.Unlock()
	if n := d.current(); n != d || !d.lost() {
		return n
	}
	now := d.again().load(s.reader)
	for _, k := range now.Keys {
		<-k.read(toKeep).done
	}
	if !now.Usable() && (now.signs || !s.present(d)) {
		return d // the message that reads the lost key settles it: it is not looked for again
	}
	s.reader.log.Warn("keys of a domain have changed without a reload", "domain", string(d.Name), "keys", len(now.Keys))
	d.successor.Store(now)
	return now
}

// present reports whether a domain without key files is so on purpose, and not for want of
// a mount: its directory is there, or others beside it.
func (s *Store) present(d *Domain) bool {
	if _, err := os.Lstat(d.Path); !errors.Is(err, fs.ErrNotExist) {
		return err == nil
	}
	return slices.ContainsFunc(s.domains, func(other *Domain) bool {
		_, err := os.Stat(other.Path)
		return err == nil
	})
}

// lost reports whether a message would have to read a key whose file is not there any more, or another one.
func (d *Domain) lost() bool {
	return slices.ContainsFunc(d.Keys, func(k *Key) bool {
		if o := k.snapshot.Load(); !o.settled() {
			now, err := stat(k.Path)
			return err != nil || now != o.file
		}
		return false
	})
}

// current is the domain, or what took its place since the store was opened.
func (d *Domain) current() *Domain {
	if n := d.successor.Load(); n != nil {
		return n.current()
	}
	return d
}
