package verifier

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"dkimd/internal/domain"
)

// ClaimsAuthserv reports whether the value of an Authentication-Results field
// says it is by authservID, in any way in which some reader might understand it:
// RFC 8601 section 5 has such fields removed. It reads the value with nested
// comments, with flat ones, and with none, and once each with control characters
// taken for spaces and for nothing; one reading that finds our name where the
// name belongs is enough, and so is our name anywhere in front of the first
// result where no reading makes sense of that. With methods the field must also
// hold a result of one of these, or be too odd to tell.
func ClaimsAuthserv(value []byte, authservID string, methods ...string) bool {
	our := ourName{id: hostName(authservID)}
	if our.id == "" {
		return false
	}
	if name, ok := simpleHead(value); ok && !our.is(name) {
		return false
	}
	readings := readingsOf(value)
	claims := slices.ContainsFunc(readings, func(r reading) bool { return r.claims(value, &our) })
	return claims && (len(methods) == 0 || slices.ContainsFunc(readings, func(r reading) bool { return r.has(value, methods) }))
}

// simpleHead is the name in front of the first semicolon where nothing else is
// there, and every reader must find the same.
func simpleHead(value []byte) (string, bool) {
	head, _, ok := bytes.Cut(value, []byte(";"))
	if !ok {
		return "", false
	}
	head = bytes.Trim(head, " \t\r\n")
	for _, c := range head {
		if c > unicode.MaxASCII || !inWord(rune(c)) {
			return "", false
		}
	}
	return string(head), len(head) > 0
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

// readingsOf are the ways to read a value that can make a difference.
func readingsOf(value []byte) []reading {
	styles := []commentStyle{nested}
	if bytes.ContainsAny(value, `("\`) {
		styles = []commentStyle{nested, flat, unknown}
	}
	plainText := true
	for i, c := range value {
		fold := (c == '\r' && bytes.HasPrefix(value[i:], []byte("\r\n"))) ||
			(c == '\n' && i+1 < len(value) && (value[i+1] == ' ' || value[i+1] == '\t'))
		if c != '\t' && !fold && (c < ' ' || c >= 0x7f) {
			plainText = false
			break
		}
	}
	var all []reading
	for _, style := range styles {
		all = append(all, reading{style, false})
		if !plainText {
			all = append(all, reading{style, true})
		}
	}
	return all
}

const (
	// separator stands for a semicolon that separates, in plain text.
	separator = '\x00'
	// maxHead is how much text can stand in front of the first semicolon, comments
	// and repeated blanks aside, before nobody would find a name in it.
	maxHead = 4 << 10
)

// plain removes comments, quotes and control characters, up to the end of value
// or, with stop, to the first separator. whole is false where a comment or a
// quoted string is not closed. Its cost is linear, whatever the nesting.
func (r reading) plain(value []byte, stop bool) (text string, whole bool) {
	out := make([]byte, 0, min(len(value), 256))
	depth, quoted, escaped := 0, false, false
	for i := 0; i < len(value); {
		if stop && len(out) > maxHead {
			return string(out), false
		}
		c, size := rune(value[i]), 1
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRune(value[i:])
		}
		raw := value[i : i+size]
		i += size
		switch {
		case isBlank(c):
			escaped = false
			out = blank(out, depth)
		case isControl(c, size):
			out = r.gap(out, depth)
		case escaped:
			escaped = false
			if depth == 0 {
				out = append(out, raw...)
			}
		case c == '\\':
			escaped = r.comments != unknown
		case r.comments == unknown && strings.ContainsRune(`()"`, c):
			out = blank(out, depth)
		case depth > 0:
			depth += r.nesting(c)
		case c == '"':
			quoted = !quoted
		case quoted:
			out = append(out, raw...)
		case c == '(':
			out = r.gap(out, depth)
			depth = 1
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

// blank ends a word, outside comments.
func blank(out []byte, depth int) []byte {
	if depth == 0 && len(out) > 0 && out[len(out)-1] != ' ' {
		return append(out, ' ')
	}
	return out
}

// gap stands for what is removed.
func (r reading) gap(out []byte, depth int) []byte {
	if r.joins {
		return out
	}
	return blank(out, depth)
}

// nesting is by how much c deepens the comment that it stands in.
func (r reading) nesting(c rune) int {
	switch {
	case c == '(' && r.comments == nested:
		return 1
	case c == ')':
		return -1
	}
	return 0
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
func (r reading) claims(value []byte, our *ourName) bool {
	text, whole := r.plain(value, true)
	if strings.EqualFold(strings.Trim(text, " ."), string(our.id)) {
		return true
	}
	// As written first: the space after a dot at the end of a name may be what
	// separates it from a version.
	if our.is(firstWord(text)) {
		return true
	}
	words, method := idWords(text)
	if len(words) > 0 && our.is(words[0]) {
		return true
	}
	if r.comments != nested {
		return false
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
	if our.isAnyOf(words) {
		return true
	}
	// Nothing to go by: whatever is in front of the first semicolon, in comments too.
	text, _ = reading{unknown, r.joins}.plain(value, true)
	return our.isAnyOf(split(text))
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
	return strings.FieldsFunc(text, func(c rune) bool { return !inWord(c) })
}

// firstWord is the first word of text, empty if there is none.
func firstWord(text string) string {
	text = strings.TrimLeftFunc(text, func(c rune) bool { return !inWord(c) })
	if end := strings.IndexFunc(text, func(c rune) bool { return !inWord(c) }); end >= 0 {
		return text[:end]
	}
	return text
}

func inWord(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		return true
	case c <= unicode.MaxASCII:
		return false
	case c == '\u3002', c == '\uff0e', c == '\uff61': // dots too (RFC 3490 section 3.1)
		return true
	}
	return unicode.IsLetter(c) || unicode.IsDigit(c) || unicode.IsMark(c)
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

// Bounds of what is compared with our name: making A-labels of U-labels is slow.
const (
	maxWord  = 512
	maxWords = 64
)

// ourName is what words of a field are compared with. Most readings find the same
// words, and a word in U-labels is compared once.
type ourName struct {
	id     domain.Name
	others map[string]bool // words in U-labels that are not our name
}

func (o *ourName) is(word string) bool {
	if len(word) > maxWord || o.others[word] {
		return false
	}
	if hostName(word) == o.id {
		return true
	}
	if strings.ContainsFunc(word, func(c rune) bool { return c > unicode.MaxASCII }) {
		if o.others == nil {
			o.others = make(map[string]bool)
		}
		o.others[word] = true
	}
	return false
}

func (o *ourName) isAnyOf(words []string) bool {
	return slices.ContainsFunc(words[:min(len(words), maxWords)], o.is)
}

// hostName brings a name into the form for comparison: case, trailing dots,
// U-labels (RFC 8601 section 5).
func hostName(s string) domain.Name { return domain.Fold(strings.Trim(s, ".")) }

// has reports whether the field has a result of one of the methods, or results
// that cannot be read.
func (r reading) has(value []byte, methods []string) bool {
	text, whole := r.plain(value, false)
	if !whole {
		return true
	}
	first := true
	for part := range strings.SplitSeq(text, string(separator)) {
		before, _, result := strings.Cut(part, "=")
		switch {
		case result && !strings.ContainsFunc(before, inWord):
			return true // a result of no method
		case !result && !first && strings.ContainsFunc(part, inWord) && !strings.EqualFold(strings.Trim(part, " "), "none"):
			return true // neither a result nor "none" (RFC 8601 section 2.2)
		}
		for result {
			if isMethod(before, methods) {
				return true
			}
			part = part[len(before)+1:]
			before, _, result = strings.Cut(part, "=")
		}
		first = false
	}
	return false
}

// isMethod reports whether what stands left of "=" ends in one of the methods, with or
// without its version, whatever characters are between and behind.
func isMethod(left string, methods []string) bool {
	other := func(c rune) bool { return !inWord(c) }
	left = strings.TrimRightFunc(left, other)
	if version := strings.TrimRight(left, "0123456789"); version != left {
		if before := strings.TrimRightFunc(version, other); before != version {
			left = before
		}
	}
	return slices.ContainsFunc(methods, func(method string) bool {
		start := len(left) - len(method)
		if start < 0 || !strings.EqualFold(left[start:], method) {
			return false
		}
		before, _ := utf8.DecodeLastRuneInString(left[:start])
		return start == 0 || !inWord(before)
	})
}
