package domain

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// What can be wrong with a name. The texts are reasons that stand behind the name in a message.
var (
	ErrEmpty         = errors.New("it is empty")
	ErrEmptyLabel    = errors.New("it has an empty label")
	ErrLongLabel     = errors.New("it has a label of more than 63 characters")
	ErrLong          = errors.New("it has more than 253 characters")
	ErrCharacter     = errors.New("it has a character that no domain has")
	ErrHyphen        = errors.New("a label begins or ends with a hyphen")
	ErrNumber        = errors.New("its last label is a number, as in an IP address")
	ErrInternational = errors.New("it is not a valid internationalized name")
)

// ParseLax reads a name that mail or DNS gave us and that is only looked up or compared: the DNS
// can hold it, and it has no characters but letters, digits, hyphens and underscores. With an
// error the Name is that of Fold, and may still be compared.
func ParseLax(s string) (Name, error) {
	n := Fold(s)
	return n, n.check()
}

// ParseExact reads a name where a protocol wants it exact, as in d= and s= of a signature: what
// ParseLax takes, without spaces around it or a dot at its end, and U-labels only if they are
// valid as they stand (RFC 8616 section 3). Nothing is mapped to something else or deleted.
func ParseExact(s string) (Name, error) {
	if len(s) > maxULabels {
		return "", ErrLong
	}
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		// ToASCII refuses upper case. Only that of ASCII is mapped: other mappings would hide characters.
		ascii, err := exact.ToASCII(asciiLower(s))
		if err != nil {
			return "", ErrInternational
		}
		s = ascii
	}
	n := Name(asciiLower(s))
	if err := n.check(); err != nil {
		return "", err
	}
	return n, nil
}

// ParseDNS reads a name as the DNS has it: in any case, with or without its final dot. U-labels are
// octets like any other there, and not part of a name that we ask for.
func ParseDNS(s string) (Name, error) {
	n := Name(asciiLower(strings.TrimSuffix(s, ".")))
	return n, n.check()
}

// Parse reads a name that an administrator configured, as A-labels or U-labels: each label is one
// of RFC 5321 section 4.1.2 (sub-domain) but may have underscores, which names in the DNS do have, and the
// last one is not a number (RFC 1123 section 2.1). The error is the reason alone.
func Parse(s string) (Name, error) {
	n, err := ParseLabels(s)
	if err != nil {
		return "", err
	}
	last := n[strings.LastIndexByte(string(n), '.')+1:]
	if strings.Trim(string(last), "0123456789") == "" {
		return "", ErrNumber
	}
	return n, nil
}

// ParseHost reads the name of a host (RFC 1123 section 2.1): what Parse takes, without underscores.
func ParseHost(s string) (Name, error) {
	n, err := Parse(s)
	if err == nil && strings.Contains(string(n), "_") {
		return "", ErrCharacter
	}
	return n, err
}

// ParseLabels is Parse for a part of a name, such as a selector, that may end in a number.
func ParseLabels(s string) (Name, error) {
	n, err := ParseLax(s)
	if err != nil {
		return "", err
	}
	for label := range strings.SplitSeq(string(n), ".") {
		if label[0] == '-' || label[len(label)-1] == '-' {
			return "", ErrHyphen
		}
	}
	return n, nil
}

// Lookable reports whether the DNS can hold the name: see ParseLax.
func (n Name) Lookable() bool { return n.check() == nil }

// check is what is wrong with a name in the form of Fold.
func (n Name) check() error {
	if n == "" {
		return ErrEmpty
	}
	start := 0 // of the label
	for i := 0; i <= len(n); i++ {
		switch {
		case i < len(n) && n[i] != '.':
			if !isNameByte(n[i]) {
				return ErrCharacter
			}
			continue
		case i == start:
			return ErrEmptyLabel
		case i-start > maxLabel:
			return ErrLongLabel
		}
		start = i + 1
	}
	if len(n) > MaxLength {
		return ErrLong
	}
	return nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// Prefix is what stands in front of the first character that no name has, without dots around it.
func (n Name) Prefix() Name {
	for i := range len(n) {
		if !isNameByte(n[i]) && n[i] != '.' {
			n = n[:i]
			break
		}
	}
	return Name(strings.Trim(string(n), "."))
}

// asciiLower has the capital letters of ASCII in lower case, and returns what has none as it is.
func asciiLower(s string) string {
	isUpper := func(r rune) bool { return 'A' <= r && r <= 'Z' }
	if strings.IndexFunc(s, isUpper) < 0 {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if isUpper(rune(c)) {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
