package message

import (
	"strings"
	"unicode/utf8"
)

// otherReadings finds the domains that mail libraries in use take for an author's in a field that is
// well formed. testdata/readers.jsonl has what they do. They split a field at its
// separators first and look for an address in each element: some do not nest comments, let a
// quoted string or a group's name be an address, end one at a comment, or decode encoded words before they split.
// A quoted name, an encoded word or a comment beside an address in angle brackets is not taken for one.
func (f *finder) otherReadings(value string) {
	if strings.Contains(value, "=??") { // not all programs decode a word without a charset
		f.loose(value)
	}
	texts := []string{value}
	octets, decoded := decodeWords(value, asOctets), decodeWords(value, inCharset)
	for _, text := range []string{octets, decoded} {
		texts = append(texts, text, withoutEscapes(text))
		if strings.Contains(text, `\ `) { // one at the end of an encoded word may escape what stands behind the word
			texts = append(texts, strings.ReplaceAll(text, `\ `, `\`))
		}
		if octets == decoded {
			break
		}
	}
	for _, text := range texts {
		if strings.IndexByte(text, '@') < 0 && shownText(text) == "" {
			continue
		}
		dialects := []dialect{escapesWords | readsEscapes | nestsComments, escapesWords | readsEscapes, escapesWords}
		if strings.IndexByte(text, '(') < 0 {
			dialects = dialects[:1]
		}
		for _, as := range dialects {
			f.elements(text, as)
			if strings.IndexByte(text, '\\') >= 0 {
				f.elements(text, as&^escapesWords)
			}
		}
	}
}

// dialect is what a program understands of comments and backslashes.
type dialect uint8

const (
	nestsComments dialect = 1 << iota
	readsEscapes          // a backslash in a comment
	escapesWords          // a backslash outside quoted strings and comments
)

// element is what stands between two separators of an address list: in angle brackets, in
// comments, and all else, where empty comments mark the place of those that were taken out.
type element struct {
	angles, comments []string
	words            []byte
}

// elements finds the domains in each element of a list.
func (f *finder) elements(text string, as dialect) {
	if !elements(text, as, f.element) { // without its end: programs differ in what they make of that
		f.names(text)
	}
}

// elements tells each of the elements of a list, and reports false where a part of one does not end.
func elements(text string, as dialect, each func(*element)) bool {
	var e element
	tell := func() {
		each(&e)
		e = element{angles: e.angles[:0], words: e.words[:0], comments: e.comments[:0]}
	}
	for at := 0; at < len(text); {
		end := partEnd(text[at:], as)
		if end < 0 {
			return false
		}
		part := text[at : at+end]
		switch part[0] {
		case ',', ';', ':': // what stands in front of a colon is the name of a group
			tell()
		case '<':
			if mayHoldDomain(part) {
				e.angles = append(e.angles, part[1:end-1])
			}
		case '(':
			if mayHoldDomain(part) {
				e.comments = append(e.comments, part[1:end-1])
			}
			e.words = append(e.words, "()"...)
		default:
			e.words = append(e.words, part...)
		}
		at += end
	}
	tell()
	return true
}

// mayHoldDomain reports whether there can be a domain in a part as it is shown.
func mayHoldDomain(part string) bool {
	for i := range len(part) {
		if part[i] == '@' || part[i] == '.' || part[i] == '?' || part[i] >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// element finds the domains in those parts of an element in which programs look for an address.
func (f *finder) element(e *element) {
	for _, parts := range [...][]string{e.angles, {string(e.words)}, e.comments} {
		found := false
		for _, part := range parts {
			if strings.Contains(part, "@") || strings.Contains(shownText(part), "@") {
				found = strings.IndexByte(part, '<') < 0 // programs differ in what a second one does
				f.names(part)
			}
		}
		if found {
			break
		}
	}
}

// escapes reports whether a backslash escapes the next octet in a part that ends so.
func (d dialect) escapes(closing byte) bool {
	switch closing {
	case ')':
		return d&readsEscapes != 0
	case 0:
		return d&escapesWords != 0
	}
	return true
}

// partEnd is the length of the part of an element at the beginning of a text, or -1 where it does not end.
func partEnd(text string, as dialect) int {
	closing := byte(0)
	switch text[0] {
	case ',', ';', ':':
		return 1
	case '<':
		closing = '>'
	case '(':
		closing = ')'
	case '"':
		closing = '"'
	}
	first, depth := 1, 0
	if text[0] == '\\' && as.escapes(closing) {
		first = 2
	}
	for i := first; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && as.escapes(closing):
			i++
		case closing == 0 && strings.IndexByte(`,;:<("`, c) >= 0:
			return i
		case c == '(' && closing == ')' && as&nestsComments != 0:
			depth++
		case c == closing && closing != 0 && depth > 0:
			depth--
		case c == closing && closing != 0:
			return i + 1
		}
	}
	if closing == 0 {
		return len(text)
	}
	return -1
}
