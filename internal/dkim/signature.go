package dkim

import (
	"fmt"
	"math"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/message"
)

// The algorithms of a= that there are: RFC 8301 section 3.1, RFC 8463 section 3.
const (
	RSASHA256     = "rsa-sha256"
	Ed25519SHA256 = "ed25519-sha256"
)

// Signature is a parsed DKIM-Signature field (RFC 6376 section 3.5). All of it
// is the sender's word; Identity and Copied may hold any byte.
type Signature struct {
	Algorithm   string           // a=, lower case
	Domain      domain.Name      // d=
	Selector    string           // s=, in the form of a domain.Name
	Identity    string           // i=, decoded; "@" and Domain where it is absent
	HeaderCanon Canonicalization // c=
	BodyCanon   Canonicalization
	Headers     []string // h=, names as written
	BodyHash    []byte   // bh=, decoded
	Value       []byte   // b=, decoded
	B           string   // b=, base64 without white space
	Timestamp   int64    // t= in seconds since 1970; -1: absent; math.MaxInt64: over 12 digits
	Expiration  int64    // x=, likewise
	BodyLength  int64    // l= in octets; -1: absent; math.MaxInt64: that or more
	Copied      string   // z=, as written
	Field       message.Field
}

// ParseSignature reads and checks a DKIM-Signature field. The Signature is
// never nil: with an error it holds what could be read, for the report. The
// error wraps one of the sentinels of this package; all are permanent.
func ParseSignature(f message.Field) (*Signature, error) {
	p := parser{sig: &Signature{Timestamp: -1, Expiration: -1, BodyLength: -1, Field: f}}
	if len(f.Raw()) > MaxSignatureBytes {
		return p.sig, ErrTooLong
	}
	tags, err := ParseTagList(string(f.Value()))
	p.tags = tags
	p.note(err)
	p.parse()
	return p.sig, p.err
}

// parser fills a Signature and remembers the first thing that was wrong.
type parser struct {
	tags TagList
	sig  *Signature
	err  error
}

func (p *parser) note(err error) {
	if p.err == nil {
		p.err = err
	}
}

// require is the value of a tag that must be there.
func (p *parser) require(name string) (string, bool) {
	value, ok := p.tags.Lookup(name)
	if !ok {
		p.note(fmt.Errorf("%w: %s=", ErrMissingTag, name))
	}
	return value, ok
}

// parse follows RFC 6376 section 3.5 tag by tag. Tags it does not know are ignored.
func (p *parser) parse() {
	s := p.sig
	if v, ok := p.require("v"); ok && v != "1" {
		p.note(ErrVersion)
	}
	if d, ok := p.require("d"); ok {
		s.Domain = p.name("d", d)
		// RFC 6376 section 3.5: domain-name = sub-domain 1*("." sub-domain).
		if s.Domain != "" && !strings.Contains(string(s.Domain), ".") {
			p.note(fmt.Errorf("%w: d= has one label only", ErrSyntax))
		}
	}
	if v, ok := p.require("s"); ok {
		s.Selector = string(p.name("s", v))
	}
	if len(s.Selector)+len(namespace)+len(s.Domain) > domain.MaxLength {
		p.note(fmt.Errorf("%w: s= and d= are too long together", ErrSyntax))
	}
	p.algorithm()
	p.canonicalization()
	p.identity()
	p.headers()
	if v, ok := p.require("bh"); ok {
		s.BodyHash = p.base64("bh", v)
	}
	if v, ok := p.require("b"); ok {
		s.B = withoutSpace(v)
		s.Value = p.base64("b", s.B)
	}
	p.query()
	p.times()
	s.Copied, _ = p.tags.Lookup("z")
}

func (p *parser) name(tag, value string) domain.Name {
	name, err := domain.ParseExact(value)
	if err != nil {
		p.note(fmt.Errorf("%w: %s=: %w", ErrSyntax, tag, err))
	}
	return name
}

