package keys

import (
	"path/filepath"
	"slices"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/message"
)

// source knows who signs for some senders. It reads nothing that was not listed at Open, and it is asked for each message.
type source interface {
	// lookup is who signs for a sender; empty: the next source is asked.
	lookup(sender message.Address) []*Domain
}

// openSources opens all sources, in the order in which they are asked: what the operator wrote for an address, the tables,
// and the directory with the layouts.
func (s *Store) openSources(c Config) {
	if len(c.Map) > 0 {
		s.sources = append(s.sources, newMapping(s, c.Map))
	}
	s.openTables(c)
	s.openLayouts(c)
	s.sources = append(s.sources, tree{s})
	slices.SortStableFunc(s.domains, func(a, b *Domain) int { return strings.Compare(string(a.Name), string(b.Name)) })
}

// Lookup is who signs for a sender: what the first source says that knows. Empty: nobody.
// A domain whose keys are all unusable is found too. Where a source cannot be used, no sender is nobody's: one whom no other
// source knows has a domain without keys. The caller must not change the list.
// A call may read the directory of a domain, its domain.toml; if a key is not in memory and its file has changed, again.
func (s *Store) Lookup(sender message.Address) []*Domain {
	for _, source := range s.sources {
		if found := source.lookup(sender); len(found) > 0 {
			return found
		}
	}
	if s.unknown != "" {
		d := unusable(sender.Domain, "who signs is not known: "+s.unknown+" cannot be used")
		d.unread = true
		return []*Domain{d}
	}
	return nil
}

// tree is the directory of keys, with the layouts.
type tree struct{ store *Store }

// lookup is the domain's own keys, or else those of the nearest domain above it whose options say subdomains.
func (t tree) lookup(sender message.Address) []*Domain {
	name := sender.Domain
	if d := t.store.signing(name, itself); d != nil {
		return []*Domain{d}
	}
	for {
		_, parent, below := strings.Cut(string(name), ".")
		if !below {
			return nil
		}
		name = domain.Name(parent)
		if d := t.store.signing(name, belowIt); d != nil {
			return []*Domain{d}
		}
	}
}

// relation is where a sender is to a domain.
type relation uint8

const (
	itself relation = iota
	belowIt
)

// signing is the domain that signs for the one of that name or, below, for its subdomains; nil if none does.
func (s *Store) signing(name domain.Name, where relation) *Domain {
	d := s.holder(name)
	if d == nil {
		return nil
	}
	wanted := !d.Options.SubdomainsOnly
	if where == belowIt {
		wanted = d.Options.Subdomains || d.Options.SubdomainsOnly
	}
	switch {
	case !wanted:
		return nil
	case d.Options.SignAs == "":
		if d.signs {
			return d
		}
		return nil
	}
	if other := s.holder(d.Options.SignAs); other != nil && other.signs {
		return other
	}
	return unusable(d.Options.SignAs, noKeysFor(d.Options.SignAs))
}

func noKeysFor(name domain.Name) string { return "no keys of " + string(name) }

// holder is the domain of a name with what it has in the directory or in layouts, signing or not; nil if there is none.
func (s *Store) holder(name domain.Name) *Domain {
	d := s.named[name]
	if d == nil {
		return nil
	}
	if d = d.load(s.reader).current(); d.signs && d.lost() {
		d = s.reread(d)
	}
	return d
}

// Mapping says for which addresses a domain signs.
type Mapping struct {
	From      []string    `json:"from"` // as ParsePattern gives them
	SignAs    domain.Name `json:"sign_as"`
	Selectors []string    `json:"selectors,omitempty"` // nil: all
	Identity  string      `json:"identity,omitempty"`  // i=; empty: that of the domain
	// Path and Line are where it is written.
	Path string `json:"-"`
	Line int    `json:"-"`
}

// mapping is a source: what the operator wrote for addresses.
type mapping struct {
	store *Store
	lines patterns[*mapLine]
	all   []*mapLine
}

type mapLine struct {
	Mapping
	variant variant
}

func newMapping(s *Store, list []Mapping) *mapping {
	m := &mapping{store: s, lines: newPatterns[*mapLine](len(list))}
	m.lines.ordered = true
	for _, written := range list {
		line := &mapLine{Mapping: written, variant: variant{identity: written.Identity, selectors: written.Selectors}}
		m.all = append(m.all, line)
		for _, pattern := range written.From {
			m.lines.add(pattern, line)
		}
	}
	return m
}

func (m *mapping) lookup(sender message.Address) (found []*Domain) {
	m.lines.find(sender, func(l *mapLine) bool {
		d := m.store.holder(l.SignAs)
		if d == nil || !d.signs {
			d = unusable(l.SignAs, noKeysFor(l.SignAs))
		}
		found = []*Domain{l.variant.of(d)}
		return false
	})
	return found
}

// aimless are the faults of what names keys that are not there: tables of the map, and sign_as.
func (s *Store) aimless() fault.Faults {
	var faults fault.Faults
	check := func(path string, line int, key string, name domain.Name, selectors []string) {
		d := s.holder(name)
		if d == nil || !d.signs {
			faults = append(faults, fault.Fault{Path: path, Line: line, Key: key, Got: noKeysFor(name), Want: "a domain that has keys", Hint: "dkimd key generate " + string(name)})
			return
		}
		for _, selector := range selectors {
			if hint, known := d.knows(selector); !known {
				faults = append(faults, fault.Fault{Path: path, Line: line, Key: key, Got: "no key " + string(name) + "/" + selector, Want: "the selector of a key that signs", Hint: hint})
			}
		}
	}
	for _, source := range s.sources {
		if m, ok := source.(*mapping); ok {
			for _, l := range m.all {
				check(l.Path, l.Line, "sign.map", l.SignAs, l.Selectors)
			}
		}
	}
	for _, d := range s.domains {
		if d = d.current(); d.reading.done.Load() && d.Options.SignAs != "" {
			check(filepath.Join(d.Path, optionsFile), 0, "sign_as", d.Options.SignAs, nil)
		}
	}
	return faults
}
