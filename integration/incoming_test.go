//go:build integration

package integration_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/integration/harness"

	"dkimd/internal/resolver/dnstest"

	"github.com/miekg/dns"
)

// gmailRule is the rule that dkimd was made for.
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
func newGmailWorld(t *testing.T) *harness.World {
	t.Helper()
	w := harness.NewWorld(t, harness.Settings{Rules: map[string]string{"gmail.com": gmailRule}, DNS: "timeout = \"1s\"\nattempts = 1"})
	harness.PublishForeignKeys(w.DNS, "gmail.com")
	harness.PublishForeignKeys(w.DNS, "evil.test")
	return w
}

// fromGmail connects as one of gmail's mail servers, or as one who says so.
func fromGmail(t *testing.T, w *harness.World) *harness.Session {
	t.Helper()
	return harness.Dial(t, w.Outside).As("mail-sor-f41.google.com", "209.85.220.41")
}

func TestIncomingMailOfGmail(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	plain := harness.NewMail(gmailUser, "an incoming message").Bytes()
	tamper := func(signed []byte) []byte { return bytes.Replace(signed, []byte("Dear"), []byte("Poor"), 1) }
	good := harness.SignWithPython(t, "gmail.com", plain)
	tests := map[string]struct {
		data    []byte
		want    string   // what the SMTP reply starts with
		results []string // in the record, top first
	}{
		"signed with python3-dkim":   {data: good, want: "250 ", results: []string{"pass"}},
		"signed with Ed25519":        {data: harness.SignWithPythonEd25519(t, plain), want: "250 ", results: []string{"pass"}},
		"signed with Mail::DKIM":     {data: harness.SignWithPerl(t, "gmail.com", plain), want: "250 ", results: []string{"pass"}},
		"signed with OpenDKIM":       {data: harness.SignWithOpenDKIM(t, "gmail.com", plain), want: "250 ", results: []string{"pass"}},
		"unsigned":                   {data: plain, want: gmailReply},
		"tampered body":              {data: tamper(good), want: gmailReply, results: []string{"fail"}},
		"tampered subject":           {data: bytes.Replace(good, []byte("Subject: an"), []byte("Subject: my"), 1), want: gmailReply, results: []string{"fail"}},
		"wrong signer":               {data: harness.SignWithPython(t, "evil.test", plain), want: gmailReply, results: []string{"pass"}},
		"expired":                    {data: harness.SignExpiring(t, "gmail.com", time.Now().Add(-time.Hour), plain), want: gmailReply, results: []string{"policy"}},
		"expired and broken":         {data: tamper(harness.SignExpiring(t, "gmail.com", time.Now().Add(-time.Hour), plain)), want: gmailReply, results: []string{"fail"}},
		"one good, one broken below": {data: harness.SignWithPython(t, "gmail.com", tamper(harness.SignWithPerl(t, "gmail.com", plain))), want: "250 ", results: []string{"pass", "fail"}},
		"one good, one broken above": {data: brokenAbove(good), want: "250 ", results: []string{"fail", "pass"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender := harness.Unique("sender") + "@gmail.com"
			to := harness.Unique("gmail") + "@elsewhere.test"
			got := fromGmail(t, w).Send(sender, to, test.data)
			if !strings.HasPrefix(got.String(), test.want) {
				t.Errorf("Postfix answers %q, want %q", got, test.want)
			}
			r := w.Daemon.Stream.From(t, sender)
			if test.results != nil && !slices.Equal(r.Results(), test.results) {
				t.Errorf("results %q, want %q", r.Results(), test.results)
			}
			if r.Client != "209.85.220.41" || r.Mode != "verify" {
				t.Errorf("record %+v", r)
			}
			if got.Code != 250 {
				if r.Verdict != "reject" || len(r.Policy) != 1 || r.Policy[0].Rule != "gmail must be signed by gmail" {
					t.Errorf("record %+v; want verdict reject by the rule", r)
				}
				return
			}
			checkPassed(t, w.Stage.Sink.Wait(t, to).Data)
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
	for _, f := range harness.Fields(data) {
		name, value, _ := strings.Cut(f, ":")
		if strings.EqualFold(name, "Received") {
			continue // Postfix's own
		}
		if !strings.EqualFold(name, "Authentication-Results") {
			t.Errorf("%q stands above our Authentication-Results", f)
			return
		}
		for _, want := range []string{harness.Hostname + ";", "dkim=pass", "header.d=gmail.com"} {
			if !strings.Contains(value, want) {
				t.Errorf("Authentication-Results:%s: want %q in it", value, want)
			}
		}
		return
	}
}

func TestLookupsThatFailDeferMail(t *testing.T) {
	t.Parallel()
	testFailedLookups(t, func(t *testing.T) (*harness.World, *harness.Session) {
		t.Helper()
		w := newGmailWorld(t)
		return w, fromGmail(t, w)
	})
}

// testFailedLookups sends signed mail of gmail.com to a mail server whose dkimd has no answer about the key.
func testFailedLookups(t *testing.T, begin func(*testing.T) (*harness.World, *harness.Session)) {
	t.Helper()
	tests := map[string]func(*dnstest.Server){
		"SERVFAIL": func(s *dnstest.Server) { s.SetRcode("rsa._domainkey.gmail.com", dns.RcodeServerFailure) },
		"REFUSED":  func(s *dnstest.Server) { s.SetRcode("rsa._domainkey.gmail.com", dns.RcodeRefused) },
		"timeout":  func(s *dnstest.Server) { s.Drop("rsa._domainkey.gmail.com") },
	}
	for name, breakDNS := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, c := begin(t)
			breakDNS(w.DNS)
			to := harness.Unique("dns") + "@elsewhere.test"
			data := harness.SignWithPython(t, "gmail.com", harness.NewMail(gmailUser, "a lookup that fails").Bytes())
			if got := c.Send(gmailUser, to, data); !strings.HasPrefix(got.String(), "451 4.7.5 ") {
				t.Errorf("answer %q, want 451 4.7.5", got)
			}
			r := w.Daemon.Stream.From(t, gmailUser)
			if r.Verdict != "tempfail" || !slices.Equal(r.Results(), []string{"temperror"}) {
				t.Errorf("record %+v; want verdict tempfail, result temperror", r)
			}
		})
	}
}

func TestAbsentKeyIsNoLookupFailure(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	w.DNS.Delete("rsa._domainkey.gmail.com")
	data := harness.SignWithPython(t, "gmail.com", harness.NewMail(gmailUser, "a key that is gone").Bytes())
	if got := fromGmail(t, w).Send(gmailUser, "nokey@elsewhere.test", data); got.String() != gmailReply {
		t.Errorf("Postfix answers %q, want %q", got, gmailReply)
	}
	if r := w.Daemon.Stream.From(t, gmailUser); !slices.Equal(r.Results(), []string{"permerror"}) {
		t.Errorf("results %q, want permerror", r.Results())
	}
}
