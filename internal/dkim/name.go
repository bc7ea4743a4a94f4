package dkim

import (
	"errors"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/message"
)

// namespace is between selector and domain in the name of a key record (RFC 6376 section 3.6.2.1).
const namespace = "._domainkey."

// RecordName is where the key record of a selector is published, without a dot at its end.
func RecordName(selector string, sdid domain.Name) string { return selector + namespace + string(sdid) }

// Why a name is no SDID, or no selector, although it is a name.
var (
	errOneLabel     = errors.New("it has one label only, and verifiers reject signatures of such a domain (RFC 6376 section 3.5)")
	errPublicSuffix = errors.New("it is a public suffix, and verifiers reject signatures of such a domain")
	errNoRoom       = errors.New("it leaves no room for a selector in a DNS name")
	errTooLong      = errors.New("with the domain it is too long for a DNS name")
	errUnderscore   = errors.New("it has an underscore")
)

// ParseSDID reads the name of a domain that is to sign mail, as an administrator writes it. Whether
// a domain can sign at all is decided here and nowhere else. The error is the reason alone.
func ParseSDID(s string) (domain.Name, error) {
	name, err := domain.Parse(s)
	switch {
	case err != nil:
		return "", err
	case !strings.Contains(string(name), "."):
		return "", errOneLabel // d= is a sub-domain, a dot, and more of them
	case name.IsPublicSuffix():
		return "", errPublicSuffix
	case len(RecordName("s", name)) > domain.MaxLength:
		return "", errNoRoom
	}
	return name, nil
}

// Grammar is how strictly a selector is read.
type Grammar uint8

// The grammars of a selector.
const (
	// AsPublished takes underscores too: keys with such selectors are published, and every verifier we know accepts them.
	AsPublished Grammar = iota
	AsSpecified         // one or more sub-domains (RFC 6376 section 3.1)
)

// ParseSelector reads a selector for a domain, as an administrator writes it. The error is the reason alone.
func ParseSelector(s string, sdid domain.Name, g Grammar) (string, error) {
	name, err := domain.ParseLabels(s)
	switch {
	case err != nil:
		return "", err
	case g == AsSpecified && strings.Contains(string(name), "_"):
		return "", errUnderscore
	case len(RecordName(string(name), sdid)) > domain.MaxLength:
		return "", errTooLong
	}
	return string(name), nil
}

// ParsePattern reads an entry in a list of fields to sign: the name of a field, or the beginning of names and *.
func ParsePattern(s string) (name string, prefix, ok bool) {
	// RFC 5322 section 2.2 allows * in names, but nobody has one there.
	name, prefix = strings.CutSuffix(s, "*")
	return name, prefix, message.IsFieldName(name) && len(name) <= message.MaxFieldName && !strings.Contains(name, "*")
}
