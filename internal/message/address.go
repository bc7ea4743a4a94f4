package message

import (
	"io"
	"mime"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Bounds of address parsing: what lies past them makes a field unreadable.
const (
	maxAddresses = 1000
	maxClaimed   = 1000
)

// Address is one mailbox of an address list.
type Address struct{ Local, Domain string } // Domain as Domain gives it

// Originator is what the From fields of a header say (RFC 5322 section 3.6.2).
type Originator struct {
	Fields    int       // number of From fields
	Addresses []Address // all addresses over all From fields
	// Readable: every From field is a well-formed list with an address in it.
	Readable bool
	// Claimed is every distinct domain a reader could take for the author's:
	// those of Addresses and, where a field is not well formed, any other
	// @domain found in it, in encoded words (RFC 2047) too. A mail program shows
	// what it makes of a broken field, and a forger chooses how it is broken.
	Claimed []string
	// Incomplete: Claimed may lack domains, because there was more than anybody
	// writes and more than is read.
	Incomplete bool
}

// Domain is the author's domain where there is exactly one, else empty.
func (o Originator) Domain() string {
	if o.Fields != 1 || !o.Readable || len(o.Claimed) != 1 || o.Incomplete {
		return ""
	}
	return o.Claimed[0]
}

// ReadFrom reads all From fields of a header.
func ReadFrom(h *Header) Originator {
	o := Originator{Readable: true, Incomplete: h.lostFrom}
	claimed := map[string]bool{}
	claim := func(domain string) bool {
		switch {
		case domain == "" || claimed[domain]:
		case len(o.Claimed) >= maxClaimed:
			o.Incomplete = true
			return false
		default:
			claimed[domain] = true
			o.Claimed = append(o.Claimed, domain)
		}
		return true
	}
	for _, f := range h.fields {
		if !f.Is("From") {
			continue
		}
		o.Fields++
		addresses, ok := ReadAddresses(f.Value())
		o.Addresses = append(o.Addresses, addresses[:min(len(addresses), maxAddresses-len(o.Addresses))]...)
		for _, a := range addresses {
			claim(a.Domain)
		}
		if !ok {
			o.Readable = false
			looseDomains(f.Value(), claim)
		}
	}
	if len(o.Addresses) == 0 {
		o.Readable = false
	}
	return o
}

// ReadAddresses reads an address list with groups, comments, quoted strings,
// routes and the obsolete forms of RFC 5322 sections 3.4 and 4.4. The second
// result is false when any part of it is no address; what could be read is
// returned all the same.
func ReadAddresses(value []byte) ([]Address, bool) {
	r := addressReader{lexer: lexer{text: value}, well: true}
	r.next()
	r.list()
	return r.addresses, r.well && !r.broken && len(r.addresses) > 0
}

type addressReader struct {
	lexer
	token     token
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
	var words []token
	for {
		switch r.token.kind {
		case tokenWord, tokenQuoted, '.':
			words = append(words, r.token)
			r.next()
		case '<':
			r.next()
			r.angle()
			return false
		case ':':
			r.next()
			r.well = r.well && len(words) > 0
			return true
		case '@':
			if !slices.ContainsFunc(words, func(t token) bool { return t.kind == tokenWord && t.spaced && t != words[0] }) {
				r.address(words)
				// `user@example.org <user@example.org>`: not well formed, though common.
				if r.token.kind == '<' {
					r.well = false
					continue
				}
				return false
			}
			r.well = false
			words = nil
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
	var words []token
	for r.token.kind == tokenWord || r.token.kind == tokenQuoted || r.token.kind == '.' {
		words = append(words, r.token)
		r.next()
	}
	if r.token.kind != '@' {
		r.well = false
		for r.token.kind != '>' && r.token.kind != tokenEnd && r.token.kind != ',' {
			r.next()
		}
	} else {
		r.address(words)
	}
	if r.token.kind != '>' {
		r.well = false
		return
	}
	r.next()
}

// address reads "@" domain behind a local part and keeps the address.
func (r *addressReader) address(local []token) {
	r.next()
	var domain strings.Builder
	want := tokenWord
	for {
		t := r.token
		if t.kind == tokenLiteral && domain.Len() == 0 {
			domain.WriteString(t.text)
			r.next()
			want = '.'
			break
		}
		if t.kind != want {
			break
		}
		domain.WriteString(t.text)
		r.next()
		if want == tokenWord {
			want = '.'
		} else {
			want = tokenWord
		}
	}
	name := Domain(domain.String())
	if len(local) == 0 || name == "" || want == tokenWord || !isName(name) && !isLiteral(name) {
		r.well = false
	}
	if r.token.kind == '@' {
		r.well = false // a@b@c: which domain a reader sees is anybody's guess
	}
	if name == "" {
		return
	}
	var user strings.Builder
	for _, t := range local {
		user.WriteString(t.text)
	}
	r.addresses = append(r.addresses, Address{Local: user.String(), Domain: name})
}

// isLiteral reports whether an address literal is one (RFC 5321 section 4.1.3),
// and hides nothing else.
func isLiteral(domain string) bool {
	inner, ok := strings.CutPrefix(domain, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	_, err := netip.ParseAddr(strings.TrimPrefix(inner, "ipv6:"))
	return ok && closed && err == nil
}

// looseDomains tells claim of whatever follows an "@" in a field that is not well
// formed, until it reports false. The field is read with comments and quoted strings
// taken out, as plain bytes, and in both ways with its encoded words decoded.
func looseDomains(value []byte, claim func(domain string) bool) {
	texts := [][]byte{value}
	if decoded := decodeWords(value); decoded != nil {
		texts = append(texts, decoded)
	}
	seen := map[string]bool{} // names as written: most fields repeat theirs
	for _, text := range texts {
		for _, plain := range []bool{false, true} {
			ok := looseNames(lexer{text: text, plain: plain}, func(name string) bool {
				if seen[name] {
					return true
				}
				seen[name] = true
				d := Domain(name)
				if d = strings.Trim(d[:namePrefix(d)], "."); !strings.Contains(d, ".") {
					return true
				}
				return claim(d)
			})
			if !ok {
				return
			}
		}
	}
}

// looseNames tells found of the words and dots behind each "@", until it reports false.
func looseNames(l lexer, found func(name string) bool) bool {
	joined := func(domain string, t token) bool {
		return domain == "" || !t.spaced || !l.plain && (t.kind == '.' || strings.HasSuffix(domain, "."))
	}
	var domain strings.Builder
	open := false
	for t := l.scan(); ; t = l.scan() {
		if open && (t.kind == tokenWord || t.kind == '.') && joined(domain.String(), t) {
			domain.WriteString(t.text)
			continue
		}
		if open && !found(domain.String()) {
			return false
		}
		domain.Reset()
		open = t.kind == '@'
		if t.kind == tokenEnd {
			return true
		}
	}
}

var (
	encodedWord = regexp.MustCompile(`=\?[^?\s]{1,64}\?[bBqQ]\?[^?]*\?=`)
	// RFC 2047 section 6.2: white space between encoded words is not shown.
	betweenWords = regexp.MustCompile(`\?=[ \t\r\n]+=\?`)
)

// decodeWords is a field with its encoded words (RFC 2047) decoded, as mail
// programs show it; nil where there is none. What matters here is ASCII in almost
// every charset, so charsets are not looked at.
func decodeWords(value []byte) []byte {
	if !encodedWord.Match(value) {
		return nil
	}
	decoder := mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}
	return encodedWord.ReplaceAllFunc(betweenWords.ReplaceAll(value, []byte("?==?")), func(word []byte) []byte {
		text, err := decoder.Decode(string(word))
		if err != nil {
			return word
		}
		return []byte(text)
	})
}
