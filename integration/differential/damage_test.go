//go:build integration

package differential_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/dkim/dkimtest"
	"dkimd/signer"
)

// A victim is a signed message taken apart: fields with their last CRLF, the signatures first.
type victim struct {
	fields [][]byte
	body   []byte
}

func (v *victim) raw() []byte {
	return slices.Concat(append(slices.Clone(v.fields), []byte("\r\n"), v.body)...)
}

// pick is a field that is no signature, and its place; a signature if there is nothing else.
func (v *victim) pick(r source) int {
	for range 50 {
		if i := r.IntN(len(v.fields)); !isSignature(string(v.fields[i])) {
			return i
		}
	}
	return len(v.fields) - 1
}

// signature is the place of a signature.
func (v *victim) signature(r source) int {
	var places []int
	for i, f := range v.fields {
		if isSignature(string(f)) {
			places = append(places, i)
		}
	}
	return places[r.IntN(len(places))]
}

func (v *victim) edit(i int, f func(s string) string) {
	text := strings.TrimSuffix(string(v.fields[i]), "\r\n")
	v.fields[i] = []byte(f(text) + "\r\n")
}

// value edits what stands behind the colon.
func (v *victim) value(i int, f func(s string) string) {
	v.edit(i, func(s string) string {
		name, value, _ := strings.Cut(s, ":")
		return name + ":" + f(value)
	})
}

// somewhere applies f to one place in s that matches.
func (r source) somewhere(s, pattern string, f func(string) string) string {
	places := regexp.MustCompile(pattern).FindAllStringIndex(s, -1)
	if len(places) == 0 {
		return s
	}
	at := places[r.IntN(len(places))]
	return s[:at[0]] + f(s[at[0]:at[1]]) + s[at[1]:]
}

func (r source) flip(b []byte) {
	if len(b) > 0 {
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	}
}

var startOfB = regexp.MustCompile(`(?:^|;)[ \t\r\n]*b=`)

// spanOfB is where the value of b= is in a signature, which has one.
func spanOfB(s string) (start, end int) {
	start = startOfB.FindStringIndex(s)[1]
	return start, start + strings.IndexByte(s[start:]+";", ';')
}

// flipCase changes the case of one letter.
func flipCase(s string) string {
	if s == strings.ToUpper(s) {
		return strings.ToLower(s)
	}
	return strings.ToUpper(s)
}

// A damage is what happens to a message on its way.
type damage struct {
	name string
	do   func(r source, v *victim)
}

