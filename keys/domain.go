package keys

import (
	"slices"

	"dkimd/internal/tomlfile"
)

// Domain is one directory of keys.
type Domain struct {
	Name    string // message.Domain form
	Path    string // its directory
	Options Options
	// Keys are those that sign, by selector. Some may turn out unusable; none is
	// there when domain.toml is broken, since then nobody knows which should sign.
	Keys []*Key
	// Pending are the keys of SELECTOR.pem.new, which do not sign yet.
	Pending []*Key

	signs  bool // has a .pem, usable or not: mail of this domain is ours to sign
	faults tomlfile.Faults
}

// Usable reports whether a key is left that signs, as far as is known: one that
// is not parsed yet counts. A domain without one is in fault, and its mail gets what on_error says.
func (d *Domain) Usable() bool {
	return slices.ContainsFunc(d.Keys, (*Key).usable)
}

// Faults is all that is wrong with this domain as far as is known: keys that are
// not parsed yet have none. See Store.Wait.
func (d *Domain) Faults() tomlfile.Faults {
	faults := slices.Clone(d.faults)
	for _, k := range d.Keys {
		if fault := k.fault(); fault != nil {
			faults = append(faults, *fault)
		}
	}
	return faults
}

// String is the domain's name.
func (d *Domain) String() string { return d.Name }
