//go:build integration

package integration_test

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// newSendmailAction is a Sendmail at which unsigned mail of theirs.example meets an action.
func newSendmailAction(t *testing.T, action string) *harness.SendmailWorld {
	t.Helper()
	return harness.NewSendmailWorld(t, harness.SendmailSettings{Rules: map[string]string{"theirs.example": fmt.Sprintf(unsignedRule, "enforce", action)}})
}

func sendUnsignedToSendmail(t *testing.T, w *harness.SendmailWorld, to string) harness.Reply {
	t.Helper()
	return w.Dial(t, harness.SendmailOutside).Send("bob@theirs.example", to, harness.NewMail("bob@theirs.example", "an action").Bytes())
}

func TestSendmailQuarantinesInItsQueue(t *testing.T) {
	t.Parallel()
	w := newSendmailAction(t, `action = "quarantine"`)
	to := harness.Unique("quarantine") + "@elsewhere.test"
	got := sendUnsignedToSendmail(t, w, to)
	if got.Code != 250 {
		t.Fatal(got)
	}
	id := got.QueueID()
	list := func(args ...string) string {
		return w.Run(t, nil, append([]string{"-C", harness.SendmailDir + "/sendmail.cf", "-bp"}, args...)...)
	}
	w.WaitSyslog(t, id, "milter=dkimd, quarantine=dkimd: unsigned")
	harness.Eventually(t, harness.WaitLimit, "the message is in quarantine", func() bool { return strings.Contains(list("-qQ"), id) })
	if ordinary := list(); strings.Contains(ordinary, id) {
		t.Errorf("the message is in the ordinary queue as well:\n%s", ordinary)
	}
	if r := w.Daemon.Stream.From(t, "bob@theirs.example"); r.Verdict != "quarantine" || r.ID != id {
		t.Errorf("record %+v; want verdict quarantine, id %s", r, id)
	}
	// The operator lets it go, as docs/sendmail.md has it: it arrives as it was held.
	w.Run(t, nil, "-C", harness.SendmailDir+"/sendmail.cf", "-qQ", "-qI"+id, "-Q")
	w.Run(t, nil, "-C", harness.SendmailDir+"/sendmail.cf", "-qI"+id)
	if data := w.Stage.Sink.Wait(t, to).Data; len(harness.FieldValues(data, "Authentication-Results")) != 1 {
		t.Errorf("released without Authentication-Results:\n%s", data)
	}
}

func TestSendmailDiscardsWithARecord(t *testing.T) {
	t.Parallel()
	w := newSendmailAction(t, `action = "discard"`)
	to := harness.Unique("discard") + "@elsewhere.test"
	got := sendUnsignedToSendmail(t, w, to)
	if got.Code != 250 {
		t.Fatal(got)
	}
	w.WaitSyslog(t, got.QueueID()+": discarded")
	if r := w.Daemon.Stream.From(t, "bob@theirs.example"); r.Verdict != "discard" || r.ID != got.QueueID() {
		t.Errorf("record %+v; want verdict discard, id %s", r, got.QueueID())
	}
	if found := w.Stage.Sink.Find(to); len(found) > 0 {
		t.Error("the message was delivered")
	}
}

func TestSendmailTags(t *testing.T) {
	t.Parallel()
	w := newSendmailAction(t, "action = \"tag\"\ntag = \"X-Suspicious: unsigned\"")
	to := harness.Unique("tag") + "@elsewhere.test"
	if got := sendUnsignedToSendmail(t, w, to); got.Code != 250 {
		t.Fatal(got)
	}
	data := w.Stage.Sink.Wait(t, to).Data
	if got := harness.FieldValues(data, "X-Suspicious"); len(got) != 1 || got[0] != "unsigned" {
		t.Errorf("X-Suspicious: %q", got)
	}
}

// Sendmail takes the text of a reply for a format.
func TestSendmailTellsTheReplyAsItIsWritten(t *testing.T) {
	t.Parallel()
	w := newSendmailAction(t, "action = \"tempfail\"\nreply = \"450 4.7.0 100% sure? %s Come back\"")
	if got := sendUnsignedToSendmail(t, w, "tempfail@elsewhere.test"); got.String() != "450 4.7.0 100% sure? %s Come back" {
		t.Errorf("Sendmail answers %q", got)
	}
	w.WaitSyslog(t, "Milter: data, reject=450 4.7.0 ")
}

