package policy

import (
	"iter"
	"strings"

	"dkimd/internal/message"
	"dkimd/internal/safetext"
)

// maxName is the length of the longest domain name (RFC 1035 section 2.3.4).
const maxName = 253

// validName reports whether a domain, in message.Domain's form, can be looked
// up in the DNS. Underscores are let through: real names contain them.
func validName(domain string) bool {
	if domain == "" || len(domain) > maxName {
		return false
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if ('a' > c || c > 'z') && ('0' > c || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// upwards walks from a domain to its top-level domain. Of a name too long for
// the DNS only the end can be anything a file names: a hostile name of a
// megabyte costs no more than the longest real one.
func upwards(domain string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if over := len(domain) - maxName; over > 0 {
			dot := strings.IndexByte(domain[over-1:], '.')
			if dot < 0 {
				return
			}
			domain = domain[over+dot:]
		}
		for domain != "" {
			if !yield(domain) {
				return
			}
			_, rest, _ := strings.Cut(domain, ".")
			domain = rest
		}
	}
}

// reach says which names an entry of a domainSet covers.
type reach uint8

const (
	itself reach = 1 << iota // example.com
	below                    // *.example.com, which example.com is not one of
)

// domainSet is a list of domains and *.domains; nil: there is no such list.
type domainSet map[string]reach

// add reads one entry of a list. A hint says what is wrong with it.
func (s domainSet) add(entry string) (hint string) {
	name, covers := entry, itself
	if rest, ok := strings.CutPrefix(entry, "*."); ok {
		name, covers = rest, below
	}
	name = message.Domain(name)
	switch {
	case strings.HasPrefix(entry, "@"):
		return "leave out the @"
	case strings.Contains(entry, "@"):
		return "a signature is made by a domain, not by an address: write " + safetext.Quote(entry[strings.LastIndexByte(entry, '@')+1:])
	case !validName(name):
		return `write it like "example.com", or "*.example.com" for every domain below it`
	}
	s[name] |= covers
	return ""
}

func (s domainSet) has(domain string) bool {
	for name := range upwards(domain) {
		covers := s[name]
		if covers&itself != 0 && len(name) == len(domain) || covers&below != 0 && len(name) < len(domain) {
			return true
		}
	}
	return false
}

// recipientSet is the patterns of a recipients condition.
type recipientSet struct {
	addresses map[string]struct{} // lower case
	domains   domainSet
}

// add reads user@example.com, @example.com or example.com, and *.example.com
// with or without the @. A hint says what is wrong with it.
func (s *recipientSet) add(pattern string) (hint string) {
	const like = `write it like "user@example.com", "@example.com" or "@*.example.com"`
	local, domain := "", pattern
	if at := strings.LastIndexByte(pattern, '@'); at >= 0 {
		local, domain = pattern[:at], pattern[at+1:]
	}
	if local == "" {
		if s.domains.add(domain) != "" {
			return like
		}
		return ""
	}
	domain = message.Domain(domain)
	if !validName(domain) || strings.ContainsAny(local, " \t\r\n*") {
		return like
	}
	s.addresses[strings.ToLower(local)+"@"+domain] = struct{}{}
	return ""
}

// has compares local parts in any case: RFC 5321 section 2.4 leaves their case
// to the receiving host, and that is who runs dkimd.
func (s *recipientSet) has(address string) bool {
	domain := message.DomainOf(address)
	if domain == "" {
		return false
	}
	if s.domains.has(domain) {
		return true
	}
	if len(s.addresses) == 0 {
		return false
	}
	local := address[:strings.LastIndexByte(address, '@')]
	_, found := s.addresses[strings.ToLower(local)+"@"+domain]
	return found
}
