package message

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"dkimd/internal/domain"
)

// angled reports whether a field that is not well formed is a name, with "@" in it and without the
// quotes that RFC 5322 section 3.4 asks for, and one address in angle brackets at the end. Every mail
// program takes that address for the author's.
func (l *domainList) angled(value string) bool {
	if len(value) > maxLine { // no name of anybody
		return false
	}
	r := addressReader{lexer: lexer{text: value}, well: true}
	for r.next(); ; r.next() {
		switch r.token.kind {
		case tokenWord, tokenQuoted, '.', '@':
			continue
		case '<':
			r.next()
			r.angle()
			if !r.well || r.broken || r.token.kind != tokenEnd || len(r.addresses) != 1 {
				return false
			}
			l.angle = r.addresses[0].Domain
			return l.add(l.angle)
		}
		return false
	}
}

// withoutNonDomains is such a field without what stands behind an "@" of the name and can be no mail domain:
// one label, or something with an apostrophe or a slash, as in `'a@example.com' via List <list@example.org>`.
func withoutNonDomains(value string) string {
	end := strings.LastIndexByte(value, '<')
	name := []byte(value[:end])
	for i := range name {
		if name[i] != '@' {
			continue
		}
		glued := i > 0 && !isSpace(name[i-1])
		rest := name[i+1:]
		if at := bytes.IndexByte(rest, '@'); at >= 0 {
			rest = rest[:at]
		}
		words := bytes.Fields(rest)
		if !glued { // "John @ Acme Corp. Ltd": nobody takes more than the next word for a domain
			words = firstOf(words)
		}
		if !mayBeDomain(words) {
			name[i] = ' '
			if len(words) > 0 {
				first := bytes.Index(rest, words[0])
				copy(rest[first:], slices.Repeat([]byte{' '}, len(words[0])))
			}
		}
	}
	return string(name) + value[end:]
}

// firstOf is the first word, and what belongs to it where a domain is written with spaces around its dots
// (RFC 5322 section 4.4, obs-domain): "gmail . com", but not "St. Mary".
func firstOf(words [][]byte) [][]byte {
	n := min(len(words), 1)
	for n < len(words) && (bytes.HasPrefix(words[n], []byte(".")) || bytes.HasSuffix(words[n-1], []byte("."))) {
		n++
	}
	joined := string(bytes.Join(words[:n], nil))
	if name, err := domain.ParseLax(joined); n > 1 && (err == nil && name.HasListedSuffix() || mayHide(joined)) {
		return words[:n]
	}
	return words[:min(n, 1)]
}

// mayBeDomain reports whether the words behind an "@", joined as some programs do or the first alone, could be a
// domain or hide one: in encoded words, quotes or other characters than ASCII.
func mayBeDomain(words [][]byte) bool {
	if len(words) == 0 || bytes.ContainsAny(words[0], `'/`) && !mayHide(string(words[0])) {
		return false
	}
	joined := strings.Trim(string(bytes.Join(words, nil)), ".,;:!?)")
	return strings.Contains(joined, ".") || mayHide(joined)
}

// mayHide reports whether words may be shown otherwise than they are written.
func mayHide(words string) bool {
	return strings.ContainsAny(words, `="(\`) || strings.ContainsFunc(words, func(r rune) bool { return r >= utf8.RuneSelf })
}
