package events

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"dkimd/internal/safetext"
)

const hexDigits = "0123456789abcdef"

// value appends a JSON string (RFC 8259 section 7). Beyond what JSON asks for it
// escapes all that is not printable: C1 controls, U+2028 and bidirectional marks
// move or break lines in terminals and viewers.
func (w *jsonWriter) value(s string) {
	s = safetext.Clip(s, w.most)
	dst := append(w.buf, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			dst = append(dst, s[done:i]...)
			if c == '"' || c == '\\' {
				dst = append(dst, '\\', c)
			} else {
				dst = appendUnicodeEscape(dst, uint16(c))
			}
			i++
			done = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if !w.ascii && strconv.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			i += size
			continue
		}
		dst = append(dst, s[done:i]...)
		if r < 0x10000 {
			dst = appendUnicodeEscape(dst, uint16(r)) //nolint:gosec // bounded by the condition
		} else {
			// A surrogate pair, RFC 8259 section 7.
			r -= 0x10000
			dst = appendUnicodeEscape(dst, 0xd800|uint16(r>>10)) //nolint:gosec // at most 10 bits are left
			dst = appendUnicodeEscape(dst, 0xdc00|uint16(r&0x3ff))
		}
		i += size
		done = i
	}
	dst = append(dst, s[done:]...)
	w.buf = append(dst, '"')
}

func appendUnicodeEscape(dst []byte, u uint16) []byte {
	return append(dst, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
}

// appendToken appends a value for people: as it is where it has no character
// that separates or quotes, otherwise quoted and escaped.
func appendToken(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, '-')
	}
	return appendUnkeyed(dst, s, " \"\\(),;[]`'=")
}

// appendWords appends a text that stands in brackets: it may contain spaces,
// but nothing that ends the brackets.
func appendWords(dst []byte, s string) []byte { return appendUnkeyed(dst, s, "\"\\()[]") }

// lineKey is a key of the text format. A program that looks for one finds that of
// dkimd alone: in the text of strangers its "=" is escaped.
var lineKey = regexp.MustCompile(`(?i)\b(from|sender|client|helo|auth|to|bytes|message_id|stripped|total|dns)\s*=`)

func appendUnkeyed(dst []byte, s, special string) []byte {
	if s = safetext.Clip(s, MaxValue); strings.Contains(s, "=") && lineKey.MatchString(s) {
		return append(dst, strings.ReplaceAll(strconv.Quote(s), "=", `\x3d`)...)
	}
	return appendPlain(dst, s, special)
}

// appendReply appends a text that runs to the end of its line.
func appendReply(dst []byte, s string) []byte { return appendPlain(dst, s, "\\") }

// appendPlain appends s as it is where it is printable and has none of the
// characters in special, quoted where not.
func appendPlain(dst []byte, s, special string) []byte {
	s = safetext.Clip(s, MaxValue)
	plain := !strings.ContainsAny(s, special) && (s == "" || s[0] != ' ' && s[len(s)-1] != ' ')
	for i := 0; plain && i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			plain = safetext.IsPrintable(s[i:])
			break
		}
		plain = ' ' <= s[i] && s[i] < 0x7f
	}
	if !plain {
		return strconv.AppendQuote(dst, s)
	}
	return append(dst, s...)
}
