package verifier

import (
	"cmp"
	"slices"
	"strings"

	"dkimd/internal/dmarc"
	"dkimd/internal/spf"
)

// Bounds of an Authentication-Results field.
const (
	lineLength   = 78 // RFC 5322 section 2.1.1; nothing unbreakable comes near its 998
	authresBytes = 32 << 10
	maxValue     = 255
	nameLength   = len("Authentication-Results: ")

	// OpenDMARC 1.4 splits a field into a buffer of 1026 octets, and reads nothing of one that does
	// not fit. Most fields of five results do; results as long as names allow stand alone.
	resultsPerField = 5
	splitBytes      = 1024
)

// AuthenticationResults are the values of our Authentication-Results fields (RFC 8601 section 2.2),
// the first to stand on top: the authserv-id, spf= and dmarc= where these were asked for, and one dkim= for each signature, the best
// first, folded with CRLF and a tab, without white space in front. What comes from the message is
// made harmless, for readers that parse carelessly too. Past 32 KiB the results that are worth
// least are left out.
func AuthenticationResults(authservID string, r *Report) []string {
	id := harmless(authservID)
	if !isToken(id) {
		id = `"` + id + `"`
	}
	var room [8]string // enough for most mail
	entries := entriesOf(room[:0], r)
	var b strings.Builder // a field
	if len(entries) == 1 && len(r.Results) == 0 {
		b.WriteString(id + ";")
		fold(&b, entries[0], nameLength+b.Len())
		return []string{b.String()}
	}
	var fields []string
	total, count, split := 0, 0, 0 // octets in all; results in the last field, and its octets when split
	for _, entry := range entries {
		if total += len(entry) + 16; total > authresBytes-len(id) {
			break
		}
		size := splitSize(entry)
		if count == resultsPerField || count > 0 && split+size > splitBytes {
			fields = append(fields, b.String())
			b.Reset()
			count = 0
		}
		if count == 0 {
			b.Grow(512)
			b.WriteString(id)
			split = splitSize(id)
		}
		b.WriteString(";")
		fold(&b, entry, lineLength)
		count++
		split += size + len(";") + 2
	}
	return append(fields, b.String())
}

// bestFirst are the indices of results: those that pass before all others, and among them those
// that are aligned with From; else in the order of the message.
func bestFirst(results []Result) []int {
	order := make([]int, len(results))
	for i := range order {
		order[i] = i
	}
	worth := func(i int) Alignment {
		if results[i].Status != Pass {
			return 0
		}
		return 1 + results[i].Aligned
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(worth(b), worth(a)) })
	return order
}

// splitSize bounds the octets of text as OpenDMARC splits it: each word and each separator with a NUL.
func splitSize(text string) int {
	separators := strings.Count(text, ".") + strings.Count(text, "=") + strings.Count(text, ";")
	return len(text) + 1 + 2*separators
}

// entriesOf appends the results, unfolded: first those of the whole message.
func entriesOf(entries []string, r *Report) []string {
	if r.SPF.Result != spf.Unasked {
		identity := "smtp.mailfrom" // RFC 8601 section 2.7.2
		if r.SPF.HELO {
			identity = "smtp.helo"
		}
		var b strings.Builder
		b.Grow(64)
		b.WriteString("spf=" + r.SPF.Result.String())
		property(&b, identity, string(r.SPF.Domain))
		entries = append(entries, b.String())
	}
	if r.DMARC.Result != dmarc.Unknown {
		var b strings.Builder
		b.Grow(64)
		b.WriteString("dmarc=" + r.DMARC.Result.String())
		property(&b, "header.from", string(r.DMARC.Author)) // RFC 9989 section 9.2
		if r.DMARC.Result == dmarc.Fail {
			property(&b, "policy.dmarc", r.DMARC.Policy.String())
		}
		entries = append(entries, b.String())
	}
	if len(r.Results) == 0 {
		entries = append(entries, "dkim=none")
	}
	for _, i := range bestFirst(r.Results) {
		entries = append(entries, entryOf(r.Results[i]))
	}
	return entries
}

// property writes one, with a space in front, or nothing where it has no value.
func property(b *strings.Builder, name, value string) {
	value = harmless(value)
	if value == "" {
		return
	}
	quote := `"`
	if isToken(value) || isAddress(value) {
		quote = ""
	}
	for _, s := range [...]string{" ", name, "=", quote, value, quote} {
		b.WriteString(s)
	}
}

// entryOf writes the result of a signature, unfolded.
func entryOf(r Result) string {
	var b strings.Builder
	b.Grow(256)
	b.WriteString("dkim=" + r.Status.String())
	if reason := r.Reason(); reason != "" {
		b.WriteString(` reason="` + words(reason) + `"`)
	}
	identity := r.Identity
	if r.Domain == "" {
		identity = "" // it would be that of no domain
	}
	for _, p := range [...][2]string{
		{"header.a", r.Algorithm}, {"header.b", r.B}, {"header.d", r.Domain}, {"header.i", identity}, {"header.s", r.Selector},
	} {
		property(&b, p[0], p[1])
	}
	return b.String()
}

// isToken follows RFC 2045 section 5.1.
func isToken(s string) bool { return s != "" && !strings.ContainsFunc(s, isNoToken) }

func isNoToken(c rune) bool {
	return c <= ' ' || c > '~' || strings.ContainsRune(`()<>@,;:\"/[]?=`, c)
}

// isAddress reports whether s is [local-part] "@" domain-name, which RFC 8601 section 2.2 lets stand
// without quotes. A local part with "=" is not taken for one: some readers would split it.
func isAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	noAtom := func(c rune) bool { return isNoToken(c) && c != '/' && c != '?' }
	if !ok || strings.ContainsFunc(local, noAtom) || local != "" && strings.Contains("."+local+".", "..") {
		return false
	}
	noDomain := func(c rune) bool { return c == '_' || !inWord(c) } // RFC 6376 section 3.5
	return strings.Contains(domain, ".") && !strings.ContainsFunc(domain, noDomain) &&
		!strings.Contains("."+domain+".", "..") && !strings.Contains("."+domain+".", ".-") && !strings.Contains(domain+".", "-.")
}

// harmless makes text of strangers fit for a value: what could end the value,
// a comment or the field becomes "?", also for parsers that do not know quotes,
// and so does "=" where a program that only searches would find a result or property.
func harmless(s string) string {
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

// isPlain reports whether harmless has nothing to look at more closely, as mostly.
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

// fold writes text in lines, each begun with CRLF and a tab if the text does
// not fit behind what the line already holds. It breaks at spaces outside quoted
// strings, within them where nothing else helps, and a word of more
// than a line's length stays whole (RFC 5322 section 2.2.3).
func fold(b *strings.Builder, text string, used int) {
	column := used
	write := func(piece string) {
		if column+1+len(piece) <= lineLength {
			b.WriteByte(' ')
			column += 1 + len(piece)
		} else {
			b.WriteString("\r\n\t")
			column = 1 + len(piece)
		}
		b.WriteString(piece)
	}
	for text != "" {
		piece := text[:unquotedSpace(text)]
		text = strings.TrimPrefix(text[len(piece):], " ")
		if len(piece) < lineLength {
			write(piece)
			continue
		}
		for part := range strings.SplitSeq(piece, " ") {
			write(part)
		}
	}
}

// unquotedSpace is where the first space outside quotes is, or the end.
func unquotedSpace(text string) int {
	quoted := false
	for i := range len(text) {
		switch text[i] {
		case '"':
			quoted = !quoted
		case ' ':
			if !quoted {
				return i
			}
		}
	}
	return len(text)
}