// What F= of the filter says happens while dkimd is dead: in the middle of a
// message, on a connection that was open, and on a new one.
func TestSendmailLeavesMailOfADeadFilterToItsFlag(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		flag                string
		middle, open, fresh int // replies
	}{
		"F=T":     {"F=T", 451, 451, 451},
		"F=R":     {"F=R", 554, 550, 554},
		"no flag": {"F=", 250, 250, 250},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewSendmailWorld(t, harness.SendmailSettings{FilterFlag: test.flag})
			open := w.Dial(t, harness.SendmailInside)
			first := harness.Unique("killed") + "@elsewhere.test"
			if got := sendOver(open, first); got.Code != 250 {
				t.Fatal(got)
			}
			middle := harness.Unique("killed") + "@elsewhere.test"
			half := w.Dial(t, harness.SendmailInside)
			half.Envelope("alice@ours.test", middle)
			half.Want(354, "DATA")
			if _, err := half.Conn.Write([]byte("From: alice@ours.test\r\nSubject: in the middle\r\n\r\nhalf a li")); err != nil {
				t.Fatal(err)
			}
			w.Kill(t)
			if err := half.Text.PrintfLine("ne\r\n."); err != nil {
				t.Fatal(err)
			}
			answer, err := half.Read()
			if err != nil {
				t.Fatal(err)
			}
			checkUnsigned(t, w, "in the middle of a message", middle, answer, test.middle)
			to := harness.Unique("killed") + "@elsewhere.test"
			checkUnsigned(t, w, "on a connection that was open", to, sendOver(open, to), test.open)
			to = harness.Unique("killed") + "@elsewhere.test"
			checkUnsigned(t, w, "on a new connection", to, sendAnew(t, w, to), test.fresh)
			if got := harness.FieldValues(w.Stage.Sink.Wait(t, first).Data, "DKIM-Signature"); len(got) != 2 {
				t.Errorf("the message before has %d signatures, want 2", len(got))
			}
		})
	}
}

// sendAnew sends a message of ours on a new connection, whose greeting may be a refusal.
func sendAnew(t *testing.T, w *harness.SendmailWorld, to string) harness.Reply {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.Port))
	if err != nil {
		t.Fatal(err)
	}
	s := harness.NewSession(t, conn)
	t.Cleanup(s.HangUp)
	greeting, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	if greeting.Code != 220 {
		return greeting
	}
	s.Want(250, "EHLO client.test")
	return sendOver(s, to)
}

// checkUnsigned tests what became of a message that dkimd had no say in.
func checkUnsigned(t *testing.T, w *harness.SendmailWorld, what, to string, got harness.Reply, want int) {
	t.Helper()
	if got.Code != want {
		t.Errorf("%s: %s; want %d", what, got, want)
	}
	if got.Code != 250 {
		if found := w.Stage.Sink.Find(to); len(found) > 0 {
			t.Errorf("%s: refused with %s, and delivered", what, got)
		}
		return
	}
	if signed := harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "DKIM-Signature"); len(signed) > 0 {
		t.Errorf("%s: signed by whom? %q", what, signed)
	}
}

// Each filter sees what those before it did, as docs/sendmail.md says.
func TestSendmailAsksItsFiltersInOrder(t *testing.T) {
	t.Parallel()
	second := harness.FreePort()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{Filters: func(line string) string {
		next := strings.Replace(harness.FilterSocket.ReplaceAllString(line, fmt.Sprintf("S=inet:%d@127.0.0.1", second)), "`dkimd'", "`next'", 1)
		return line + "\n" + next
	}})
	check := nextMilter(t, fmt.Sprintf("inet:127.0.0.1:%d", second))
	m := harness.NewMail("bob@theirs.example", "a chain").With(forged[0])
	if got := w.Dial(t, harness.SendmailOutside).Send("bob@theirs.example", "chain@elsewhere.test", m.Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	check()
}

// Neither what a content filter hands back, nor what goes into the queue without
// the submission program, is shown to dkimd.
func TestSendmailAsksNoFilterWhereTheGuideSaysSo(t *testing.T) {
	t.Parallel()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{})
	handedBack, queued := harness.Unique("reinjected")+"@elsewhere.test", harness.Unique("queued")+"@elsewhere.test"
	m := harness.NewMail("alice@ours.test", "unseen").Without("To").With("To: " + queued)
	if got := harness.DialFrom(t, harness.SendmailInside, fmt.Sprintf("127.0.0.1:%d", w.Reinjection)).Send("alice@ours.test", handedBack, m.Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	w.Run(t, []byte(strings.ReplaceAll(string(m.Bytes()), "\r\n", "\n")), "-C", harness.SendmailDir+"/sendmail.cf", "-Am", "-t")
	for _, to := range []string{handedBack, queued} {
		if got := harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "DKIM-Signature"); len(got) > 0 {
			t.Errorf("%s: signed: %q", to, got)
		}
	}
	if got := w.Daemon.Stream.All(); len(got) > 0 {
		t.Errorf("dkimd was asked: %+v", got)
	}
}

func TestSendmailReloadAndStopUnderLoadLoseNoMessage(t *testing.T) {
	t.Parallel()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{})
	w.Outside = w.Port
	l := hammer(t, w.World)
	l.goOn(t)
	for range 2 {
		w.Reload(t, "reloaded")
		l.goOn(t)
	}
	if l.deferredSoFar() > 0 {
		t.Errorf("%d messages were deferred; a reload is no reason", l.deferred)
	}
	streams := []*harness.Stream{w.Daemon.Stream}
	for range 2 {
		w.Daemon.Signal(syscall.SIGTERM)
		if code, err := w.Daemon.Exit(35 * time.Second); err != nil || code != 0 {
			t.Errorf("dkimd after SIGTERM: exit code %d, %v; want 0", code, err)
		}
		if strings.Contains(w.Daemon.Log.String(), "were cut") {
			t.Errorf("messages were cut:\n%s", w.Daemon.Log)
		}
		w.Start(t)
		streams = append(streams, w.Daemon.Stream)
		l.goOn(t)
	}
	l.finish()
	l.check(t, w.World, streams...)
}
