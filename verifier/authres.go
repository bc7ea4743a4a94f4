package verifier

import (
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/authres"
)

// Bounds of an Authentication-Results field.
const (
	lineLength   = 78 // RFC 5322 section 2.1.1; nothing unbreakable comes near its 998
	authresBytes = 32 << 10
	maxValue     = 255
	nameLength   = len("Authentication-Results: ")
)

// AuthenticationResults is the value of our Authentication-Results field (RFC
// 8601 section 2.2): the authserv-id and one dkim= for each signature, folded
// with CRLF and a tab, without white space in front. What comes from the message is
// made harmless first, for readers that parse carelessly too. Past 32 KiB
// results that did not pass are left out.
func AuthenticationResults(authservID string, r *Report) string {
	id := token(authservID)
	if len(r.Results) == 0 {
		// Not by authres: it would end the field in a space.
		return id + ";" + fold("dkim=none", nameLength+len(id)+1)
	}
	entries := make([]string, len(r.Results))
	room := authresBytes - len(id)
	for _, passes := range []bool{true, false} {
		for i, result := range r.Results {
			if (result.Status == Pass) != passes {
				continue
			}
			entry := entryOf(result)
			if room -= len(entry) + 16; room < 0 {
				break
			}
			entries[i] = entry
		}
	}
	var b strings.Builder
	b.WriteString(id)
	for _, entry := range entries {
		if entry != "" {
			b.WriteString(";")
			b.WriteString(fold(entry, lineLength))
		}
	}
	return b.String()
}

// entryOf writes one result, unfolded.
func entryOf(r Result) string {
	params := map[string]string{
		"reason":   words(r.Reason()),
		"header.d": token(r.Domain),
		"header.i": token(r.Identity),
		"header.s": token(r.Selector),
		"header.a": token(r.Algorithm),
		"header.b": token(r.B),
	}
	// RFC 8601 section 2.2: a slash must be quoted, which authres does not do. It does
	// quote header.i where a reader might split it, which goes beyond that section.
	quoted := ""
	if b := params["header.b"]; strings.Contains(b, "/") {
		quoted = ` header.b="` + b + `"`
		delete(params, "header.b")
	}
	const id = "-"
	text := authres.Format(id, []authres.Result{&authres.GenericResult{
		Method: "dkim", Value: authres.ResultValue(r.Status.String()), Params: params,
	}})
	return strings.TrimRight(strings.TrimPrefix(text, id+"; "), " ") + quoted
}

// token makes attacker text fit for a property value: what could end the value,
// a comment or the field becomes "?", also for parsers that do not know quotes,
// and so does "=" where a program that only searches would find a result or property.
func token(s string) string {
	if len(s) <= maxValue && isPlain(s) {
		return s
	}
	out := []byte(s[:min(len(s), maxValue)])
	for i, c := range out {
		if c <= ' ' || c > '~' || strings.IndexByte(`"\();,[]<>:`, c) >= 0 || c == '=' && looksLikeResult(out[:i]) {
			out[i] = '?'
		}
	}
	return string(out)
}

// isPlain reports whether token has nothing to look at more closely, as mostly.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.IndexByte(`"\();,[]<>:=`, c) >= 0 {
			return false
		}
	}
	return true
}

// looksLikeResult reports whether what stands left of "=" ends in a method, or in
// a ptype and a property.
func looksLikeResult(left []byte) bool {
	text := strings.ToLower(string(left[max(0, len(left)-64):]))
	ends := func(word string) bool { return strings.HasSuffix(text, word) }
	if slices.ContainsFunc(methods, ends) || ends("reason") {
		return true
	}
	text = strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyz-")
	return slices.ContainsFunc([]string{"header.", "smtp.", "policy.", "body."}, ends)
}

// words does the same for a reason, which may hold spaces. "=" stays only where a
// DKIM tag is named: a parser that splits at spaces must not find "header.d=" in it.
func words(s string) string {
	out := []byte(s)
	start := 0 // of the current word
	for i, c := range out {
		switch {
		case c == ' ':
			start = i + 1
		case c < ' ' || c > '~' || strings.IndexByte(`"\;`, c) >= 0, c == '=' && i-start > 2:
			out[i] = '?'
		case c == '(' || c == ')':
			start = i + 1
		}
	}
	return string(out)
}

// fold breaks text into lines, each begun with CRLF and a tab if the text does
// not fit behind what the line already holds. It breaks at spaces outside quoted
// strings, within them where nothing else helps, and a word of more
// than a line's length stays whole (RFC 5322 section 2.2.3).
func fold(text string, used int) string {
	var b strings.Builder
	b.Grow(len(text) + 16)
	column := used
	for _, piece := range pieces(text) {
		if column+1+len(piece) <= lineLength {
			b.WriteByte(' ')
			column += 1 + len(piece)
		} else {
			b.WriteString("\r\n\t")
			column = 1 + len(piece)
		}
		b.WriteString(piece)
	}
	return b.String()
}

// pieces splits text at the spaces where a line may end.
func pieces(text string) []string {
	found := make([]string, 0, strings.Count(text, " ")+1)
	start, quoted := 0, false
	flush := func(end int) {
		piece := text[start:end]
		if len(piece) >= lineLength {
			found = append(found, strings.Split(piece, " ")...)
		} else {
			found = append(found, piece)
		}
		start = end + 1
	}
	for i := range len(text) {
		switch text[i] {
		case '"':
			quoted = !quoted
		case ' ':
			if !quoted {
				flush(i)
			}
		}
	}
	flush(len(text))
	return found
}
