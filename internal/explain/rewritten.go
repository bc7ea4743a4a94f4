package explain

import (
	"slices"
	"strings"
)

// A rewrite undoes something that mailing lists and filters do to one field.
type rewrite struct {
	words string
	undo  func(fields []values) // in place
}

// rewritten tries the header with fields as they were before a mailing list or
// filter rewrote them: one of Subject, From and Content-Transfer-Encoding, or
// several of them.
func (h *headerCase) rewritten() string {
	none := rewrite{undo: func([]values) {}}
	for _, encoding := range append([]rewrite{none}, h.encodings()...) {
		for _, from := range append([]rewrite{none}, h.authors()...) {
			for _, subject := range append([]rewrite{none}, h.subjects()...) {
				fields := slices.Clone(h.fields)
				var words []string
				for _, r := range []rewrite{encoding, from, subject} {
					r.undo(fields)
					if r.words != "" {
						words = append(words, r.words)
					}
				}
				if len(words) > 0 && h.verifies(fields, h.own, h.sig.HeaderCanon) {
					return strings.Join(words, ", ") + " it verifies: a mailing list, server or filter changed that after signing"
				}
			}
		}
	}
	return ""
}

// places are where the fields of a name are.
func (h *headerCase) places(name string) []int {
	var list []int
	for i, f := range h.fields {
		if i != h.own && strings.EqualFold(strings.TrimRight(f.name, " \t"), name) {
			list = append(list, i)
		}
	}
	return list
}

// subjects are without what is put before a subject, or in brackets behind its "Re:".
func (h *headerCase) subjects() []rewrite {
	var list []rewrite
	for _, i := range h.places("Subject") {
		text := strings.TrimLeft(h.fields[i].value, " \t\r\n")
		without := func(tag, where, rest string) {
			list = append(list, rewrite{"without " + quote(tag) + where, func(fields []values) { fields[i].value = " " + rest }})
		}
		if word, rest, ok := strings.Cut(text, " "); ok {
			without(word, " at the beginning of Subject", strings.TrimLeft(rest, " "))
		}
		open := strings.IndexByte(text, '[')
		end := strings.IndexByte(text, ']')
		if open < 0 || end < open {
			continue
		}
		where := " in Subject"
		if open == 0 {
			where = " at the beginning of Subject"
		}
		without(text[open:end+1], where, text[:open]+strings.TrimLeft(text[end+1:], " "))
	}
	return list
}

// authors are the From fields that lists keep elsewhere when they put themselves into From.
func (h *headerCase) authors() []rewrite {
	from := h.places("From")
	if len(from) != 1 {
		return nil
	}
	var list []rewrite
	for _, name := range []string{"X-Original-From", "Reply-To", "X-Original-Sender", "Cc"} {
		for _, i := range h.places(name) {
			put := func(fields []values) { fields[from[0]].value = fields[i].value }
			list = append(list,
				rewrite{"with the value of " + name + " in From", put},
				// The list's own field, which h= may name so that it must not be there.
				rewrite{"with the value of " + name + " in From and without that field", func(fields []values) {
					put(fields)
					fields[i].name = "X-" + fields[i].name
				}})
		}
	}
	return list[:min(len(list), 8)]
}

// encodings are those that servers convert to 7 bit.
func (h *headerCase) encodings() []rewrite {
	var list []rewrite
	for _, i := range h.places("Content-Transfer-Encoding") {
		for _, encoding := range []string{"8bit", "7bit", "binary"} {
			list = append(list, rewrite{"with " + encoding + " in Content-Transfer-Encoding", func(fields []values) { fields[i].value = " " + encoding }})
		}
	}
	return list[:min(len(list), 3)]
}
