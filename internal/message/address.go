package message

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"dkimd/internal/domain"
)

// Bounds of address parsing: what lies past them makes a field unreadable.
const (
	maxAddresses = 1000
	maxClaimed   = 1000
	maxWords     = 1000     // of a name, or of a local part
	maxFromBytes = 64 << 10 // of all From fields, without white space around them
	maxPartBytes = 16 << 10 // of a field that goes past that
)

// Address is one mailbox of an address list.
type Address struct {
	Local  string
	Domain domain.Name // or an address literal
}

// String is the address as SMTP has it: a local part that is no dot-atom is in quotes (RFC 5321 section 4.1.2).
func (a Address) String() string {
	if isDotAtom(a.Local) {
		return a.Local + "@" + string(a.Domain)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a.Local) + `"@` + string(a.Domain)
}

func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`()<>[]:;@\,"`, r) }) {
			return false
		}
	}
	return true
}

// Originator is what the From fields of a header say (RFC 5322 section 3.6.2).
type Originator struct {
	Fields    int       // number of From fields
	Addresses []Address // all addresses over all From fields
	// Angle is the domain of the only address in angle brackets, where the one From field ends with it and
	// only its unquoted name makes the field not well formed: `John @ Acme <a@example.org>`.
	Angle domain.Name
	// Readable: every From field is a well-formed list with an address in it.
	Readable bool
	// Claimed is every distinct domain a reader could take for the author's:
	// those of Addresses, those that mail programs find who read a field in their own way, and,
	// where a field is not well formed, any other @domain found in it, in encoded words
	// (RFC 2047) and between characters that do not show too. A mail program shows what it makes
	// of a field, and a forger chooses how it is written.
	Claimed []domain.Name
	// Instead is the same of the Sender fields, where From names no domain at all:
	// some mail programs show Sender then.
	Instead []domain.Name
	// Incomplete: Claimed or Instead may lack domains, because there was more than
	// anybody writes and more than is read, or more than the MTA passes on.
	Incomplete bool
}

// Domain is the author's domain where there is exactly one, else empty.
func (o Originator) Domain() domain.Name {
	if o.Fields != 1 || !o.Readable || len(o.Claimed) != 1 || o.Incomplete {
		return ""
	}
	return o.Claimed[0]
}

// ReadFrom reads all From fields of a header, and Sender where they name nobody.
func ReadFrom(h *Header) Originator {
	o := Originator{Readable: true, Incomplete: h.lateFrom.lost}
	names := newDomainList()
	for _, f := range h.fields {
		if !f.Is("From") {
			continue
		}
		o.Fields++
		o.Incomplete = o.Incomplete || f.mayBeCut()
		addresses, ok := names.read(f.Value())
		o.Angle = names.angle
		o.Addresses = append(o.Addresses, addresses[:min(len(addresses), maxAddresses-len(o.Addresses))]...)
		o.Readable = o.Readable && ok
	}
	if len(o.Addresses) == 0 {
		o.Readable = false
	}
	if o.Fields > 1 {
		o.Angle = ""
	}
	o.Claimed = names.list
	if o.Angle != "" && len(o.Claimed) == 1 {
		o.Readable = true // there is no doubt who the author is
	}
	if len(o.Claimed) == 0 {
		names.room = maxFromBytes
		for _, f := range h.fields {
			if f.Is("Sender") {
				o.Incomplete = o.Incomplete || f.mayBeCut()
				names.read(f.Value())
			}
		}
		o.Instead = names.list
		o.Incomplete = o.Incomplete || h.lateSender.lost
	}
	o.Incomplete = o.Incomplete || names.full
	return o
}

// DomainOf is the domain of an SMTP address, or empty where there is none.
func DomainOf(address string) domain.Name {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return ""
	}
	return domain.Fold(address[at+1:])
}

// SenderDomains is what MAIL FROM names, however it is written: Sendmail hands an
// address over as the client wrote it, with a name and comments.
func SenderDomains(address string) []domain.Name {
	names := newDomainList()
	names.read([]byte(address))
	return names.list
}

// domainList is the distinct domains that fields name, at most maxClaimed.
type domainList struct {
	list    []domain.Name
	seen    map[domain.Name]bool
	written map[string]bool // finder.seen
	room    int             // octets that are still read
	full    bool
	// angle is Originator.Angle of the field read last.
	angle domain.Name
}

func newDomainList() domainList {
	return domainList{seen: map[domain.Name]bool{}, written: map[string]bool{}, room: maxFromBytes}
}

// add reports false when there is no room for the domain.
func (l *domainList) add(name domain.Name) bool {
	switch {
	case name == "" || l.seen[name]:
	case len(l.list) >= maxClaimed:
		l.full = true
		return false
	default:
		l.seen[name] = true
		l.list = append(l.list, name)
	}
	return true
}

// read adds the domains of an address list; ok is false where it is not well formed.
func (l *domainList) read(value []byte) (addresses []Address, ok bool) {
	value = bytes.TrimSpace(value)
	whole := len(value) <= l.room
	if !whole { // the message is refused where one could be, whatever more is found
		value = value[:min(maxPartBytes, l.room)]
	}
	l.room -= len(value)
	l.full = l.full || !whole
	text := string(value)
	addresses, ok = readAddresses(text)
	find := finder{list: l, seen: l.written}
	l.angle = ""
	if !ok && whole && l.angled(text) {
		find.loose(withoutNonDomains(text))
		return addresses, false
	}
	for _, a := range addresses {
		l.add(a.Domain)
	}
	if ok && whole {
		find.otherReadings(text)
	} else {
		find.loose(text)
	}
	return addresses, ok && whole
}

