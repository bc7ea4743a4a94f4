package client

import (
	"bytes"
	"slices"
	"strings"
)

// Apply edits a message as an MTA would. Fields are counted in the message as
// the filter saw it. After a removal Postfix renumbers the fields of that name, Sendmail
// keeps the slot.
func Apply(mta MTA, raw []byte, edits []Edit) []byte {
	fields, body := split(raw)
	header := make([]slot, 0, len(fields)+len(edits))
	for _, f := range fields {
		header = append(header, slot{field: f})
	}
	for _, e := range edits {
		header = apply(mta, header, e)
	}
	var out bytes.Buffer
	for _, s := range header {
		if s.removed {
			continue
		}
		out.WriteString(s.name + ":" + crlf(s.value) + "\r\n")
	}
	out.WriteString("\r\n")
	out.Write(body)
	return out.Bytes()
}

// slot is a field or the place where one was.
type slot struct {
	field
	removed bool
}

func apply(mta MTA, header []slot, e Edit) []slot {
	added := slot{field: field{e.Name, e.Value}}
	switch e.Kind {
	case Add:
		return append(header, added)
	case Insert:
		return slices.Insert(header, min(e.Index, len(header)), added)
	case AddRcpt, RemoveRcpt, ChangeSender, ReplaceBody:
		return header
	case Change, Remove:
	}
	at, ok := find(mta, header, e)
	switch {
	case ok && e.Kind == Remove:
		header[at].removed = true
	case ok:
		header[at].field = added.field
	case e.Kind == Change:
		header = append(header, added)
	}
	return header
}

// find looks for the field an edit means.
func find(mta MTA, header []slot, e Edit) (int, bool) {
	n := 0
	for i, s := range header {
		if !strings.EqualFold(strings.TrimRight(s.name, " \t"), e.Name) || s.removed && mta == Postfix {
			continue
		}
		if n++; n == max(e.Index, 1) {
			return i, !s.removed
		}
	}
	return 0, false
}

// crlf makes every line end CRLF.
func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}
