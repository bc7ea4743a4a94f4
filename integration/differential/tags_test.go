//go:build integration

package differential_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dkimd/internal/dkim/dkimtest"
)

// A tag of a signature field that is being written: white space as it goes
// around the name and the value.
type tag struct{ name, value string }

// written is a field before it is signed, and how its hashes are made, which need not agree.
type written struct {
	tags    []tag
	end     string // behind the last tag
	key     key
	options dkimtest.Options
	domain  string
	records map[string][]string
	odd     []string // what is odd about it
}

func (w *written) set(name, value string) {
	for i := range w.tags {
		if w.tags[i].name == name {
			w.tags[i].value = value
			return
		}
	}
	w.insert(tag{name, value})
}

func (w *written) insert(t tag) { w.tags = slices.Insert(w.tags, 1, t) }

func (w *written) remove(name string) {
	w.tags = slices.DeleteFunc(w.tags, func(t tag) bool { return t.name == name })
}

func (w *written) rename(from, to string) {
	for i := range w.tags {
		if w.tags[i].name == from {
			w.tags[i].name = to
		}
	}
}

func (w *written) value(name string) string {
	for _, t := range w.tags {
		if t.name == name {
			return t.value
		}
	}
	return ""
}

// field is the text of the field; fold is what stands in front of a tag.
func (w *written) field(fold func() string) string {
	var specs []string
	for _, t := range w.tags {
		specs = append(specs, fold()+t.name+"="+t.value)
	}
	return "DKIM-Signature:" + strings.Join(specs, ";") + w.end
}

// write begins with a field as any signer might write it.
func (r source) write(domain string) *written {
	selector := r.of("rsa", "rsa", "ed", "rsa2048")
	w := &written{key: keyring()[selector], domain: domain}
	header, body := r.of("simple", "relaxed"), r.of("simple", "relaxed")
	names := []string{"From", "To", "Subject"}
	w.options = dkimtest.Options{
		Key: w.key.private, RelaxHeader: header == "relaxed", RelaxBody: body == "relaxed", Names: names, Length: -1, Wrap: r.IntN(80),
	}
	w.tags = []tag{
		{"v", "1"},
		{"a", w.key.algorithm},
		{"c", header + "/" + body},
		{"d", domain},
		{"s", selector},
		{"t", strconv.FormatInt(time.Now().Unix()-60, 10)},
		{"h", "From:To:Subject"},
		{"bh", dkimtest.BodyHash},
	}
	// Our peers write b= last, and nothing says that others do.
	at := len(w.tags)
	if r.one(0.5) {
		at = r.IntN(len(w.tags))
	}
	w.tags = slices.Insert(w.tags, at, tag{"b", dkimtest.Value})
	w.records = standard(domain)
	return w
}

// An oddity changes something about a field that is then signed properly.
type oddity struct {
	tag    string
	values []string // of the tag; D is the domain, NOW+n a time, L the length of the canonical body
	do     func(r source, w *written)
}

func set(name string, values ...string) oddity { return oddity{tag: name, values: values} }

