//go:build integration

package integration_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newSendmailAction is a Sendmail at which unsigned mail of theirs.example meets an action.
func newSendmailAction(t *testing.T, action string) *sendmailWorld {
	t.Helper()
	return newSendmailWorld(t, sendmailSettings{rules: map[string]string{"theirs.example": fmt.Sprintf(unsignedRule, "enforce", action)}})
}

func (w *sendmailWorld) unsigned(t *testing.T, to string) reply {
	t.Helper()
	return w.dial(t, sendmailOutside).send("bob@theirs.example", to, newMail("bob@theirs.example", "an action").bytes())
}

func TestSendmailQuarantinesInItsQueue(t *testing.T) {
	t.Parallel()
	w := newSendmailAction(t, `action = "quarantine"`)
	to := unique("quarantine") + "@elsewhere.test"
	got := w.unsigned(t, to)
	if got.code != 250 {
		t.Fatal(got)
	}
	id := got.queueID()
	list := func(args ...string) string {
		return w.run(t, nil, append([]string{"-C", sendmailDir + "/sendmail.cf", "-bp"}, args...)...)
	}
	w.waitSyslog(t, id, "milter=dkimd, quarantine=dkimd: unsigned")
	eventually(t, waitLimit, "the message is in quarantine", func() bool { return strings.Contains(list("-qQ"), id) })
	if ordinary := list(); strings.Contains(ordinary, id) {
		t.Errorf("the message is in the ordinary queue as well:\n%s", ordinary)
	}
	if r := w.daemon.stream.from(t, "bob@theirs.example"); r.Verdict != "quarantine" || r.ID != id {
		t.Errorf("record %+v; want verdict quarantine, id %s", r, id)
	}
	// The operator lets it go, as docs/sendmail.md has it: it arrives as it was held.
	w.run(t, nil, "-C", sendmailDir+"/sendmail.cf", "-qQ", "-qI"+id, "-Q")
	w.run(t, nil, "-C", sendmailDir+"/sendmail.cf", "-qI"+id)
	if data := w.stage.sink.wait(t, to).data; len(named(data, "Authentication-Results")) != 1 {
		t.Errorf("released without Authentication-Results:\n%s", data)
	}
}

func TestSendmailDiscardsWithARecord(t *testing.T) {
	t.Parallel()
	w := newSendmailAction(t, `action = "discard"`)
	to := unique("discard") + "@elsewhere.test"
	got := w.unsigned(t, to)
	if got.code != 250 {
		t.Fatal(got)
	}
	w.waitSyslog(t, got.queueID()+": discarded")
	if r := w.daemon.stream.from(t, "bob@theirs.example"); r.Verdict != "discard" || r.ID != got.queueID() {
		t.Errorf("record %+v; want verdict discard, id %s", r, got.queueID())
	}
	if found := w.stage.sink.find(to); len(found) > 0 {
		t.Error("the message was delivered")
	}
}

func TestSendmailTags(t *testing.T) {
	t.Parallel()
	w := newSendmailAction(t, "action = \"tag\"\ntag = \"X-Suspicious: unsigned\"")
	to := unique("tag") + "@elsewhere.test"
	if got := w.unsigned(t, to); got.code != 250 {
		t.Fatal(got)
	}
	data := w.stage.sink.wait(t, to).data
	if got := named(data, "X-Suspicious"); len(got) != 1 || got[0] != "unsigned" {
		t.Errorf("X-Suspicious: %q", got)
	}
}

// Sendmail takes the text of a reply for a format.
func TestSendmailTellsTheReplyAsItIsWritten(t *testing.T) {
	t.Parallel()
	w := newSendmailAction(t, "action = \"tempfail\"\nreply = \"450 4.7.0 100% sure? %s Come back\"")
	if got := w.unsigned(t, "tempfail@elsewhere.test"); got.String() != "450 4.7.0 100% sure? %s Come back" {
		t.Errorf("Sendmail answers %q", got)
	}
	w.waitSyslog(t, "Milter: data, reject=450 4.7.0 ")
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
			w := newSendmailWorld(t, sendmailSettings{filterFlag: test.flag})
			open := w.dial(t, sendmailInside)
			first := unique("killed") + "@elsewhere.test"
			if got := w.sendOver(open, first); got.code != 250 {
				t.Fatal(got)
			}
			middle := unique("killed") + "@elsewhere.test"
			half := w.dial(t, sendmailInside)
			half.envelope("alice@ours.test", middle)
			half.want(354, "DATA")
			if _, err := half.conn.Write([]byte("From: alice@ours.test\r\nSubject: in the middle\r\n\r\nhalf a li")); err != nil {
				t.Fatal(err)
			}
			w.kill(t)
			if err := half.text.PrintfLine("ne\r\n."); err != nil {
				t.Fatal(err)
			}
			answer, err := half.read()
			if err != nil {
				t.Fatal(err)
			}
			w.checkUnsigned(t, "in the middle of a message", middle, answer, test.middle)
			to := unique("killed") + "@elsewhere.test"
			w.checkUnsigned(t, "on a connection that was open", to, w.sendOver(open, to), test.open)
			to = unique("killed") + "@elsewhere.test"
			w.checkUnsigned(t, "on a new connection", to, w.sendAnew(t, to), test.fresh)
			if got := named(w.stage.sink.wait(t, first).data, "DKIM-Signature"); len(got) != 2 {
				t.Errorf("the message before has %d signatures, want 2", len(got))
			}
		})
	}
}

