package message

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"dkimd/internal/domain"
)

// Misleading is the first domain that a name in From shows and that is not of the author's organizational domain;
// empty where there is none. Most phones show nothing but the name. A name is what stands beside the address: words,
// quoted strings and comments, with their encoded words decoded.
func Misleading(h *Header, o Originator) domain.Name {
	m := misleading{authors: o.Claimed}
	for _, a := range o.Addresses {
		m.locals = append(m.locals, strings.ToLower(a.Local))
	}
	for _, f := range h.fields {
		if f.Is("From") && m.found == "" {
			value := f.Value()
			elements(string(value[:min(len(value), maxPartBytes)]), escapesWords|readsEscapes|nestsComments, m.element)
		}
	}
	return m.found
}

type misleading struct {
	authors []domain.Name
	locals  []string // local parts of theirs, in lower case
	found   domain.Name
}

// element looks at the name in one element: without an address in angle brackets its words are the address.
func (m *misleading) element(e *element) {
	names := strings.Join(e.comments, " ")
	if len(e.angles) > 0 {
		names += " " + string(e.words)
	}
	if decoded := decodeWords(names, inCharset); decoded != "" {
		names = decoded
	}
	for _, form := range [...]string{names, withoutEscapes(names)} {
		if shown := shownText(form); shown != "" {
			form = shown
		}
		m.name(form)
	}
}

// name looks for domains in a name as it is shown: between characters that can stand in none.
func (m *misleading) name(text string) {
	for at := 0; at < len(text) && m.found == ""; {
		r, size := utf8.DecodeRuneInString(text[at:])
		if !inDomain(r) {
			at += size
			continue
		}
		end := at + len(text[at:]) - len(strings.TrimLeftFunc(text[at:], inDomain))
		switch {
		case end < len(text) && text[end] == '@': // a local part
		case at > 1 && text[at-1] == '@' && text[at-2] > ' ':
			m.address(text[at:end])
		default:
			m.word(text[at:end])
		}
		at = end
	}
}

func inDomain(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || strings.ContainsRune("-_.\u3002\uff0e\uff61", r)
}

// address takes what stands behind the "@" of an address.
func (m *misleading) address(written string) {
	if name, err := domain.ParseLax(strings.Trim(written, ".-_")); err == nil && strings.Contains(string(name), ".") {
		m.claim(name)
	}
}

// word takes a word with a dot in it for a domain where it ends with a public suffix. Not so "Node.js" and "Inc.",
// nor the author's local part, `wei.wang <wei.wang@example.org>`, nor "Dr.No" and "Co.Ltd": one or two letters in front
// of a suffix that is not one of the three oldest.
func (m *misleading) word(written string) {
	written = strings.Trim(written, ".-_")
	if slices.Contains(m.locals, strings.ToLower(written)) {
		return
	}
	name, err := domain.ParseLax(written)
	label, suffix, dotted := strings.Cut(string(name.Organizational()), ".")
	if err == nil && dotted && name.HasListedSuffix() {
		if len(label) > 2 || suffix == "com" || suffix == "net" || suffix == "org" {
			m.claim(name)
		}
		return
	}
	// "发件人gmail.com": letters of other scripts stand beside a domain without a space.
	isOther := func(r rune) bool { return r >= utf8.RuneSelf }
	if strings.ContainsFunc(written, isOther) {
		for part := range strings.FieldsFuncSeq(written, isOther) {
			m.word(part)
		}
	}
}

// claim keeps a domain that is not of an author.
func (m *misleading) claim(name domain.Name) {
	org := name.Organizational()
	for _, author := range m.authors {
		if author == name || org != "" && author.Organizational() == org {
			return
		}
	}
	if m.found == "" {
		m.found = name
	}
}