// oddities is what section 3.5 of RFC 6376 and its ABNF let one wonder about.
var oddities = []oddity{
	set("v", "2", "", "01", "1.0", " 1 ", "0.5", "1\r\n ", "\t1", "DKIM1", "1 1", "+1", "\r\n 1"),
	set("c", "relaxed", "simple", "Relaxed/SIMPLE", "relaxed/", "/relaxed", "relaxed/relaxed/relaxed", "nowsp", "", "relaxed /simple", " relaxed/relaxed ", "simple/relaxed\r\n ", "relaxed/ relaxed", "relaxed/nowsp"),
	set("q", "dns/txt", "dns", "dns/txt:foo", "foo:dns/txt", "foo/bar", "", "DNS/TXT", " dns/txt ", "dns/txt:dns/txt", "dns /txt", "dns/txt : x", "dns/txt\r\n\t", ":dns/txt", "dns/mx"),
	set("i", "@D", "joe@D", "@sub.D", "joe@a.b.D", "@OTHER", "joe@xD", "D", "joe=40x@D", "=4Aoe@D", "a@b@D", "\"q=20q\"@D", "@D.", "joe@", "joe @D", "joe@ D", "\r\n joe@D\r\n ", "joe=ZZ@D", "joe=4@D", "", "@", "joe@D@OTHER", "joe=3dx@D", "b=3db@D", "j\r\n oe@D", "joe@.D", "joe@a..D", "@UPPER", "@sub.UPPER", "joe=40OTHER", "=40D", "joe@sub=2ED"),
	set("t", "0", "1", "-5", "", "abc", "1.5", " 1700000000 ", "01700000000", "999999999999", "9999999999999", "99999999999999999999", "1700000000x", "17 00", "NOW+3600", "NOW+30000", "NOW+90000", "+1700000000", "0x10"),
	set("x", "1", "0", "-1", "", "abc", "NOW+3600", "NOW-30", "NOW-3600", "NOW-90000", "999999999999", "9999999999999", "99999999999999999999999", " NOW+3600 ", "0NOW+3600", "NOW+3600x", "NOW-60", "NOW-61"),
	set("z", "From:joe=40example.org|To:x", "Subject:b=3Dx", "b=20", "", "From:a|b=1=3B", "x\r\n |y:\r\n z", "Subject: b=x"),
	set("r", "y", "", "n"),
	set("xyz", "1", "", "b=c", "v=1 ; ", "\xc3\xa4", "\xff", "a\x01b", "a\x7f", "a b", " \r\n ", "a\r\n b", "a\x00b", "=", "a\tb", ",", "a\rb"),
	set("x-b", "1", "b=1"), set("xb", "1", "b"), set("x_b", "1"), set("_x", "1"), set("1x", "1"), set("", "1"), set("X", "1"), set("B", "x"), set("V", "2"), set("D", "example.com"),
	set("a b", "1"), set("x.y", "1"), set("xy\r\n ", "1"), set("\txy", "1"), set("xy\t", "1"), set("\xc3\xa4", "1"),
	set("bh", " {bh}", "{bh}\r\n\t", "", "AAAA", "{bh}=", "{bh}A", "*", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "{bh} {bh}", "{bh}\x01"),
	set("a", "RSA", "rsa-sha1", "rsa-sha512", "rsa", "", "rsa-sha256 ", "rsa -sha256", "ed25519", "dsa-sha256", "rsa-sha256-x", "rsa_sha256", "sha256-rsa", "ed25519-sha512"),
	{tag: "a in capitals", do: func(_ source, w *written) { w.set("a", strings.ToUpper(w.value("a"))) }},
	{tag: "a of the other type", do: func(_ source, w *written) {
		if w.key.algorithm == "rsa-sha256" {
			w.set("a", "ed25519-sha256")
		} else {
			w.set("a", "rsa-sha256")
		}
	}},
	set("d", "UPPER", "D.", ".D", "", "com", "org", "intranet", "exa mple.org", "D\r\n ", " D", "a..D", "under_score.D", "D:x", "D/x", "sub.D", "-x.D", "x-.D", "D@x", "*.D", "D\xc2\xa0", "exam\xc2\xa0ple.org", "\\D", "D,D", "a"+strings.Repeat("b", 63)+".D", strings.Repeat("abcdefgh.", 27)+"D"),
	set("s", "RSA", "rsa.", ".rsa", "", " rsa\t", "rsa\r\n ", "r sa", "a.rsa", "a..rsa", "under_score", "rsa/x", "*", "rsa\xc2\xa0", "rsa@"),
	set("h", "From", "from:to:subject", "FROM:TO:SUBJECT", "From : To : Subject", "From:To:Subject:", ":From:To", "From::To", "To:Subject", "", "From:From", "From:From:To:To:Subject:Subject:Nothing", "Subject:From:To", "From:\r\n To:\r\n Subject", " From", "From To", "From:X-Absent", "From:DKIM-Signature", "DKIM-Signature:From", "From:dkim-signature:dkim-signature", "From,To", "from:x y", "From:\xc3\xa4", "From\r\n :To", "From:(x)", "F rom:To", "Fromm:To", "X-From", "From:Subject:Subject", "From:to\x01"),
	set("l", "0", "1", "L", "L+1", "L+2", "L-1", "L-2", "", "-1", "abc", "1 0", "00L", strings.Repeat("9", 18), strings.Repeat("9", 19), strings.Repeat("9", 76), strings.Repeat("9", 77), " L ", "L.0", "+L", "4294967296", "18446744073709551615", "0x10"),
	{tag: "no v", do: func(_ source, w *written) { w.remove("v") }},
	{tag: "no a", do: func(_ source, w *written) { w.remove("a") }},
	{tag: "no c", do: func(_ source, w *written) { w.remove("c") }},
	{tag: "no d", do: func(_ source, w *written) { w.remove("d") }},
	{tag: "no s", do: func(_ source, w *written) { w.remove("s") }},
	{tag: "no t", do: func(_ source, w *written) { w.remove("t") }},
	{tag: "no h", do: func(_ source, w *written) { w.remove("h") }},
	{tag: "no bh", do: func(_ source, w *written) { w.remove("bh") }},
	{tag: "twice", do: func(r source, w *written) {
		t := w.tags[r.IntN(len(w.tags))]
		if t.name != "b" {
			w.insert(t)
		}
	}},
	{tag: "b twice", do: func(r source, w *written) { w.insert(tag{"b", r.of("", "AAAA", "x")}) }},
	{tag: "b with white space before =", do: func(_ source, w *written) { w.rename("b", "b ") }},
	{tag: "white space before =", do: func(r source, w *written) {
		i := r.IntN(len(w.tags) - 1)
		w.tags[i].name += r.of(" ", "\t", "\r\n ", "\r\n\t ")
	}},
	{tag: "white space behind =", do: func(r source, w *written) {
		i := r.IntN(len(w.tags))
		w.tags[i].value = r.of(" ", "\t", "\r\n ", "\r\n\t ") + w.tags[i].value
	}},
	{tag: "white space behind a value", do: func(r source, w *written) {
		i := r.IntN(len(w.tags))
		w.tags[i].value += r.of(" ", "\t", "\r\n ", "\r\n\t ")
	}},
	{tag: "the end", do: func(r source, w *written) {
		w.end = r.of(";", "; ", ";\r\n ", " ", "\r\n ", ";;", "; ;", "; x", ";=", ";x=", "; x=;")
	}},
	{tag: "an empty tag", do: func(r source, w *written) {
		i := r.IntN(len(w.tags))
		w.tags[i].name = ";" + w.tags[i].name
	}},
	{tag: "another order", do: func(r source, w *written) {
		r.Shuffle(len(w.tags), func(i, j int) { w.tags[i], w.tags[j] = w.tags[j], w.tags[i] })
	}},
	{tag: "b= not strict", do: func(r source, w *written) {
		w.set("b", r.of(dkimtest.Value+"=", dkimtest.Value+"AAAA", dkimtest.Value+"*", "."+dkimtest.Value, dkimtest.Value+"\xc2\xa0"))
	}},
}