// sendAnew sends a message of ours on a new connection, whose greeting may be a refusal.
func (w *sendmailWorld) sendAnew(t *testing.T, to string) reply {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port))
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t, conn)
	t.Cleanup(s.hangUp)
	greeting, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	if greeting.code != 220 {
		return greeting
	}
	s.want(250, "EHLO client.test")
	return w.sendOver(s, to)
}

// checkUnsigned tests what became of a message that dkimd had no say in.
func (w *sendmailWorld) checkUnsigned(t *testing.T, what, to string, got reply, want int) {
	t.Helper()
	if got.code != want {
		t.Errorf("%s: %s; want %d", what, got, want)
	}
	if got.code != 250 {
		if found := w.stage.sink.find(to); len(found) > 0 {
			t.Errorf("%s: refused with %s, and delivered", what, got)
		}
		return
	}
	if signed := named(w.stage.sink.wait(t, to).data, "DKIM-Signature"); len(signed) > 0 {
		t.Errorf("%s: signed by whom? %q", what, signed)
	}
}

// Each filter sees what those before it did, as docs/sendmail.md says.
func TestSendmailAsksItsFiltersInOrder(t *testing.T) {
	t.Parallel()
	second := freePort()
	w := newSendmailWorld(t, sendmailSettings{filters: func(line string) string {
		next := strings.Replace(filterSocket.ReplaceAllString(line, fmt.Sprintf("S=inet:%d@127.0.0.1", second)), "`dkimd'", "`next'", 1)
		return line + "\n" + next
	}})
	fields := make(chan string, 100)
	pretend(t, fmt.Sprintf("inet:127.0.0.1:%d", second), func(conn io.ReadWriter) { nod(conn, func(field string) { fields <- field }) })
	m := newMail("bob@theirs.example", "a chain").with(forged[0])
	if got := w.dial(t, sendmailOutside).send("bob@theirs.example", "chain@elsewhere.test", m.bytes()); got.code != 250 {
		t.Fatal(got)
	}
	close(fields)
	var results []string
	for f := range fields {
		if strings.HasPrefix(f, "Authentication-Results:") {
			results = append(results, f)
		}
	}
	if len(results) != 1 || !strings.Contains(results[0], "dkim=none") {
		t.Errorf("the next milter sees %q; want our result alone", results)
	}
}

// Neither what a content filter hands back, nor what goes into the queue without
// the submission program, is shown to dkimd.
func TestSendmailAsksNoFilterWhereTheGuideSaysSo(t *testing.T) {
	t.Parallel()
	w := newSendmailWorld(t, sendmailSettings{})
	handedBack, queued := unique("reinjected")+"@elsewhere.test", unique("queued")+"@elsewhere.test"
	m := newMail("alice@ours.test", "unseen").without("To").with("To: " + queued)
	if got := dialFrom(t, sendmailInside, fmt.Sprintf("127.0.0.1:%d", w.reinjection)).send("alice@ours.test", handedBack, m.bytes()); got.code != 250 {
		t.Fatal(got)
	}
	w.run(t, []byte(strings.ReplaceAll(string(m.bytes()), "\r\n", "\n")), "-C", sendmailDir+"/sendmail.cf", "-Am", "-t")
	for _, to := range []string{handedBack, queued} {
		if got := named(w.stage.sink.wait(t, to).data, "DKIM-Signature"); len(got) > 0 {
			t.Errorf("%s: signed: %q", to, got)
		}
	}
	if got := w.daemon.stream.all(); len(got) > 0 {
		t.Errorf("dkimd was asked: %+v", got)
	}
}

func TestSendmailReloadAndStopUnderLoadLoseNoMessage(t *testing.T) {
	t.Parallel()
	w := newSendmailWorld(t, sendmailSettings{})
	w.outside = w.port
	l := w.hammer(t)
	l.goOn(t)
	for range 2 {
		w.reload(t, "reloaded")
		l.goOn(t)
	}
	if l.deferredSoFar() > 0 {
		t.Errorf("%d messages were deferred; a reload is no reason", l.deferred)
	}
	streams := []*stream{w.daemon.stream}
	for range 2 {
		w.daemon.signal(syscall.SIGTERM)
		if code, err := w.daemon.exit(35 * time.Second); err != nil || code != 0 {
			t.Errorf("dkimd after SIGTERM: exit code %d, %v; want 0", code, err)
		}
		if strings.Contains(w.daemon.log.String(), "were cut") {
			t.Errorf("messages were cut:\n%s", w.daemon.log)
		}
		w.start(t)
		streams = append(streams, w.daemon.stream)
		l.goOn(t)
	}
	l.finish()
	l.check(t, w.world, streams...)
}
