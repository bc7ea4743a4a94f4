package dmarc

import (
	"strings"

	"dkimd/internal/resolver"
)

// Policy is what a domain asks for where a message fails (RFC 9989 section 4.7, p=).
type Policy uint8

// The policies, weakest first.
const (
	PolicyAbsent     Policy = iota // no word: there is no record, or it is of no use
	PolicyNone                     // none
	PolicyQuarantine               // quarantine
	PolicyReject                   // reject
	policyInvalid                  // the tag is there, and says nothing that is known
)

// String is "none", "quarantine", "reject" or empty.
func (p Policy) String() string {
	switch p {
	case PolicyNone:
		return "none"
	case PolicyQuarantine:
		return "quarantine"
	case PolicyReject:
		return "reject"
	case PolicyAbsent, policyInvalid:
	}
	return ""
}

// MarshalText writes what String says.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// weaker is the policy one step lower, as a domain that tests its policy wants it (section 4.7, t=).
func (p Policy) weaker() Policy {
	if p == PolicyQuarantine || p == PolicyReject {
		return p - 1
	}
	return p
}

// maxRecord is how long a record may be. A longer one may have lost its end in the resolver.
const maxRecord = resolver.MaxRecord - 1

// record is a DMARC policy record (RFC 9989 section 4.7).
type record struct {
	p, sp, np  Policy
	psd        byte // y, n or u
	testing    bool // t=y
	adkim      Alignment
	aspf       Alignment
	reportable bool // rua= has a URI
}

// parseRecord reads a TXT record; ok is false where it is none of DMARC's. The v tag stands first, and
// its value is exact (section 4.7). Nothing else makes a record invalid as a whole: a tag that cannot be read
// has its default, and one that is not known is ignored (section 4.8).
func parseRecord(txt string) (r record, ok bool) {
	version, rest, _ := strings.Cut(txt, ";")
	name, value, _ := strings.Cut(version, "=")
	if trim(value) != "DMARC1" || !strings.EqualFold(strings.TrimRight(name, wsp), "v") {
		return record{}, false
	}
	r = record{psd: 'u', adkim: AlignRelaxed, aspf: AlignRelaxed}
	if len(txt) > maxRecord {
		return r, true
	}
	tags := make(map[string]string, 8)
	for tag := range strings.SplitSeq(rest, ";") {
		name, value, _ := strings.Cut(tag, "=")
		name = strings.ToLower(trim(name))
		if _, twice := tags[name]; twice {
			value = "" // no tag has two meanings
		}
		tags[name] = trim(value)
	}
	r.p, r.sp, r.np = policyOf(tags, "p"), policyOf(tags, "sp"), policyOf(tags, "np")
	r.testing = strings.EqualFold(tags["t"], "y")
	if psd := strings.ToLower(tags["psd"]); psd == "y" || psd == "n" {
		r.psd = psd[0]
	}
	if strings.EqualFold(tags["adkim"], "s") {
		r.adkim = AlignStrict
	}
	if strings.EqualFold(tags["aspf"], "s") {
		r.aspf = AlignStrict
	}
	for uri := range strings.SplitSeq(tags["rua"], ",") {
		r.reportable = r.reportable || isURI(trim(uri))
	}
	return r, true
}

const wsp = " \t"

func trim(s string) string { return strings.Trim(s, wsp) }

// policyOf reads p, sp or np. Literals of ABNF have no case (RFC 5234 section 2.3).
func policyOf(tags map[string]string, name string) Policy {
	value, ok := tags[name]
	if !ok {
		return PolicyAbsent
	}
	for p := PolicyNone; p <= PolicyReject; p++ {
		if strings.EqualFold(value, p.String()) {
			return p
		}
	}
	return policyInvalid
}

// isURI reports whether somebody could be meant: a scheme, a colon and more (RFC 3986 section 3).
func isURI(s string) bool {
	s, _, _ = strings.Cut(s, "!") // a size limit of RFC 7489
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || rest == "" {
		return false
	}
	for i := range len(scheme) {
		c := scheme[i] | 0x20
		if (c < 'a' || c > 'z') && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(scheme[i]))) {
			return false
		}
	}
	return scheme != "" && !strings.ContainsFunc(rest, func(c rune) bool { return c <= ' ' || c > '~' })
}

// word is the policy for a domain: the record's own, or one below it, which exists or does not (section 4.7).
// It is absent where the record is of no use (section 4.10.1).
func (r record) word(below, exists bool) Policy {
	if r.p == PolicyAbsent || r.p == policyInvalid || r.sp == policyInvalid || r.np == policyInvalid {
		if r.reportable {
			return PolicyNone
		}
		return PolicyAbsent
	}
	switch {
	case below && !exists && r.np != PolicyAbsent:
		return r.np
	case below && r.sp != PolicyAbsent:
		return r.sp
	}
	return r.p
}

// applied is the policy that a word of the record comes to.
func (r record) applied(word Policy) Policy {
	if r.testing {
		return word.weaker()
	}
	return word
}
