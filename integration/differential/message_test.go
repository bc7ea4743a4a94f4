//go:build integration

package differential_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
)

// A source makes messages that no mail program would write, though all of them are messages.
type source struct{ *rand.Rand }

func newSource(stream string) source {
	var n uint64
	for _, c := range []byte(stream) {
		n = n*131 + uint64(c)
	}
	return source{rand.New(rand.NewPCG(seed(), n))}
}

func (r source) one(in float64) bool { return r.Float64() < in }

func (r source) of(items ...string) string { return items[r.IntN(len(items))] }

// between is a number from low up to high.
func (r source) between(low, high int) int { return low + r.IntN(high-low+1) }

// text joins pieces.
func (r source) text(pieces int, of ...string) string {
	var b strings.Builder
	for range pieces {
		b.WriteString(r.of(of...))
	}
	return b.String()
}

// value is an unstructured field value: it may begin, fold and end in any way,
// but no line of it is only white space (RFC 5322 section 3.2.2), unless odd.
func (r source) value(odd bool) string {
	var b strings.Builder
	b.WriteString(r.of(" ", " ", " ", "", "\t", "  ", " \t ", "\r\n ", "\r\n\t"))
	for range r.IntN(12) {
		word := r.text(r.between(1, 4), "a", "Word", "b=", "x:y", "9", ";", "=20", "(c)", `"q"`, "z", "\xc3\xa4", "\\")
		b.WriteString(word + r.of(" ", " ", "  ", "\t", " \t", "", "\r\n ", "\r\n\t", " \r\n  ", "\t\r\n\t"))
	}
	v := b.String()
	if odd {
		v = strings.Replace(v, "a", r.of("\r", "x \ry", "\xff", "\xe4\xf6", "\x01", "\x0b", "\x0c ", "\x7f", "\u00a0", "\u0085", "\xa0"), 1)
	}
	// A fold needs something behind it.
	for strings.Contains(v, "\r\n") && strings.TrimLeft(v[strings.LastIndex(v, "\r\n"):], "\r\n\t ") == "" {
		v = v[:strings.LastIndex(v, "\r\n")]
	}
	return v
}

// bodyPieces are what canonicalization looks at.
var bodyPieces = []string{
	"line of text\r\n", "two  spaces\r\n", "tab\tand \t more\r\n", "trailing \r\n", "trailing\t\r\n", "\r\n", "\r\n", " \r\n", "\t \r\n",
	"\r\n\r\n\r\n", " leading", "\tleading\r\n", "no end", "8-bit \xe4\xf6\xfc\r\n", "\xc3\xa4\xe2\x82\xac\r\n", ".dot\r\n", "From me\r\n", "--\r\n", "=20\r\n", "\x0b\x0c\r\n",
}

// body makes a body; strange adds what mail may not hold: bare CR and LF, NUL, lines past 998 octets.
func (r source) body(strange bool) []byte {
	var b strings.Builder
	switch r.IntN(20) {
	case 0:
		return nil
	case 1:
		return bytes.Repeat([]byte("\r\n"), r.between(1, 20))
	case 2:
		return []byte(r.text(r.between(1, 9), " \r\n", "\t\r\n", "\r\n", "  "))
	case 3:
		b.WriteString(strings.Repeat(r.of("x", "long ", "a\tb "), r.between(100, 3000)) + "\r\n")
	}
	pieces := bodyPieces
	if strange {
		pieces = append([]string{"\r", "\n", "\r\r\n", "\n\r", "\x00", "a\rb", "a\nb", " \r \r\n", " \n"}, bodyPieces...)
	}
	b.WriteString(r.text(r.between(1, 30), pieces...))
	text := b.String()
	switch r.IntN(4) {
	case 0:
		text = strings.TrimRight(text, "\r\n") // no final line end
	case 1:
		text += r.of(" ", "\t", " \t ", "\r\n ", "\r\n\r\n\t")
	default:
		text += r.of("\r\n", "\r\n", "\r\n\r\n", " \r\n", "\r\n\r\n\r\n\r\n")
	}
	return []byte(text)
}

// A draft is a message before it is signed.
type draft struct {
	fields []string // without their last CRLF
	body   []byte
}

func (d draft) raw() []byte {
	var b bytes.Buffer
	for _, f := range d.fields {
		b.WriteString(f + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(d.body)
	return b.Bytes()
}

// names are the distinct field names of a draft, as written.
func (d draft) names() []string {
	var list []string
	seen := map[string]bool{}
	for _, f := range d.fields {
		name, _, _ := strings.Cut(f, ":")
		name = strings.TrimRight(name, " \t")
		if !seen[strings.ToLower(name)] {
			seen[strings.ToLower(name)] = true
			list = append(list, name)
		}
	}
	return list
}

// draft makes a message from somebody in a domain. odd allows control characters and 8-bit
// garbage in the header, strange what body says.
func (r source) draft(domain string, odd, strange bool) draft {
	var d draft
	add := func(name, value string) { d.fields = append(d.fields, name+":"+value) }
	from := r.of(" joe@%s", " Joe <joe@%s>", "\r\n\tJoe Doe\r\n <joe@%s>", " \"Joe; b=x\" <joe@%s>", " joe@%s (Joe)", "joe@%s", "  =?utf-8?q?J=C3=B6?= <joe@%s> ")
	order := []func(){
		func() { add(r.of("From", "from", "FROM", "From"), fmt.Sprintf(from, domain)) },
		func() {
			add("To", r.of(" ann@example.net", " Ann <ann@example.net>,\r\n\tbob@example.net", "ann@example.net "))
		},
		func() { add(r.of("Subject", "subject", "SUBJECT"), r.value(odd)) },
		func() { add("Date", " Mon, 01 Jun 2026 12:00:00 +0000"+r.of("", " ", " (UTC)")) },
		func() { add("Message-ID", r.of(" <1@example.org>", "\r\n <2@example.org>", "<3@example.org>")) },
	}
	for range r.IntN(5) {
		order = append(order, func() {
			name := r.of("X-Odd", "x-odd", "List-Id", "Received", "Received", "References", "Cc", "Content-Type", "X-b", "Reply-To", "MIME-Version", "Comments", "Z")
			value := r.value(odd)
			if r.one(0.2) {
				value = r.of("", " ", "\t", "  ")
			}
			add(name, value)
		})
	}
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, f := range order {
		f()
	}
	d.body = r.body(strange)
	return d
}
