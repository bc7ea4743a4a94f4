//go:build integration

package integration_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"

	"dkimd/internal/authrestest"
	"dkimd/internal/dkim"
	"dkimd/internal/message"

	"github.com/miekg/dns"
)

// crafted is a signature with tags of a test's own, which no program for honest
// people makes.
type crafted struct {
	domain, selector string
	tags             string   // more tags, each with its semicolon
	headers          []string // h=; default: From, Subject, To
	length           int64    // l=; 0: none
}

// sign puts the signature on top of a message.
func (c crafted) sign(t *testing.T, data []byte) []byte {
	t.Helper()
	if c.selector == "" {
		c.selector = "rsa"
	}
	if c.headers == nil {
		c.headers = []string{"From", "Subject", "To"}
	}
	limit, l := int64(-1), ""
	if c.length > 0 {
		limit, l = c.length, fmt.Sprintf(" l=%d;", c.length)
	}
	head, body, _ := bytes.Cut(data, []byte("\r\n\r\n"))
	hash := dkim.NewBodyHash(dkim.Simple, limit)
	_, _ = hash.Write(body)
	sum := hash.Sum()
	var h message.Header
	for f := range strings.SplitSeq(strings.ReplaceAll(string(head), "\r\n ", "\n "), "\r\n") {
		name, value, _ := strings.Cut(f, ":")
		h.Add(name, value)
	}
	value := fmt.Sprintf(" v=1; a=rsa-sha256; c=relaxed/simple; d=%s; s=%s;%s%s h=%s;\r\n bh=%s; b=",
		c.domain, c.selector, c.tags, l, strings.Join(c.headers, ":"), base64.StdEncoding.EncodeToString(sum[:]))
	block, _ := pem.Decode(harness.ForeignRSA().PEM)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	digest := dkim.HeaderHash(&h, c.headers, dkim.Relaxed, message.NewField("DKIM-Signature", value))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte("DKIM-Signature:"+value+base64.StdEncoding.EncodeToString(signature)+"\r\n"), data...)
}

// judged is one row of the table of verdicts.
type judged struct {
	name    string
	build   func(t *testing.T, plain []byte) []byte
	null    bool // MAIL FROM:<>
	reply   string
	results []string
}

var (
	byGmail = crafted{domain: "gmail.com"}
	byEvil  = crafted{domain: "evil.test"}
)

func tampered(signed []byte) []byte {
	return bytes.Replace(signed, []byte("Dear"), []byte("Poor"), 1)
}

// then does something to a message that gmail signed.
func then(change func(signed []byte) []byte) func(t *testing.T, plain []byte) []byte {
	return func(t *testing.T, plain []byte) []byte {
		t.Helper()
		return change(byGmail.sign(t, plain))
	}
}

// verdictTable is the table of docs/exim.md, in its order.
var verdictTable = []judged{
	{"good", byGmail.sign, false, "250", []string{"pass"}},
	{"unsigned", func(_ *testing.T, plain []byte) []byte { return plain }, false, gmailReply, nil},
	{"other signer only", byEvil.sign, false, gmailReply, []string{"pass"}},
	{"tampered", then(tampered), false, gmailReply, []string{"fail"}},
	{"one good and one broken", then(brokenAbove), false, "250", []string{"fail", "pass"}},
	{"no such key", crafted{domain: "gmail.com", selector: "none"}.sign, false, gmailReply, []string{"permerror"}},
	{"SERVFAIL", crafted{domain: "gmail.com", selector: "broken"}.sign, false, "451 4.7.5 ", []string{"temperror"}},
	{"null sender, good", byGmail.sign, true, "250", []string{"pass"}},
	{"null sender, unsigned", func(_ *testing.T, plain []byte) []byte { return plain }, true, gmailReply, nil},
	{"i= outside d=", crafted{domain: "evil.test", tags: " i=@gmail.com;"}.sign, false, gmailReply, []string{"permerror"}},
	{"From unsigned", crafted{domain: "gmail.com", headers: []string{"Subject", "To"}}.sign, false, gmailReply, []string{"permerror"}},
	{"expired", crafted{domain: "gmail.com", tags: " t=1000000000; x=1000003600;"}.sign, false, gmailReply, []string{"policy"}},
	{"l= and a body after it", func(t *testing.T, plain []byte) []byte {
		t.Helper()
		return append(crafted{domain: "gmail.com", length: 14}.sign(t, plain), "Buy now!\r\n"...)
	}, false, gmailReply, []string{"policy"}},
	{"written by gmail, sent by evil", func(_ *testing.T, plain []byte) []byte { return plain }, false, gmailReply, nil},
}

