//go:build integration

package integration_test

import (
	"fmt"
	"strings"
	"testing"
)

// unsignedRule does something to mail without signature.
const unsignedRule = `mode = %q
[[rule]]
name = "unsigned"
result = "none"
%s
`

// newActionWorld is a world in which unsigned mail of theirs.example meets an action.
func newActionWorld(t *testing.T, mode, action string) *world {
	t.Helper()
	return newWorld(t, settings{rules: map[string]string{"theirs.example": fmt.Sprintf(unsignedRule, mode, action)}})
}

// unsigned sends an unsigned message of theirs.example.
func (w *world) unsigned(t *testing.T, to string) reply {
	t.Helper()
	c := dial(t, w.outside).as("mail.theirs.example", "203.0.113.9")
	return c.send("bob@theirs.example", to, newMail("bob@theirs.example", "an action").bytes())
}

func TestQuarantineGoesToTheHoldQueue(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "enforce", `action = "quarantine"`)
	to := unique("quarantine") + "@elsewhere.test"
	got := w.unsigned(t, to)
	if got.code != 250 {
		t.Fatal(got)
	}
	eventually(t, waitLimit, "the message is on hold", func() bool { return w.postfix.queued(t, got.queueID()) == "hold" })
	if r := w.daemon.stream.from(t, "bob@theirs.example"); r.Verdict != "quarantine" || r.ID != got.queueID() {
		t.Errorf("record %+v; want verdict quarantine, id %s", r, got.queueID())
	}
	// The operator lets it go: it arrives as it was held.
	command(t, nil, "postsuper", "-c", w.postfix.config(), "-H", got.queueID())
	command(t, nil, "postqueue", "-c", w.postfix.config(), "-f")
	if data := w.stage.sink.wait(t, to).data; len(named(data, "Authentication-Results")) != 1 {
		t.Errorf("released without Authentication-Results:\n%s", data)
	}
}

func TestDiscardedMailVanishesWithARecord(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "enforce", `action = "discard"`)
	to := unique("discard") + "@elsewhere.test"
	got := w.unsigned(t, to)
	if got.code != 250 {
		t.Fatal(got)
	}
	w.postfix.waitLog(t, got.queueID()+": milter-discard:", to)
	if queue := w.postfix.queued(t, got.queueID()); queue != "" {
		t.Errorf("the message is still in queue %s", queue)
	}
	if r := w.daemon.stream.from(t, "bob@theirs.example"); r.Verdict != "discard" || r.ID != got.queueID() {
		t.Errorf("record %+v; want verdict discard, id %s", r, got.queueID())
	}
	if found := w.stage.sink.find(to); len(found) > 0 {
		t.Error("the message was delivered")
	}
}

func TestTempfailAsksTheSenderToComeBack(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "enforce", "action = \"tempfail\"\nreply = \"450 4.7.0 100% sure? Come back\"")
	if got := w.unsigned(t, "tempfail@elsewhere.test"); got.String() != "450 4.7.0 100% sure? Come back" {
		t.Errorf("Postfix answers %q", got)
	}
}

func TestRejectHasAReplyOfItsOwn(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "enforce", `action = "reject"`)
	if got := w.unsigned(t, "reject@elsewhere.test"); !strings.HasPrefix(got.String(), "550 5.7.20 ") {
		t.Errorf("Postfix answers %q; want 550 5.7.20", got)
	}
}

func TestTagAddsItsField(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "enforce", "action = \"tag\"\ntag = \"X-Suspicious: unsigned\"")
	to := unique("tag") + "@elsewhere.test"
	if got := w.unsigned(t, to); got.code != 250 {
		t.Fatal(got)
	}
	data := w.stage.sink.wait(t, to).data
	if got := named(data, "X-Suspicious"); len(got) != 1 || got[0] != "unsigned" {
		t.Errorf("X-Suspicious: %q", got)
	}
	if r := w.daemon.stream.from(t, "bob@theirs.example"); r.Verdict != "accept" {
		t.Errorf("record %+v; want verdict accept", r)
	}
}

func TestMonitorModeDeliversAndRecords(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "monitor", `action = "reject"`)
	to := unique("monitor") + "@elsewhere.test"
	if got := w.unsigned(t, to); got.code != 250 {
		t.Fatal(got)
	}
	w.stage.sink.wait(t, to)
	r := w.daemon.stream.from(t, "bob@theirs.example")
	if r.Verdict != "accept" || len(r.Policy) != 1 {
		t.Fatalf("record %+v; want verdict accept and one decision", r)
	}
	if p := r.Policy[0]; p.Mode != "monitor" || p.Action != "reject" || p.Rule != "unsigned" {
		t.Errorf("decision %+v; want what would have happened", p)
	}
}