func (p *parser) algorithm() {
	a, ok := p.require("a")
	if !ok {
		return
	}
	p.sig.Algorithm = strings.ToLower(a)
	switch p.sig.Algorithm {
	case RSASHA256, Ed25519SHA256:
	case "rsa-sha1":
		// RFC 8301 section 3.1: rsa-sha1 MUST NOT be used for signing or verifying.
		p.note(fmt.Errorf("%w: rsa-sha1 must not be used (RFC 8301)", ErrAlgorithm))
	default:
		p.note(ErrAlgorithm)
	}
}

func (p *parser) canonicalization() {
	c, ok := p.tags.Lookup("c")
	if !ok {
		return
	}
	var err error
	p.sig.HeaderCanon, p.sig.BodyCanon, err = ParseCanonicalization(c)
	p.note(err)
}

// identity reads i=: a local part, which may be empty, "@", and a domain that
// is d= or below it (RFC 6376 section 3.5). The local part is
// dkim-quoted-printable, so the last @ that is written is the one that counts.
func (p *parser) identity() {
	s := p.sig
	value, ok := p.tags.Lookup("i")
	if !ok {
		s.Identity = "@" + string(s.Domain)
		return
	}
	at := strings.LastIndexByte(value, '@')
	if at < 0 {
		s.Identity = value
		p.note(fmt.Errorf("%w: i= has no @", ErrSyntax))
		return
	}
	local, err := DecodeQuotedPrintable(value[:at])
	p.note(err)
	s.Identity = local + value[at:]
	name := p.name("i", value[at+1:])
	if name != "" && s.Domain != "" && !name.Within(s.Domain) {
		p.note(ErrDomainMismatch)
	}
}

// headers reads h=, in which From MUST be (RFC 6376 section 5.4).
func (p *parser) headers() {
	value, ok := p.require("h")
	if !ok {
		return
	}
	count := strings.Count(value, ":") + 1
	if count > MaxNames {
		p.note(ErrTooManyNames)
		return
	}
	from := false
	names := make([]string, 0, count)
	for name := range strings.SplitSeq(value, ":") {
		name = trimSpace(name)
		if !message.IsFieldName(name) {
			p.note(fmt.Errorf("%w: h= holds a word that is not a field name", ErrSyntax))
			continue
		}
		from = from || strings.EqualFold(name, "From")
		names = append(names, name)
	}
	p.sig.Headers = names
	if !from {
		p.note(ErrFromUnsigned)
	}
}

// query reads q=: if it is there, dns/txt must be among the methods. Others are
// passed over (RFC 6376 section 3.5), but there is no method without a name.
func (p *parser) query() {
	q, ok := p.tags.Lookup("q")
	if !ok {
		return
	}
	known := false
	for method := range strings.SplitSeq(q, ":") {
		method = trimSpace(method)
		if method == "" {
			p.note(fmt.Errorf("%w: q= names no method", ErrSyntax))
			return
		}
		known = known || strings.EqualFold(method, "dns/txt")
	}
	if !known {
		p.note(ErrQuery)
	}
}

func (p *parser) times() {
	s := p.sig
	// RFC 6376 section 3.5: a value longer than 12 digits may be taken to be
	// infinite; l= has at most 76.
	s.Timestamp = p.number("t", 12, math.MaxInt)
	s.Expiration = p.number("x", 12, math.MaxInt)
	s.BodyLength = p.number("l", 18, 76)
	// Section 3.5: x= MUST be greater than t= if both are present.
	if s.Timestamp >= 0 && s.Expiration >= 0 && s.Expiration <= s.Timestamp {
		p.note(ErrExpiration)
	}
}

// number reads a tag of digits: -1 where it is absent or wrong, and MaxInt64
// where it has more digits than count, leading zeros aside.
func (p *parser) number(tag string, count, most int) int64 {
	value, ok := p.tags.Lookup(tag)
	if !ok {
		return -1
	}
	n := int64(0)
	digits := 0
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			n = -1
			break
		}
		if digits > 0 || value[i] != '0' {
			digits++
		}
		if digits <= count {
			n = n*10 + int64(value[i]-'0')
		}
	}
	if n < 0 || value == "" || len(value) > most {
		p.note(fmt.Errorf("%w: %s= is not a number", ErrSyntax, tag))
		return -1
	}
	if digits > count {
		return math.MaxInt64
	}
	return n
}