// TestVerdictsAreTheSameEverywhere: heavy, light and Postfix, DATA and BDAT.
func TestVerdictsAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	harness.NeedExim(t)
	rules := map[string]string{"gmail.com": gmailRule}
	through := map[string]func(t *testing.T) (*harness.World, func(t *testing.T) *harness.Session){
		"postfix": func(t *testing.T) (*harness.World, func(t *testing.T) *harness.Session) {
			t.Helper()
			w := harness.NewWorld(t, harness.Settings{Rules: rules, DNS: "timeout = \"1s\"\nattempts = 1"})
			return w, func(t *testing.T) *harness.Session { t.Helper(); return fromGmail(t, w) }
		},
	}
	for _, build := range harness.EximBuilds {
		through[build] = func(t *testing.T) (*harness.World, func(t *testing.T) *harness.Session) {
			t.Helper()
			e := harness.NewEximWorld(t, build, harness.EximSettings{Rules: rules, DNS: "timeout = \"1s\"\nattempts = 1"})
			return e.World, func(t *testing.T) *harness.Session { t.Helper(); return e.Dial(t, harness.EximOutside) }
		}
	}
	for name, open := range through {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, connect := open(t)
			harness.PublishForeignKeys(w.DNS, "gmail.com")
			harness.PublishForeignKeys(w.DNS, "evil.test")
			w.DNS.SetRcode("broken._domainkey.gmail.com", dns.RcodeServerFailure)
			verbs := []string{"DATA", "BDAT"}
			if name == "postfix" {
				verbs = verbs[:1]
			}
			for _, test := range verdictTable {
				for _, verb := range verbs {
					t.Run(test.name+"/"+verb, func(t *testing.T) { test.check(t, w, connect(t), verb) })
				}
			}
		})
	}
}

func (j judged) check(t *testing.T, w *harness.World, s *harness.Session, verb string) {
	t.Helper()
	from := harness.Unique("sender") + "@gmail.com"
	sender := from
	switch {
	case j.null:
		sender = ""
	case strings.HasSuffix(j.name, "evil"):
		sender = harness.Unique("sender") + "@evil.test"
	}
	data := j.build(t, harness.NewMail(from, "a verdict").Bytes())
	s.Envelope(sender, "reader@inbox.test")
	var got harness.Reply
	if verb == "BDAT" {
		got = s.BDAT(data)
	} else {
		got = s.Data(data)
	}
	if !strings.HasPrefix(got.String(), j.reply) {
		t.Errorf("answer %q, want %q", got, j.reply)
	}
	r := w.Daemon.Stream.Wait(t, "from "+from, func(r harness.Record) bool { return slices.Contains(r.From, from) && r.Mode == "verify" })
	if !slices.Equal(r.Results(), j.results) {
		t.Errorf("results %q, want %q", r.Results(), j.results)
	}
	want := map[byte]string{'2': "accept", '4': "tempfail", '5': "reject"}[j.reply[0]]
	if r.Verdict != want || r.Sender != sender {
		t.Errorf("record %+v; want verdict %s", r, want)
	}
}

// TestEximKeepsEveryByte: signatures with simple canonicalization hold on both
// builds, whatever Exim did to the message in between.
func TestEximKeepsEveryByte(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{
		"plain":              "Dear reader,\r\n",
		"empty":              "",
		"blank lines at end": "x\r\n\r\n\r\n\r\n",
		"only blank lines":   "\r\n\r\n",
		"trailing blanks":    "x \t \r\n\ty  \r\n",
		"dots":               ".\r\n..\r\n.x\r\n...y\r\n",
		"8-bit":              "\x80\xff\xc3\xa9 caf\xe9\r\n",
		"long line":          strings.Repeat("x", 5000) + "\r\n",
		"From line":          "From me\r\n>From you\r\n",
		"NUL":                "a\x00b\r\n",
		"30 MB":              strings.Repeat(strings.Repeat("y", 76)+"\r\n", 30<<20/78),
	}
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{})
		harness.PublishForeignKeys(e.DNS, "theirs.example")
		for name, body := range bodies {
			for _, verb := range []string{"DATA", "BDAT"} {
				t.Run(name+"/"+verb, func(t *testing.T) {
					m := harness.NewMail("bob@theirs.example", "every byte")
					m.Fields = append(m.Fields, "X-Odd:no space", "X-Fold: a\r\n\tb \r\n  c", "X-Envelope-To: <not@exims>", "X-8bit: caf\xe9 ")
					m.Body = body
					c := crafted{domain: "theirs.example", headers: []string{"From", "X-Odd", "X-Fold", "X-Envelope-To", "X-8bit", "Subject"}}
					data := c.signSimple(t, m.Bytes())
					s := e.Dial(t, harness.EximOutside)
					sender := harness.Unique("byte") + "@theirs.example"
					to := harness.Unique("byte") + "@inbox.test"
					s.Envelope(sender, to)
					got := harness.Reply{}
					if verb == "BDAT" {
						got = s.BDAT(data)
					} else {
						got = s.Data(data)
					}
					if got.Code != 250 {
						t.Fatal(got)
					}
					want := "pass"
					if name == "NUL" && build == "light" {
						want = "neutral" // Exim gives light's string with spaces in place of NULs
					}
					r := e.Verified(t, sender)
					if !slices.Equal(r.Results(), []string{want}) {
						t.Errorf("%+v; want %s", r.Signatures, want)
					}
					// What users get has our result on top, and their bytes below.
					if kept := e.Sink.Wait(t, to); !bytes.HasSuffix(kept.Data, data[bytes.Index(data, []byte("\r\nX-Odd")):]) {
						t.Errorf("delivered %.300q", kept.Data)
					} else if first := harness.Fields(kept.Data)[0]; !strings.HasPrefix(first, "Authentication-Results: "+harness.Hostname+";") || !strings.Contains(first, "dkim="+want) {
						if !strings.HasPrefix(first, "Received:") || !strings.HasPrefix(harness.Fields(kept.Data)[1], "Authentication-Results: "+harness.Hostname+";") {
							t.Errorf("on top: %q", harness.Fields(kept.Data)[:2])
						}
					}
				})
			}
		}
	})
}

