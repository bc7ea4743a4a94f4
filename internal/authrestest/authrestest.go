// Package authrestest reads Authentication-Results fields in tests, by the grammar of RFC 8601
// section 2.2 and nothing else: what a strict reader would refuse is an error here. It shares no
// code with the packages that write such fields.
package authrestest

import (
	"fmt"
	"strings"
)

// Field is the value of one Authentication-Results field.
type Field struct {
	ID      string // authserv-id, without quotes
	Version string
	Results []Result // none where the field says "none"
}

// Result is one resinfo.
type Result struct {
	Method, Value, Reason string
	Properties            []Property
}

// Property is one propspec; Value is without quotes.
type Property struct{ Type, Name, Value string }

// Property is the value of a property such as "header.d", empty where there is none.
func (r Result) Property(name string) string {
	for _, p := range r.Properties {
		if p.Type+"."+p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Parse reads the value of a field: what stands behind the colon, folded or not.
func Parse(value string) (f Field, err error) {
	p := &parser{rest: value}
	defer func() {
		if e := recover(); e != nil {
			refused, ours := e.(error)
			if !ours {
				panic(e)
			}
			err = fmt.Errorf("at octet %d of %q: %w", len(value)-len(p.rest), value, refused)
		}
	}()
	p.field(&f)
	return f, nil
}

type parser struct{ rest string }

func (p *parser) refuse(format string, args ...any) { panic(fmt.Errorf(format, args...)) }

// field is authres-payload: [CFWS] authserv-id [CFWS authres-version] (no-result / 1*resinfo) [CFWS]
func (p *parser) field(f *Field) {
	p.cfws()
	f.ID = p.value()
	if p.cfws() && isDigit(p.peek()) {
		f.Version = p.run("version", isDigit)
		p.cfws()
	}
	for first := true; p.rest != ""; first = false {
		p.literal(";")
		p.cfws()
		method := p.keyword()
		p.cfws()
		if first && strings.EqualFold(method, "none") && p.rest == "" {
			return
		}
		f.Results = append(f.Results, p.result(method))
	}
	if len(f.Results) == 0 {
		p.refuse("neither a result nor none")
	}
}

// result is what follows the method of a resinfo: ["/" version] "=" result [reasonspec] *propspec
func (p *parser) result(method string) Result {
	r := Result{Method: method}
	if p.accept("/") {
		p.cfws()
		p.run("method-version", isDigit)
		p.cfws()
	}
	p.literal("=")
	p.cfws()
	r.Value = p.keyword()
	spaced := p.cfws()
	for p.rest != "" && p.peek() != ';' {
		if !spaced {
			p.refuse("no white space in front of a reason or property")
		}
		spaced = p.property(&r)
	}
	return r
}

// property is a reasonspec or a propspec; the result is whether CFWS follows.
func (p *parser) property(r *Result) bool {
	word := p.keyword()
	p.cfws()
	if strings.EqualFold(word, "reason") && p.accept("=") {
		if r.Reason != "" || len(r.Properties) > 0 {
			p.refuse("a reason that does not stand first")
		}
		p.cfws()
		r.Reason = p.value()
		return p.cfws()
	}
	p.literal(".")
	p.cfws()
	name := p.keyword()
	p.cfws()
	p.literal("=")
	p.cfws()
	r.Properties = append(r.Properties, Property{word, name, p.pvalue()})
	return p.cfws()
}

// pvalue is value / [[local-part] "@"] domain-name.
func (p *parser) pvalue() string {
	text, quoted := "", p.peek() == '"'
	if quoted {
		text = p.quotedString()
	} else {
		text = p.run("pvalue", func(c byte) bool { return isAtext(c) || c == '.' || c == '@' })
	}
	switch local, domain, isAddress := strings.Cut(text, "@"); {
	case quoted && p.accept("@"): // local-part is a quoted-string
		domain = p.run("domain-name", func(c byte) bool { return isLabelChar(c) || c == '.' })
		text += "@" + p.domainName(domain)
	case quoted:
	case isAddress:
		if local != "" {
			p.dotString(local)
		}
		p.domainName(domain)
	default:
		p.token(text)
	}
	return text
}

// value is that of MIME (RFC 2045 section 5.1): token / quoted-string.
func (p *parser) value() string {
	if p.peek() == '"' {
		return p.quotedString()
	}
	return p.run("token", isTokenChar)
}

func (p *parser) token(text string) {
	for i := range len(text) {
		if !isTokenChar(text[i]) {
			p.refuse("%q is neither a token nor an address or domain: %q must be quoted", text, text[i])
		}
	}
}

// dotString is that of RFC 5321 section 4.1.2.
func (p *parser) dotString(text string) {
	for atom := range strings.SplitSeq(text, ".") {
		if atom == "" || !all(atom, isAtext) {
			p.refuse("%q is not a local-part", text)
		}
	}
}

// domainName is that of RFC 6376 section 3.5.
func (p *parser) domainName(text string) string {
	labels := strings.Split(text, ".")
	for _, label := range labels {
		if label == "" || !all(label, isLabelChar) || strings.Trim(label, "-") != label {
			p.refuse("%q is not a domain-name", text)
		}
	}
	if len(labels) < 2 {
		p.refuse("%q is not a domain-name: it has one label", text)
	}
	return text
}

// quotedString is that of RFC 5322 section 3.2.4, in which lines may be folded.
func (p *parser) quotedString() string {
	p.literal(`"`)
	var b strings.Builder
	for !p.accept(`"`) {
		switch p.peek() {
		case '\\':
			p.rest = p.rest[1:]
			b.WriteByte(p.printable())
		case '\r':
			p.fold()
		case ' ', '\t':
			b.WriteByte(' ')
			p.rest = p.rest[1:]
		default:
			b.WriteByte(p.printable())
		}
	}
	return b.String()
}

// cfws reads comments and white space, and reports whether there was any.
func (p *parser) cfws() (found bool) {
	for p.rest != "" {
		switch p.peek() {
		case ' ', '\t':
			p.rest = p.rest[1:]
		case '\r':
			p.fold()
		case '(':
			p.comment()
		default:
			return found
		}
		found = true
	}
	return found
}

func (p *parser) comment() {
	p.literal("(")
	for !p.accept(")") {
		switch p.peek() {
		case '(':
			p.comment()
		case '\\':
			p.rest = p.rest[1:]
			p.printable()
		case '\r':
			p.fold()
		case ' ', '\t':
			p.rest = p.rest[1:]
		default:
			p.printable()
		}
	}
}

// fold reads CRLF and the white space that must follow it; a line of white space alone ends a header.
func (p *parser) fold() {
	p.literal("\r\n")
	if c := p.peek(); c != ' ' && c != '\t' {
		p.refuse("a line that does not continue the field")
	}
	if text := strings.TrimLeft(p.rest, " \t"); text == "" || text[0] == '\r' {
		p.refuse("a line of white space alone")
	}
}

func (p *parser) printable() byte {
	c := p.peek()
	if c < ' ' || c > '~' {
		p.refuse("octet %#x", c)
	}
	p.rest = p.rest[1:]
	return c
}

// keyword is that of RFC 5321 section 4.1.2: letters, digits and hyphens, no hyphen last.
func (p *parser) keyword() string {
	word := p.run("keyword", isLabelChar)
	if strings.HasSuffix(word, "-") {
		p.refuse("keyword %q ends in a hyphen", word)
	}
	return word
}

func (p *parser) run(what string, belongs func(byte) bool) string {
	n := 0
	for n < len(p.rest) && belongs(p.rest[n]) {
		n++
	}
	if n == 0 {
		p.refuse("no %s", what)
	}
	text := p.rest[:n]
	p.rest = p.rest[n:]
	return text
}

// peek is the next octet; there must be one.
func (p *parser) peek() byte {
	if p.rest == "" {
		p.refuse("it ends too early")
	}
	return p.rest[0]
}

func (p *parser) accept(text string) (ok bool) {
	p.rest, ok = strings.CutPrefix(p.rest, text)
	return ok
}

func (p *parser) literal(text string) {
	if !p.accept(text) {
		p.refuse("want %q", text)
	}
}

func all(text string, belongs func(byte) bool) bool {
	for i := range len(text) {
		if !belongs(text[i]) {
			return false
		}
	}
	return true
}

func isLabelChar(c byte) bool { return isAlnum(c) || c == '-' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isAlnum(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' }

func isAtext(c byte) bool { return isAlnum(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0 }

// isTokenChar: RFC 2045 section 5.1, any CHAR but SPACE, CTLs and tspecials.
func isTokenChar(c byte) bool {
	return ' ' < c && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0
}