// apply gives a tag one of its values, and what is signed the same meaning.
func (o oddity) apply(r source, w *written, body []byte) {
	if o.do != nil {
		o.do(r, w)
		w.odd = append(w.odd, o.tag)
		return
	}
	value := r.of(o.values...)
	if o.tag == "d" || o.tag == "s" {
		// A name in DNS has one key, whatever the sample.
		w.key = keyring()["rsa"]
		w.options.Key = w.key.private
		w.set("a", w.key.algorithm)
		w.set("s", "rsa")
	}
	w.odd = append(w.odd, o.tag+"="+value)
	length := len(dkimtest.Body(body, w.options.RelaxBody))
	for name, n := range map[string]int{"L+1": length + 1, "L+2": length + 2, "L-1": max(length-1, 0), "L-2": max(length-2, 0), "L": length} {
		if o.tag == "l" && strings.Contains(value, name) {
			value = strings.Replace(value, name, strconv.Itoa(n), 1)
			break
		}
	}
	if before, after, ok := strings.Cut(value, "NOW"); ok {
		var n int64
		var rest string
		if _, err := fmt.Sscanf(after, "%d%s", &n, &rest); err != nil {
			_, _ = fmt.Sscanf(after, "%d", &n)
		}
		value = before + strconv.FormatInt(time.Now().Unix()+n, 10) + rest
	}
	value = strings.NewReplacer("UPPER", strings.ToUpper(w.domain), "OTHER", "other.example", "D", w.domain).Replace(value)
	if o.tag == "x" {
		w.remove("t")
	}
	w.set(o.tag, value)
	switch o.tag {
	case "c":
		header, body, _ := strings.Cut(strings.ToLower(strings.TrimSpace(value)), "/")
		w.options.RelaxHeader, w.options.RelaxBody = strings.TrimSpace(header) == "relaxed", strings.HasPrefix(strings.TrimSpace(body), "relaxed")
	case "h":
		w.options.Names = nil
		for name := range strings.SplitSeq(value, ":") {
			w.options.Names = append(w.options.Names, strings.TrimSpace(name))
		}
	case "l":
		var n int
		if _, err := fmt.Sscanf(strings.TrimSpace(value), "%d", &n); err == nil && n >= 0 {
			w.options.Length = n
		}
	case "d", "s":
		// The key is where those look who read it loosely, too.
		d, s := w.value("d"), w.value("s")
		for _, name := range []string{s + "._domainkey." + d, unspaced(s) + "._domainkey." + unspaced(d)} {
			name = strings.Trim(strings.ToLower(strings.TrimSpace(name)), ".")
			if clean := strings.Map(printableName, name); clean == name {
				w.records[name] = []string{w.key.record}
			}
		}
	}
	if slices.Contains(w.odd, "no c") {
		w.options.RelaxHeader, w.options.RelaxBody = false, false
	}
}

