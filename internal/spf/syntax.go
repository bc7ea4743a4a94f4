package spf

import (
	"net/netip"
	"strconv"
	"strings"

	"dkimd/internal/resolver"
	"dkimd/internal/safetext"
)

// maxRecord is how long a record may be. A longer one may have lost its end in the resolver.
const maxRecord = resolver.MaxRecord - 1

// maxMacros is how many macros a record may have. They cost more than anything else in it, and fill a name soon.
const maxMacros = 100

// isRecord reports whether a TXT record is one of SPF (section 4.5).
func isRecord(txt string) bool {
	version, _, _ := strings.Cut(txt, " ")
	return len(version) == len("v=spf1") && strings.EqualFold(version, "v=spf1") // letters of others than ASCII are longer
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
	if strings.Count(strings.ReplaceAll(text, "%%", ""), "%{") > maxMacros {
		return &record{flaw: "it has more than 100 macros"}
	}
	r := &record{}
	_, terms, _ := strings.Cut(text, " ")
	redirects, explanations, ended := 0, 0, false
	for t := range strings.SplitSeq(terms, " ") {
		lower := strings.ToLower(t)
		ok, evaluated, network := true, false, netip.Prefix{}
		switch {
		case t == "":
		case !safetext.IsASCII(t): // some letters of other scripts are in lower case those of ASCII
			ok = false
		case strings.HasPrefix(lower, "redirect="):
			redirects++
			ok, evaluated = redirects == 1 && isDomainSpec(lower[len("redirect="):]), true // each once (section 6)
		case strings.HasPrefix(lower, "exp="):
			explanations++
			ok = explanations == 1 && isDomainSpec(lower[len("exp="):])
		default:
			network, evaluated = readDirective(lower)
			ok = evaluated || isUnknownModifier(lower)
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
		return netip.Prefix{}, isMechanism(term)
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

// What follows is the grammar of RFC 7208 section 12, for terms in lower case: its letters have none.

// isMechanism reports whether a term is include, a, mx, ptr or exists with something behind the name.
func isMechanism(term string) bool {
	i := max(0, strings.IndexAny(term, ":/"))
	name, rest := term[:i], term[i:]
	switch name {
	case "a", "mx":
		var ok4, ok6 bool
		rest, ok6 = cutSize(rest, "//", 128)
		if rest, ok4 = cutSize(rest, "/", 32); !ok4 || !ok6 {
			return false
		}
		if rest == "" {
			return true
		}
	case "ptr", "include", "exists":
	default:
		return false
	}
	spec, ok := strings.CutPrefix(rest, ":")
	return ok && isDomainSpec(spec)
}

// cutSize cuts off the size of a network, if there is one behind the sign. No name ends like this.
func cutSize(text, sign string, limit int) (rest string, ok bool) {
	digits := text[len(strings.TrimRight(text, "0123456789")):]
	rest, found := strings.CutSuffix(text[:len(text)-len(digits)], sign)
	if digits == "" || !found {
		return text, true
	}
	size, err := strconv.Atoi(digits)
	return rest, err == nil && size <= limit && strconv.Itoa(size) == digits
}

// isUnknownModifier reports whether a term is a modifier of any name.
func isUnknownModifier(term string) bool {
	name, text, ok := strings.Cut(term, "=")
	if !ok || name == "" || name[0] < 'a' || name[0] > 'z' || !consists(name, "_.-") {
		return false
	}
	_, ok = literalEnd(text, "slodiphvcrt")
	return ok
}

// isDomainSpec reports whether a text is a name, whose macros are not looked into: it ends in one, or in a label at the top.
func isDomainSpec(text string) bool {
	end, ok := literalEnd(text, "slodiphv") // c, r and t are for explanations only, which are not fetched
	if !ok || end == "" {
		return ok && text != ""
	}
	end = strings.TrimSuffix(end, ".")
	top := end[strings.LastIndexByte(end, '.')+1:]
	return len(top) < len(end) && consists(top, "-") && top[0] != '-' && top[len(top)-1] != '-' && strings.Trim(top, "0123456789") != ""
}

// consists reports whether a text is of letters, digits and the others, and not empty.
func consists(text, others string) bool {
	for i := range len(text) {
		if c := text[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return text != ""
}

// literalEnd is what stands behind the last macro of a text; ok is false where the text is no macro-string.
func literalEnd(text, letters string) (end string, ok bool) {
	start := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c <= ' ' || c > '~':
			return "", false
		case c == '%':
			size := macroSize(text[i:], letters)
			if size == 0 {
				return "", false
			}
			start = i + size
			i = start - 1
		}
	}
	return text[start:], true
}

// macroSize is how long the macro is with which a text begins; 0: it does not. Its digits are not 0 (section 7.3).
func macroSize(text, letters string) int {
	if len(text) > 1 && strings.IndexByte("%_-", text[1]) >= 0 {
		return len("%%")
	}
	inside, _, closed := strings.Cut(text, "}")
	inside, opened := strings.CutPrefix(inside, "%{")
	if !closed || !opened || inside == "" || strings.IndexByte(letters, inside[0]) < 0 {
		return 0
	}
	size := len("%{") + len(inside) + len("}")
	transform := inside[1:]
	delimiters := strings.TrimLeft(transform, "0123456789")
	digits := transform[:len(transform)-len(delimiters)]
	if digits != "" && strings.Trim(digits, "0") == "" || strings.Trim(strings.TrimPrefix(delimiters, "r"), "-.+,/_=") != "" {
		return 0
	}
	return size
}