// ReadAddresses reads an address list with groups, comments, quoted strings,
// routes and the obsolete forms of RFC 5322 sections 3.4 and 4.4. The second
// result is false when any part of it is no address; what could be read is
// returned all the same.
func ReadAddresses(value []byte) ([]Address, bool) {
	return readAddresses(string(value))
}

func readAddresses(text string) ([]Address, bool) {
	r := addressReader{lexer: lexer{text: text}, well: true}
	r.next()
	r.list()
	return r.addresses, r.well && !r.broken && len(r.addresses) > 0
}

type addressReader struct {
	lexer
	token     token
	words     []token // of the mailbox that is read
	addresses []Address
	well      bool
}

func (r *addressReader) next() { r.token = r.scan() }

func (r *addressReader) list() {
	inGroup := false
	for r.token.kind != tokenEnd && len(r.addresses) < maxAddresses {
		switch r.token.kind {
		case ',':
			r.next()
		case ';':
			r.well = r.well && inGroup
			inGroup = false
			r.next()
		default:
			if r.mailbox() {
				r.well = r.well && !inGroup
				inGroup = true
			} else if k := r.token.kind; k != ',' && k != ';' && k != tokenEnd {
				r.well = false // two mailboxes without a comma, or rubbish behind one
			}
		}
	}
	r.well = r.well && r.token.kind == tokenEnd && !inGroup
}

// mailbox reads one mailbox, or the name and colon that open a group.
func (r *addressReader) mailbox() (group bool) {
	start := r.token
	r.words = r.words[:0]
	for {
		switch r.token.kind {
		case tokenWord, tokenQuoted, '.':
			r.word()
		case '<':
			r.next()
			r.angle()
			return false
		case ':':
			r.next()
			r.well = r.well && len(r.words) > 0
			return true
		case '@':
			if !slices.ContainsFunc(r.words, func(t token) bool { return t.kind == tokenWord && t.spaced && t != r.words[0] }) {
				r.address()
				// `user@example.org <user@example.org>`: not well formed, though common.
				if r.token.kind == '<' {
					r.well = false
					continue
				}
				return false
			}
			r.well = false
			r.words = r.words[:0]
			r.next()
		default:
			r.well = false
			if r.token == start || (r.token.kind != ',' && r.token.kind != ';' && r.token.kind != tokenEnd) {
				r.next()
			}
			return false
		}
	}
}

// word keeps a token that belongs to a name or a local part.
func (r *addressReader) word() {
	if len(r.words) < maxWords {
		r.words = append(r.words, r.token)
	} else {
		r.well = false
	}
	r.next()
}

// angle reads what stands between angle brackets: [route] addr-spec.
func (r *addressReader) angle() {
	if r.token.kind == '@' { // obs-route
		for r.token.kind != ':' {
			if r.token.kind == tokenEnd || r.token.kind == '>' {
				r.well = false
				return
			}
			r.next()
		}
		r.next()
	}
	r.words = r.words[:0]
	for r.token.kind == tokenWord || r.token.kind == tokenQuoted || r.token.kind == '.' {
		r.word()
	}
	if r.token.kind != '@' {
		r.well = false
		for r.token.kind != '>' && r.token.kind != tokenEnd && r.token.kind != ',' {
			r.next()
		}
	} else {
		r.address()
	}
	if r.token.kind != '>' {
		r.well = false
		return
	}
	r.next()
}

// address reads "@" domain behind a local part, the words, and keeps the address.
func (r *addressReader) address() {
	r.next()
	var written strings.Builder
	want := tokenWord
	for {
		t := r.token
		if t.kind == tokenLiteral && written.Len() == 0 {
			written.WriteString(t.text)
			r.next()
			want = '.'
			break
		}
		if t.kind != want {
			break
		}
		written.WriteString(t.text)
		r.next()
		if want == tokenWord {
			want = '.'
		} else {
			want = tokenWord
		}
	}
	if written.Len() == 0 {
		r.well = false
		return
	}
	name, err := domain.ParseLax(written.String())
	if len(r.words) == 0 || name == "" || want == tokenWord || err != nil && !isLiteral(name) {
		r.well = false
	}
	if r.token.kind == '@' {
		r.well = false // a@b@c: which domain a reader sees is anybody's guess
	}
	if name == "" {
		return
	}
	var user strings.Builder
	for _, t := range r.words {
		user.WriteString(t.text)
	}
	if _, found := nextWord(user.String(), 0); found {
		r.well = false // RFC 2047 section 5: MUST NOT be there, and some programs decode it
	}
	r.addresses = append(r.addresses, Address{Local: user.String(), Domain: name})
}

// isLiteral reports whether an address literal is one (RFC 5321 section 4.1.3),
// and hides nothing else.
func isLiteral(name domain.Name) bool {
	inner, ok := strings.CutPrefix(string(name), "[")
	inner, closed := strings.CutSuffix(inner, "]")
	_, err := netip.ParseAddr(strings.TrimPrefix(inner, "ipv6:"))
	return ok && closed && err == nil
}
