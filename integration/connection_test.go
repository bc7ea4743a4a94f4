//go:build integration

package integration_test

import (
	"slices"
	"strings"
	"testing"
)

// Postfix shows dkimd the client once a connection and keeps the milter
// connection open over many messages; each must be judged as if it came alone.

func TestMessagesOfOneConnectionAreJudgedEachOnItsOwn(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	c := w.fromGmail(t)
	plain := newMail(gmailUser, "one of many").bytes()
	good := signWithPython(t, "gmail.com", plain)

	// The first is unsigned.
	if got := c.send("first@gmail.com", "first@elsewhere.test", plain); got.String() != gmailReply {
		t.Errorf("first: %q, want %q", got, gmailReply)
	}

	// The second is good and aborted in the middle of its data: RFC 3030
	// section 2 lets a client say RSET between two chunks.
	c.envelope("second@gmail.com", "second@elsewhere.test")
	half := good[:len(good)/2]
	if err := c.text.PrintfLine("BDAT %d", len(half)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.conn.Write(half); err != nil {
		t.Fatal(err)
	}
	if got, err := c.read(); err != nil || got.code != 250 {
		t.Fatalf("BDAT: %v, %v", got, err)
	}
	c.want(250, "RSET")

	// The third is good; one of its recipients is refused.
	to := unique("third") + "@elsewhere.test"
	c.want(250, "MAIL FROM:<third@gmail.com>")
	c.want(550, "RCPT TO:<%s>", refused)
	c.want(250, "RCPT TO:<%s>", to)
	if got := c.data(good); got.code != 250 {
		t.Errorf("third: %s", got)
	}

	// The fourth is unsigned again, and still from the same outside client.
	if got := c.send("fourth@gmail.com", "fourth@elsewhere.test", plain); got.String() != gmailReply {
		t.Errorf("fourth: %q, want %q", got, gmailReply)
	}
	// The fifth says it is ours; the client is not.
	ownTo := unique("fifth") + "@elsewhere.test"
	if got := c.send("fifth@ours.test", ownTo, newMail("alice@ours.test", "not ours").bytes()); got.code != 250 {
		t.Errorf("fifth: %s", got)
	}

	checkPassed(t, w.stage.sink.wait(t, to).data)
	if got := named(w.stage.sink.wait(t, ownTo).data, "DKIM-Signature"); len(got) > 0 {
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
		r := w.daemon.stream.from(t, sender)
		if r.Verdict != want.verdict || !slices.Equal(r.results(), want.results) || r.Client != "209.85.220.41" ||
			r.Mode != "verify" || r.Recipients != 1 {
			t.Errorf("record %+v; want verdict %s, results %q, client 209.85.220.41, mode verify, 1 recipient", r, want.verdict, want.results)
		}
		if r.ID == "" || ids[r.ID] {
			t.Errorf("record of %s has the id %q of another message or none", sender, r.ID)
		}
		ids[r.ID] = true
	}
	for _, r := range w.daemon.stream.all() {
		if r.Sender == "second@gmail.com" && r.Mode != "aborted" {
			t.Errorf("the aborted message has the record %+v", r)
		}
	}
}

func TestClientThatHangsUpInMidMessage(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	for range 3 {
		c := w.fromGmail(t)
		c.envelope("gone@gmail.com", "gone@elsewhere.test")
		c.want(354, "DATA")
		if _, err := c.conn.Write([]byte("From: gone@gmail.com\r\n\r\nhalf a li")); err != nil {
			t.Fatal(err)
		}
		c.hangUp()
	}
	plain := newMail(gmailUser, "after them").bytes()
	if got := w.fromGmail(t).send("after@gmail.com", "after@elsewhere.test", plain); got.String() != gmailReply {
		t.Errorf("the message after them: %q, want %q", got, gmailReply)
	}
	for _, r := range w.daemon.stream.all() {
		if r.Sender == "gone@gmail.com" && r.Mode != "aborted" {
			t.Errorf("the aborted message has the record %+v", r)
		}
	}
}

// forged are fields that claim our authserv-id, oddly written.
var forged = []string{
	"Authentication-Results: " + mailName + "; dkim=pass header.d=gmail.com",
	"authentication-RESULTS:(a (nested) comment)\r\n\tMX.Harness.TEST. 1 ;\r\n dkim = pass header.d=gmail.com",
	"Authentication-Results: \"mx.harness\\.test\" (;) ; spf=pass; dkim=pass header.d=gmail.com",
}

// honest are fields of others, which are none of our business.
var honest = []string{
	"Authentication-Results: mx.elsewhere.test; dkim=pass header.d=gmail.com",
	"Authentication-Results: not-" + mailName + "; dkim=fail",
	"ARC-Authentication-Results: i=1; " + mailName + "; dkim=pass",
}

func TestForgedAuthenticationResultsAreRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	m := newMail("bob@theirs.example", "forged results").with(forged[0], honest[0], forged[1], honest[1], forged[2], honest[2])
	to := unique("forged") + "@elsewhere.test"
	if got := dial(t, w.outside).as("mail.theirs.example", "203.0.113.9").send("bob@theirs.example", to, m.bytes()); got.code != 250 {
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
