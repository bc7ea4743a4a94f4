package verifier

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"dkimd/internal/message"
)

// ClaimsAuthserv reports whether the value of an Authentication-Results field
// says it is by authservID, in any way in which some reader might understand it:
// RFC 8601 section 5 has such fields removed. It reads the value with nested
// comments, with flat ones, and with none, and once each with control characters
// taken for spaces and for nothing; one reading that finds our name where the
// name belongs is enough, and so is our name anywhere in front of the first
// result where no reading makes sense of that. With onlyDKIM the field must also
// hold a result of the method dkim, or be too odd to tell.
func ClaimsAuthserv(value []byte, authservID string, onlyDKIM bool) bool {
	id := hostName(authservID)
	if id == "" {
		return false
	}
	claims := slices.ContainsFunc(readings, func(r reading) bool { return r.claims(value, id) })
	return claims && (!onlyDKIM || slices.ContainsFunc(readings, func(r reading) bool { return r.hasDKIM(value) }))
}

// reading is one way to understand comments, quotes and control characters.
type reading struct {
	comments commentStyle
	// joins: control characters are as if they were not there; else they separate.
	joins bool
}

type commentStyle uint8

const (
	nested  commentStyle = iota // RFC 5322 section 3.2.2
	flat                        // ended by the first parenthesis
	unknown                     // neither comments nor quotes are understood
)

//nolint:gochecknoglobals // a constant table
var readings = []reading{
	{nested, false}, {nested, true}, {flat, false}, {flat, true}, {unknown, false}, {unknown, true},
}

// separator stands for a semicolon that separates, in plain text.
const separator = '\x00'

// plain removes comments, quotes and control characters, up to the end of value
// or, with stop, to the first separator. whole is false where a comment or a
// quoted string is not closed. Its cost is linear, whatever the nesting.
func (r reading) plain(value []byte, stop bool) (text string, whole bool) {
	out := make([]byte, 0, min(len(value), 256))
	depth, quoted, escaped := 0, false, false
	space := func() {
		if !r.joins {
			out = append(out, ' ')
		}
	}
	for i := 0; i < len(value); {
		c, size := utf8.DecodeRune(value[i:])
		raw := value[i : i+size]
		i += size
		switch {
		case isBlank(c):
			escaped = false
			if depth == 0 {
				out = append(out, ' ')
			}
		case isControl(c, size):
			if depth == 0 {
				space()
			}
		case escaped:
			escaped = false
			if depth == 0 {
				out = append(out, raw...)
			}
		case c == '\\':
			escaped = r.comments != unknown
		case r.comments == unknown && (c == '(' || c == ')' || c == '"'):
			out = append(out, ' ')
		case depth > 0:
			switch {
			case c == '(' && r.comments == nested:
				depth++
			case c == ')':
				depth--
			}
		case c == '"':
			quoted = !quoted
		case quoted:
			out = append(out, raw...)
		case c == '(':
			depth = 1
			space()
		case c == ';':
			if stop {
				return string(out), true
			}
			out = append(out, separator)
		default:
			out = append(out, raw...)
		}
	}
	return string(out), depth == 0 && !quoted
}

func isBlank(c rune) bool {
	return c == ' ' || c == '\t' || (c > unicode.MaxASCII && unicode.Is(unicode.Zs, c))
}

// isControl reports what shows as nothing: control and format characters, and
// octets that are no UTF-8.
func isControl(c rune, size int) bool {
	if c <= unicode.MaxASCII {
		return c < ' ' || c == 0x7f
	}
	return (c == utf8.RuneError && size == 1) || unicode.IsControl(c) || unicode.Is(unicode.Cf, c)
}

