package keys

import (
	"slices"
	"sync"
	"sync/atomic"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
)

// Domain is one directory of keys, or what tables and layouts have for a domain. What a Store or Find hands out has been read and changes no more.
type Domain struct {
	Name    domain.Name
	Path    string // its directory
	Options Options
	// Keys are those that sign, by selector. Some may turn out unusable; none is
	// there when domain.toml is broken, since then nobody knows which should sign.
	Keys []*Key
	// Pending are the keys of SELECTOR.pem.new, which do not sign yet.
	Pending []*Key
	// Transient: it was made for one message, and nothing about it is worth keeping.
	Transient bool

	signs  bool // has a .pem, usable or not: mail of this domain is ours to sign
	unread bool // its directory or domain.toml cannot be read, or what names it: nobody knows its options
	faults fault.Faults
	// overlooked are files that its owner may believe to be in use, and that keep nothing from signing.
	overlooked fault.Faults

	places    []*place // what layouts have for it
	elsewhere bool     // only layouts have it: there is no directory of its own
	entry     string   // what it is in the tables; empty: it is not from there

	kept      *fault.Kept // it is as before a reload; see Store.Keep
	successor atomic.Pointer[Domain]
	reading   *reading
}

// reading is whether a directory has been read: until then all but the name and the path is missing.
type reading struct {
	once sync.Once
	done atomic.Bool
}

func newDomain(name domain.Name, path string) *Domain {
	return &Domain{Name: name, Path: path, reading: &reading{}}
}

// newTableDomain is a domain of the tables, whose keys are known at once.
func newTableDomain(name domain.Name, path, entry string) *Domain {
	return &Domain{Name: name, Path: path, entry: entry, signs: true, reading: alreadyRead}
}

// alreadyRead is for a domain that has no directory to be read.
//
//nolint:gochecknoglobals // it does not change
var alreadyRead = func() *reading {
	r := &reading{}
	r.once.Do(func() { r.done.Store(true) })
	return r
}()

// again is the domain as it was before it was read.
func (d *Domain) again() *Domain {
	fresh := newDomain(d.Name, d.Path)
	fresh.places, fresh.elsewhere = d.places, d.elsewhere
	return fresh
}

// load reads the directory, if nobody has, and returns the domain.
func (d *Domain) load(r *reader) *Domain {
	d.reading.once.Do(func() {
		r.readDomain(d)
		d.reading.done.Store(true)
		for _, f := range d.faults {
			r.log.Warn("fault in the keys of a domain", "domain", string(d.Name), "fault", f.Error())
		}
	})
	return d
}

// AnySender reports whether it stands for a key that signs with d= of whoever sends; its name is %.
func (d *Domain) AnySender() bool { return d.Name == anySender }

// Signs reports whether mail of this domain is ours to sign: it has a key file, usable or not.
func (d *Domain) Signs() bool { return d.signs }

// Unread reports whether nobody knows which options it has, as its directory or domain.toml cannot be read. It has no keys then.
func (d *Domain) Unread() bool { return d.unread }

// Usable reports whether a key is left that signs, as far as is known: one that
// is not parsed yet counts. A domain without one is in fault, and its mail gets what on_error says.
func (d *Domain) Usable() bool {
	return slices.ContainsFunc(d.Keys, (*Key).usable)
}

// Faults is all that is wrong with this domain as far as is known: keys that are
// not checked yet have none. See Store.Wait.
func (d *Domain) Faults() fault.Faults {
	if !d.reading.done.Load() {
		return nil
	}
	faults := slices.Clone(d.faults)
	for _, k := range d.Keys {
		if fault := k.fault(); fault != nil {
			faults = append(faults, *fault)
		}
	}
	return faults
}

// String is the domain's name.
func (d *Domain) String() string { return string(d.Name) }
