// Package safetext makes text of strangers safe to show: in log records, error messages, replies, header
// fields and on a terminal. All that dkimd repeats of a message, of DNS or of a file passes through here.
// What comes out is one line (FieldValue: one field) without control characters.
package safetext

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxQuoted is how many characters Quote shows.
	maxQuoted = 60
	// maxDomain is how many bytes Domain shows.
	maxDomain = 100
)

// IsPrintable reports whether s is valid UTF-8 of printable characters, spaces included: it can neither
// forge nor hide a line on a terminal or in a log.
func IsPrintable(s string) bool {
	for i, r := range s {
		if !strconv.IsPrint(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return false
		}
	}
	return true
}

// Printable escapes what is not printable as Go does: \n, \x1b, \u202e.
func Printable(s string) string {
	if IsPrintable(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[i])|0x100, 16)[1:])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// Bytes is printable ASCII as it is and every other byte escaped as Go does: \n, \x1b, \xc3\xa9.
func Bytes(s string) string {
	if IsASCII(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i : i+1]; IsASCII(c) {
			b.WriteString(c)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteToASCII(c), `"`))
		}
	}
	return b.String()
}

// Quote is s in double quotes, escaped, and at most about 60 characters of it.
func Quote(s string) string {
	width := 0
	for i, r := range s {
		width += len(strconv.QuoteRune(r)) - 2
		if width > maxQuoted {
			return strconv.Quote(s[:i]+"...") + " (" + strconv.Itoa(len(s)) + " bytes)"
		}
	}
	return strconv.Quote(s)
}

// Clip is s, or its first bytes and three dots. It cuts no character in two, and escapes nothing.
func Clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}

// IsASCII reports whether s is printable ASCII, spaces included.
func IsASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// ASCII has a question mark for each byte that is not printable ASCII, for replies and header fields.
func ASCII(s string) string {
	if IsASCII(s) {
		return s
	}
	out := []byte(s)
	for i, c := range out {
		if c < ' ' || c > '~' {
			out[i] = '?'
		}
	}
	return string(out)
}

// Domain is a domain out of a message for a sentence or a reply: a question mark stands for each byte
// that no host name has.
func Domain(s string) string {
	out := []byte(Clip(s, maxDomain))
	for i, c := range out {
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && c != '-' && c != '_' && c != '.' {
			out[i] = '?'
		}
	}
	return string(out)
}

// FieldValue is the value of one header field with bare LF at its folds. A line end that is not a fold
// becomes a space, so that nothing after it is taken for a field or for the body.
func FieldValue(value string) string {
	var b strings.Builder
	b.Grow(len(value))
	for i := range len(value) {
		switch c := value[i]; {
		case c == 0 || c == '\r':
		case c != '\n':
			b.WriteByte(c)
		case i+1 < len(value) && (value[i+1] == ' ' || value[i+1] == '\t'):
			b.WriteByte('\n')
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}
