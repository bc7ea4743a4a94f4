//go:build integration

package integration_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/resolver/dnstest"

	"github.com/miekg/dns"
)

// newSendmailGmail is a Sendmail with gmail's rule; gmail.com and evil.test publish their keys.
func newSendmailGmail(t *testing.T) *sendmailWorld {
	t.Helper()
	w := newSendmailWorld(t, sendmailSettings{rules: map[string]string{"gmail.com": gmailRule}, dns: "timeout = \"1s\"\nattempts = 1"})
	publish(w.dns, "gmail.com")
	publish(w.dns, "evil.test")
	return w
}

func TestSendmailJudgesIncomingMailOfGmail(t *testing.T) {
	t.Parallel()
	w := newSendmailGmail(t)
	plain := newMail(gmailUser, "an incoming message").bytes()
	good := signWithPython(t, "gmail.com", plain)
	tamper := func(signed []byte) []byte { return bytes.Replace(signed, []byte("Dear"), []byte("Poor"), 1) }
	tests := map[string]struct {
		data    []byte
		want    string   // what the SMTP reply starts with
		results []string // in the record, top first
	}{
		"signed with python3-dkim":   {data: good, want: "250 ", results: []string{"pass"}},
		"signed with Ed25519":        {data: signWithPythonEd25519(t, plain), want: "250 ", results: []string{"pass"}},
		"signed with OpenDKIM":       {data: signWithOpenDKIM(t, "gmail.com", plain), want: "250 ", results: []string{"pass"}},
		"unsigned":                   {data: plain, want: gmailReply},
		"tampered body":              {data: tamper(good), want: gmailReply, results: []string{"fail"}},
		"wrong signer":               {data: signWithPython(t, "evil.test", plain), want: gmailReply, results: []string{"pass"}},
		"one good, one broken below": {data: signWithPython(t, "gmail.com", tamper(signWithPerl(t, "gmail.com", plain))), want: "250 ", results: []string{"pass", "fail"}},
		"one good, one broken above": {data: brokenAbove(good), want: "250 ", results: []string{"fail", "pass"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender := unique("sender") + "@gmail.com"
			to := unique("gmail") + "@elsewhere.test"
			got := w.dial(t, sendmailOutside).send(sender, to, test.data)
			if !strings.HasPrefix(got.String(), test.want) {
				t.Errorf("Sendmail answers %q, want %q", got, test.want)
			}
			r := w.daemon.stream.from(t, sender)
			if !slices.Equal(r.results(), test.results) || r.Client != sendmailOutside || r.Mode != "verify" {
				t.Errorf("record %+v; want results %q, client %s, mode verify", r, test.results, sendmailOutside)
			}
			if r.ID == "" {
				t.Error("the record has no queue id")
			}
			if got.code != 250 {
				if r.Verdict != "reject" || len(r.Policy) != 1 || r.Policy[0].Rule != "gmail must be signed by gmail" {
					t.Errorf("record %+v; want verdict reject by the rule", r)
				}
				return
			}
			if r.ID != got.queueID() {
				t.Errorf("record id %q, Sendmail queued as %q", r.ID, got.queueID())
			}
			checkPassed(t, w.stage.sink.wait(t, to).data)
		})
	}
}

func TestSendmailDefersMailWhenLookupsFail(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*dnstest.Server){
		"SERVFAIL": func(s *dnstest.Server) { s.SetRcode("rsa._domainkey.gmail.com", dns.RcodeServerFailure) },
		"timeout":  func(s *dnstest.Server) { s.Drop("rsa._domainkey.gmail.com") },
	}
	for name, breakDNS := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSendmailGmail(t)
			breakDNS(w.dns)
			data := signWithPython(t, "gmail.com", newMail(gmailUser, "a lookup that fails").bytes())
			if got := w.dial(t, sendmailOutside).send(gmailUser, "dns@elsewhere.test", data); !strings.HasPrefix(got.String(), "451 4.7.5 ") {
				t.Errorf("Sendmail answers %q, want 451 4.7.5", got)
			}
			r := w.daemon.stream.from(t, gmailUser)
			if r.Verdict != "tempfail" || !slices.Equal(r.results(), []string{"temperror"}) {
				t.Errorf("record %+v; want verdict tempfail, result temperror", r)
			}
		})
	}
}

