package message

import "strings"

// Kinds of tokens; specials (RFC 5322 section 3.2.3) are their own kind.
const (
	tokenEnd     rune = -1
	tokenWord    rune = 'a' // an atom, 8-bit bytes included
	tokenQuoted  rune = '"'
	tokenLiteral rune = '['
)

type token struct {
	kind   rune
	text   string
	spaced bool // white space or a comment stands before it
}

// lexer splits a structured field body into tokens (RFC 5322 section 3.2). It
// counts the depth of comments instead of recursing, and never looks back.
type lexer struct {
	text   string
	at     int
	plain  bool // comments and quoted strings are not understood
	broken bool // a control character, or a comment or quoted string without its end
}

func isSpecial(c byte) bool {
	switch c {
	case '(', ')', '<', '>', '[', ']', ':', ';', '@', '\\', ',', '.', '"':
		return true
	}
	return false
}

// isSpace also takes control characters for white space: where they stand in an
// address, programs differ in whether they cut, drop or show them.
func isSpace(c byte) bool { return c <= ' ' || c == 0x7f }

func isControl(c byte) bool { return c == 0x7f || c < ' ' && c != '\t' && c != '\r' && c != '\n' }

func (l *lexer) scan() token {
	spaced := l.skip()
	if l.at >= len(l.text) {
		return token{kind: tokenEnd, spaced: spaced}
	}
	c := l.text[l.at]
	switch {
	case c == '"' && !l.plain:
		return token{kind: tokenQuoted, text: l.quoted(), spaced: spaced}
	case c == '[' && !l.plain:
		return token{kind: tokenLiteral, text: l.literal(), spaced: spaced}
	case isSpecial(c):
		l.at++
		return token{kind: rune(c) | specialKind(c), text: l.text[l.at-1 : l.at], spaced: spaced}
	}
	start := l.at
	for l.at < len(l.text) && !isSpace(l.text[l.at]) && !isSpecial(l.text[l.at]) {
		l.at++
	}
	return token{kind: tokenWord, text: l.text[start:l.at], spaced: spaced}
}

// specialKind keeps a stray quote or bracket apart from a whole quoted string or literal.
func specialKind(c byte) rune {
	if c == '"' || c == '[' {
		return 1 << 16
	}
	return 0
}

// skipTo goes on to the next such octet, or to the end, where no comment and no quoted string can be on the way.
func (l *lexer) skipTo(c byte) {
	if !l.plain {
		return
	}
	if next := strings.IndexByte(l.text[l.at:], c); next >= 0 {
		l.at += next
	} else {
		l.at = len(l.text)
	}
}

// skip passes over white space and comments.
func (l *lexer) skip() (spaced bool) {
	depth := 0
	for ; l.at < len(l.text); l.at++ {
		c := l.text[l.at]
		switch {
		case c == '(' && !l.plain:
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			l.at++
		case depth == 0 && !isSpace(c):
			return spaced
		case depth == 0 && isControl(c):
			l.broken = true
		}
		spaced = true
	}
	l.at = min(l.at, len(l.text))
	l.broken = l.broken || depth > 0
	return spaced
}

func (l *lexer) quoted() string {
	var out []byte
	for l.at++; l.at < len(l.text); l.at++ {
		switch c := l.text[l.at]; c {
		case '"':
			l.at++
			return string(out)
		case '\\':
			if l.at++; l.at < len(l.text) {
				out = append(out, l.text[l.at])
			}
		default:
			out = append(out, c)
		}
	}
	l.at = len(l.text)
	l.broken = true
	return string(out)
}

func (l *lexer) literal() string {
	start := l.at
	end := strings.IndexByte(l.text[l.at:], ']')
	if end < 0 {
		l.at = len(l.text)
		l.broken = true
		return l.text[start:]
	}
	l.at += end + 1
	return l.text[start:l.at]
}
