//go:build integration

package integration_test

import (
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// Postfix shows dkimd the client once a connection and keeps the milter
// connection open over many messages; each must be judged as if it came alone.

func TestMessagesOfOneConnectionAreJudgedEachOnItsOwn(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	c := fromGmail(t, w)
	plain := harness.NewMail(gmailUser, "one of many").Bytes()
	good := harness.SignWithPython(t, "gmail.com", plain)

	// The first is unsigned.
	if got := c.Send("first@gmail.com", "first@elsewhere.test", plain); got.String() != gmailReply {
		t.Errorf("first: %q, want %q", got, gmailReply)
	}

	// The second is good and aborted in the middle of its data: RFC 3030
	// section 2 lets a client say RSET between two chunks.
	c.Envelope("second@gmail.com", "second@elsewhere.test")
	half := good[:len(good)/2]
	if err := c.Text.PrintfLine("BDAT %d", len(half)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Conn.Write(half); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Read(); err != nil || got.Code != 250 {
		t.Fatalf("BDAT: %v, %v", got, err)
	}
	c.Want(250, "RSET")

	// The third is good; one of its recipients is refused.
	to := harness.Unique("third") + "@elsewhere.test"
	c.Want(250, "MAIL FROM:<third@gmail.com>")
	c.Want(550, "RCPT TO:<%s>", harness.RefusedRecipient)
	c.Want(250, "RCPT TO:<%s>", to)
	if got := c.Data(good); got.Code != 250 {
		t.Errorf("third: %s", got)
	}

	// The fourth is unsigned again, and still from the same outside client.
	if got := c.Send("fourth@gmail.com", "fourth@elsewhere.test", plain); got.String() != gmailReply {
		t.Errorf("fourth: %q, want %q", got, gmailReply)
	}
	// The fifth says it is ours; the client is not.
	ownTo := harness.Unique("fifth") + "@elsewhere.test"
	if got := c.Send("fifth@ours.test", ownTo, harness.NewMail("alice@ours.test", "not ours").Bytes()); got.Code != 250 {
		t.Errorf("fifth: %s", got)
	}

	checkPassed(t, w.Stage.Sink.Wait(t, to).Data)
	if got := harness.FieldValues(w.Stage.Sink.Wait(t, ownTo).Data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("an outside client's mail was signed: %q", got)
	}
	wants := map[string]struct {
		verdict string
		results []string
	}{
		"first@gmail.com":  {"reject", nil},
		"third@gmail.com":  {"accept", []string{"pass"}},
		"fourth@gmail.com": {"reject", nil},
		"fifth@ours.test":  {"accept", nil},
	}
	ids := map[string]bool{}
	for sender, want := range wants {
		r := w.Daemon.Stream.From(t, sender)
		if r.Verdict != want.verdict || !slices.Equal(r.Results(), want.results) || r.Client != "209.85.220.41" ||
			r.Mode != "verify" || r.Recipients != 1 {
			t.Errorf("record %+v; want verdict %s, results %q, client 209.85.220.41, mode verify, 1 recipient", r, want.verdict, want.results)
		}
		if r.ID == "" || ids[r.ID] {
			t.Errorf("record of %s has the id %q of another message or none", sender, r.ID)
		}
		ids[r.ID] = true
	}
	for _, r := range w.Daemon.Stream.All() {
		if r.Sender == "second@gmail.com" && r.Mode != "aborted" {
			t.Errorf("the aborted message has the record %+v", r)
		}
	}
}

func TestClientThatHangsUpInMidMessage(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	for range 3 {
		c := fromGmail(t, w)
		c.Envelope("gone@gmail.com", "gone@elsewhere.test")
		c.Want(354, "DATA")
		if _, err := c.Conn.Write([]byte("From: gone@gmail.com\r\n\r\nhalf a li")); err != nil {
			t.Fatal(err)
		}
		c.HangUp()
	}
	plain := harness.NewMail(gmailUser, "after them").Bytes()
	if got := fromGmail(t, w).Send("after@gmail.com", "after@elsewhere.test", plain); got.String() != gmailReply {
		t.Errorf("the message after them: %q, want %q", got, gmailReply)
	}
	for _, r := range w.Daemon.Stream.All() {
		if r.Sender == "gone@gmail.com" && r.Mode != "aborted" {
			t.Errorf("the aborted message has the record %+v", r)
		}
	}
}

// forged are fields that claim our authserv-id, oddly written.
var forged = []string{
	"Authentication-Results: " + harness.Hostname + "; dkim=pass header.d=gmail.com",
	"authentication-RESULTS:(a (nested) comment)\r\n\tMX.Harness.TEST. 1 ;\r\n dkim = pass header.d=gmail.com",
	"Authentication-Results: \"mx.harness\\.test\" (;) ; spf=pass; dkim=pass header.d=gmail.com",
}

// honest are fields of others, which are none of our business.
var honest = []string{
	"Authentication-Results: mx.elsewhere.test; dkim=pass header.d=gmail.com",
	"Authentication-Results: not-" + harness.Hostname + "; dkim=fail",
	"ARC-Authentication-Results: i=1; " + harness.Hostname + "; dkim=pass",
}

func TestForgedAuthenticationResultsAreRemoved(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	m := harness.NewMail("bob@theirs.example", "forged results").With(forged[0], honest[0], forged[1], honest[1], forged[2], honest[2])
	to := harness.Unique("forged") + "@elsewhere.test"
	if got := harness.Dial(t, w.Outside).As("mail.theirs.example", "203.0.113.9").Send("bob@theirs.example", to, m.Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkOnlyHonest(t, w, to)
}

// checkOnlyHonest tests that a message of bob@theirs.example arrives with our result and the honest ones.
func checkOnlyHonest(t *testing.T, w *harness.World, to string) {
	t.Helper()
	data := w.Stage.Sink.Wait(t, to).Data
	var kept []string
	for _, f := range harness.Fields(data) {
		if strings.Contains(strings.ToLower(f), "authentication-results") {
			kept = append(kept, f)
		}
	}
	if len(kept) == 0 || !strings.Contains(kept[0], "dkim=none") || !strings.Contains(kept[0], harness.Hostname) {
		t.Fatalf("no Authentication-Results of ours on top: %q", kept)
	}
	if !slices.Equal(kept[1:], honest) {
		t.Errorf("kept\n%q\nwant\n%q", kept[1:], honest)
	}
	if r := w.Daemon.Stream.From(t, "bob@theirs.example"); r.Stripped != len(forged) {
		t.Errorf("record says %d were stripped, want %d", r.Stripped, len(forged))
	}
}
