package message

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"dkimd/internal/domain"
)

// finder adds the domains that stand behind an "@" in a text to a list.
type finder struct {
	list *domainList
	seen map[string]bool // names as written: most fields repeat theirs
	last string          // of seen
}

// maxWritten is how many ways to write names are looked at: one name may be written in many.
const maxWritten = 1500

// found is told of each name as it is written, and reports false when there is no room for more.
func (f *finder) found(name []byte) bool {
	if f.list.full || string(name) == f.last || !mayHaveDot(name) || f.seen[string(name)] {
		return !f.list.full
	}
	if len(f.seen) >= maxWritten {
		f.list.full = true
		return false
	}
	written := string(name)
	f.seen[written], f.last = true, written
	d := domain.Fold(written).Prefix()
	if _, err := netip.ParseAddr(string(d)); err != nil && strings.Contains(string(d), ".") {
		f.list.add(d)
	}
	return !f.list.full
}

// mayHaveDot reports whether a name may have two labels; IDNA knows other dots than that of ASCII.
func mayHaveDot(name []byte) bool {
	for _, c := range name {
		if c == '.' || c >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// names finds the domains in a text, read with comments and quoted strings taken out, as plain octets,
// and as it looks on a screen.
func (f *finder) names(text string) {
	for _, form := range [...]string{text, shownText(text)} {
		looseNames(lexer{text: form, plain: true}, f.found)
		if strings.ContainsAny(form, `"([`) { // otherwise there is nothing to take out
			looseNames(lexer{text: form}, f.found)
		}
	}
}

// loose finds whatever follows an "@" in a field that is not well formed: as it stands, without empty
// angle brackets, which programs drop, and with its encoded words decoded, in their charset and without.
func (f *finder) loose(value string) {
	octets, text := decodeWords(value, asOctets), decodeWords(value, inCharset)
	if text == octets {
		text = ""
	}
	for _, form := range []string{value, emptied(value), octets, withoutEscapes(value), withoutEscapes(octets), text} {
		f.names(form)
	}
}

// emptied is a text without "<>", or empty where there is none.
func emptied(text string) string {
	if !strings.Contains(text, "<>") {
		return ""
	}
	return strings.ReplaceAll(text, "<>", "")
}

// withoutEscapes is a text without the escape sequences of ISO 2022 (ECMA-35 section 13), of which a
// program that knows the charset shows nothing; empty where there are none.
func withoutEscapes(text string) string {
	if strings.IndexByte(text, esc) < 0 {
		return ""
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != esc {
			out = append(out, text[i])
			continue
		}
		for i+1 < len(text) && ' ' <= text[i+1] && text[i+1] <= '/' {
			i++
		}
		i++ // the final octet
	}
	return string(out)
}

const esc = 0x1b

// looseNames tells found of the words and dots behind each "@", until it reports false. Some programs
// remove white space and comments from an address, others end it there: a name with these in it is
// found up to there and as a whole.
func looseNames(l lexer, found func(name []byte) bool) {
	if strings.IndexByte(l.text, '@') < 0 {
		return
	}
	var name []byte
	open, breaks, atDot := false, 0, false
	for {
		if !open { // nothing in front of the next "@" matters
			l.skipTo('@')
		}
		t := l.scan()
		if open && (t.kind == tokenWord || t.kind == '.') {
			if len(name) > 0 && t.spaced {
				atDot = joins(name, t)
				if breaks++; breaks <= maxBreaks && !found(name) {
					return
				}
			}
			name = append(name, t.text[:min(len(t.text), maxSpaced-len(name))]...)
			continue
		}
		if open && l.plain && len(name) == 0 && isOpening(t) {
			continue // user@"example.org", user@<example.org>
		}
		// The last word in front of another "@" is a local part, but for one that a dot joins to the others.
		if open && (t.kind != '@' || !endsLocal(breaks, atDot)) && !found(name) {
			return
		}
		name, breaks, atDot = name[:0], 0, false
		open = t.kind == '@'
		if t.kind == tokenEnd {
			return
		}
	}
}

// joins reports whether a dot joins a token to the name in front of it, with a space between (RFC 5322 section 4.4, obs-domain).
func joins(name []byte, t token) bool { return t.kind == '.' || name[len(name)-1] == '.' }

func endsLocal(breaks int, atDot bool) bool { return !atDot && 0 < breaks && breaks <= maxBreaks }

// Bounds of a name that is written with white space or comments in it.
const (
	maxSpaced = 1024 // U-labels are longer than the name they stand for
	maxBreaks = 32   // places at which it may end
)

// isOpening reports whether a program that reads on right behind an "@" may pass over a token.
func isOpening(t token) bool {
	if t.spaced {
		return false
	}
	switch t.text {
	case `"`, "[", "<", "(", `\`:
		return true
	}
	return false
}

// shownText is a field as it looks on a screen: without what is invisible and
// without quoting, and with other characters for "@" and "." made these. It is empty
// where that changes nothing.
func shownText(text string) string {
	var out strings.Builder
	kept := 0 // up to here text is in out
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(text[i:])
		}
		if as := shownAs(r, size); as != r {
			if kept == 0 {
				out.Grow(len(text))
			}
			out.WriteString(text[kept:i])
			if as >= 0 {
				out.WriteRune(as)
			}
			kept = i + size
		}
		i += size
	}
	if kept == 0 {
		return ""
	}
	out.WriteString(text[kept:])
	return out.String()
}

// shownAs is the character as which r is shown, or -1 where it is not.
func shownAs(r rune, size int) rune {
	switch {
	case r == '"' || r == '\\':
		return -1
	case r == '\t' || r == '\r' || r == '\n':
		return r
	case r < ' ' || r == 0x7f:
		return -1
	case r < utf8.RuneSelf:
		return r
	case r == utf8.RuneError && size == 1, unicode.In(r, unicode.Cc, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
		return -1
	case unicode.In(r, unicode.Zs, unicode.Zl, unicode.Zp):
		return ' '
	case r == '\u2024' || r == '\ufe52': // IDNA takes the other dots for what they are
		return '.'
	case r == '\ufe6b' || r == '\uff20':
		return '@'
	}
	return r
}
