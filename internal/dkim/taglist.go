package dkim

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Tag is one name=value pair, without the white space around either.
type Tag struct{ Name, Value string }

// TagList is a tag-list of RFC 6376 section 3.2 in its order.
type TagList []Tag

// manyTags is from where on duplicates are found with a map.
const manyTags = 32

// ParseTagList reads a tag list. Folding white space may stand where
// the ABNF allows it and a semicolon may end the list; UTF-8 may stand in values
// (RFC 8616 section 5). Anything else is ErrSyntax, and a name that occurs
// twice ErrDuplicateTag. With an error comes what could be read before it.
func ParseTagList(s string) (TagList, error) {
	list := make(TagList, 0, min(strings.Count(s, ";")+1, manyTags))
	var seen map[string]bool
	for rest, more := s, true; more; {
		var spec string
		spec, rest, more = strings.Cut(rest, ";")
		if !more && len(list) > 0 && trimSpace(spec) == "" {
			break // the list ended in a semicolon
		}
		name, value, found := strings.Cut(spec, "=")
		if !found {
			return list, fmt.Errorf("%w: tag %d has no =", ErrSyntax, len(list)+1)
		}
		name, value = trimSpace(name), trimSpace(value)
		if !isTagName(name) {
			return list, fmt.Errorf("%w: tag %d has no valid name", ErrSyntax, len(list)+1)
		}
		if !isTagValue(value) {
			return list, fmt.Errorf("%w: %s= holds a character that is not allowed", ErrSyntax, name)
		}
		// RFC 6376 section 3.2: tags with duplicate names MUST NOT occur
		// within a single tag-list; if they do, the entire list is invalid.
		if seen[name] {
			return list, fmt.Errorf("%w: %s=", ErrDuplicateTag, name)
		}
		if len(list) < manyTags {
			if _, twice := list.Lookup(name); twice {
				return list, fmt.Errorf("%w: %s=", ErrDuplicateTag, name)
			}
		}
		list = append(list, Tag{name, value})
		if len(list) >= manyTags {
			if seen == nil {
				seen = make(map[string]bool)
				for _, t := range list {
					seen[t.Name] = true
				}
			}
			seen[name] = true
		}
	}
	return list, nil
}

// Lookup finds a tag by its name, which is case-sensitive.
func (l TagList) Lookup(name string) (string, bool) {
	for _, t := range l {
		if t.Name == name {
			return t.Value, true
		}
	}
	return "", false
}

// valueSpan is where the value of a tag stands in a tag list: all between its
// equals sign and the next semicolon, white space too.
func valueSpan(s, name string) (start, end int, found bool) {
	for pos := 0; pos <= len(s); {
		spec, _, _ := strings.Cut(s[pos:], ";")
		if own, _, ok := strings.Cut(spec, "="); ok && trimSpace(own) == name {
			return pos + len(own) + 1, pos + len(spec), true
		}
		pos += len(spec) + 1
	}
	return 0, 0, false
}

// isTagName follows tag-name of RFC 6376 section 3.2: ALPHA *ALNUMPUNC.
func isTagName(s string) bool {
	for i := range len(s) {
		switch c := s[i] | 0x20; {
		case 'a' <= c && c <= 'z':
		case i > 0 && ('0' <= s[i] && s[i] <= '9' || s[i] == '_'):
		default:
			return false
		}
	}
	return s != ""
}

// isTagValue follows tag-value of RFC 6376 section 3.2: visible ASCII, white
// space and folds; and UTF-8.
func isTagValue(s string) bool {
	ascii := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c > ' ' && c < 0x7f:
		case c >= 0x80:
			ascii = false
		default:
			n := foldAt(s, i)
			if n == 0 {
				return false
			}
			i += n - 1
		}
	}
	return ascii || utf8.ValidString(s)
}

// foldAt is the length of the folding white space at i (FWS, RFC 6376 section
// 2.8): one WSP, or a CRLF with the WSP that must follow it, or 0.
func foldAt(s string, i int) int {
	switch {
	case isWSP(s[i]):
		return 1
	case i+2 < len(s) && s[i] == '\r' && s[i+1] == '\n' && isWSP(s[i+2]):
		return 3
	}
	return 0
}

// trimSpace removes folding white space from both ends. A CRLF that no white
// space follows stays, so that it is found to be wrong.
func trimSpace(s string) string {
	for s != "" {
		n := foldAt(s, 0)
		if n == 0 {
			break
		}
		s = s[n:]
	}
	for s != "" && isWSP(s[len(s)-1]) {
		s = strings.TrimSuffix(s[:len(s)-1], "\r\n")
	}
	return s
}

// withoutSpace removes folding white space inside a value as well.
func withoutSpace(s string) string {
	if strings.IndexByte(s, ' ') < 0 && strings.IndexByte(s, '\t') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if n := foldAt(s, i); n > 0 {
			i += n - 1
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}
