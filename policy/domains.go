package policy

import (
	"iter"
	"net/netip"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/safetext"
)

// upwards walks from a domain to its top-level domain. Of a name too long for
// the DNS only the end can be anything a file names: a hostile name of a
// megabyte costs no more than the longest real one.
func upwards(name domain.Name) iter.Seq[domain.Name] {
	return func(yield func(domain.Name) bool) {
		rest := string(name)
		if over := len(rest) - domain.MaxLength; over > 0 {
			dot := strings.IndexByte(rest[over-1:], '.')
			if dot < 0 {
				return
			}
			rest = rest[over+dot:]
		}
		for rest != "" {
			if !yield(domain.Name(rest)) {
				return
			}
			_, rest, _ = strings.Cut(rest, ".")
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
type domainSet map[domain.Name]reach

// add reads one entry of a list. A hint says what is wrong with it.
func (s domainSet) add(entry string) (hint string) {
	covers := itself
	written, ok := strings.CutPrefix(entry, "*.")
	if ok {
		covers = below
	}
	name, err := domain.ParseLax(written)
	switch {
	case strings.HasPrefix(entry, "@"):
		return "leave out the @"
	case isAddress(written):
		return "this is the address of a client"
	case strings.Contains(entry, "@"):
		return "a signature is made by a domain, not by an address: write " + safetext.Quote(entry[strings.LastIndexByte(entry, '@')+1:])
	case err != nil:
		return `write it like "example.com", or "*.example.com" for every domain below it`
	}
	s[name] |= covers
	return ""
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func (s domainSet) has(of domain.Name) bool {
	for name := range upwards(of) {
		covers := s[name]
		if covers&itself != 0 && len(name) == len(of) || covers&below != 0 && len(name) < len(of) {
			return true
		}
	}
	return false
}

// Recipients are patterns of addresses.
type Recipients struct {
	addresses map[string]struct{} // lower case
	domains   domainSet
}

// NewRecipients reads patterns; fault is told what is wrong with them, counted from 0.
func NewRecipients(patterns []string, fault func(i int, hint string)) *Recipients {
	s := &Recipients{addresses: map[string]struct{}{}, domains: domainSet{}}
	for i, pattern := range patterns {
		if hint := s.add(pattern); hint != "" {
			fault(i, hint)
		}
	}
	return s
}

// add reads user@example.com, @example.com or example.com, and *.example.com
// with or without the @. A hint says what is wrong with it.
func (s *Recipients) add(pattern string) (hint string) {
	const like = `write it like "user@example.com", "@example.com" or "@*.example.com"`
	local, host := "", pattern
	if at := strings.LastIndexByte(pattern, '@'); at >= 0 {
		local, host = pattern[:at], pattern[at+1:]
	}
	if local == "" {
		if s.domains.add(host) != "" {
			return like
		}
		return ""
	}
	name, err := domain.ParseLax(host)
	if err != nil || strings.ContainsAny(local, " \t\r\n*") {
		return like
	}
	s.addresses[strings.ToLower(local)+"@"+string(name)] = struct{}{}
	return ""
}

// Has compares local parts in any case: RFC 5321 section 2.4 leaves their case
// to the receiving host, and that is who runs dkimd.
func (s *Recipients) Has(address string) bool {
	host := message.DomainOf(address)
	if host == "" {
		return false
	}
	if s.domains.has(host) {
		return true
	}
	if len(s.addresses) == 0 {
		return false
	}
	local := address[:strings.LastIndexByte(address, '@')]
	_, found := s.addresses[strings.ToLower(local)+"@"+string(host)]
	return found
}