func printableName(c rune) rune {
	if c <= ' ' || c >= 0x7f || c == '\\' || c == '"' {
		return -1
	}
	return c
}

// TestOddFields: signature fields that are odd or wrong in one way or two,
// properly signed all the same.
func TestOddFields(t *testing.T) {
	t.Parallel()
	judges := allPeers(t)
	r := newSource("odd fields")
	name := func(i int) string { return fmt.Sprintf("odd field %d", i) }
	i := 0
	run := func(choose func() []oddity) {
		i++
		domain := r.of("example.org", "example.org", "a.example.net")
		d := r.draft(domain, false, false)
		if len(d.body) == 0 || !plain(d.body) {
			d.body = []byte("Hello  you \r\n\r\nmore\r\n\r\n")
		}
		w := r.write(domain)
		for _, o := range choose() {
			o.apply(r, w, d.body)
		}
		if w.value("c") == "" {
			w.options.RelaxHeader, w.options.RelaxBody = false, false
		}
		fold := func() string { return r.of(" ", " ", "\r\n\t", "\r\n ", "", "  ") }
		raw, err := dkimtest.Sign(d.raw(), w.field(fold), w.options)
		if err != nil {
			t.Fatal(err)
		}
		judges.all(t, &sample{name: name(i) + fmt.Sprintf(" %q", w.odd), raw: raw, records: w.records, odd: w.odd}, "")
	}
	for _, o := range oddities {
		for j := range max(2*len(o.values), 16) {
			if o.values == nil {
				run(func() []oddity { return []oddity{o} })
				continue
			}
			one := oddity{tag: o.tag, values: o.values[j%len(o.values) : j%len(o.values)+1]}
			run(func() []oddity { return []oddity{one} })
		}
	}
	for range times(500) {
		run(func() []oddity {
			return []oddity{oddities[r.IntN(len(oddities))], oddities[r.IntN(len(oddities))]}
		})
	}
	judges.report(t)
}
