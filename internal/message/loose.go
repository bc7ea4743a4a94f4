package message

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"dkimd/internal/domain"
)

// looseDomains tells claim of whatever follows an "@" in a field that is not well
// formed, until it reports false. The field is read with comments and quoted strings
// taken out, as plain bytes, and as it shows; and in all ways with its encoded
// words decoded.
func looseDomains(value []byte, claim func(domain.Name) bool) {
	texts := [][]byte{value}
	if decoded := decodeWords(value); decoded != nil {
		texts = append(texts, decoded)
	}
	seen := map[string]bool{} // names as written: most fields repeat theirs
	found := func(name string) bool {
		if seen[name] {
			return true
		}
		seen[name] = true
		d := domain.Fold(name).Prefix()
		return !strings.Contains(string(d), ".") || claim(d)
	}
	for _, text := range texts {
		if !looseNames(lexer{text: text}, found) || !looseNames(lexer{text: text, plain: true}, found) {
			return
		}
		if shown := shownText(text); shown != nil && !looseNames(lexer{text: shown, plain: true}, found) {
			return
		}
	}
}

// looseNames tells found of the words and dots behind each "@", until it reports false.
func looseNames(l lexer, found func(name string) bool) bool {
	joined := func(name string, t token) bool {
		return name == "" || !t.spaced || !l.plain && (t.kind == '.' || strings.HasSuffix(name, "."))
	}
	var name strings.Builder
	open := false
	for t := l.scan(); ; t = l.scan() {
		if open && (t.kind == tokenWord || t.kind == '.') && joined(name.String(), t) {
			name.WriteString(t.text)
			continue
		}
		if open && l.plain && name.Len() == 0 && !t.spaced && isOpening(t) {
			continue // user@"example.org", user@<example.org>
		}
		if open && !found(name.String()) {
			return false
		}
		name.Reset()
		open = t.kind == '@'
		if t.kind == tokenEnd {
			return true
		}
	}
}

// isOpening reports whether a program that reads on behind an "@" may pass over a token.
func isOpening(t token) bool {
	switch t.text {
	case `"`, "[", "<", "(", `\`:
		return true
	}
	return false
}

// shownText is a field as it looks on a screen: without what is invisible and
// without quoting, and with other characters for "@" and "." made these. It is nil
// where that changes nothing.
func shownText(text []byte) []byte {
	out := make([]byte, 0, len(text))
	changed := false
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		switch as := shownAs(r, size); as {
		case r:
			out = append(out, text[i:i+size]...)
		case -1:
			changed = true
		default:
			out = utf8.AppendRune(out, as)
			changed = true
		}
		i += size
	}
	if !changed {
		return nil
	}
	return out
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

var (
	encodedWord = regexp.MustCompile(`=\?[^?\s]{1,64}\?([bBqQ])\?([^?]*)\?=`)
	// RFC 2047 section 6.2: white space between encoded words is not shown.
	betweenWords = regexp.MustCompile(`\?=[ \t\r\n]+=\?`)
)

// decodeWords is a field with its encoded words (RFC 2047) decoded, as mail
// programs show it; nil where there is none. What matters here is ASCII in almost
// every charset, so charsets are not looked at. Like mail programs it makes
// something of words that are not encoded well.
func decodeWords(value []byte) []byte {
	if !encodedWord.Match(value) {
		return nil
	}
	value = betweenWords.ReplaceAll(value, []byte("?==?"))
	var out []byte
	end := 0
	for _, at := range encodedWord.FindAllSubmatchIndex(value, -1) {
		out = append(out, value[end:at[0]]...)
		if word := value[at[4]:at[5]]; value[at[2]]|0x20 == 'b' {
			out = appendBase64(out, word)
		} else {
			out = appendQ(out, word)
		}
		end = at[1]
	}
	return append(out, value[end:]...)
}

// appendBase64 decodes base64 with or without its padding, and with other
// characters in it (RFC 2045 section 6.8: these must be ignored).
func appendBase64(dst, word []byte) []byte {
	digits := make([]byte, 0, len(word))
	for _, c := range word {
		letter := c | 0x20
		if 'a' <= letter && letter <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/' {
			digits = append(digits, c)
		}
	}
	if len(digits)%4 == 1 {
		digits = digits[:len(digits)-1] // six bits are no octet
	}
	out, err := base64.RawStdEncoding.AppendDecode(dst, digits)
	if err != nil { // nothing is left that could be wrong
		return dst
	}
	return out
}

// appendQ decodes the Q encoding (RFC 2047 section 4.2); what is not encoded well stays.
func appendQ(dst, word []byte) []byte {
	for i := 0; i < len(word); i++ {
		c := word[i]
		switch {
		case c == '_':
			c = ' '
		case c == '=' && i+2 < len(word):
			var octet [1]byte
			if _, err := hex.Decode(octet[:], word[i+1:i+3]); err == nil {
				c = octet[0]
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}
