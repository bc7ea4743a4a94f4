package keys

import (
	"fmt"
	"slices"
	"time"

	"dkimd/internal/domain"
)

// Renew reads the directory of one domain again, and has it sign with what is there now. Where that has a new
// fault the domain stays as it is. ErrNoKeys: the store has no such domain, and only a reload can bring it.
func (s *Store) Renew(name domain.Name) error {
	s.rereading.Lock()
	defer s.rereading.Unlock()
	first := s.named[name]
	if first == nil {
		return fmt.Errorf("%s: %w", name, ErrNoKeys)
	}
	before := first.load(s.reader).current()
	now := before.again().load(s.reader)
	for _, k := range now.Keys {
		<-k.read(toKeep).done
	}
	if broken := now.newFaults(before); len(broken) > 0 {
		return broken
	}
	before.successor.Store(now)
	return nil
}

// Differs reports whether the store has other keys of a domain than there are now: somebody else has changed them.
func (s *Store) Differs(d *Domain) bool {
	first := s.named[d.Name]
	return first != nil && !slices.EqualFunc(first.load(s.reader).current().Keys, d.Keys, func(a, b *Key) bool { return a.Selector == b.Selector })
}

// Elsewhere are the files of keys that tables and layouts have brought, as they sign now: also those that a reload has kept.
func (s *Store) Elsewhere() (paths []string) {
	for _, d := range s.domains {
		if d.entry == "" && !d.elsewhere {
			continue
		}
		for _, k := range d.load(s.reader).current().Keys {
			if k.Line == 0 { // else it stands in the table itself
				paths = append(paths, k.Path)
			}
		}
	}
	return paths
}

// Signed is when a key of a domain last signed in this process; also one that has retired since the last reload.
func (s *Store) Signed(name domain.Name, selector string) (last time.Time) {
	for d := s.named[name]; d != nil; d = d.successor.Load() {
		if !d.reading.done.Load() {
			return last
		}
		if i := slices.IndexFunc(d.Keys, func(k *Key) bool { return k.Selector == selector }); i >= 0 {
			if at := d.Keys[i].signed.Load(); at > 0 && time.Unix(at, 0).After(last) {
				last = time.Unix(at, 0)
			}
		}
	}
	return last
}

// NoteSigned notes that the key has signed, to the second. Many call it at once, and few of them have to write.
func (k *Key) NoteSigned(now time.Time) {
	if at := now.Unix(); k.signed.Load() != at {
		k.signed.Store(at)
	}
}
