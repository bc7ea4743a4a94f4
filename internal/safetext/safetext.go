// Package safetext makes text of strangers safe to show: in log records, error messages, replies and
// on a terminal. Whatever comes in, what goes out is one line, without control characters, and bounded.
package safetext

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxQuoted is how much of a value a message shows.
const maxQuoted = 60

// Printable escapes what could forge or hide lines on a terminal or in a log.
func Printable(s string) string {
	clean := true
	for _, r := range s {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
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

// Clip is s, or its first 60 bytes and three dots.
func Clip(s string) string {
	if len(s) > maxQuoted {
		return s[:maxQuoted] + "..."
	}
	return s
}

// Shorten is s, or its first 300 bytes and three dots.
func Shorten(s string) string {
	const most = 300
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
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
