//go:build integration

package differential_test

import (
	"strings"

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

var divergences = []divergence{
	{"Ed25519 is unknown", "Mail::DKIM", "", func(c *dispute) bool {
		a, _ := c.tag("a")
		return strings.EqualFold(a, "ed25519-sha256") && c.theirs.class == permerror
	}},
	{"b= inside another tag", "go-msgauth", "", func(c *dispute) bool {
		_, value, _ := strings.Cut(c.signature, ":")
		for spec := range strings.SplitSeq(value, ";") {
			name, v, _ := strings.Cut(spec, "=")
			if strings.TrimSpace(name) != "b" && strings.Contains(spec, "b=") && (strings.Contains(v, "b=") || strings.HasSuffix(strings.TrimSpace(name), "b")) {
				return c.theirs.class == fail
			}
		}
		return false
	}},
	{"l= is refused", "go-msgauth", "", func(c *dispute) bool { return c.has("l") && strings.Contains(c.theirs.detail, "body length") }},
	// RFC 6376 sections 3.4.3 and 3.4.4: a CRLF is added.
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
