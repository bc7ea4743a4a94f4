//go:build integration

package integration_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// The RSA and the Ed25519 key of ours.test.
var bothKeys = []string{"ed25519-sha256", "rsa-sha256"}

// checkSigned tests what left Postfix: two signatures of ours.test, which every
// foreign verifier accepts as far as it knows the algorithm.
func checkSigned(t *testing.T, w *harness.World, data []byte) {
	t.Helper()
	fields := harness.FieldValues(data, "DKIM-Signature")
	if len(fields) != 2 {
		t.Fatalf("%d signatures, want 2:\n%s", len(fields), data)
	}
	for line := range strings.Lines(string(data)) {
		if len(line) > 1000 {
			t.Errorf("a line of %d octets, RFC 5322 section 2.1.1 allows 998", len(line)-2)
		}
	}
	var algorithms []string
	for _, v := range harness.VerifyWithPython(t, w.DNS, data) {
		if !v.Pass || v.Domain != "ours.test" {
			t.Errorf("python3-dkim: %+v", v)
		}
		algorithms = append(algorithms, v.Algorithm)
	}
	if slices.Sort(algorithms); !slices.Equal(algorithms, bothKeys) {
		t.Errorf("python3-dkim saw %q, want %q", algorithms, bothKeys)
	}
	// Debian 12's Mail::DKIM knows no Ed25519 (RFC 8463).
	if !slices.Contains(harness.VerifyWithPerl(t, w.DNS, data), harness.Verdict{Domain: "ours.test", Algorithm: "rsa-sha256", Pass: true}) {
		t.Error("Mail::DKIM does not accept the RSA signature")
	}
	if pass, said := harness.VerifyWithOpenDKIM(t, w.DNS, data); !pass {
		t.Errorf("OpenDKIM: %s", said)
	}
}

// checkRecord tests the record of a signed message.
func checkRecord(t *testing.T, r harness.Record, client string) {
	t.Helper()
	var algorithms []string
	for _, s := range r.Signed {
		algorithms = append(algorithms, s.Algorithm)
	}
	slices.Sort(algorithms)
	if r.Mode != "sign" || r.Client != client || !slices.Equal(algorithms, bothKeys) || r.Verdict != "accept" {
		t.Errorf("record %+v; want mode sign, client %s, signed with %q", r, client, bothKeys)
	}
}

func TestSignsMailFromALoopbackClient(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]harness.LaneKind{"over TCP": harness.OverTCP, "through a unix socket": harness.OverUnix} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t, harness.Settings{Lane: kind})
			to := harness.Unique("loopback") + "@elsewhere.test"
			got := harness.Dial(t, w.Outside).Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "a loopback client").Bytes())
			if got.Code != 250 {
				t.Fatal(got)
			}
			checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)
			r := w.Daemon.Stream.From(t, "alice@ours.test")
			checkRecord(t, r, "127.0.0.1")
			if r.ID != got.QueueID() {
				t.Errorf("record id %q, Postfix queued as %q", r.ID, got.QueueID())
			}
		})
	}
}

// longLines are mails with a field that Postfix and Sendmail would break after it was signed.
func longLines(to string) map[string]*harness.Mail {
	plain := func() *harness.Mail { return harness.NewMail("alice@ours.test", "long lines") }
	references := strings.Repeat(" <0.aaaaaaaaaaaaaaaaaaaaaa@ours.test>", 50)
	return map[string]*harness.Mail{
		"references":        plain().With("References:" + references),
		"in tabs":           plain().With("References:" + strings.ReplaceAll(references, " ", "\t")),
		"recipients":        plain().Without("To").With("To: " + strings.Repeat("user@elsewhere.test, ", 70) + to),
		"a quoted name":     plain().With(`Cc: "` + strings.Repeat("many words ", 120) + `" <second@elsewhere.test>`),
		"the second of two": plain().With("List-Id: <x.ours.test>", "List-Post:"+references, "Comments: x"),
		"8-bit":             plain().Without("Subject").With("Subject:" + strings.Repeat(" gr\xc3\xbc\xc3\x9fe", 150)),
		"999 octets":        plain().With("References: " + strings.Repeat("<a@ours.test> ", 70) + "<bcd@b>"),
	}
}

func TestSignsFieldsWithLongLines(t *testing.T) {
	t.Parallel()
	for _, canonicalization := range []string{"relaxed/relaxed", "simple/simple"} {
		w := harness.NewWorld(t, harness.Settings{Sign: fmt.Sprintf("canonicalization = %q", canonicalization)})
		to := harness.Unique("long") + "@elsewhere.test"
		for name, m := range longLines(to) {
			t.Run(canonicalization+" "+name, func(t *testing.T) { // not in parallel: both worlds are held meanwhile
				to := harness.Unique("long") + "@elsewhere.test"
				if got := harness.Dial(t, w.Outside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
					t.Fatal(got)
				}
				checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)
			})
		}
	}
}

// lineOf is a field whose one line has so many octets, and can be folded.
func lineOf(octets int) string {
	field := "References:" + strings.Repeat(" <0.aaaaaaaaaaaaaaaa@ours.test>", 30)
	return field + " " + strings.Repeat("x", octets-len(field)-1)
}

