//go:build integration

package integration_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/resolver/dnstest"

	"github.com/miekg/dns"
)

// gmailRule is the rule that dkimd was made for (design.md section 6).
const gmailRule = `sender = "either"
mode = "enforce"

[[rule]]
name    = "gmail must be signed by gmail"
result  = ["none", "invalid", "fail"]
signers = ["gmail.com"]
action  = "reject"
reply   = "550 5.7.20 Come on, what's going on?"
`

// gmailReply is the text that an offender must read at SMTP time.
const gmailReply = "550 5.7.20 Come on, what's going on?"

const gmailUser = "somebody@gmail.com"

// newGmailWorld is a world with gmail's rule, in which gmail.com and evil.test publish their keys.
func newGmailWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, settings{rules: map[string]string{"gmail.com": gmailRule}, dns: "timeout = \"1s\"\nattempts = 1"})
	publish(w.dns, "gmail.com")
	publish(w.dns, "evil.test")
	return w
}

// fromGmail connects as one of gmail's mail servers, or as one who says so.
func (w *world) fromGmail(t *testing.T) *session {
	t.Helper()
	return dial(t, w.outside).as("mail-sor-f41.google.com", "209.85.220.41")
}

func TestIncomingMailOfGmail(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	plain := newMail(gmailUser, "an incoming message").bytes()
	tamper := func(signed []byte) []byte { return bytes.Replace(signed, []byte("Dear"), []byte("Poor"), 1) }
	good := signWithPython(t, "gmail.com", plain)
	tests := map[string]struct {
		data    []byte
		want    string   // what the SMTP reply starts with
		results []string // in the record, top first
	}{
		"signed with python3-dkim":   {data: good, want: "250 ", results: []string{"pass"}},
		"signed with Ed25519":        {data: signWithPythonEd25519(t, plain), want: "250 ", results: []string{"pass"}},
		"signed with Mail::DKIM":     {data: signWithPerl(t, "gmail.com", plain), want: "250 ", results: []string{"pass"}},
		"signed with OpenDKIM":       {data: signWithOpenDKIM(t, "gmail.com", plain), want: "250 ", results: []string{"pass"}},
		"unsigned":                   {data: plain, want: gmailReply},
		"tampered body":              {data: tamper(good), want: gmailReply, results: []string{"fail"}},
		"tampered subject":           {data: bytes.Replace(good, []byte("Subject: an"), []byte("Subject: my"), 1), want: gmailReply, results: []string{"fail"}},
		"wrong signer":               {data: signWithPython(t, "evil.test", plain), want: gmailReply, results: []string{"pass"}},
		"expired":                    {data: signExpiring(t, "gmail.com", time.Now().Add(-time.Hour), plain), want: gmailReply, results: []string{"policy"}},
		"expired and broken":         {data: tamper(signExpiring(t, "gmail.com", time.Now().Add(-time.Hour), plain)), want: gmailReply, results: []string{"fail"}},
		"one good, one broken below": {data: signWithPython(t, "gmail.com", tamper(signWithPerl(t, "gmail.com", plain))), want: "250 ", results: []string{"pass", "fail"}},
		"one good, one broken above": {data: brokenAbove(good), want: "250 ", results: []string{"fail", "pass"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender := unique("sender") + "@gmail.com"
			to := unique("gmail") + "@elsewhere.test"
			got := w.fromGmail(t).send(sender, to, test.data)
			if !strings.HasPrefix(got.String(), test.want) {
				t.Errorf("Postfix answers %q, want %q", got, test.want)
			}
			r := w.daemon.stream.from(t, sender)
			if test.results != nil && !slices.Equal(r.results(), test.results) {
				t.Errorf("results %q, want %q", r.results(), test.results)
			}
			if r.Client != "209.85.220.41" || r.Mode != "verify" {
				t.Errorf("record %+v", r)
			}
			if got.code != 250 {
				if r.Verdict != "reject" || len(r.Policy) != 1 || r.Policy[0].Rule != "gmail must be signed by gmail" {
					t.Errorf("record %+v; want verdict reject by the rule", r)
				}
				return
			}
			checkPassed(t, w.stage.sink.wait(t, to).data)
		})
	}
}

// brokenAbove puts a copy of the first signature on top, with another body hash.
func brokenAbove(signed []byte) []byte {
	end := bytes.Index(signed, []byte("\r\nFrom:")) + 2
	field := bytes.Replace(signed[:end], []byte("bh="), []byte("bh=A"), 1)
	// 32 octets are 44 characters in base64: one in, one out.
	at := bytes.Index(field, []byte("bh=")) + 10
	field = append(field[:at:at], field[at+1:]...)
	return append(field, signed...)
}

// checkPassed tests that our Authentication-Results is on top of the message
// as it came, and tells that gmail.com's signature passed.
func checkPassed(t *testing.T, data []byte) {
	t.Helper()
	for _, f := range fieldsOf(data) {
		name, value, _ := strings.Cut(f, ":")
		if strings.EqualFold(name, "Received") {
			continue // Postfix's own
		}
		if !strings.EqualFold(name, "Authentication-Results") {
			t.Errorf("%q stands above our Authentication-Results", f)
			return
		}
		for _, want := range []string{mailName + ";", "dkim=pass", "header.d=gmail.com"} {
			if !strings.Contains(value, want) {
				t.Errorf("Authentication-Results:%s: want %q in it", value, want)
			}
		}
		return
	}
}

func TestLookupsThatFailDeferMail(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*dnstest.Server){
		"SERVFAIL": func(s *dnstest.Server) { s.SetRcode("rsa._domainkey.gmail.com", dns.RcodeServerFailure) },
		"REFUSED":  func(s *dnstest.Server) { s.SetRcode("rsa._domainkey.gmail.com", dns.RcodeRefused) },
		"timeout":  func(s *dnstest.Server) { s.Drop("rsa._domainkey.gmail.com") },
	}
	for name, breakDNS := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newGmailWorld(t)
			breakDNS(w.dns)
			to := unique("dns") + "@elsewhere.test"
			data := signWithPython(t, "gmail.com", newMail(gmailUser, "a lookup that fails").bytes())
			if got := w.fromGmail(t).send(gmailUser, to, data); !strings.HasPrefix(got.String(), "451 4.7.5 ") {
				t.Errorf("Postfix answers %q, want 451 4.7.5", got)
			}
			r := w.daemon.stream.from(t, gmailUser)
			if r.Verdict != "tempfail" || !slices.Equal(r.results(), []string{"temperror"}) {
				t.Errorf("record %+v; want verdict tempfail, result temperror", r)
			}
		})
	}
}

func TestAbsentKeyIsNoLookupFailure(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	w.dns.Delete("rsa._domainkey.gmail.com")
	data := signWithPython(t, "gmail.com", newMail(gmailUser, "a key that is gone").bytes())
	if got := w.fromGmail(t).send(gmailUser, "nokey@elsewhere.test", data); got.String() != gmailReply {
		t.Errorf("Postfix answers %q, want %q", got, gmailReply)
	}
	if r := w.daemon.stream.from(t, gmailUser); !slices.Equal(r.results(), []string{"permerror"}) {
		t.Errorf("results %q, want permerror", r.results())
	}
}
