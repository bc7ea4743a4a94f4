// Package domain reads the names of domains, from mail and from configuration files, and compares
// them. Each way to read a name is one function here, so that no two packages disagree on what
// a name is. It asks no DNS, and does not know which names DKIM may sign as: internal/dkim does.
package domain

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// Name is a domain in the form in which domains are compared: lower case, A-labels (RFC 5890
// section 2.3.2.1), no dot at the end. Only the functions of this package make one of a text from
// outside. That it is in this form says nothing about its characters: see Fold.
type Name string

// MaxLength is the length of the longest name in the DNS, written without its final dot (RFC 1035 section 2.3.4).
const MaxLength = 253

// maxLabel is the length of the longest label (RFC 1035 section 2.3.4).
const maxLabel = 63

// maxULabels is the longest name that is converted to A-labels. No name of MaxLength octets is
// longer in U-labels, and the work grows with the square of the length.
const maxULabels = 512

// folding maps U-labels to A-labels as a resolver would, but lets through what
// real DNS names contain: underscores, and hyphens anywhere.
var folding = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false)) //nolint:gochecknoglobals // immutable, and costly to build

// exact converts U-labels to A-labels only if they are valid as they stand.
var exact = idna.New(idna.ValidateForRegistration(), idna.StrictDomainName(false), idna.CheckHyphens(false)) //nolint:gochecknoglobals // as above

// Fold brings what mail says into the form in which domains are compared. It never fails: what
// is not a domain comes back in lower case, and equals only what is written the same.
// A name that is in this form already is returned as it is.
func Fold(s string) Name {
	s = strings.TrimRight(strings.TrimSpace(s), ".")
	ascii, lower := true, true
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			ascii = false
		}
		if 'A' <= s[i] && s[i] <= 'Z' {
			lower = false
		}
	}
	if ascii {
		if lower {
			return Name(s)
		}
		return Name(strings.ToLower(s))
	}
	if len(s) > maxULabels || !utf8.ValidString(s) {
		return Name(strings.ToLower(s))
	}
	mapped, err := folding.ToASCII(s)
	if err != nil {
		return Name(strings.ToLower(s))
	}
	return Name(strings.ToLower(strings.TrimRight(mapped, ".")))
}

// Organizational is the organizational domain: the public suffix
// and one label (RFC 7489 section 3.2). A public suffix has none.
func (n Name) Organizational() Name {
	org, err := publicsuffix.EffectiveTLDPlusOne(string(n))
	if err != nil {
		return ""
	}
	return Name(org)
}

// IsPublicSuffix reports whether a registry lets everybody register names directly below this one,
// such as com and co.uk. The public suffix list's private section (the domains of hosting companies) does not count.
func (n Name) IsPublicSuffix() bool {
	suffix, icann := publicsuffix.PublicSuffix(string(n))
	return icann && suffix == string(n)
}

// HasListedSuffix reports whether the domain ends with an entry of the public suffix list.
func (n Name) HasListedSuffix() bool {
	suffix, icann := publicsuffix.PublicSuffix(string(n))
	return icann || strings.Contains(suffix, ".")
}

// Aligned reports whether two domains share their organizational domain
// (relaxed alignment, RFC 7489 section 3.1.1). Equal domains are always aligned.
func (n Name) Aligned(other Name) bool {
	if n == other {
		return n != ""
	}
	org := n.Organizational()
	return org != "" && org == other.Organizational()
}

// Within reports whether a domain is the other one or below it.
func (n Name) Within(parent Name) bool {
	rest, ends := strings.CutSuffix(string(n), string(parent))
	return parent != "" && ends && (rest == "" || rest[len(rest)-1] == '.')
}