// checkLine tests that a line of up to 998 octets is as it was, and a longer one is in pieces.
func checkLine(t *testing.T, delivered []byte, octets int) {
	t.Helper()
	longest := 0
	for line := range bytes.Lines(delivered) {
		longest = max(longest, len(bytes.TrimRight(line, "\r\n")))
	}
	if kept := bytes.Contains(delivered, []byte(lineOf(octets)+"\r\n")); kept != (octets <= 998) || longest > 998 {
		t.Errorf("a line of %d octets is kept: %t, and the longest has %d", octets, kept, longest)
	}
}

func TestFoldsFrom999Octets(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{Sign: `canonicalization = "simple/simple"`})
	for octets := 997; octets <= 1000; octets++ {
		to := harness.Unique("long") + "@elsewhere.test"
		if got := harness.Dial(t, w.Outside).Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "long").With(lineOf(octets)).Bytes()); got.Code != 250 {
			t.Fatal(got)
		}
		d := w.Stage.Sink.Wait(t, to).Data
		checkSigned(t, w, d)
		checkLine(t, d, octets)
	}
}

func TestSignsMailOfALogin(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	to := harness.Unique("login") + "@elsewhere.test"
	c := harness.Dial(t, w.Submission).As("cafe.theirs.example", "203.0.113.9").Login(harness.Login)
	if got := c.Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "a login from a café").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)
	r := w.Daemon.Stream.From(t, "alice@ours.test")
	checkRecord(t, r, "203.0.113.9")
	if r.Auth != harness.Login {
		t.Errorf("record's auth %q, want %q", r.Auth, harness.Login)
	}
}

func TestSignsLocalSubmissions(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{Lane: harness.WithLocal})
	to := harness.Unique("sendmail") + "@elsewhere.test"
	// No Message-ID, no Date: Postfix adds them before dkimd signs.
	m := harness.NewMail("alice@ours.test", "sendmail -t").Without("To").Without("Date").Without("Message-ID").With("To: " + to)
	w.Postfix.Sendmail(t, m.Bytes())
	checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)
	// Postfix says of local programs that they are the client 127.0.0.1.
	checkRecord(t, w.Daemon.Stream.Wait(t, "the local submission", func(harness.Record) bool { return true }), "127.0.0.1")
}

func TestSignsMailOfAListedDaemon(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	to := harness.Unique("daemon") + "@elsewhere.test"
	c := harness.Dial(t, w.Originating).As("app.theirs.example", "203.0.113.9")
	if got := c.Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "a daemon name").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)
}

// An old Postfix, or one that is told so, sends less and in another form.
func TestSignsWithMilterProtocol2(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	to := harness.Unique("version2") + "@elsewhere.test"
	if got := harness.Dial(t, w.Version2).Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "protocol version 2").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)
}

func TestTrustedClientIsVerifiedAndNotJudged(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{Rules: map[string]string{"gmail.com": gmailRule}, Verify: `trusted = ["209.85.220.0/24"]`})
	to := harness.Unique("trusted") + "@elsewhere.test"
	if got := fromGmail(t, w).Send(gmailUser, to, harness.NewMail(gmailUser, "a backup MX").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	if got := harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "Authentication-Results"); len(got) != 1 || !strings.Contains(got[0], "dkim=none") {
		t.Errorf("Authentication-Results %q, want one with dkim=none", got)
	}
	if r := w.Daemon.Stream.From(t, gmailUser); r.Mode != "trusted" || len(r.Policy) != 0 {
		t.Errorf("record %+v; want mode trusted, no policy", r)
	}
}

func TestNeverSignsForAnOutsideClient(t *testing.T) {
	t.Parallel()
	for name, port := range map[string]func(*harness.Lane) int{
		"on port 25":         func(l *harness.Lane) int { return l.Outside },
		"without logging in": func(l *harness.Lane) int { return l.Submission },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t, harness.Settings{})
			for _, address := range []string{"203.0.113.9", "IPV6:2001:db8::7"} {
				to := harness.Unique("forged") + "@elsewhere.test"
				c := harness.Dial(t, port(w.Lane)).As("mail.evil.test", address)
				if got := c.Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "not ours").Bytes()); got.Code != 250 {
					t.Fatal(got)
				}
				data := w.Stage.Sink.Wait(t, to).Data
				if got := harness.FieldValues(data, "DKIM-Signature"); len(got) > 0 {
					t.Errorf("client %s got a signature of ours: %q", address, got)
				}
				client := strings.ToLower(strings.TrimPrefix(address, "IPV6:"))
				r := w.Daemon.Stream.Wait(t, "from "+client, func(r harness.Record) bool { return r.Client == client })
				if r.Mode != "verify" || len(r.Signed) > 0 {
					t.Errorf("record %+v; want mode verify, nothing signed", r)
				}
				if got := harness.FieldValues(data, "Authentication-Results"); len(got) != 1 || !strings.Contains(got[0], "dkim=none") {
					t.Errorf("Authentication-Results %q, want one with dkim=none", got)
				}
			}
		})
	}
}
