//go:build integration

package integration_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestBouncesAreSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	to := unique("bounce") + "@elsewhere.test"
	if got := dial(t, w.outside).send("", to, newMail("mailer-daemon@ours.test", "a bounce").bytes()); got.code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.stage.sink.wait(t, to).data)
	checkRecord(t, w.daemon.stream.from(t, ""), "127.0.0.1")
}

func TestNullSenderIsJudgedByItsFrom(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	if got := w.fromGmail(t).send("", "null@elsewhere.test", newMail(gmailUser, "a bounce").bytes()); got.String() != gmailReply {
		t.Errorf("Postfix answers %q, want %q", got, gmailReply)
	}
}

func TestTwoFromFields(t *testing.T) {
	t.Parallel()
	w := newGmailWorld(t)
	m := newMail("alice@ours.test", "two authors").with("From: " + gmailUser)

	// Ours: it leaves, but unsigned, and the record says why.
	to := unique("twofrom") + "@elsewhere.test"
	if got := dial(t, w.outside).send("alice@ours.test", to, m.bytes()); got.code != 250 {
		t.Fatal(got)
	}
	data := w.stage.sink.wait(t, to).data
	if got := named(data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("signed: %q", got)
	}
	r := w.daemon.stream.from(t, "alice@ours.test")
	if r.Mode != "unsigned" || !strings.Contains(r.Reason, "multiple_from") {
		t.Errorf("record %+v; want mode unsigned, reason multiple_from", r)
	}

	// Incoming: gmail's rule sees its From, whichever of the two it is.
	if got := w.fromGmail(t).send("bob@theirs.example", "twofrom@elsewhere.test", m.bytes()); got.String() != gmailReply {
		t.Errorf("Postfix answers %q, want %q", got, gmailReply)
	}
}

func TestMissingFromMeetsTheDefaultRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{rules: map[string]string{"_default": `mode = "enforce"
[[rule]]
name = "somebody must have written it"
from = "missing"
action = "reject"
reply = "550 5.7.1 From is missing"
`}})
	m := newMail("nobody@theirs.example", "no author").without("From")
	got := dial(t, w.outside).as("mail.theirs.example", "203.0.113.9").send("bob@theirs.example", "nofrom@elsewhere.test", m.bytes())
	if got.String() != "550 5.7.1 From is missing" {
		t.Errorf("Postfix answers %q", got)
	}
	if r := w.daemon.stream.from(t, "bob@theirs.example"); len(r.From) != 0 || r.Verdict != "reject" {
		t.Errorf("record %+v", r)
	}
}

func TestEightBitHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	to := unique("eightbit") + "@elsewhere.test"
	m := newMail("alice@ours.test", "Größe \xff\xfe").with("X-Latin: caf\xe9")
	if got := dial(t, w.outside).send("alice@ours.test", to, m.bytes()); got.code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.stage.sink.wait(t, to).data)
	checkRecord(t, w.daemon.stream.from(t, "alice@ours.test"), "127.0.0.1")
}

func TestHundredRecipients(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	var recipients []string
	for range 100 {
		recipients = append(recipients, unique("many")+"@elsewhere.test")
	}
	c := dial(t, w.outside)
	c.envelope("alice@ours.test", recipients...)
	if got := c.data(newMail("alice@ours.test", "to a hundred").bytes()); got.code != 250 {
		t.Fatal(got)
	}
	for _, to := range recipients {
		if got := named(w.stage.sink.wait(t, to).data, "DKIM-Signature"); len(got) != 2 {
			t.Fatalf("%s got %d signatures, want 2", to, len(got))
		}
	}
	r := w.daemon.stream.from(t, "alice@ours.test")
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
	small := newMail(gmailUser, "size")
	line := strings.Repeat("0123456789", 7) + "\r\n"
	small.body = strings.Repeat(line, 1<<20/len(line))
	large := newMail(gmailUser, "size")
	large.body = strings.Repeat(line, 30<<20/len(line))

	c := w.fromGmail(t)
	send := func(m *mail) {
		to := unique("large") + "@elsewhere.test"
		if got := c.send(unique("size")+"@gmail.com", to, signWithPython(t, "gmail.com", m.bytes())); got.code != 250 {
			t.Fatal(got)
		}
		checkPassed(t, w.stage.sink.wait(t, to).data)
	}
	send(small)
	before := w.daemon.peakMemory(t)
	send(large)
	after := w.daemon.peakMemory(t)
	t.Logf("peak memory: %d KiB after 1 MiB, %d KiB after 30 MiB", before>>10, after>>10)
	if after-before > flatGrowth && !raceEnabled { // the detector's shadow memory grows
		t.Errorf("dkimd grew by %d KiB over a 30 MiB message", (after-before)>>10)
	}
}

// peakMemory is the most resident memory that dkimd ever had, in bytes (proc(5), VmHWM).
func (d *daemon) peakMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
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
	to := unique("header") + "@elsewhere.test"
	m := newMail(gmailUser, "a long header").with(padding()...)
	if got := w.fromGmail(t).send(gmailUser, to, signWithPython(t, "gmail.com", m.bytes())); got.code != 250 {
		t.Fatal(got)
	}
	checkPassed(t, w.stage.sink.wait(t, to).data)

	to = unique("header") + "@elsewhere.test"
	m = newMail("alice@ours.test", "a long header").with(padding()...)
	if got := dial(t, w.outside).send("alice@ours.test", to, m.bytes()); got.code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.stage.sink.wait(t, to).data)
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
	m := newMail(gmailUser, "2001 fields").with(fields...)
	if got := w.fromGmail(t).send(gmailUser, "fields@elsewhere.test", signWithPython(t, "gmail.com", m.bytes())); got.String() != gmailReply {
		t.Errorf("Postfix answers %q, want %q", got, gmailReply)
	}
	if r := w.daemon.stream.from(t, gmailUser); slices.Contains(r.results(), "pass") || r.Verdict != "reject" {
		t.Errorf("record %+v", r)
	}

	// Ours: it leaves unsigned; no retry could mend that.
	to := unique("fields") + "@elsewhere.test"
	m = newMail("alice@ours.test", "2001 fields").with(fields...)
	if got := dial(t, w.outside).send("alice@ours.test", to, m.bytes()); got.code != 250 {
		t.Fatal(got)
	}
	if got := named(w.stage.sink.wait(t, to).data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("signed: %q", got)
	}
	if r := w.daemon.stream.from(t, "alice@ours.test"); r.Mode != "unsigned" || !strings.Contains(r.Reason, "limit") {
		t.Errorf("record %+v; want mode unsigned, reason limit", r)
	}
}