var damages = []damage{
	{"a bit of the body", func(r source, v *victim) { r.flip(v.body) }},
	{"a bit of a value", func(r source, v *victim) {
		v.value(v.pick(r), func(s string) string {
			b := []byte(s)
			r.flip(b)
			if bytes.ContainsAny(b, "\r\n\x00") && !bytes.ContainsAny([]byte(s), "\r\n") {
				return s + "x"
			}
			if strings.Count(string(b), "\r\n") != strings.Count(s, "\r\n") || bare(string(b), '\r') || bare(string(b), '\n') || bytes.IndexByte(b, 0) >= 0 ||
				regexp.MustCompile(`\r\n[^ \t]`).Match(b) {
				return s + "y" // not another field, please
			}
			return string(b)
		})
	}},
	{"a bit of the signature", func(r source, v *victim) {
		v.value(v.signature(r), func(s string) string {
			return r.somewhere(s, `[A-Za-z0-9+/=;:@._-]`, func(c string) string {
				b := c[0] ^ 1<<r.IntN(5)
				if b <= ' ' || b >= 0x7f {
					return "~"
				}
				return string(rune(b))
			})
		})
	}},
	{"case of a letter of a value", func(r source, v *victim) {
		v.value(v.pick(r), func(s string) string { return r.somewhere(s, `[A-Za-z]`, flipCase) })
	}},
	{"case of a name", func(r source, v *victim) {
		v.edit(v.pick(r), func(s string) string {
			name, value, _ := strings.Cut(s, ":")
			return flipCase(name) + ":" + value
		})
	}},
	{"case of the signature's name", func(r source, v *victim) {
		v.edit(v.signature(r), func(s string) string { return flipCase(s[:14]) + s[14:] })
	}},
	{"two fields exchanged", func(r source, v *victim) {
		i, j := v.pick(r), v.pick(r)
		v.fields[i], v.fields[j] = v.fields[j], v.fields[i]
	}},
	{"the signature moved", func(r source, v *victim) {
		i := v.signature(r)
		f := v.fields[i]
		v.fields = slices.Delete(v.fields, i, i+1)
		v.fields = slices.Insert(v.fields, r.IntN(len(v.fields)+1), f)
	}},
	{"a field removed", func(r source, v *victim) { i := v.pick(r); v.fields = slices.Delete(v.fields, i, i+1) }},
	{"a field doubled", func(r source, v *victim) {
		i := v.pick(r)
		v.fields = slices.Insert(v.fields, r.IntN(len(v.fields)+1), v.fields[i])
	}},
	{"a field added on top", func(r source, v *victim) {
		v.fields = slices.Insert(v.fields, 0, []byte(r.of("From: evil@example.com\r\n", "Subject: other\r\n", "X-New: x\r\n", "To: all@example.net\r\n", "Received: x\r\n", "X-Absent: x\r\n")))
	}},
	{"a field added below", func(r source, v *victim) {
		v.fields = append(v.fields, []byte(r.of("From: evil@example.com\r\n", "Subject: other\r\n", "X-New: x\r\n", "To: all@example.net\r\n", "Received: x\r\n", "Cc:\r\n")))
	}},
	{"another signature", func(r source, v *victim) {
		v.fields = slices.Insert(v.fields, r.IntN(len(v.fields)+1), []byte(r.of("DKIM-Signature: x\r\n", "DKIM-Signature:\r\n", "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=none; h=from; bh=AAAA; b=BBBB\r\n",
			"dkim-signature : v=1; a=rsa-sha256; d=example.com; s=none; h=from; bh=AAAA; b=CCCC\r\n")))
	}},
	{"white space doubled", func(r source, v *victim) {
		v.value(v.pick(r), func(s string) string {
			return r.somewhere(s, `[ \t]`, func(c string) string { return c + r.of(" ", "\t") })
		})
	}},
	{"white space removed", func(r source, v *victim) {
		v.value(v.pick(r), func(s string) string { return r.somewhere(s, `[ \t][ \t]`, func(c string) string { return c[:1] }) })
	}},
	{"white space at the ends", func(r source, v *victim) {
		v.value(v.pick(r), func(s string) string { return r.of("", " ", "\t", "  ") + s + r.of("", " ", "\t", "  ") })
	}},
	{"no white space at the ends", func(r source, v *victim) {
		v.value(v.pick(r), func(s string) string { return strings.Trim(s, " \t\r\n") })
	}},
	{"white space inserted", func(r source, v *victim) {
		v.value(v.pick(r), func(s string) string { return r.somewhere(s, `[a-z]`, func(c string) string { return c + " " }) })
	}},
	{"folded", func(r source, v *victim) {
		v.value(v.pick(r), func(s string) string {
			return r.somewhere(s, `[ \t][^ \t\r\n]`, func(c string) string { return "\r\n" + c })
		})
	}},
	{"unfolded", func(r source, v *victim) {
		v.value(v.pick(r), func(s string) string { return strings.ReplaceAll(s, "\r\n", "") })
	}},
	{"tab for space", func(r source, v *victim) {
		v.value(v.pick(r), func(s string) string { return r.somewhere(s, ` `, func(string) string { return "\t" }) })
	}},
	{"a space before the colon", func(r source, v *victim) {
		v.edit(r.IntN(len(v.fields)), func(s string) string { return strings.Replace(s, ":", r.of(" :", "\t:"), 1) })
	}},
	{"the signature folded", func(r source, v *victim) {
		v.value(v.signature(r), func(s string) string {
			return r.somewhere(s, `[;:=/+]`, func(c string) string { return c + r.of("\r\n ", "\r\n\t", " ") })
		})
	}},
	{"b= folded elsewhere", func(r source, v *victim) {
		v.value(v.signature(r), func(s string) string {
			at, end := spanOfB(s)
			b := unspaced(s[at:end])
			n := r.IntN(len(b)-1) + 1
			return s[:at] + r.of("", " ", "\r\n ") + b[:n] + r.of("\r\n\t", " ", "\r\n  ") + b[n:] + r.of("", " ") + s[end:]
		})
	}},
	{"a tag added", func(r source, v *victim) {
		v.value(v.signature(r), func(s string) string {
			return s + r.of(";", "; ", ";x=1", "; l=5", "; x=1", "; i=@example.org", "; d=example.com", ";;", ";b=", "; z=a")
		})
	}},
	{"a tag removed", func(r source, v *victim) {
		v.value(v.signature(r), func(s string) string {
			tags := strings.Split(s, ";")
			i := r.IntN(len(tags))
			return strings.Join(slices.Delete(tags, i, i+1), ";")
		})
	}},
	{"tags exchanged", func(r source, v *victim) {
		v.value(v.signature(r), func(s string) string {
			tags := strings.Split(s, ";")
			i, j := r.IntN(len(tags)), r.IntN(len(tags))
			tags[i], tags[j] = tags[j], tags[i]
			return strings.Join(tags, ";")
		})
	}},
	{"case in the signature", func(r source, v *victim) {
		v.value(v.signature(r), func(s string) string { return r.somewhere(s, `[A-Za-z]`, flipCase) })
	}},
	{"b= changed", func(r source, v *victim) {
		v.value(v.signature(r), func(s string) string {
			at, end := spanOfB(s)
			return s[:at] + r.somewhere(s[at:end], `[A-Za-z0-9+/=]`, func(string) string { return r.of("A", "/", "=", "", "AA", "*") }) + s[end:]
		})
	}},
	{"l= added", func(r source, v *victim) {
		v.value(v.signature(r), func(s string) string { return fmt.Sprintf(" l=%d;%s", r.IntN(len(v.body)+3), s) })
	}},
	{"a footer", func(r source, v *victim) {
		v.body = append(slices.Clone(v.body), r.of("-- \r\nlist\r\n", "\r\n", " ", "\t\r\n", "\r\n\r\n", "x", "\r\n.\r\n", " \r\n \r\n")...)
	}},
	{"a line before the body", func(r source, v *victim) {
		v.body = append([]byte(r.of("\r\n", " ", "x\r\n", " \r\n", "\t")), v.body...)
	}},
	{"the end of the body", func(r source, v *victim) {
		v.body = bytes.TrimRight(v.body, r.of("\r\n", "\r\n \t", "\n"))
	}},
	{"the body cut", func(r source, v *victim) { v.body = v.body[:r.IntN(len(v.body)+1)] }},
	{"white space in the body", func(r source, v *victim) {
		v.body = []byte(r.somewhere(string(v.body), `[ \t]|\r\n`, func(c string) string { return r.of(" ", "\t", "") + c + r.of("", "", " ") }))
	}},
	{"white space out of the body", func(r source, v *victim) {
		v.body = []byte(r.somewhere(string(v.body), `[ \t]`, func(string) string { return r.of("", " ", "\t") }))
	}},
	{"line ends of the body", func(r source, v *victim) {
		v.body = []byte(r.somewhere(string(v.body), `\r\n`, func(string) string { return r.of("\n", "\r", "\r\r\n", "\r\n\r\n", "\n\r", " ") }))
	}},
	{"case in the body", func(r source, v *victim) { v.body = []byte(r.somewhere(string(v.body), `[A-Za-z]`, flipCase)) }},
	{"nothing", func(source, *victim) {}},
}

