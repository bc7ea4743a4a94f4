package message

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// profile maps U-labels to A-labels (RFC 5890) as a resolver would, but lets
// through what real DNS names contain: underscores, and hyphens anywhere.
var profile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false)) //nolint:gochecknoglobals // immutable, and costly to build

// maxULabels is the longest name that is brought into A-labels. A name of the DNS
// (RFC 1035 section 2.3.4) is shorter, and the work grows with the square of the length.
const maxULabels = 512

// Domain brings a domain into the form in which domains are compared: lower
// case, A-labels, no dots at the end. What is no domain comes back in lower case.
func Domain(s string) string {
	s = strings.TrimRight(strings.TrimSpace(s), ".")
	ascii := true
	lower := true
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			ascii = false
		}
		if 'A' <= s[i] && s[i] <= 'Z' {
			lower = false
		}
	}
	if ascii {
		if lower {
			return s
		}
		return strings.ToLower(s)
	}
	if len(s) > maxULabels || !utf8.ValidString(s) {
		return strings.ToLower(s)
	}
	mapped, err := profile.ToASCII(s)
	if err != nil {
		return strings.ToLower(s)
	}
	return strings.ToLower(strings.TrimRight(mapped, "."))
}

// isName reports whether a domain in the form of Domain has only what names of
// the DNS are made of: then every reader sees the same name.
func isName(domain string) bool { return namePrefix(domain) == len(domain) }

// namePrefix is how much of it that is true of.
func namePrefix(domain string) int {
	for i := range len(domain) {
		switch c := domain[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return i
		}
	}
	return len(domain)
}

// DomainOf is the domain of an SMTP address, or empty where there is none.
func DomainOf(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return ""
	}
	return Domain(address[at+1:])
}

// Organizational is the organizational domain of a domain: the public suffix
// and one label (RFC 7489 section 3.2). A public suffix has none.
func Organizational(domain string) string {
	org, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return ""
	}
	return org
}

// Aligned reports whether two domains share their organizational domain
// (relaxed alignment, RFC 7489 section 3.1.1). Equal domains are always aligned.
func Aligned(a, b string) bool {
	if a == b {
		return a != ""
	}
	org := Organizational(a)
	return org != "" && org == Organizational(b)
}

// Within reports whether a domain is the other one or below it.
func Within(domain, parent string) bool {
	return parent != "" && (domain == parent || strings.HasSuffix(domain, "."+parent))
}
