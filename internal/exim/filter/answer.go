package filter

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// answer is what goes on top of a message, and what replaces fields of it; LF at line ends.
type answer struct{ fields, folded []byte }

// readAnswer takes only an answer that is whole.
func readAnswer(text []byte) (answer, error) {
	line, rest, ok := bytes.Cut(text, []byte("\n"))
	sizes, isOK := strings.CutPrefix(string(line), ReplyOK)
	switch {
	case string(text) == ReplyDefer:
		return answer{}, errors.New("it cannot sign this message now; its log says why")
	case !ok || !isOK:
		return answer{}, errors.New("an answer " + strconv.Quote(string(line[:min(len(line), 60)])))
	}
	signed, folded, _ := strings.Cut(sizes, " ")
	n, err := strconv.ParseUint(signed, 10, 31)
	m := uint64(0)
	if err == nil && folded != "" {
		m, err = strconv.ParseUint(folded, 10, 31)
	}
	switch {
	case err != nil || n+m > maxFields:
		return answer{}, errors.New("an answer of " + strconv.Quote(sizes[:min(len(sizes), 60)]) + " bytes")
	case uint64(len(rest)) < n+m:
		return answer{}, errors.New("half an answer")
	case uint64(len(rest)) > n+m:
		return answer{}, errors.New("a longer answer than it says")
	}
	a := answer{rest[:n], rest[n:]}
	if m > 0 && (rest[len(rest)-1] != '\n' || bytes.ContainsAny(a.folded, "\r\x00")) {
		return answer{}, errors.New("a folded field that is not a header field")
	}
	return a, checkFields(a.fields)
}

// checkFields lets nothing through that is not a block of signatures: it
// would end the header, or double the CR that Exim puts at each line end.
func checkFields(fields []byte) error {
	if len(fields) == 0 {
		return nil
	}
	if fields[0] == ' ' || fields[0] == '\t' || fields[len(fields)-1] != '\n' || bytes.ContainsAny(fields, "\r\x00") {
		return errors.New("an answer that is not a header field")
	}
	for line := range bytes.Lines(fields) {
		continues := line[0] == ' ' || line[0] == '\t'
		switch {
		case len(bytes.TrimSpace(line)) == 0:
			return errors.New("a blank line in the answer") // some take it for the end of the header
		case !continues && !bytes.HasPrefix(line, []byte("DKIM-Signature:")):
			return errors.New("a line in the answer that is not a signature: " + strconv.Quote(string(line[:min(len(line), 60)])))
		}
	}
	return nil
}

// apply puts the fields on top of a message, and the folded ones in the places of those they were: the
// same but for white space, in their order. Where that is not so the answer is about another message.
func (a answer) apply(msg []byte) (pieces [][]byte, err error) {
	pieces = append(pieces, a.fields)
	kept := 0 // from where the message is still to be written
	for rest, at := a.folded, 0; len(rest) > 0; {
		size := fieldSize(rest)
		field := rest[:size]
		rest = rest[size:]
		for {
			old := msg[at : at+fieldSize(msg[at:])]
			if len(bytes.TrimRight(old, "\r\n")) == 0 {
				return nil, errors.New("a folded field that is not in the message")
			}
			at += len(old)
			if hasLongLine(old) && sameText(old, field) {
				// What stands before the colon stays as it is written.
				colon := bytes.IndexByte(field, ':') + 1
				start := at - len(old) + bytes.IndexByte(old, ':') + 1
				pieces = append(pieces, msg[kept:start], field[colon:])
				kept = at
				break
			}
		}
	}
	return append(pieces, msg[kept:]), nil
}

// fieldSize is how long the first field is, with its continuation lines.
func fieldSize(header []byte) (size int) {
	for line := range bytes.Lines(header) {
		if size > 0 && line[0] != ' ' && line[0] != '\t' {
			break
		}
		size += len(line)
	}
	return size
}

func hasLongLine(field []byte) bool {
	for line := range bytes.Lines(field) {
		if len(bytes.TrimRight(line, "\r\n")) > 998 {
			return true
		}
	}
	return false
}

// sameText reports whether two fields differ in white space only.
func sameText(a, b []byte) bool {
	for {
		a, b = bytes.TrimLeft(a, " \t\r\n"), bytes.TrimLeft(b, " \t\r\n")
		if len(a) == 0 || len(b) == 0 || a[0] != b[0] {
			return len(a)+len(b) == 0
		}
		a, b = a[1:], b[1:]
	}
}
