package resolver

import "strings"

// RFC 1035 section 2.3.4; a name in text form without its final dot is two
// octets shorter than on the wire.
const (
	maxLabel = 63
	maxName  = 253
)

// canonical is a name as the cache knows it: lower case, absolute, without the
// final dot. Only letters, digits, hyphen and underscore pass: selectors and
// domains consist of these (RFC 6376 section 3.1, RFC 8616 section 3), and
// what else a message claims as a name is not worth a query. A name that is
// canonical already is returned as it is.
func canonical(name string) (string, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxName {
		return "", ErrName
	}
	label, upper := 0, false
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.':
			if label == 0 {
				return "", ErrName
			}
			label = 0
			continue
		case 'A' <= c && c <= 'Z':
			upper = true
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return "", ErrName
		}
		if label++; label > maxLabel {
			return "", ErrName
		}
	}
	if label == 0 {
		return "", ErrName
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, nil
}