// claims looks at what stands in front of the first result.
func (r reading) claims(value []byte, id string) bool {
	text, whole := r.plain(value, true)
	if strings.EqualFold(strings.Trim(text, " ."), id) {
		return true
	}
	words, method := idWords(text)
	if len(words) > 0 && names(words[0], id) {
		return true
	}
	var odd bool
	switch {
	case !whole:
		odd = true
	case method: // results, and no name before them
		odd = false
	case len(words) == 0:
		odd = true
	case len(words) == 1 || (len(words) == 2 && isNumber(words[1])): // RFC 8601: authserv-id [ version ]
		odd = false
	default:
		odd = true
	}
	if !odd {
		return false
	}
	if anyNames(words, id) {
		return true
	}
	// Nothing to go by: whatever is in front of the first semicolon, in comments too.
	text, _ = reading{unknown, r.joins}.plain(value, true)
	return anyNames(split(text), id)
}

// idWords are the words of text that may be an authserv-id: those before the
// first method. method is true where text starts with a method that we know,
// as in the fields of mail systems that give no name.
func idWords(text string) (words []string, method bool) {
	text = closeDots(text)
	if head, _, ok := strings.Cut(text, "="); ok {
		words = split(head)
		if n := len(words); n == 1 && slices.Contains(methods, strings.ToLower(words[0])) {
			return nil, true
		} else if n > 1 {
			return words[:n-1], false
		}
		return split(text), false
	}
	return split(text), false
}

//nolint:gochecknoglobals // a constant table: the IANA registry of methods, and some that are not in it
var methods = []string{
	"arc", "auth", "bimi", "compauth", "dkim", "dkim-adsp", "dkim-atps", "dmarc", "dnswl", "domainkeys",
	"iprev", "rrvs", "sender-id", "smime", "spf", "vbr",
}

// closeDots removes the white space that RFC 822 let stand around dots.
func closeDots(text string) string {
	if !strings.Contains(text, " .") && !strings.Contains(text, ". ") {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		c := text[i]
		if c == ' ' && len(out) > 0 && out[len(out)-1] == '.' {
			continue
		}
		for c == '.' && len(out) > 0 && out[len(out)-1] == ' ' {
			out = out[:len(out)-1]
		}
		out = append(out, c)
	}
	return string(out)
}

// split cuts text into words of letters, digits, dots, hyphens and underscores.
func split(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool {
		return c != '.' && c != '-' && c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c)
	})
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// Bounds of what is compared with our name: making A-labels of U-labels is slow.
const (
	maxWord  = 512
	maxWords = 64
)

func names(word, id string) bool { return len(word) <= maxWord && hostName(word) == id }

func anyNames(words []string, id string) bool {
	return slices.ContainsFunc(words[:min(len(words), maxWords)], func(w string) bool { return names(w, id) })
}

// hostName brings a name into the form for comparison: case, trailing dots,
// U-labels (RFC 8616 section 6).
func hostName(s string) string { return message.Domain(strings.Trim(s, ".")) }

// hasDKIM reports whether the field has a result of the method dkim, or results
// that cannot be read.
func (r reading) hasDKIM(value []byte) bool {
	text, whole := r.plain(value, false)
	if !whole {
		return true
	}
	for i, part := range strings.Split(text, string(separator)) {
		pieces := strings.Split(part, "=")
		if len(pieces) == 1 { // the authserv-id, nothing, or "none" (RFC 8601 section 2.2)
			words := split(part)
			if i > 0 && len(words) > 0 && (len(words) > 1 || !strings.EqualFold(words[0], "none")) {
				return true
			}
			continue
		}
		for _, left := range pieces[:len(pieces)-1] {
			if isDKIM(split(left)) {
				return true
			}
		}
		if len(split(pieces[0])) == 0 {
			return true
		}
	}
	return false
}

// isDKIM reports whether the words left of "=" end in the method dkim, with or
// without its version.
func isDKIM(words []string) bool {
	if n := len(words); n > 1 && isNumber(words[n-1]) {
		words = words[:n-1]
	}
	return len(words) > 0 && strings.EqualFold(words[len(words)-1], "dkim")
}