// TestDamagedMessages: messages signed by all, then damaged.
func TestDamagedMessages(t *testing.T) {
	t.Parallel()
	judges := allPeers(t)
	signers := foreignSigners(t)
	for _, pair := range [][2]string{{"simple", "simple"}, {"simple", "relaxed"}, {"relaxed", "simple"}, {"relaxed", "relaxed"}} {
		own := newSigning(t, signer.Config{HeaderCanon: canonicalization(pair[0]), BodyCanon: canonicalization(pair[1])}, map[string]string{"example.org": ""}, "rsa", "ed")
		signers = append(signers, foreign{"dkimd " + pair[0] + "/" + pair[1], func(t *testing.T, _ source, d draft) []byte {
			t.Helper()
			return own.sign(t, d.raw())
		}})
	}
	r := newSource("damage")
	for i := range times(1300) {
		s, d := foreignSample(t, r, signers[i%len(signers)], i)
		if s == nil || !plain(d.body) && i%7 > 0 {
			continue // the odd bodies are in other tests
		}
		harm := damages[r.IntN(len(damages))]
		v := &victim{}
		v.fields, v.body = dkimtest.Split(s.raw)
		harm.do(r, v)
		s.raw = v.raw()
		s.name += ", " + harm.name
		s.odd = []string{harm.name}
		judges.all(t, s, "")
	}
	judges.report(t)
}
