package message

import (
	"bytes"
	"strings"
)

// Limits of a header. Past them fields are no longer kept, but for those that
// say who the author is, within limits of their own: a sender's rules must still find him.
const (
	MaxHeaderBytes = 1 << 20
	MaxFields      = 2000

	usualFields = 32   // room for so many at once
	usualHeader = 4096 // and for so many bytes
	fieldSize   = 32   // bytes of a Field, without what it points to

	maxLate = 64 // fields of one name
	// Less than MaxHeaderBytes: a front door may have cut a field of that size.
	maxLateBytes = MaxHeaderBytes / 2

	// What Postfix leaves of a longer field where a milter listens, counting a line end as one octet: it cuts at a
	// line end past the first, otherwise at the second.
	leastCut = 54000
	mostCut  = 60000
)

// Field is one header field as it came: name, colon, value, without the final CRLF.
type Field struct {
	raw   []byte
	colon int
}

// Raw is the field as received, with CRLF at its folds and none at its end.
func (f Field) Raw() []byte { return f.raw }

// Name is the field name as written, without white space before the colon.
func (f Field) Name() string { return string(bytes.TrimRight(f.raw[:f.colon], " \t")) }

// Value is all that follows the colon: leading space, folds and all.
func (f Field) Value() []byte { return f.raw[f.colon+1:] }

// Is reports whether the field has this name, in any case.
func (f Field) Is(name string) bool {
	own := bytes.TrimRight(f.raw[:f.colon], " \t")
	return len(own) == len(name) && strings.EqualFold(string(own), name)
}

// mayBeCut reports whether the field has a size at which Postfix cuts it off: what came behind is lost.
func (f Field) mayBeCut() bool {
	size := len(f.raw)
	if size < leastCut {
		return false
	}
	size -= bytes.Count(f.raw, []byte("\r\n"))
	return leastCut <= size && size <= mostCut
}

// MaxFieldName is the longest field name that a configuration may hold: a name cannot be folded.
const MaxFieldName = 100

// IsFieldName reports whether a name is one of RFC 5322 section 3.6.8, visible ASCII but for the colon,
// that can also stand in a list of tags (RFC 6376 section 2.10, hdr-name): a semicolon would end the tag.
func IsFieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ':' || s[i] == ';' {
			return false
		}
	}
	return s != ""
}

// NewField builds a field from a name and a value that still has whatever
// white space stood after the colon. Line ends of any kind become CRLF.
func NewField(name, value string) Field {
	raw := make([]byte, 0, len(name)+1+len(value)+strings.Count(value, "\n"))
	return appendField(raw, name, value)
}

func appendField(dst []byte, name, value string) Field {
	start := len(dst)
	dst = append(dst, name...)
	colon := len(dst) - start
	dst = append(dst, ':')
	for {
		lf := strings.IndexByte(value, '\n')
		if lf < 0 {
			break
		}
		dst = append(dst, strings.TrimSuffix(value[:lf], "\r")...)
		dst = append(dst, "\r\n"...)
		value = value[lf+1:]
	}
	dst = append(dst, value...)
	return Field{raw: dst[start:len(dst):len(dst)], colon: colon}
}

// Header is all fields of a message in the order in which they arrived.
// The zero value is an empty header.
type Header struct {
	// Held is where the header takes its memory; nil: without a bound.
	Held *Held

	fields []Field
	bytes  int
	limit  string
	arena  []byte

	// Past the limit: From and Sender fields, and whether there was a List-Id.
	lateFrom, lateSender late
	lateList             bool
}

// Add appends a field. The value keeps its leading white space.
func (h *Header) Add(name, value string) {
	size := len(name) + len(value) + 3
	if h.limit == "" {
		switch {
		case len(h.fields) >= MaxFields:
			h.limit = "header fields"
		case h.bytes+size > MaxHeaderBytes:
			h.limit = "header bytes"
		}
	}
	if h.limit != "" {
		h.addLate(name, value)
		return
	}
	need := size + strings.Count(value, "\n")
	if cap(h.arena)-len(h.arena) < need {
		chunk := max(need, usualHeader)
		if !h.Held.Take(chunk) {
			h.limit = "memory for all messages"
			return
		}
		h.arena = make([]byte, 0, chunk)
	}
	f := appendField(h.arena[len(h.arena):], name, value)
	h.arena = h.arena[:len(h.arena)+len(f.raw)]
	if h.keep(f) {
		h.bytes += size
	}
}

func (h *Header) keep(f Field) bool {
	if room := cap(h.fields); len(h.fields) == room {
		more := max(room, usualFields)
		if !h.Held.Take(more * fieldSize) {
			h.limit = "memory for all messages"
			return false
		}
		h.fields = append(make([]Field, 0, room+more), h.fields...)
	}
	h.fields = append(h.fields, f)
	return true
}

// addLate keeps what a sender's rules need although the header is too long.
// From and Sender are kept whole, or the author could stand behind the cut.
func (h *Header) addLate(name, value string) {
	switch strings.ToLower(strings.TrimRight(name, " \t")) {
	case "from":
		if !h.lateFrom.room(value) {
			return
		}
	case "sender":
		if !h.lateSender.room(value) {
			return
		}
	case "list-id": // that there is one is all that counts
		if h.lateList {
			return
		}
		h.lateList = true
		value = ""
	default:
		return
	}
	if h.Held.Take(len(name) + len(value) + 1) {
		h.keep(NewField(name, value))
	}
}

// late counts the fields of one name past the limit.
type late struct {
	fields, bytes int
	lost          bool // one more was not kept
}

func (l *late) room(value string) bool {
	l.fields++
	l.bytes += len(value)
	l.lost = l.lost || l.fields > maxLate || l.bytes > maxLateBytes
	return !l.lost
}

// Exceeded names the limit the header went past, or is empty.
func (h *Header) Exceeded() string { return h.limit }

// Fields are the fields from top to bottom. The caller must not change them.
func (h *Header) Fields() []Field { return h.fields }

// All returns the fields of one name, top to bottom.
func (h *Header) All(name string) []Field {
	var found []Field
	for _, f := range h.fields {
		if f.Is(name) {
			found = append(found, f)
		}
	}
	return found
}

// Bytes is the size of the header as received, up to the limit.
func (h *Header) Bytes() int { return h.bytes }

// Reset empties the header. Fields handed out before stay valid.
func (h *Header) Reset() { *h = Header{Held: h.Held, fields: h.fields[:0:0]} }
