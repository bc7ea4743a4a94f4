package dkim

import (
	"bytes"
	"fmt"
	"strings"

	"dkimd/internal/message"
)

// Canonicalization is one of the two algorithms of RFC 6376 section 3.4.
type Canonicalization uint8

// The algorithms. Simple is what an absent c= means.
const (
	Simple Canonicalization = iota
	Relaxed
)

// String is the word that stands in c=.
func (c Canonicalization) String() string {
	if c == Relaxed {
		return "relaxed"
	}
	return "simple"
}

// ParseCanonicalization reads the value of a c= tag, "header/body". A single
// word is the header's, and the body is then simple (RFC 6376 section 3.5).
// Case does not matter: the words are literals of ABNF. The error is ErrSyntax.
func ParseCanonicalization(s string) (header, body Canonicalization, err error) {
	first, second, both := strings.Cut(s, "/")
	header, ok := canonicalizationOf(first)
	if ok && both {
		body, ok = canonicalizationOf(second)
	}
	if !ok {
		return Simple, Simple, fmt.Errorf("%w: unknown canonicalization in c=", ErrSyntax)
	}
	return header, body, nil
}

func canonicalizationOf(word string) (Canonicalization, bool) {
	switch {
	case strings.EqualFold(word, "simple"):
		return Simple, true
	case strings.EqualFold(word, "relaxed"):
		return Relaxed, true
	}
	return Simple, false
}

// AppendField appends the canonical form of a field, its final CRLF included
// (RFC 6376 sections 3.4.1 and 3.4.2).
//
// Relaxed touches white space and the case of the name only; white space is
// SP and HTAB, and every CRLF is a fold. 8-bit bytes, bare CR, vertical tab and
// form feed stay as they are: OpenDKIM takes the last three for white space,
// dkimpy does so at the ends of a value; the RFC does not.
func (c Canonicalization) AppendField(dst []byte, f message.Field) []byte {
	if c == Simple {
		dst = append(dst, f.Raw()...)
		return append(dst, '\r', '\n')
	}
	value := f.Value()
	name := f.Raw()[:len(f.Raw())-len(value)-1]
	dst = appendLower(dst, bytes.TrimRight(name, " \t"))
	dst = append(dst, ':')
	return appendRelaxedValue(dst, value)
}

// appendLower appends a field name in lower case, ASCII letters only.
func appendLower(dst, name []byte) []byte {
	for _, b := range name {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		dst = append(dst, b)
	}
	return dst
}

// appendRelaxedValue appends a value unfolded, with each run of white space
// made one SP and none at either end, and the final CRLF.
func appendRelaxedValue(dst, value []byte) []byte {
	start := len(dst)
	for i := 0; i < len(value); {
		if n := spaceAt(value, i); n > 0 {
			i += n
			wsp := value[i-n] != '\r'
			for n = spaceAt(value, i); n > 0; n = spaceAt(value, i) {
				wsp = wsp || value[i] != '\r'
				i += n
			}
			// A CRLF alone is not white space: unfolding deletes it.
			if wsp && len(dst) > start && i < len(value) {
				dst = append(dst, ' ')
			}
			continue
		}
		end := i + 1
		for end < len(value) && value[end] > ' ' {
			end++
		}
		dst = append(dst, value[i:end]...)
		i = end
	}
	return append(dst, '\r', '\n')
}

// spaceAt is the length of the white space or fold at i: 1, 2, or 0 where there is none.
func spaceAt(b []byte, i int) int {
	switch {
	case i >= len(b):
	case b[i] == ' ' || b[i] == '\t':
		return 1
	case b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n':
		return 2
	}
	return 0
}