// Sendmail sends no abort between the messages of a connection, and its queue
// id with MAIL alone.
func TestSendmailMessagesOfOneConnectionAreJudgedEachOnItsOwn(t *testing.T) {
	t.Parallel()
	w := newSendmailGmail(t)
	c := w.dial(t, sendmailOutside)
	plain := newMail(gmailUser, "one of many").bytes()
	good := signWithPython(t, "gmail.com", plain)

	if got := c.send("first@gmail.com", "first@elsewhere.test", plain); got.String() != gmailReply {
		t.Errorf("first: %q, want %q", got, gmailReply)
	}
	// The second is given up before its data.
	c.envelope("second@gmail.com", "second@elsewhere.test")
	c.want(250, "RSET")
	// The third is good, and goes to two.
	to, ownTo := unique("third")+"@elsewhere.test", unique("fifth")+"@elsewhere.test"
	c.envelope("third@gmail.com", to, unique("third")+"@elsewhere.test")
	third := c.data(good)
	if third.code != 250 {
		t.Errorf("third: %s", third)
	}
	// The fourth is unsigned again, and still from the same outside client.
	if got := c.send("fourth@gmail.com", "fourth@elsewhere.test", plain); got.String() != gmailReply {
		t.Errorf("fourth: %q, want %q", got, gmailReply)
	}
	// The fifth says it is ours; the client is not.
	fifth := c.send("fifth@ours.test", ownTo, newMail("alice@ours.test", "not ours").bytes())
	if fifth.code != 250 {
		t.Errorf("fifth: %s", fifth)
	}
	checkPassed(t, w.stage.sink.wait(t, to).data)
	if got := named(w.stage.sink.wait(t, ownTo).data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("an outside client's mail was signed: %q", got)
	}
	wants := map[string]struct {
		verdict    string
		results    []string
		recipients int
		id         string
	}{
		"first@gmail.com":  {verdict: "reject", recipients: 1},
		"third@gmail.com":  {verdict: "accept", results: []string{"pass"}, recipients: 2, id: third.queueID()},
		"fourth@gmail.com": {verdict: "reject", recipients: 1},
		"fifth@ours.test":  {verdict: "accept", recipients: 1, id: fifth.queueID()},
	}
	ids := map[string]bool{}
	for sender, want := range wants {
		r := w.daemon.stream.from(t, sender)
		if r.Verdict != want.verdict || !slices.Equal(r.results(), want.results) || r.Recipients != want.recipients ||
			r.Client != sendmailOutside || r.Mode != "verify" {
			t.Errorf("record %+v; want %+v, client %s, mode verify", r, want, sendmailOutside)
		}
		if r.ID == "" || ids[r.ID] || want.id != "" && r.ID != want.id {
			t.Errorf("record of %s has the id %q; want %q, of no other message", sender, r.ID, want.id)
		}
		ids[r.ID] = true
	}
	for _, r := range w.daemon.stream.all() {
		if r.Sender == "second@gmail.com" && r.Mode != "aborted" {
			t.Errorf("the message given up has the record %+v", r)
		}
	}
}

// Sendmail counts a removed field's place on: several forged ones, between honest ones.
func TestSendmailRemovesForgedAuthenticationResults(t *testing.T) {
	t.Parallel()
	w := newSendmailWorld(t, sendmailSettings{})
	m := newMail("bob@theirs.example", "forged results").with(forged[0], honest[0], forged[1], forged[2], honest[1], honest[2])
	to := unique("forged") + "@elsewhere.test"
	if got := w.dial(t, sendmailOutside).send("bob@theirs.example", to, m.bytes()); got.code != 250 {
		t.Fatal(got)
	}
	data := w.stage.sink.wait(t, to).data
	var kept []string
	for _, f := range fieldsOf(data) {
		if strings.Contains(strings.ToLower(f), "authentication-results") {
			kept = append(kept, f)
		}
	}
	if len(kept) == 0 || !strings.Contains(kept[0], "dkim=none") || !strings.Contains(kept[0], mailName) {
		t.Fatalf("no Authentication-Results of ours on top: %q", kept)
	}
	if !slices.Equal(kept[1:], honest) {
		t.Errorf("kept\n%q\nwant\n%q", kept[1:], honest)
	}
	if r := w.daemon.stream.from(t, "bob@theirs.example"); r.Stripped != len(forged) {
		t.Errorf("record says %d were stripped, want %d", r.Stripped, len(forged))
	}
}

// Where From is missing, Sendmail writes one of the sender's address at
// delivery, when dkimd has had its say.
func TestSendmailMissingFromMeetsTheDefaultRules(t *testing.T) {
	t.Parallel()
	m := newMail(gmailUser, "no author").without("From")
	w := newSendmailGmail(t)
	if got := w.dial(t, sendmailOutside).send(gmailUser, "nofrom@elsewhere.test", m.bytes()); got.String() != gmailReply {
		t.Errorf("with gmail.com's address as its sender: Sendmail answers %q, want %q", got, gmailReply)
	}
	to := unique("nofrom") + "@elsewhere.test"
	if got := w.dial(t, sendmailOutside).send("bob@theirs.example", to, m.bytes()); got.code != 250 {
		t.Fatal(got)
	}
	if got := named(w.stage.sink.wait(t, to).data, "From"); !slices.Equal(got, []string{"bob@theirs.example"}) {
		t.Errorf("Sendmail wrote From %q; docs/sendmail.md warns of the sender's address", got)
	}
	// The guide's rule.
	steps := readGuide(t, "docs/sendmail.md", "What Sendmail changes after dkimd")
	rule := steps[len(steps)-1]
	w.write(t, "rules/"+filepath.Base(rule.path), rule.text)
	w.reload(t, "reloaded")
	if got := w.dial(t, sendmailOutside).send("carol@theirs.example", "nofrom@elsewhere.test", m.bytes()); got.String() != "550 5.7.1 This message has no From" {
		t.Errorf("with the guide's rule: Sendmail answers %q", got)
	}
	if r := w.daemon.stream.from(t, "carol@theirs.example"); len(r.From) != 0 || r.Verdict != "reject" {
		t.Errorf("record %+v; want no From, verdict reject", r)
	}
}
