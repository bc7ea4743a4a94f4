package dkim

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"dkimd/internal/message"
)

// maxName is the length of a domain name in presentation form (RFC 1035 section 2.3.4).
const maxName = 253

// maxULabels is the longest name that is looked at: no name of maxName octets is
// longer in U-labels, and making A-labels costs the square of the length.
const maxULabels = 512

// ParseName checks a domain or selector and returns it in message.Domain()
// form: labels of letters, digits, hyphens and underscores, 1 to 63 octets
// each, no dot at the end (RFC 6376 section 3.5 has none), at most 253 octets.
// U-labels become A-labels (RFC 8616 section 3) if they are valid as they
// stand; nothing is mapped away or deleted. A single label is a name:
// whether it is a public suffix is for the verifier to say. The error is ErrSyntax.
func ParseName(s string) (string, error) {
	if len(s) > maxULabels {
		return "", fmt.Errorf("%w: name is over %d octets", ErrSyntax, maxULabels)
	}
	for i := range len(s) {
		if s[i] < 0x80 {
			continue
		}
		// Not MapForLookup, which would delete a soft hyphen, say.
		strict := idna.New(idna.ValidateForRegistration(), idna.StrictDomainName(false), idna.CheckHyphens(false))
		ascii, err := strict.ToASCII(string(appendLower(nil, []byte(s))))
		if err != nil {
			return "", fmt.Errorf("%w: invalid internationalized name", ErrSyntax)
		}
		s = ascii
		break
	}
	if s == "" || len(s) > maxName {
		return "", fmt.Errorf("%w: name is empty or over %d octets", ErrSyntax, maxName)
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("%w: label is empty or over 63 octets", ErrSyntax)
		}
		for i := range len(label) {
			if !isNameByte(label[i]) {
				return "", fmt.Errorf("%w: name holds a character that is not allowed", ErrSyntax)
			}
		}
	}
	return message.Domain(s), nil
}

func isNameByte(c byte) bool {
	letter := c | 0x20
	return 'a' <= letter && letter <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// IsFieldName reports whether a name can stand in h=: hdr-name of RFC 6376 section 2.10 (field-name of RFC 5322
// section 3.6.8), visible ASCII but for the colon; a semicolon would end the tag.
func IsFieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' || s[i] == ';' {
			return false
		}
	}
	return s != ""
}
