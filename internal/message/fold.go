package message

import "bytes"

const (
	maxLine   = 998 // octets of a line without its CRLF (RFC 5322 section 2.1.1)
	lineWidth = 78  // what the same section asks for
)

// Folded is a field that Fold changed.
type Folded struct {
	Name  string // as written
	Index int    // among the fields of that name from the top, counted from 1
	Value string // all that follows the colon: a space first, CRLF at the folds
}

// Fold folds the fields that have a line over 998 octets: mail servers break such a line when they
// send it, and with it every signature. It folds at white space that is there already, so the
// value means the same (RFC 5322 section 2.2.3). A line without white space stays as it is. Only fields that
// choose reports true for are changed.
func (h *Header) Fold(choose func(Field) bool) []Folded {
	var list []Folded
	for i, f := range h.fields {
		if !hasLongLine(f.raw) || !choose(f) {
			continue
		}
		folded, ok := f.fold()
		if !ok {
			continue
		}
		h.bytes += len(folded.raw) - len(f.raw)
		h.fields[i] = folded
		index := 1
		for _, above := range h.fields[:i] {
			if above.Is(f.Name()) {
				index++
			}
		}
		list = append(list, Folded{Name: f.Name(), Index: index, Value: string(folded.Value())})
	}
	return list
}

func hasLongLine(raw []byte) bool {
	for len(raw) > maxLine {
		end := bytes.LastIndex(raw[:min(maxLine+2, len(raw))], []byte("\r\n"))
		if end < 0 {
			return true
		}
		raw = raw[end+2:]
	}
	return false
}

// fold is the field with its long lines folded. White space at both ends of the value is not kept:
// it can be folded to a line of its own, and mail servers put their own after the colon. ok is
// false where nothing could be folded, and for what a milter cannot hand back: NUL and a bare CR.
func (f Field) fold() (folded Field, ok bool) {
	value := bytes.Trim(f.Value(), " \t\r\n")
	if bytes.IndexByte(value, 0) >= 0 || bytes.Count(value, []byte("\r")) != bytes.Count(value, []byte("\r\n")) {
		return f, false
	}
	raw := make([]byte, 0, len(f.raw)+len(f.raw)/16)
	raw = append(append(raw, f.raw[:f.colon+1]...), ' ')
	first := len(raw) // of the line
	for i, line := range bytes.Split(value, []byte("\r\n")) {
		if i > 0 {
			raw = append(raw, "\r\n"...)
			first = 0
		}
		if first+len(line) <= maxLine {
			raw = append(raw, line...)
			continue
		}
		var folds bool
		raw, folds = appendFolded(raw, line, first)
		ok = ok || folds
	}
	return Field{raw: raw, colon: f.colon}, ok
}

// appendFolded appends a line in pieces of 78 octets at most, or as short as its white space allows;
// column octets of the line are there already.
func appendFolded(dst, line []byte, column int) (folded []byte, ok bool) {
	for len(line)+column > lineWidth {
		at := foldBefore(line, lineWidth-column)
		if at < 0 {
			break
		}
		dst = append(append(dst, line[:at]...), "\r\n"...)
		line, column, ok = line[at:], 0, true
	}
	return append(dst, line...), ok
}

// foldBefore is where a line may be folded: before white space that stands between other characters, and does not
// belong to a backslash (quoted-pair, RFC 5322 section 3.2.1). It is the last such place within the
// width, otherwise the first one after it, or -1.
func foldBefore(line []byte, width int) int {
	begin := len(line) - len(bytes.TrimLeft(line, " \t"))
	end := len(bytes.TrimRight(line, " \t"))
	can := func(at int) bool {
		return (line[at] == ' ' || line[at] == '\t') && line[at-1] != ' ' && line[at-1] != '\t' && line[at-1] != '\\'
	}
	for at := min(width, end-1); at > begin; at-- {
		if can(at) {
			return at
		}
	}
	for at := max(width, begin) + 1; at < end; at++ {
		if can(at) {
			return at
		}
	}
	return -1
}
