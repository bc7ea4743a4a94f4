//go:build integration

package integration_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

func eachExim(t *testing.T, test func(t *testing.T, build string)) {
	t.Helper()
	for _, build := range harness.EximBuilds {
		t.Run(build, func(t *testing.T) {
			t.Parallel()
			test(t, build)
		})
	}
}

// ourVerdicts is what a foreign verifier must say of mail we signed.
var ourVerdicts = []harness.Verdict{{Domain: "ours.test", Algorithm: "rsa-sha256", Pass: true}, {Domain: "ours.test", Algorithm: "ed25519-sha256", Pass: true}}

// checkSignedByExim tests that a receiving server finds both our signatures good.
func checkSignedByExim(t *testing.T, e *harness.EximWorld, data []byte) {
	t.Helper()
	got := harness.VerifyWithPython(t, e.DNS, data)
	slices.SortFunc(got, func(a, b harness.Verdict) int { return len(a.Algorithm) - len(b.Algorithm) })
	if !slices.Equal(got, ourVerdicts) {
		t.Errorf("python3-dkim: %v, want %v\n%.2000s", got, ourVerdicts, data)
	}
}

// TestEximSignsOurMail: a receiving server verifies what leaves, over BDAT and over DATA.
func TestEximSignsOurMail(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{})
		long := harness.NewMail("ann@ours.test", "a long message")
		long.Body = strings.Repeat(".dots and trailing blanks \t \r\n", 100_000) + "\r\n\r\n"
		messages := map[string][]byte{
			"short": harness.NewMail("ann@ours.test", "a relayed message").Bytes(),
			"3 MB":  long.Bytes(),
			"empty": append(harness.NewMail("ann@ours.test", "nothing").Bytes()[:0], bytes.Split(harness.NewMail("ann@ours.test", "nothing").Bytes(), []byte("\r\n\r\n"))[0]...),
		}
		messages["empty"] = append(messages["empty"], "\r\n\r\n"...)
		for _, verb := range []string{"BDAT", "DATA"} {
			e.Sink.Speak(verb == "BDAT")
			for name, data := range messages {
				to := harness.Unique("relay") + "@elsewhere.test"
				r := e.Dial(t, harness.EximInside).Send("ann@ours.test", to, data)
				if r.Code != 250 {
					t.Fatalf("%s: %s", name, r)
				}
				got := e.Sink.Wait(t, to)
				if got.Verb != verb {
					t.Errorf("%s left by %s, want %s", name, got.Verb, verb)
				}
				checkSignedByExim(t, e, got.Data)
				if rec := e.RecordOf(t, "sign", r.EximID()); rec.Client != harness.EximInside || len(rec.Signed) != 2 {
					t.Errorf("record %+v", rec)
				}
			}
		}
	})
}

