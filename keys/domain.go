package keys

import (
	"time"

	"dkimd/internal/tomlfile"
)

// Options are what a domain.toml says.
type Options struct {
	Subdomains bool
	Identity   string         // i=: "@domain" or "local@domain"; empty: none
	Expiry     *time.Duration // nil: not set; 0: none
	Headers    []string       // nil: not set
	Selectors  []string       // nil: every key signs
	Users      []string
}

// Domain is one directory of keys.
type Domain struct {
	Name    string // message.Domain form
	Path    string // its directory
	Options Options
	Keys    []*Key // those that sign, by selector; empty when domain.toml is broken
}

// Faults is all that is wrong with this domain as far as it is known by now.
func (d *Domain) Faults() tomlfile.Faults { return nil }

// Usable reports whether a key may be left that signs: one that is parsed, or not parsed yet.
func (d *Domain) Usable() bool { return false }
