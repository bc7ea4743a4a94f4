package explain

import (
	"slices"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

// copied compares the header with what z= says of it, and reports whether z=
// told anything. The copies are the signer's word, and for diagnosis only (RFC 6376 section 3.5).
func (e *Explanation) copied(h *headerCase) bool {
	if h.sig.Copied == "" {
		return false
	}
	restored := slices.Clone(h.fields)
	taken := make([]bool, len(h.fields))
	told := false
	for _, copied := range copies(h.sig.Copied) {
		at := -1
		for i, f := range slices.Backward(h.fields) {
			if !taken[i] && i != h.own && strings.EqualFold(strings.TrimRight(f.name, " \t"), copied.name) {
				at = i
				break
			}
		}
		if at < 0 {
			told = true
			e.say(visible(copied.name) + " was removed: z= says it was " + quote(copied.value))
			continue
		}
		taken[at] = true
		if same(h.fields[at], copied) {
			continue
		}
		told = true
		e.say(visible(copied.name) + " was changed: z= says it was " + quote(strings.TrimSpace(copied.value)) + ", and it is " + quote(strings.TrimSpace(h.fields[at].value)))
		restored[at].value = copied.value
	}
	if told && h.verifies(restored, h.own, h.sig.HeaderCanon) {
		e.say("with these fields as z= has them the signature verifies: nothing else was changed")
	}
	return told
}

// same compares two fields under relaxed canonicalization.
func same(a, b values) bool {
	form := func(v values) string {
		return string(dkim.Relaxed.AppendField(nil, message.NewField(v.name, v.value)))
	}
	return form(a) == form(b)
}

// copies reads z= (RFC 6376 section 3.5): fields with bars between, in
// dkim-quoted-printable, in which white space means nothing.
func copies(z string) []values {
	var list []values
	for part := range strings.SplitSeq(z, "|") {
		name, value, ok := strings.Cut(part, ":")
		if !ok || len(list) == maxTries {
			continue
		}
		decoded, err := dkim.DecodeQuotedPrintable(value)
		if err != nil {
			continue
		}
		list = append(list, values{strings.Join(strings.Fields(name), ""), decoded})
	}
	return list
}
