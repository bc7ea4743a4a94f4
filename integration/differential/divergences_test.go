//go:build integration

package differential_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/dkim/dkimtest"
)

// A dispute is a signature on which a peer and dkimd differ.
type dispute struct {
	sample    *sample
	peer      string
	own       judgement
	theirs    judgement
	signature string // the field
	index, of int
}

// tag is the value of a tag, white space at its ends removed; ok is false where it is absent.
func (c *dispute) tag(name string) (string, bool) {
	_, value, _ := strings.Cut(c.signature, ":")
	for spec := range strings.SplitSeq(value, ";") {
		own, v, ok := strings.Cut(spec, "=")
		if ok && strings.TrimSpace(own) == name {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

func (c *dispute) has(tag string) bool {
	_, ok := c.tag(tag)
	return ok
}

// canon is the two halves of c=.
func (c *dispute) canon() (header, body string) {
	value, ok := c.tag("c")
	if !ok {
		return "simple", "simple"
	}
	header, body, ok = strings.Cut(strings.ToLower(value), "/")
	if !ok {
		body = "simple"
	}
	return header, body
}

func (c *dispute) body() string {
	_, body := dkimtest.Split(c.sample.raw)
	return string(body)
}

// bare reports whether text holds a CR or LF that is not part of CRLF.
func bare(text string, c byte) bool {
	return strings.IndexByte(strings.ReplaceAll(text, "\r\n", ""), c) >= 0
}

// A divergence is a class of disputes that docs/divergences.md explains, under the same name.
type divergence struct {
	name  string
	peers string // those who differ
	own   class  // what dkimd says; empty: anything
	of    func(c *dispute) bool
}

// explain is the name of the divergence a dispute belongs to, or empty.
func explain(c *dispute) string {
	for _, d := range divergences {
		if strings.Contains(d.peers, c.peer) && (d.own == "" || d.own == c.own.class) && d.of(c) {
			return d.name
		}
	}
	return ""
}

// number is a tag of digits.
func (c *dispute) number(name string) (int64, bool) {
	v, ok := c.tag(name)
	n, err := strconv.ParseInt(v, 10, 64)
	return n, ok && err == nil
}

// matches reports whether a tag is there and matches.
func (c *dispute) matches(name, pattern string) bool {
	v, ok := c.tag(name)
	return ok && regexp.MustCompile(pattern).MatchString(v)
}

func (c *dispute) now() int64 {
	if c.sample.now.IsZero() {
		return time.Now().Unix()
	}
	return c.sample.now.Unix()
}

var divergences = []divergence{
	// Syntax. grammatical_test.go is the RFC's own word on it.
	{"a field outside the grammar", everybody, permerror, func(c *dispute) bool {
		return c.theirs.class == pass && grammatical(c.signature) != nil && !c.oneLabel()
	}},
	{"d= is a public suffix", everybody, permerror, func(c *dispute) bool {
		return c.theirs.class == pass && (c.oneLabel() || strings.Contains(c.own.detail, "public suffix"))
	}},
	{"case of a= and c=", "go-msgauth, python3-dkim", "", func(c *dispute) bool { return c.matches("a", "[A-Z]") || c.matches("c", "[A-Z]") }},
	{"case of i= and d=", "go-msgauth", "", func(c *dispute) bool {
		return (c.matches("i", "[A-Z]") || c.matches("d", "[A-Z]")) && strings.Contains(c.theirs.detail, "domain mismatch")
	}},
	{"several methods in q=", "python3-dkim", "", func(c *dispute) bool { return c.matches("q", ":") && strings.Contains(c.theirs.detail, "q=_value") }},
	{"case of q=", "OpenDKIM, go-msgauth", pass, func(c *dispute) bool { return c.matches("q", "[A-Z]") && c.theirs.class == permerror }},
	{"several methods in q=", "Mail::DKIM", "", func(c *dispute) bool { return c.matches("q", `\s:|:\s`) && c.theirs.class == permerror }},
	{"dkim-quoted-printable in i=", "OpenDKIM", "", func(c *dispute) bool { return c.matches("i", "(?i)=3d|=40|@.*@") && c.theirs.class == permerror }},
	{"UTF-8 in a tag", "OpenDKIM", "", func(c *dispute) bool { return regexp.MustCompile(`[^\x00-\x7f]`).MatchString(c.signature) }},
	{"white space in s= or d=", "OpenDKIM", "", func(c *dispute) bool {
		return regexp.MustCompile(`[;:]\s*[sd]\s*=[^;]*\r\n[ \t]*(;|$)`).MatchString(c.signature) && c.theirs.class == permerror
	}},

	{"a name that is too long", "OpenDKIM", permerror, func(c *dispute) bool {
		d, _ := c.tag("d")
		return len(d) > 240 && c.theirs.class == temperror
	}},
	{"white space at the end of the field", "python3-dkim", pass, func(c *dispute) bool {
		header, _ := c.canon()
		return header == "simple" && strings.HasSuffix(c.signature, " ")
	}},

	{"white space before a colon", "OpenDKIM", "", func(c *dispute) bool {
		// The MTA removes it before a milter sees it.
		header, _ := c.canon()
		return header == "simple" && c.spaceBeforeColon()
	}},
	{"white space before a colon", "python3-dkim", "", func(c *dispute) bool {
		return c.spaceBeforeColon() && c.theirs.class == broken // "From :" is taken for a line of mbox
	}},
	{"white space before a colon", "Mail::DKIM", pass, func(c *dispute) bool { return c.spaceBeforeColon() && c.theirs.class == fail }},
	{"a malformed signature beside a good one", "OpenDKIM", pass, func(c *dispute) bool {
		return c.theirs.class == none && slices.ContainsFunc(signaturesOf(c.sample.raw), func(f string) bool { return grammatical(f) != nil })
	}},

	{"more From fields than h= names", "python3-dkim", pass, func(c *dispute) bool {
		h, _ := c.tag("h")
		named := 0
		for name := range strings.SplitSeq(h, ":") {
			if strings.EqualFold(strings.TrimSpace(name), "From") {
				named++
			}
		}
		header, _ := split(c.sample.raw)
		return len(header.All("From")) > named
	}},

	{"no From", "OpenDKIM", pass, func(c *dispute) bool { h, _ := split(c.sample.raw); return len(h.All("From")) == 0 }},
	{"control characters in the header", "OpenDKIM, python3-dkim, Mail::DKIM", "", func(c *dispute) bool {
		header, _, _ := bytes.Cut(c.sample.raw, []byte("\r\n\r\n"))
		canon, _ := c.canon()
		return canon == "relaxed" && (bytes.ContainsAny(header, "\x0b\x0c") || bare(string(header), '\r'))
	}},
	{"control characters in the header", "go-msgauth", "", func(c *dispute) bool {
		header, _, _ := bytes.Cut(c.sample.raw, []byte("\r\n\r\n"))
		canon, _ := c.canon()
		return canon == "relaxed" && bare(string(header), '\r')
	}},
	{"CR in front of a fold", "OpenDKIM", "", func(c *dispute) bool {
		header, _, _ := bytes.Cut(c.sample.raw, []byte("\r\n\r\n"))
		canon, _ := c.canon()
		return canon == "simple" && bytes.Contains(header, []byte("\r\r\n"))
	}},

	// Which b= is emptied.
	{"Ed25519 is unknown", "Mail::DKIM", "", func(c *dispute) bool {
		return c.matches("a", "(?i)^ed25519-sha256$") && c.theirs.class == permerror
	}},
	{"b= inside another tag", "go-msgauth", "", func(c *dispute) bool {
		_, value, _ := strings.Cut(c.signature, ":")
		for spec := range strings.SplitSeq(value, ";") {
			name, v, _ := strings.Cut(spec, "=")
			if strings.TrimSpace(name) != "b" && (strings.Contains(v, "b=") || strings.HasSuffix(strings.TrimSpace(name), "b")) {
				return c.theirs.class == fail
			}
		}
		return false
	}},
	{"b= inside another tag", "python3-dkim", pass, func(c *dispute) bool {
		// It looks for " b=" anywhere, and wants something in front of the right one.
		first := regexp.MustCompile(`^[^:]*:b\s*=`).MatchString(c.signature)
		return first || regexp.MustCompile(`=[^;]*\sb\s*=`).MatchString(c.signature)
	}},
	{"white space behind b=", "python3-dkim", pass, func(c *dispute) bool {
		return regexp.MustCompile(`[;:\s]b\s*=[^;]*\s;`).MatchString(c.signature)
	}},
	{"b= inside another tag", "OpenDKIM", pass, func(c *dispute) bool {
		// It looks at the letter in front of the equals sign.
		return regexp.MustCompile(`[A-Za-z0-9_]b=|b\s+=`).MatchString(c.signature)
	}},

	// Dates and l=.
	{"x= a moment ago", "Mail::DKIM, go-msgauth", pass, func(c *dispute) bool {
		x, ok := c.number("x")
		return ok && x < c.now()+2 && x >= c.now()-302
	}},
	{"x= hours ago", "python3-dkim", policy, func(c *dispute) bool {
		x, ok := c.number("x")
		return ok && x >= c.now()-36002 && c.theirs.class == pass
	}},
	{"t= ahead", "OpenDKIM, python3-dkim", pass, func(c *dispute) bool {
		t, ok := c.number("t")
		return ok && t > c.now()+298
	}},
	{"t= ahead", "Mail::DKIM, go-msgauth", policy, func(c *dispute) bool { return strings.Contains(c.own.detail, "dated in the future") }},
	{"t= in 1970", "OpenDKIM", pass, func(c *dispute) bool { t, ok := c.number("t"); return ok && t < 86400 }},
	{"t= or x= of many digits", everybody, "", func(c *dispute) bool { return c.matches("t", `^\d{13,}$`) || c.matches("x", `^\d{13,}$`) }},
	{"l= is refused", "go-msgauth", "", func(c *dispute) bool { return c.has("l") && strings.Contains(c.theirs.detail, "body length") }},
	{"l= leaves content unsigned", "OpenDKIM, python3-dkim, Mail::DKIM", policy, func(c *dispute) bool {
		return strings.HasPrefix(c.own.detail, "l= leaves")
	}},
	{"l= of 0", "Mail::DKIM", "", func(c *dispute) bool { return c.matches("l", "^0*$") }},
	{"l= beyond the body", "Mail::DKIM, python3-dkim", fail, func(c *dispute) bool {
		return strings.Contains(c.own.detail, "but the body has")
	}},
	{"l= beyond the body", "OpenDKIM", fail, func(c *dispute) bool {
		return strings.Contains(c.own.detail, "but the body has") && c.matches("l", `^\d{18,}$`)
	}},

	// Key records.
	{"several records at one name", everybody, "", func(c *dispute) bool { return len(c.key()) > 1 }},
	{"a key record over 4096 bytes", everybody, permerror, func(c *dispute) bool { return len(c.record()) > 4096 }},
	{"a key record of some kilobytes", "OpenDKIM", pass, func(c *dispute) bool { return len(c.record()) > 1024 }},
	{"a key record outside the grammar", everybody, permerror, func(c *dispute) bool {
		return c.theirs.class == pass && c.key() != nil && grammaticalRecord(c.record()) != nil
	}},
	{"a malformed key is a temporary failure", "OpenDKIM", permerror, func(c *dispute) bool {
		return c.theirs.class == temperror && c.key() != nil && (grammaticalRecord(c.record()) != nil || !strings.Contains(c.record(), "p="))
	}},
	{"UTF-8 in a key record", "OpenDKIM", pass, func(c *dispute) bool { return strings.Contains(c.record(), "\xc3") }},
	{"DNS fails", "OpenDKIM", temperror, func(c *dispute) bool { return c.record() == "!" && c.theirs.class == none }},
	{"h= of the key", "python3-dkim", permerror, func(c *dispute) bool { return c.own.detail == "key does not allow SHA-256" }},
	{"case and white space in key records", "Mail::DKIM, go-msgauth, python3-dkim", pass, func(c *dispute) bool {
		return regexp.MustCompile(`h=SHA`).MatchString(c.record()) || regexp.MustCompile(`[ks]\s*=\s*[A-Z]|[hst]\s*=[^;]*\S\s[^;]*\S`).MatchString(c.record())
	}},
	{"lists in s= of the key", "python3-dkim", pass, func(c *dispute) bool { return regexp.MustCompile(`s\s*=[^;]*:`).MatchString(c.record()) }},
	{"t=s", "python3-dkim, go-msgauth", permerror, func(c *dispute) bool { return strings.Contains(c.own.detail, "t=s") && c.theirs.class == pass }},
	{"t=s", "Mail::DKIM", permerror, func(c *dispute) bool {
		return strings.Contains(c.own.detail, "t=s") && regexp.MustCompile(`t=[^;]* s`).MatchString(c.record())
	}},
	{"g=", "Mail::DKIM", pass, func(c *dispute) bool {
		return strings.Contains(c.theirs.detail, "granularity") && strings.Contains(c.record(), "g=")
	}},
	{"forms of p=", everybody, pass, func(c *dispute) bool { return c.key() != nil && !usual(c.record()) && c.theirs.class != fail }},
	{"octets behind the public key", "OpenDKIM, python3-dkim, Mail::DKIM", permerror, func(c *dispute) bool {
		var value asn1.RawValue
		rest, err := asn1.Unmarshal(publicKey(c.record()), &value)
		return c.theirs.class == pass && (len(publicKey(c.record())) == 64 || err == nil && len(rest) > 0)
	}},
	{"the key is of another type", "OpenDKIM", permerror, func(c *dispute) bool {
		return regexp.MustCompile(`not an? (RSA|Ed25519) key$`).MatchString(c.own.detail)
	}},
	{"the key is of another type", "python3-dkim", permerror, func(c *dispute) bool {
		return regexp.MustCompile(`^key is \w+, signature \w+$`).MatchString(c.own.detail)
	}},
	{"h= names DKIM-Signature", everybody, "", func(c *dispute) bool { return c.matches("h", "(?i)dkim-signature") }},

	{"U-labels", everybody, pass, func(c *dispute) bool { return c.matches("d", `[^\x00-\x7f]`) || c.matches("i", `[^\x00-\x7f]`) }},
	{"more than dkimd looks at", everybody, "", func(c *dispute) bool {
		return strings.HasSuffix(c.own.detail, "more than 10 signatures") || strings.HasSuffix(c.own.detail, "h= has too many names")
	}},
	{"names in h=", "OpenDKIM", pass, func(c *dispute) bool { h, _ := c.tag("h"); return len(h) > 1000 }},

	// Bodies. RFC 6376 sections 3.4.3 and 3.4.4: a CRLF is added.
	{"a body without a final CRLF", "OpenDKIM", "", func(c *dispute) bool {
		return c.body() != "" && !strings.HasSuffix(c.body(), "\r\n")
	}},
	{"a body without a final CRLF", "Mail::DKIM", "", func(c *dispute) bool {
		_, canon := c.canon()
		return canon == "simple" && c.body() != "" && !strings.HasSuffix(c.body(), "\r\n")
	}},
	{"a body without a final CRLF", "python3-dkim", "", func(c *dispute) bool {
		_, canon := c.canon()
		return canon == "relaxed" && (strings.HasSuffix(c.body(), " ") || strings.HasSuffix(c.body(), "\t"))
	}},
	{"bare CR or LF in the body", "OpenDKIM, go-msgauth, Mail::DKIM", "", func(c *dispute) bool {
		return bare(c.body(), '\r') || bare(c.body(), '\n')
	}},
	{"bare CR or LF in the body", "python3-dkim", "", func(c *dispute) bool { return bare(c.body(), '\n') }},
	{"NUL in the body", "OpenDKIM", "", func(c *dispute) bool { return strings.Contains(c.body(), "\x00") }},
}

const everybody = "OpenDKIM, python3-dkim, Mail::DKIM, go-msgauth"

// oneLabel reports whether d= has one label only, as public suffixes mostly have.
func (c *dispute) oneLabel() bool { return c.matches("d", `^[^.]+$`) }

// spaceBeforeColon reports whether a field has its colon behind white space.
func (c *dispute) spaceBeforeColon() bool {
	fields, _ := dkimtest.Split(c.sample.raw)
	return slices.ContainsFunc(fields, func(f []byte) bool { return regexp.MustCompile(`^[!-9;-~]+[ \t]+:`).Match(f) })
}

// key are the TXT records where the key of the signature is.
func (c *dispute) key() []string {
	s, _ := c.tag("s")
	d, _ := c.tag("d")
	return c.sample.records[strings.ToLower(s+"._domainkey."+d)]
}

// record is the first of them.
func (c *dispute) record() string {
	if records := c.key(); records != nil {
		return records[0]
	}
	return ""
}

// publicKey is p= of a record, decoded as well as can be.
func publicKey(record string) []byte {
	p := regexp.MustCompile(`(?:^|[;\s])p\s*=([^;]*)`).FindStringSubmatch(record)
	if p == nil {
		return nil
	}
	// Ed25519 keys end in padding, and two of them on end are not base64 any more.
	data, _ := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(unspaced(p[1]), "=", ""))
	return data
}

// usual reports whether the public key of a record is written as most are.
func usual(record string) bool {
	p := regexp.MustCompile(`(?:^|[; ])p *=([^;]*)`).FindStringSubmatch(record)
	if p == nil {
		return false
	}
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(p[1], " ", ""))
	if err != nil || strings.ContainsAny(p[1], "\t\r\n") {
		return false
	}
	key, err := x509.ParsePKIXPublicKey(data)
	_, isRSA := key.(*rsa.PublicKey)
	return len(data) == 32 || err == nil && isRSA
}
