package dkim

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// base64 reads a tag of base64, with folding white space anywhere in it (RFC
// 6376 section 3.5) and otherwise strict: an alphabet of 64, full padding, no stray bits.
func (p *parser) base64(tag, value string) []byte {
	data, err := base64.StdEncoding.Strict().DecodeString(withoutSpace(value))
	if err != nil || len(data) == 0 {
		p.note(fmt.Errorf("%w: %s= is not base64", ErrSyntax, tag))
		return nil
	}
	return data
}

// DecodeQuotedPrintable decodes dkim-quoted-printable (RFC 6376 section 2.11):
// =XX, and white space that means nothing.
func DecodeQuotedPrintable(s string) (string, error) {
	s = withoutSpace(s)
	if strings.IndexByte(s, '=') < 0 {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			out = append(out, s[i])
			continue
		}
		octet, err := hex.DecodeString(s[i+1 : min(i+3, len(s))])
		if err != nil || len(octet) != 1 {
			return s, fmt.Errorf("%w: bad dkim-quoted-printable", ErrSyntax)
		}
		out = append(out, octet[0])
		i += 2
	}
	return string(out), nil
}

// EncodeQuotedPrintable encodes text as dkim-quoted-printable: all but
// dkim-safe-char (RFC 6376 section 2.11) as =XX.
func EncodeQuotedPrintable(s string) string {
	var out strings.Builder
	for i := range len(s) {
		c := s[i]
		if c > ' ' && c < 0x7f && c != ';' && c != '=' {
			out.WriteByte(c)
			continue
		}
		out.WriteByte('=')
		out.WriteByte(hexDigits[c>>4])
		out.WriteByte(hexDigits[c&15])
	}
	return out.String()
}

const hexDigits = "0123456789ABCDEF"
