package signer

import (
	"bytes"
	"encoding/binary"

	"dkimd/internal/message"
)

// maxLine is the longest line SMTP carries, with its CRLF (RFC 5321 section 4.5.3.1.6).
const maxLine = 1000

// watch looks for what makes servers after us change a message, and so break
// its signatures: lines that are too long, and 8-bit content.
type watch struct {
	column     int // octets since the last line end
	long       bool
	eight      bool
	longField  bool
	eightField bool
}

// field looks at a field that is signed.
func (w *watch) field(f message.Field) {
	raw := f.Raw()
	column := 0
	w.longField = w.longField || tooLong(raw, &column) || column > maxLine-2
	w.eightField = w.eightField || hasEightBit(raw)
}

func (w *watch) body(p []byte) {
	w.long = w.long || tooLong(p, &w.column)
	w.eight = w.eight || hasEightBit(p)
}

func (w *watch) longBody() bool { return w.long || w.column > maxLine-2 }

// warnings are for the event of the message.
func (w *watch) warnings() []string {
	var list []string
	add := func(there bool, text string) {
		if there {
			list = append(list, text)
		}
	}
	add(w.longField, "a signed header field has a line over 998 octets: a server that folds it breaks the signatures")
	add(w.eightField, "a signed header field has 8-bit content: a server that encodes it breaks the signatures")
	add(w.longBody(), "the body has a line over 998 octets: a server that breaks the line breaks the signatures")
	add(w.eight, "the body has 8-bit content: a server that converts it to 7 bit breaks the signatures")
	return list
}

// tooLong reports whether a line goes past the limit. It looks for the last line
// end that the limit allows, not for each.
func tooLong(p []byte, column *int) bool {
	for len(p) > 0 {
		n := min(len(p), maxLine-*column)
		if end := bytes.LastIndexByte(p[:n], '\n'); end >= 0 {
			*column = 0
			p = p[end+1:]
			continue
		}
		*column += n
		if *column >= maxLine {
			return true
		}
		p = p[n:]
	}
	return false
}

func hasEightBit(p []byte) bool {
	const highs = 0x8080808080808080
	for len(p) >= 32 {
		q := p[:32:32]
		if (binary.LittleEndian.Uint64(q)|binary.LittleEndian.Uint64(q[8:])|
			binary.LittleEndian.Uint64(q[16:])|binary.LittleEndian.Uint64(q[24:]))&highs != 0 {
			return true
		}
		p = p[32:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
