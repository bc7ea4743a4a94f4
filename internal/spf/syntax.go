package spf

import (
	"net/netip"
	"regexp"
	"strings"

	"dkimd/internal/resolver"
	"dkimd/internal/safetext"
)

// The grammar of RFC 7208 section 12, for terms in lower case: its letters have none. A macro's digits are not 0 (section 7.3), and
// its letters c, r and t are for explanations only, which are not fetched.
const (
	macro      = `%(?:[%_-]|\{[slodiphv](?:0*[1-9][0-9]*)?r?[-.+,/_=]*\})`
	macroText  = `(?:` + macro + `|[!-$&-~])*`
	topLabel   = `(?:[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])`
	domainSpec = macroText + `(?:\.` + topLabel + `\.?|` + macro + `)`
	cidr4      = `/(?:[12]?[0-9]|3[0-2])`
	cidr6      = `/(?:[1-9]?[0-9]|1[01][0-9]|12[0-8])`
	dualCIDR   = `(?:` + cidr4 + `)?(?:/` + cidr6 + `)?`
)

var (
	mechanism = regexp.MustCompile(`^(?:include:` + domainSpec + `|(?:a|mx)(?::` + domainSpec + `)?` + dualCIDR + `|ptr(?::` + domainSpec + `)?|exists:` + domainSpec + `)$`)
	modifier  = regexp.MustCompile(`^(?:redirect=` + domainSpec + `|exp=` + domainSpec + `)$`)
	unknown   = regexp.MustCompile(`^[a-z][a-z0-9_.-]*=` + strings.ReplaceAll(macroText, "slodiphv", "slodiphvcrt") + `$`)
)

// maxRecord is how long a record may be. A longer one may have lost its end in the resolver.
const maxRecord = resolver.MaxRecord - 1

// isRecord reports whether a TXT record is one of SPF (section 4.5).
func isRecord(txt string) bool {
	version, _, _ := strings.Cut(txt, " ")
	return strings.EqualFold(version, "v=spf1")
}

// flawOf is what breaks the syntax of a record; empty: nothing does. A fault anywhere is one of the whole record (section 4.6).
func flawOf(record string) string {
	if len(record) > maxRecord {
		return "it is longer than 4096 octets"
	}
	_, terms, _ := strings.Cut(record, " ")
	redirects, explanations := 0, 0
	for term := range strings.SplitSeq(terms, " ") {
		lower := strings.ToLower(term)
		ok := true
		switch {
		case term == "":
		case strings.HasPrefix(lower, "redirect="):
			redirects++
			ok = redirects == 1 && modifier.MatchString(lower) // each once (section 6)
		case strings.HasPrefix(lower, "exp="):
			explanations++
			ok = explanations == 1 && modifier.MatchString(lower)
		default:
			ok = isDirective(lower) || unknown.MatchString(lower)
		}
		if !ok {
			return "wrong term " + safetext.ASCII(term[:min(len(term), maxReason/2)])
		}
	}
	return ""
}

// isDirective reports whether a term in lower case is a mechanism, with or without qualifier. Most are networks.
func isDirective(term string) bool {
	if strings.IndexByte("+-?~", term[0]) >= 0 {
		term = term[1:]
	}
	switch name, network, _ := strings.Cut(term, ":"); {
	case name == "all":
		return term == name
	case name != "ip4" && name != "ip6":
		return mechanism.MatchString(term)
	case strings.Contains(network, "/"):
		prefix, err := netip.ParsePrefix(network)
		return err == nil && prefix.Addr().Is4() == (name == "ip4")
	default:
		addr, err := netip.ParseAddr(network)
		return err == nil && addr.Zone() == "" && addr.Is4() == (name == "ip4")
	}
}