// TestEximSignsForTheSameMailAsPostfix: whose mail is ours is dkimd's rule, by
// who handed it in, and not by the transport it leaves through.
func TestEximSignsForTheSameMailAsPostfix(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{})
		harness.PublishForeignKeys(e.DNS, "theirs.example")
		forged := harness.NewMail("ann@ours.test", "a forgery").Bytes()

		t.Run("forwarded forgery", func(t *testing.T) {
			name := harness.Unique("fwd")
			r := e.Dial(t, harness.EximOutside).Send("ann@ours.test", name+"@forward.test", forged)
			got := e.Sink.Wait(t, name+"@elsewhere.test")
			if n := len(harness.FieldValues(got.Data, "DKIM-Signature")); n != 0 {
				t.Errorf("a forgery left with %d signatures", n)
			}
			if rec := e.RecordOf(t, "unsigned", r.EximID()); !strings.Contains(rec.Reason, "client 127.0.0.2 is not in sign.networks") {
				t.Errorf("record %+v", rec)
			}
			// Our own result, from when it came in, goes with it.
			if ar := harness.FieldValues(got.Data, "Authentication-Results"); len(ar) != 1 || !strings.HasPrefix(ar[0], harness.Hostname+";") {
				t.Errorf("Authentication-Results: %q", ar)
			}
		})
		t.Run("login from outside", func(t *testing.T) {
			to := harness.Unique("login") + "@elsewhere.test"
			s := e.Dial(t, harness.EximOutside).Login(harness.Login)
			r := s.Send("ann@ours.test", to, harness.NewMail("ann@ours.test", "a login").Bytes())
			checkSignedByExim(t, e, e.Sink.Wait(t, to).Data)
			if rec := e.RecordOf(t, "sign", r.EximID()); rec.Client != harness.EximOutside {
				t.Errorf("record %+v", rec)
			}
		})
		t.Run("local submission", func(t *testing.T) {
			to := harness.Unique("local") + "@elsewhere.test"
			text := harness.NewMail("ann@ours.test", "a program's mail").Without("To").With("To: " + to).Bytes()
			e.Run(t, bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), "-f", "ann@ours.test", "-t")
			checkSignedByExim(t, e, e.Sink.Wait(t, to).Data)
			if rec := e.Daemon.Stream.Wait(t, "local", func(r harness.Record) bool { return r.Client == "local" && slices.Contains(r.From, "ann@ours.test") }); rec.Mode != "sign" {
				t.Errorf("record %+v", rec)
			}
		})
		t.Run("bounce", func(t *testing.T) {
			// A line that may not leave makes a bounce.
			m := harness.NewMail("ann@ours.test", "too long a line")
			m.Body = strings.Repeat("x", 2000) + "\r\n"
			sender := harness.Unique("bounced") + "@elsewhere.test"
			e.Dial(t, harness.EximInside).Send(sender, "bob@elsewhere.test", m.Bytes())
			got := e.Sink.Wait(t, sender)
			if got.Sender != "" {
				t.Errorf("bounce from %q", got.Sender)
			}
			checkSignedByExim(t, e, got.Data)
		})
		t.Run("no key", func(t *testing.T) {
			to := harness.Unique("nokey") + "@elsewhere.test"
			r := e.Dial(t, harness.EximInside).Send("bob@nokey.test", to, harness.NewMail("bob@nokey.test", "no key").Bytes())
			if got := e.Sink.Wait(t, to); len(harness.FieldValues(got.Data, "DKIM-Signature")) != 0 {
				t.Errorf("signed:\n%s", got.Data)
			}
			if rec := e.RecordOf(t, "unsigned", r.EximID()); rec.ReasonCode != "no_key" {
				t.Errorf("record %+v", rec)
			}
		})
		t.Run("foreign mail keeps its signature", func(t *testing.T) {
			name := harness.Unique("fwd")
			data := byTheirs.sign(t, harness.NewMail("bob@theirs.example", "forwarded").Bytes())
			e.Dial(t, harness.EximOutside).Send("bob@theirs.example", name+"@forward.test", data)
			got := harness.VerifyWithPython(t, e.DNS, e.Sink.Wait(t, name+"@elsewhere.test").Data)
			if !slices.Equal(got, []harness.Verdict{{Domain: "theirs.example", Algorithm: "rsa-sha256", Pass: true}}) {
				t.Errorf("%v", got)
			}
		})
	})
}

var byTheirs = crafted{domain: "theirs.example"}

// TestEximSignsFieldsWithLongLines: Exim refuses such mail unless it is told not to, and servers behind it break the lines.
func TestEximSignsFieldsWithLongLines(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := harness.NewEximWorld(t, build, harness.EximSettings{Sign: `canonicalization = "simple/simple"`, SMTP: "  message_linelength_limit = 1G"})
		send := func(m *harness.Mail) []byte {
			to := harness.Unique("long") + "@elsewhere.test"
			if got := e.Dial(t, harness.EximInside).Send("ann@ours.test", to, m.Bytes()); got.Code != 250 {
				t.Fatal(got)
			}
			d := e.Sink.Wait(t, to).Data
			checkSignedByExim(t, e, d)
			return d
		}
		for octets := 997; octets <= 1000; octets++ {
			checkLine(t, send(harness.NewMail("ann@ours.test", "long").With(lineOf(octets))), octets)
		}
		for _, m := range longLines("reader@elsewhere.test") {
			checkLine(t, send(m), 999)
		}
		token := harness.NewMail("ann@ours.test", "long").With("References: " + strings.Repeat("x", 2000))
		send(token)
		e.Daemon.Stream.Wait(t, "a warning", func(r harness.Record) bool { return strings.Contains(strings.Join(r.Warnings, " "), "over 998 octets") })
	})
}
