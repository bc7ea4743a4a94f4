//go:build integration

package integration_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// newSendmailGmail is a Sendmail with gmail's rule; gmail.com and evil.test publish their keys.
func newSendmailGmail(t *testing.T) *harness.SendmailWorld {
	t.Helper()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{Rules: map[string]string{"gmail.com": gmailRule}, DNS: "timeout = \"1s\"\nattempts = 1"})
	harness.PublishForeignKeys(w.DNS, "gmail.com")
	harness.PublishForeignKeys(w.DNS, "evil.test")
	return w
}

func TestSendmailJudgesIncomingMailOfGmail(t *testing.T) {
	t.Parallel()
	w := newSendmailGmail(t)
	plain := harness.NewMail(gmailUser, "an incoming message").Bytes()
	good := harness.SignWithPython(t, "gmail.com", plain)
	tamper := func(signed []byte) []byte { return bytes.Replace(signed, []byte("Dear"), []byte("Poor"), 1) }
	tests := map[string]struct {
		data    []byte
		want    string   // what the SMTP reply starts with
		results []string // in the record, top first
	}{
		"signed with python3-dkim":   {data: good, want: "250 ", results: []string{"pass"}},
		"signed with Ed25519":        {data: harness.SignWithPythonEd25519(t, plain), want: "250 ", results: []string{"pass"}},
		"signed with OpenDKIM":       {data: harness.SignWithOpenDKIM(t, "gmail.com", plain), want: "250 ", results: []string{"pass"}},
		"unsigned":                   {data: plain, want: gmailReply},
		"tampered body":              {data: tamper(good), want: gmailReply, results: []string{"fail"}},
		"wrong signer":               {data: harness.SignWithPython(t, "evil.test", plain), want: gmailReply, results: []string{"pass"}},
		"one good, one broken below": {data: harness.SignWithPython(t, "gmail.com", tamper(harness.SignWithPerl(t, "gmail.com", plain))), want: "250 ", results: []string{"pass", "fail"}},
		"one good, one broken above": {data: brokenAbove(good), want: "250 ", results: []string{"fail", "pass"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sender := harness.Unique("sender") + "@gmail.com"
			to := harness.Unique("gmail") + "@elsewhere.test"
			got := w.Dial(t, harness.SendmailOutside).Send(sender, to, test.data)
			if !strings.HasPrefix(got.String(), test.want) {
				t.Errorf("Sendmail answers %q, want %q", got, test.want)
			}
			r := w.Daemon.Stream.From(t, sender)
			if !slices.Equal(r.Results(), test.results) || r.Client != harness.SendmailOutside || r.Mode != "verify" {
				t.Errorf("record %+v; want results %q, client %s, mode verify", r, test.results, harness.SendmailOutside)
			}
			if r.ID == "" {
				t.Error("the record has no queue id")
			}
			if got.Code != 250 {
				if r.Verdict != "reject" || len(r.Policy) != 1 || r.Policy[0].Rule != "gmail must be signed by gmail" {
					t.Errorf("record %+v; want verdict reject by the rule", r)
				}
				return
			}
			if r.ID != got.QueueID() {
				t.Errorf("record id %q, Sendmail queued as %q", r.ID, got.QueueID())
			}
			checkPassed(t, w.Stage.Sink.Wait(t, to).Data)
		})
	}
}

func TestSendmailDefersMailWhenLookupsFail(t *testing.T) {
	t.Parallel()
	testFailedLookups(t, func(t *testing.T) (*harness.World, *harness.Session) {
		t.Helper()
		w := newSendmailGmail(t)
		return w.World, w.Dial(t, harness.SendmailOutside)
	})
}

