package dkim

import (
	"encoding/base64"
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

// decodeQuotedPrintable decodes dkim-quoted-printable (RFC 6376 section 2.11):
// =XX in upper case, and white space that means nothing.
func decodeQuotedPrintable(s string) (string, error) {
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
		if i+2 >= len(s) {
			return s, fmt.Errorf("%w: bad dkim-quoted-printable", ErrSyntax)
		}
		high, low := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if high < 0 || low < 0 {
			return s, fmt.Errorf("%w: bad dkim-quoted-printable", ErrSyntax)
		}
		out = append(out, byte(high<<4|low))
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
