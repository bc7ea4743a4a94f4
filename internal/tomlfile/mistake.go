package tomlfile

import (
	"bytes"
	"cmp"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"dkimd/internal/fault"
	"dkimd/internal/safetext"
)

// notText is the fault of a file that is not UTF-8 text; false where it is.
func notText(data []byte) (fault.Fault, bool) {
	const want = "UTF-8 text"
	wide := bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff"))
	switch {
	case wide, looksLikeUTF16(data):
		return fault.Fault{Got: "UTF-16 text", Want: want, Hint: "convert the file: iconv -f utf-16 -t utf-8"}, true
	case bytes.IndexByte(data, 0) >= 0:
		return fault.Fault{Got: "something binary", Want: want, Hint: "is this the file you mean?"}, true
	case utf8.Valid(data):
		return fault.Fault{}, false
	}
	offset := 0
	for offset < len(data) {
		r, size := utf8.DecodeRune(data[offset:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		offset += size
	}
	return fault.Fault{
		Line: 1 + bytes.Count(data[:offset], []byte("\n")),
		Got:  "the byte 0x" + strconv.FormatUint(uint64(data[offset])|0x100, 16)[1:],
		Want: want,
		Hint: "convert the file: iconv -f latin1 -t utf-8",
	}, true
}

// looksLikeUTF16 reports whether every other byte is NUL: UTF-16 without a mark in front.
func looksLikeUTF16(data []byte) bool {
	nuls := bytes.Count(data, []byte{0})
	return nuls > 1 && nuls >= (len(data)-1)/2 && (bytes.HasPrefix(data[1:], []byte{0}) != bytes.HasPrefix(data, []byte{0}))
}

// syntaxHint explains a syntax error: what stands where, and what belongs there.
func syntaxHint(message, text string, column int) string {
	upTo := min(max(column-1, 0), len(text))
	at := "column " + strconv.Itoa(1+utf8.RuneCountInString(text[:upTo])) + ": "
	if hint := assignment(message, text); hint != "" {
		if strings.HasPrefix(hint, "write it in lower case") {
			return hint
		}
		return at + hint
	}
	if hint := foreignSyntaxHint(message, text, text[upTo:]); hint != "" {
		return at + hint
	}
	for _, known := range []struct{ part, hint string }{
		{"new lines", "the quote that ends the string is missing on this line"},
		{"unterminated", "the quote that ends the string is missing on this line"},
		{"not terminated", "the quotes that end the string are missing"},
		{"after array value", "a comma or the ] that ends the list is missing here or on a line above"},
		{"array is incomplete", "a comma or the ] that ends the list is missing here or on a line above"},
		{"'=' after key", "a line is KEY = VALUE, [TABLE] or # COMMENT"},
		{"invalid escape", `\ begins an escape: write \\, or the string in 'single quotes'`},
		{"expected newline", "the line ends here: nothing but a comment, which begins with #, may follow"},
		{"control characters", "a character that cannot be seen: remove it"},
	} {
		if strings.Contains(message, known.part) {
			return at + known.hint
		}
	}
	return at + message
}

// assignment explains KEY = VALUE where the value is missing or lacks its quotes.
func assignment(message, text string) string {
	key, val, assigns := strings.Cut(text, "=")
	val = strings.TrimSpace(val)
	if !assigns || !wholeKey.MatchString(key) {
		return ""
	}
	switch lower := strings.ToLower(val); {
	case val == "" && strings.Contains(message, "start of value"), strings.HasPrefix(val, "#") && strings.Contains(message, "start of value"):
		return "the value is missing"
	case val == "True" || val == "False" || val == "TRUE" || val == "FALSE":
		return "write it in lower case: " + strings.ToLower(val)
	case lower == "yes" || lower == "on":
		return "write true, or a string in quotes"
	case lower == "no" || lower == "off":
		return "write false, or a string in quotes"
	case digits.MatchString(val) && val[0] != '0':
		return "the number is too large"
	case digits.MatchString(val):
		return "a number has no 0 in front: " + cmp.Or(strings.TrimLeft(val, "0"), "0") + "; a string is written in quotes: " + safetext.Quote(val)
	case wholeBare.MatchString(val):
		return "strings are written in quotes: " + strings.TrimSpace(key) + " = " + safetext.Quote(val)
	}
	return ""
}

// foreignSyntaxHint explains what belongs to another format, or comes from another editor; rest is the
// line from where it stops being TOML.
func foreignSyntaxHint(message, text, rest string) string {
	begins := func(starts ...string) bool {
		for _, start := range starts {
			if strings.HasPrefix(rest, start) {
				return true
			}
		}
		return false
	}
	switch {
	case strings.HasPrefix(text, "<<<<<<<"), strings.HasPrefix(text, "======="), strings.HasPrefix(text, ">>>>>>>"):
		return "a merge was left unfinished here"
	case begins("//", ";"):
		return "a comment begins with #, and nothing ends a line"
	case begins("\u201c", "\u201d", "\u201e", "\u2018", "\u2019", "\u00ab", "\u00bb"):
		return `typographic quotes: write plain ones, "like this"`
	case begins("\u00a0", "\u200b", "\ufeff"):
		return "a space of another kind, perhaps from a web page: write a plain one"
	case begins("{"), begins("}"):
		return "a line is KEY = VALUE, [TABLE] or # COMMENT, and not JSON"
	case begins("=") && strings.HasPrefix(strings.TrimSpace(text), "="):
		return "the key is missing"
	case begins(">"):
		return "a line is KEY = VALUE, [TABLE] or # COMMENT"
	case begins(",") && strings.Contains(message, "newline"):
		return `a list is written in brackets: ["one", "two"]`
	case begins("\r"):
		return "lines end in CR alone here: convert the file: tr '\\r' '\\n'"
	}
	return ""
}

var (
	// wholeBare: a value that lacks its quotes, such as inet:127.0.0.1:8891.
	wholeBare = regexp.MustCompile(`^[A-Za-z0-9:./@_][A-Za-z0-9:./@_ -]*$`)
	wholeKey  = regexp.MustCompile(`^\s*[A-Za-z0-9_.-]+\s*$`)
	digits    = regexp.MustCompile(`^[0-9]+$`)
)