// Sendmail sends no abort between the messages of a connection, and its queue
// id with MAIL alone.
func TestSendmailMessagesOfOneConnectionAreJudgedEachOnItsOwn(t *testing.T) {
	t.Parallel()
	w := newSendmailGmail(t)
	c := w.Dial(t, harness.SendmailOutside)
	plain := harness.NewMail(gmailUser, "one of many").Bytes()
	good := harness.SignWithPython(t, "gmail.com", plain)

	if got := c.Send("first@gmail.com", "first@elsewhere.test", plain); got.String() != gmailReply {
		t.Errorf("first: %q, want %q", got, gmailReply)
	}
	// The second is given up before its data.
	c.Envelope("second@gmail.com", "second@elsewhere.test")
	c.Want(250, "RSET")
	// The third is good, and goes to two.
	to, ownTo := harness.Unique("third")+"@elsewhere.test", harness.Unique("fifth")+"@elsewhere.test"
	c.Envelope("third@gmail.com", to, harness.Unique("third")+"@elsewhere.test")
	third := c.Data(good)
	if third.Code != 250 {
		t.Errorf("third: %s", third)
	}
	// The fourth is unsigned again, and still from the same outside client.
	if got := c.Send("fourth@gmail.com", "fourth@elsewhere.test", plain); got.String() != gmailReply {
		t.Errorf("fourth: %q, want %q", got, gmailReply)
	}
	// The fifth says it is ours; the client is not.
	fifth := c.Send("fifth@ours.test", ownTo, harness.NewMail("alice@ours.test", "not ours").Bytes())
	if fifth.Code != 250 {
		t.Errorf("fifth: %s", fifth)
	}
	checkPassed(t, w.Stage.Sink.Wait(t, to).Data)
	if got := harness.FieldValues(w.Stage.Sink.Wait(t, ownTo).Data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("an outside client's mail was signed: %q", got)
	}
	wants := map[string]struct {
		verdict    string
		results    []string
		recipients int
		id         string
	}{
		"first@gmail.com":  {verdict: "reject", recipients: 1},
		"third@gmail.com":  {verdict: "accept", results: []string{"pass"}, recipients: 2, id: third.QueueID()},
		"fourth@gmail.com": {verdict: "reject", recipients: 1},
		"fifth@ours.test":  {verdict: "accept", recipients: 1, id: fifth.QueueID()},
	}
	ids := map[string]bool{}
	for sender, want := range wants {
		r := w.Daemon.Stream.From(t, sender)
		if r.Verdict != want.verdict || !slices.Equal(r.Results(), want.results) || r.Recipients != want.recipients ||
			r.Client != harness.SendmailOutside || r.Mode != "verify" {
			t.Errorf("record %+v; want %+v, client %s, mode verify", r, want, harness.SendmailOutside)
		}
		if r.ID == "" || ids[r.ID] || want.id != "" && r.ID != want.id {
			t.Errorf("record of %s has the id %q; want %q, of no other message", sender, r.ID, want.id)
		}
		ids[r.ID] = true
	}
	for _, r := range w.Daemon.Stream.All() {
		if r.Sender == "second@gmail.com" && r.Mode != "aborted" {
			t.Errorf("the message given up has the record %+v", r)
		}
	}
}

// Sendmail counts a removed field's place on: several forged ones, between honest ones.
func TestSendmailRemovesForgedAuthenticationResults(t *testing.T) {
	t.Parallel()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{})
	m := harness.NewMail("bob@theirs.example", "forged results").With(forged[0], honest[0], forged[1], forged[2], honest[1], honest[2])
	to := harness.Unique("forged") + "@elsewhere.test"
	if got := w.Dial(t, harness.SendmailOutside).Send("bob@theirs.example", to, m.Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkOnlyHonest(t, w.World, to)
}

// Where From is missing, Sendmail writes one of the sender's address at
// delivery, when dkimd has had its say.
func TestSendmailMissingFromMeetsTheDefaultRules(t *testing.T) {
	t.Parallel()
	m := harness.NewMail(gmailUser, "no author").Without("From")
	w := newSendmailGmail(t)
	if got := w.Dial(t, harness.SendmailOutside).Send(gmailUser, "nofrom@elsewhere.test", m.Bytes()); got.String() != gmailReply {
		t.Errorf("with gmail.com's address as its sender: Sendmail answers %q, want %q", got, gmailReply)
	}
	to := harness.Unique("nofrom") + "@elsewhere.test"
	if got := w.Dial(t, harness.SendmailOutside).Send("bob@theirs.example", to, m.Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	if got := harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "From"); !slices.Equal(got, []string{"bob@theirs.example"}) {
		t.Errorf("Sendmail wrote From %q; docs/sendmail.md warns of the sender's address", got)
	}
	// The guide's rule.
	steps := harness.ReadGuide(t, "docs/sendmail.md", "What Sendmail changes after dkimd")
	rule := steps[len(steps)-1]
	w.Write(t, "rules/"+filepath.Base(rule.Path), rule.Text)
	w.Reload(t, "reloaded")
	if got := w.Dial(t, harness.SendmailOutside).Send("carol@theirs.example", "nofrom@elsewhere.test", m.Bytes()); got.String() != "550 5.7.1 This message has no From" {
		t.Errorf("with the guide's rule: Sendmail answers %q", got)
	}
	if r := w.Daemon.Stream.From(t, "carol@theirs.example"); len(r.From) != 0 || r.Verdict != "reject" {
		t.Errorf("record %+v; want no From, verdict reject", r)
	}
}
