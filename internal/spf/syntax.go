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

// record is an SPF record as it was read. It does not change.
type record struct {
	flaw  string // what breaks the syntax; empty: nothing does
	terms []term // those that are evaluated, in order
}

// term is a directive, or the modifier redirect.
type term struct {
	text    string
	network netip.Prefix // of ip4 and ip6; invalid: it is neither
}

// readRecord reads a record. A fault anywhere is one of the whole record (section 4.6).
func readRecord(text string) *record {
	if len(text) > maxRecord {
		return &record{flaw: "it is longer than 4096 octets"}
	}
	r := &record{}
	_, terms, _ := strings.Cut(text, " ")
	redirects, explanations, ended := 0, 0, false
	for t := range strings.SplitSeq(terms, " ") {
		lower := strings.ToLower(t)
		ok, evaluated, network := true, false, netip.Prefix{}
		switch {
		case t == "":
		case strings.HasPrefix(lower, "redirect="):
			redirects++
			ok, evaluated = redirects == 1 && modifier.MatchString(lower), true // each once (section 6)
		case strings.HasPrefix(lower, "exp="):
			explanations++
			ok = explanations == 1 && modifier.MatchString(lower)
		default:
			network, evaluated = readDirective(lower)
			ok = evaluated || unknown.MatchString(lower)
		}
		if !ok {
			return &record{flaw: "wrong term " + safetext.ASCII(t[:min(len(t), maxReason/2)])}
		}
		if evaluated && !ended {
			r.terms = append(r.terms, term{t, network})
			ended = strings.TrimLeft(lower, "+-?~") == "all" // what stands behind it is never looked at (section 5.1)
		}
	}
	return r
}

// about is the record without the networks that the client is not in, and without what stands behind one that it is in:
// whatever the library says of it, it would say of the whole.
func (r *record) about(client netip.Addr) string {
	if r.flaw != "" {
		return "v=spf1 ?"
	}
	var b strings.Builder
	b.Grow(64)
	b.WriteString("v=spf1")
	for _, t := range r.terms {
		if t.network.IsValid() && !t.network.Contains(client) {
			continue
		}
		b.WriteString(" ")
		b.WriteString(t.text)
		if t.network.IsValid() {
			break
		}
	}
	return b.String()
}

// readDirective reports whether a term in lower case is a mechanism, with or without qualifier, and of which network. Most
// are of one.
func readDirective(term string) (network netip.Prefix, ok bool) {
	if strings.IndexByte("+-?~", term[0]) >= 0 {
		term = term[1:]
	}
	var err error
	switch name, text, _ := strings.Cut(term, ":"); {
	case name == "all", term == "a", term == "mx", term == "ptr":
		return netip.Prefix{}, term == name
	case name != "ip4" && name != "ip6":
		return netip.Prefix{}, mechanism.MatchString(term)
	case strings.Contains(text, "/"):
		network, err = netip.ParsePrefix(text)
		ok = network.Addr().Is4() == (name == "ip4")
	default:
		var addr netip.Addr
		addr, err = netip.ParseAddr(text)
		network, ok = netip.PrefixFrom(addr, addr.BitLen()), addr.Zone() == "" && addr.Is4() == (name == "ip4")
	}
	if addr, bits := network.Addr(), network.Bits(); addr.Is4In6() && bits >= 96 { // such a client is one of IPv4 (section 5)
		network = netip.PrefixFrom(addr.Unmap(), bits-96)
	}
	return network, ok && err == nil
}
