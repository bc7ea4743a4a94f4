package resolver

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/domain"

	"github.com/miekg/dns"
)

// Type is a type of records. In an Answer, these are their texts:
type Type uint16

// The types that are looked up.
const (
	TXT  = Type(dns.TypeTXT)
	A    = Type(dns.TypeA)    // "192.0.2.1"
	AAAA = Type(dns.TypeAAAA) // "2001:db8::1"
	MX   = Type(dns.TypeMX)   // "10 mail.example.org"
	PTR  = Type(dns.TypePTR)  // "mail.example.org", lower case
)

// rrset is what is asked for (RFC 2181 section 5).
type rrset struct {
	name   string // canonical, without final dot
	rrtype Type
}

// txtOf is the rrset of a key or a policy. What cannot be a selector and a domain is not worth a query.
func txtOf(name string) (rrset, error) {
	canonical, err := domain.ParseDNS(name)
	if err != nil {
		return rrset{}, ErrName
	}
	return rrset{string(canonical), TXT}, nil
}

// setOf takes any name that is the same on the wire and in text.
func setOf(name string, rrtype Type) (rrset, error) {
	name = strings.TrimSuffix(name, ".")
	if len(name) > domain.MaxLength {
		return rrset{}, ErrName
	}
	label := 0
	for i := range len(name) {
		if c := name[i]; c == '.' && label > 0 {
			label = 0
		} else if label++; c == '.' || c < ' ' || c > '~' || c == '\\' || label > 63 {
			return rrset{}, ErrName
		}
	}
	if label == 0 {
		return rrset{}, ErrName
	}
	return rrset{strings.ToLower(name), rrtype}, nil
}

// mostNegative is how long its absence may be kept. Whether a top-level domain has a DMARC record is asked
// for much of the mail (RFC 9989 section 4.10), and it hardly ever gets one.
func (s rrset) mostNegative() (most time.Duration) {
	if rest, ok := strings.CutPrefix(s.name, "_dmarc."); ok && !strings.Contains(rest, ".") {
		return maxPositive
	}
	return maxNegative
}

// text is the data of a record of one of the types above.
func (rr record) text(msg []byte) (text string, ok bool) {
	data := msg[rr.start:rr.end]
	switch Type(rr.rrtype) {
	case A, AAAA:
		addr, ok := netip.AddrFromSlice(data)
		return addr.String(), ok && addr.Is4() == (Type(rr.rrtype) == A)
	case PTR:
		return nameAt(msg[:rr.end], rr.start)
	case MX:
		if len(data) < 3 { // RFC 1035 section 3.3.9
			return "", false
		}
		name, ok := nameAt(msg[:rr.end], rr.start+2)
		return strconv.Itoa(int(binary.BigEndian.Uint16(data))) + " " + name, ok
	case TXT:
	}
	return readTXT(data)
}

// nameAt reads the name that ends a record.
func nameAt(msg []byte, off int) (string, bool) {
	name, end, err := dns.UnpackDomainName(msg, off)
	if err != nil || end != len(msg) {
		return "", false
	}
	if name != "." {
		name = strings.TrimSuffix(name, ".")
	}
	return strings.ToLower(name), true
}