// signSimple signs with simple/simple.
func (c crafted) signSimple(t *testing.T, data []byte) []byte {
	t.Helper()
	head, body, _ := bytes.Cut(data, []byte("\r\n\r\n"))
	hash := dkim.NewBodyHash(dkim.Simple, -1)
	_, _ = hash.Write(body)
	sum := hash.Sum()
	var h message.Header
	var name, value string
	for line := range strings.SplitSeq(string(head)+"\r\n", "\r\n") {
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			value += "\r\n" + line
			continue
		}
		if name != "" {
			h.Add(name, value)
		}
		name, value, _ = strings.Cut(line, ":")
	}
	field := fmt.Sprintf(" v=1; a=rsa-sha256; c=simple/simple; d=%s; s=rsa; h=%s;\r\n bh=%s; b=",
		c.domain, strings.Join(c.headers, ":"), base64.StdEncoding.EncodeToString(sum[:]))
	block, _ := pem.Decode(harness.ForeignRSA().PEM)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	digest := dkim.HeaderHash(&h, c.headers, dkim.Simple, message.NewField("DKIM-Signature", field))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte("DKIM-Signature:"+field+base64.StdEncoding.EncodeToString(signature)+"\r\n"), data...)
}

// TestManyResultsStandInSeveralFields: at most five results a field, those of SPF and DMARC and the best signature on top, whatever the
// MTA, and each field as strict readers take it.
func TestManyResultsStandInSeveralFields(t *testing.T) {
	t.Parallel()
	harness.NeedExim(t)
	w := newGmailWorld(t)
	type mta func(t *testing.T) (s *harness.Session, delivered func(to string) []byte)
	through := map[string]mta{"postfix": func(t *testing.T) (*harness.Session, func(string) []byte) {
		t.Helper()
		return fromGmail(t, w), func(to string) []byte { return w.Stage.Sink.Wait(t, to).Data }
	}}
	for _, build := range harness.EximBuilds {
		through[build] = func(t *testing.T) (*harness.Session, func(string) []byte) {
			t.Helper()
			e := harness.NewEximWorld(t, build, harness.EximSettings{})
			harness.PublishForeignKeys(e.DNS, "gmail.com")
			return e.Dial(t, harness.EximOutside), func(to string) []byte { return e.Sink.Wait(t, to).Data }
		}
	}
	for name, open := range through {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, delivered := open(t)
			data := harness.NewMail(gmailUser, "many signatures").Bytes()
			for range 6 {
				data = append([]byte("DKIM-Signature: v=1; d=\r\n"), data...)
			}
			data = harness.SignWithPython(t, "gmail.com", data)
			to := harness.Unique("many") + "@inbox.test"
			s.Envelope(gmailUser, to)
			if got := s.Data(data); got.Code != 250 {
				t.Fatal(got)
			}
			var results []string
			for _, value := range harness.FieldValues(delivered(to), "Authentication-Results") {
				f, err := authrestest.Parse(value)
				if err != nil {
					t.Error(err)
				}
				for _, r := range f.Results {
					results = append(results, r.Value)
				}
				results = append(results, "|")
			}
			if got := strings.Join(results, " "); got != "none none pass permerror permerror | permerror permerror permerror permerror |" {
				t.Error(got)
			}
		})
	}
}
