//go:build integration

package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"dkimd/integration/harness"
	"dkimd/internal/message"
)

// unsignedRule does something to mail without signature.
const unsignedRule = `mode = %q
[[rule]]
name = "unsigned"
result = "none"
%s
`

// newActionWorld is a world in which unsigned mail of theirs.example meets an action.
func newActionWorld(t *testing.T, mode, action string) *harness.World {
	t.Helper()
	return harness.NewWorld(t, harness.Settings{Rules: map[string]string{"theirs.example": fmt.Sprintf(unsignedRule, mode, action)}})
}

// sendUnsigned sends an unsigned message of theirs.example.
func sendUnsigned(t *testing.T, w *harness.World, to string) harness.Reply {
	t.Helper()
	c := harness.Dial(t, w.Outside).As("mail.theirs.example", "203.0.113.9")
	return c.Send("bob@theirs.example", to, harness.NewMail("bob@theirs.example", "an action").Bytes())
}

func TestQuarantineGoesToTheHoldQueue(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "enforce", `action = "quarantine"`)
	to := harness.Unique("quarantine") + "@elsewhere.test"
	got := sendUnsigned(t, w, to)
	if got.Code != 250 {
		t.Fatal(got)
	}
	harness.Eventually(t, harness.WaitLimit, "the message is on hold", func() bool { return w.Postfix.Queued(t, got.QueueID()) == "hold" })
	if r := w.Daemon.Stream.From(t, "bob@theirs.example"); r.Verdict != "quarantine" || r.ID != got.QueueID() {
		t.Errorf("record %+v; want verdict quarantine, id %s", r, got.QueueID())
	}
	// The operator lets it go: it arrives as it was held.
	harness.Run(t, nil, "postsuper", "-c", w.Postfix.Config(), "-H", got.QueueID())
	harness.Run(t, nil, "postqueue", "-c", w.Postfix.Config(), "-f")
	if data := w.Stage.Sink.Wait(t, to).Data; len(harness.FieldValues(data, "Authentication-Results")) != 1 {
		t.Errorf("released without Authentication-Results:\n%s", data)
	}
}

func TestDiscardedMailVanishesWithARecord(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "enforce", `action = "discard"`)
	to := harness.Unique("discard") + "@elsewhere.test"
	got := sendUnsigned(t, w, to)
	if got.Code != 250 {
		t.Fatal(got)
	}
	w.Postfix.WaitLog(t, got.QueueID()+": milter-discard:", to)
	if queue := w.Postfix.Queued(t, got.QueueID()); queue != "" {
		t.Errorf("the message is still in queue %s", queue)
	}
	if r := w.Daemon.Stream.From(t, "bob@theirs.example"); r.Verdict != "discard" || r.ID != got.QueueID() {
		t.Errorf("record %+v; want verdict discard, id %s", r, got.QueueID())
	}
	if found := w.Stage.Sink.Find(to); len(found) > 0 {
		t.Error("the message was delivered")
	}
}

func TestTempfailAsksTheSenderToComeBack(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "enforce", "action = \"tempfail\"\nreply = \"450 4.7.0 100% sure? Come back\"")
	if got := sendUnsigned(t, w, "tempfail@elsewhere.test"); got.String() != "450 4.7.0 100% sure? Come back" {
		t.Errorf("Postfix answers %q", got)
	}
}

func TestRejectHasAReplyOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "enforce", `action = "reject"`)
	if got := sendUnsigned(t, w, "reject@elsewhere.test"); !strings.HasPrefix(got.String(), "550 5.7.20 ") {
		t.Errorf("Postfix answers %q; want 550 5.7.20", got)
	}
}

func TestTagAddsItsField(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "enforce", "action = \"tag\"\ntag = \"X-Suspicious: unsigned\"")
	to := harness.Unique("tag") + "@elsewhere.test"
	if got := sendUnsigned(t, w, to); got.Code != 250 {
		t.Fatal(got)
	}
	data := w.Stage.Sink.Wait(t, to).Data
	if got := harness.FieldValues(data, "X-Suspicious"); len(got) != 1 || got[0] != "unsigned" {
		t.Errorf("X-Suspicious: %q", got)
	}
	if r := w.Daemon.Stream.From(t, "bob@theirs.example"); r.Verdict != "accept" {
		t.Errorf("record %+v; want verdict accept", r)
	}
}

func TestMonitorModeDeliversAndRecords(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "monitor", `action = "reject"`)
	to := harness.Unique("monitor") + "@elsewhere.test"
	if got := sendUnsigned(t, w, to); got.Code != 250 {
		t.Fatal(got)
	}
	w.Stage.Sink.Wait(t, to)
	r := w.Daemon.Stream.From(t, "bob@theirs.example")
	if r.Verdict != "accept" || len(r.Policy) != 1 {
		t.Fatalf("record %+v; want verdict accept and one decision", r)
	}
	if p := r.Policy[0]; p.Mode != "monitor" || p.Action != "reject" || p.Rule != "unsigned" {
		t.Errorf("decision %+v; want what would have happened", p)
	}
}

// dkimd keeps 10,000 recipients and counts the others. Those it does not know do not help a
// message to a rule that accepts it, nor past one that stops it. Postfix shows each to dkimd.
func TestRulesForRecipientsMeetMoreThanAreKept(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{Rules: map[string]string{"theirs.example": `mode = "enforce"
[[rule]]
name = "let in"
recipients = ["@elsewhere.test"]
action = "accept"
[[rule]]
name = "keep out"
recipients = ["@strict.test"]
action = "reject"
reply = "550 5.7.20 strict"
[[rule]]
name = "the rest"
result = "none"
action = "reject"
reply = "550 5.7.20 the rest"
`}})
	for _, test := range []struct {
		domain     string
		recipients int
		want       string
	}{
		{"elsewhere.test", 1, "250 "},
		{"elsewhere.test", message.MaxRecipients + 1, "550 5.7.20 the rest"},
		{"strict.test", message.MaxRecipients + 1, "550 5.7.20 strict"},
	} {
		sender := harness.Unique("crowd") + "@theirs.example"
		c := harness.Dial(t, w.Outside).As("mail.theirs.example", "203.0.113.9")
		c.Want(250, "MAIL FROM:<%s>", sender)
		for i := range test.recipients {
			c.Want(250, "RCPT TO:<reader%d@%s>", i, test.domain)
		}
		got := c.Data(harness.NewMail("bob@theirs.example", "a crowd").Bytes())
		if !strings.HasPrefix(got.String(), test.want) {
			t.Errorf("%d recipients at %s: Postfix answers %q; want %q", test.recipients, test.domain, got, test.want)
		}
		if r := w.Daemon.Stream.From(t, sender); r.Recipients != test.recipients {
			t.Errorf("the record has %d recipients, want %d", r.Recipients, test.recipients)
		}
	}
}
