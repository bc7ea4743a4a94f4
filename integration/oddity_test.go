//go:build integration

package integration_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

func TestBouncesAreSigned(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	to := harness.Unique("bounce") + "@elsewhere.test"
	if got := harness.Dial(t, w.Outside).Send("", to, harness.NewMail("mailer-daemon@ours.test", "a bounce").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)
	checkRecord(t, w.Daemon.Stream.From(t, ""), "127.0.0.1")
}

func TestNullSenderIsJudgedByItsFrom(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	if got := fromGmail(t, w).Send("", "null@elsewhere.test", harness.NewMail(gmailUser, "a bounce").Bytes()); got.String() != gmailReply {
		t.Errorf("Postfix answers %q, want %q", got, gmailReply)
	}
}

func TestTwoFromFields(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	m := harness.NewMail("alice@ours.test", "two authors").With("From: " + gmailUser)

	// Ours: it leaves, but unsigned, and the record says why.
	to := harness.Unique("twofrom") + "@elsewhere.test"
	if got := harness.Dial(t, w.Outside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	data := w.Stage.Sink.Wait(t, to).Data
	if got := harness.FieldValues(data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("signed: %q", got)
	}
	r := w.Daemon.Stream.From(t, "alice@ours.test")
	if r.Mode != "unsigned" || r.ReasonCode != "multiple_from" {
		t.Errorf("record %+v; want mode unsigned, reason multiple_from", r)
	}

	// Incoming: gmail's rule sees its From, whichever of the two it is.
	if got := fromGmail(t, w).Send("bob@theirs.example", "twofrom@elsewhere.test", m.Bytes()); got.String() != gmailReply {
		t.Errorf("Postfix answers %q, want %q", got, gmailReply)
	}
}

func TestMissingFromMeetsTheDefaultRules(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{Rules: map[string]string{"_default": `mode = "enforce"
[[rule]]
name = "somebody must have written it"
from = "missing"
action = "reject"
reply = "550 5.7.1 From is missing"
`}})
	m := harness.NewMail("nobody@theirs.example", "no author").Without("From")
	got := harness.Dial(t, w.Outside).As("mail.theirs.example", "203.0.113.9").Send("bob@theirs.example", "nofrom@elsewhere.test", m.Bytes())
	if got.String() != "550 5.7.1 From is missing" {
		t.Errorf("Postfix answers %q", got)
	}
	if r := w.Daemon.Stream.From(t, "bob@theirs.example"); len(r.From) != 0 || r.Verdict != "reject" {
		t.Errorf("record %+v", r)
	}
}

func TestEightBitHeaders(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	to := harness.Unique("eightbit") + "@elsewhere.test"
	m := harness.NewMail("alice@ours.test", "Größe \xff\xfe").With("X-Latin: caf\xe9")
	if got := harness.Dial(t, w.Outside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)
	checkRecord(t, w.Daemon.Stream.From(t, "alice@ours.test"), "127.0.0.1")
}

func TestHundredRecipients(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	var recipients []string
	for range 100 {
		recipients = append(recipients, harness.Unique("many")+"@elsewhere.test")
	}
	c := harness.Dial(t, w.Outside)
	c.Envelope("alice@ours.test", recipients...)
	if got := c.Data(harness.NewMail("alice@ours.test", "to a hundred").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	for _, to := range recipients {
		if got := harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "DKIM-Signature"); len(got) != 2 {
			t.Fatalf("%s got %d signatures, want 2", to, len(got))
		}
	}
	r := w.Daemon.Stream.From(t, "alice@ours.test")
	checkRecord(t, r, "127.0.0.1")
	if r.Recipients != 100 {
		t.Errorf("record says %d recipients, want 100", r.Recipients)
	}
}

// flatGrowth is how much more memory a large message may need than a small
// one: what the garbage collector has not yet swept, never the message itself.
const flatGrowth = 16 << 20

func TestMemoryStaysFlatWithALargeMessage(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	small := harness.NewMail(gmailUser, "size")
	line := strings.Repeat("0123456789", 7) + "\r\n"
	small.Body = strings.Repeat(line, 1<<20/len(line))
	large := harness.NewMail(gmailUser, "size")
	large.Body = strings.Repeat(line, 30<<20/len(line))

	c := fromGmail(t, w)
	send := func(m *harness.Mail) {
		to := harness.Unique("large") + "@elsewhere.test"
		if got := c.Send(harness.Unique("size")+"@gmail.com", to, harness.SignWithPython(t, "gmail.com", m.Bytes())); got.Code != 250 {
			t.Fatal(got)
		}
		checkPassed(t, w.Stage.Sink.Wait(t, to).Data)
	}
	send(small)
	before := peakMemory(t, w.Daemon)
	send(large)
	after := peakMemory(t, w.Daemon)
	t.Logf("peak memory: %d KiB after 1 MiB, %d KiB after 30 MiB", before>>10, after>>10)
	if after-before > flatGrowth && !harness.RaceEnabled { // the detector's shadow memory grows
		t.Errorf("dkimd grew by %d KiB over a 30 MiB message", (after-before)>>10)
	}
}

// peakMemory is the most resident memory that dkimd ever had, in bytes (proc(5), VmHWM).
func peakMemory(t *testing.T, d *harness.Daemon) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM in /proc")
	return 0
}

// padding is a header of about 900 KB: 900 fields of 1000 octets, folded.
func padding() []string {
	var fields []string
	for i := range 900 {
		fields = append(fields, fmt.Sprintf("X-Padding-%03d: ", i)+strings.Repeat(strings.Repeat("p", 75)+"\r\n ", 13)+"end")
	}
	return fields
}

func TestHeaderOf900KBIsVerifiedAndSigned(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	to := harness.Unique("header") + "@elsewhere.test"
	m := harness.NewMail(gmailUser, "a long header").With(padding()...)
	if got := fromGmail(t, w).Send(gmailUser, to, harness.SignWithPython(t, "gmail.com", m.Bytes())); got.Code != 250 {
		t.Fatal(got)
	}
	checkPassed(t, w.Stage.Sink.Wait(t, to).Data)

	to = harness.Unique("header") + "@elsewhere.test"
	m = harness.NewMail("alice@ours.test", "a long header").With(padding()...)
	if got := harness.Dial(t, w.Outside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)
}

func TestMoreThan2000FieldsOpenNoDoor(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	var fields []string
	for i := range 2001 {
		fields = append(fields, fmt.Sprintf("X-Field: %d", i))
	}

	// Incoming, with a good signature: past the limit it is a permerror, and
	// gmail's rule still judges, though its From stands at the bottom.
	m := harness.NewMail(gmailUser, "2001 fields").With(fields...)
	if got := fromGmail(t, w).Send(gmailUser, "fields@elsewhere.test", harness.SignWithPython(t, "gmail.com", m.Bytes())); got.String() != gmailReply {
		t.Errorf("Postfix answers %q, want %q", got, gmailReply)
	}
	if r := w.Daemon.Stream.From(t, gmailUser); slices.Contains(r.Results(), "pass") || r.Verdict != "reject" {
		t.Errorf("record %+v", r)
	}

	// Ours: it leaves unsigned; no retry could mend that.
	to := harness.Unique("fields") + "@elsewhere.test"
	m = harness.NewMail("alice@ours.test", "2001 fields").With(fields...)
	if got := harness.Dial(t, w.Outside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	if got := harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("signed: %q", got)
	}
	if r := w.Daemon.Stream.From(t, "alice@ours.test"); r.Mode != "unsigned" || r.ReasonCode != "limit" {
		t.Errorf("record %+v; want mode unsigned, reason limit", r)
	}
}
