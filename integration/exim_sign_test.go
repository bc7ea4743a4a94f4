//go:build integration

package integration_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func eachExim(t *testing.T, test func(t *testing.T, build string)) {
	t.Helper()
	for _, build := range eximBuilds {
		t.Run(build, func(t *testing.T) {
			t.Parallel()
			test(t, build)
		})
	}
}

// ourVerdicts is what a foreign verifier must say of mail we signed.
var ourVerdicts = []verdict{{"ours.test", "rsa-sha256", true}, {"ours.test", "ed25519-sha256", true}}

// checkSigned tests that a receiving server finds both our signatures good.
func (e *eximWorld) checkSigned(t *testing.T, data []byte) {
	t.Helper()
	got := verifyWithPython(t, e.dns, data)
	slices.SortFunc(got, func(a, b verdict) int { return len(a.algorithm) - len(b.algorithm) })
	if !slices.Equal(got, ourVerdicts) {
		t.Errorf("python3-dkim: %v, want %v\n%.2000s", got, ourVerdicts, data)
	}
}

// TestEximSignsOurMail: a receiving server verifies what leaves, over BDAT and over DATA.
func TestEximSignsOurMail(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		t.Helper()
		e := newEximWorld(t, build, eximSettings{})
		long := newMail("ann@ours.test", "a long message")
		long.body = strings.Repeat(".dots and trailing blanks \t \r\n", 100_000) + "\r\n\r\n"
		messages := map[string][]byte{
			"short": newMail("ann@ours.test", "a relayed message").bytes(),
			"3 MB":  long.bytes(),
			"empty": append(newMail("ann@ours.test", "nothing").bytes()[:0], bytes.Split(newMail("ann@ours.test", "nothing").bytes(), []byte("\r\n\r\n"))[0]...),
		}
		messages["empty"] = append(messages["empty"], "\r\n\r\n"...)
		for _, verb := range []string{"BDAT", "DATA"} {
			e.sink.speak(verb == "BDAT")
			for name, data := range messages {
				to := unique("relay") + "@elsewhere.test"
				r := e.dial(t, eximInside).send("ann@ours.test", to, data)
				if r.code != 250 {
					t.Fatalf("%s: %s", name, r)
				}
				got := e.sink.wait(t, to)
				if got.verb != verb {
					t.Errorf("%s left by %s, want %s", name, got.verb, verb)
				}
				e.checkSigned(t, got.data)
				if rec := e.recordOf(t, "sign", r.eximID()); rec.Client != eximInside || len(rec.Signed) != 2 {
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
		e := newEximWorld(t, build, eximSettings{})
		publish(e.dns, "theirs.example")
		forged := newMail("ann@ours.test", "a forgery").bytes()

		t.Run("forwarded forgery", func(t *testing.T) {
			name := unique("fwd")
			r := e.dial(t, eximOutside).send("ann@ours.test", name+"@forward.test", forged)
			got := e.sink.wait(t, name+"@elsewhere.test")
			if n := len(named(got.data, "DKIM-Signature")); n != 0 {
				t.Errorf("a forgery left with %d signatures", n)
			}
			if rec := e.recordOf(t, "unsigned", r.eximID()); !strings.Contains(rec.Reason, "client 127.0.0.2 is not in sign.networks") {
				t.Errorf("record %+v", rec)
			}
			// Our own result, from when it came in, goes with it.
			if ar := named(got.data, "Authentication-Results"); len(ar) != 1 || !strings.HasPrefix(ar[0], mailName+";") {
				t.Errorf("Authentication-Results: %q", ar)
			}
		})
		t.Run("login from outside", func(t *testing.T) {
			to := unique("login") + "@elsewhere.test"
			s := e.dial(t, eximOutside).login(loginOrg)
			r := s.send("ann@ours.test", to, newMail("ann@ours.test", "a login").bytes())
			e.checkSigned(t, e.sink.wait(t, to).data)
			if rec := e.recordOf(t, "sign", r.eximID()); rec.Client != eximOutside {
				t.Errorf("record %+v", rec)
			}
		})
		t.Run("local submission", func(t *testing.T) {
			to := unique("local") + "@elsewhere.test"
			text := newMail("ann@ours.test", "a program's mail").without("To").with("To: " + to).bytes()
			e.run(t, bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), "-f", "ann@ours.test", "-t")
			e.checkSigned(t, e.sink.wait(t, to).data)
			if rec := e.daemon.stream.wait(t, "local", func(r record) bool { return r.Client == "local" && slices.Contains(r.From, "ann@ours.test") }); rec.Mode != "sign" {
				t.Errorf("record %+v", rec)
			}
		})
		t.Run("bounce", func(t *testing.T) {
			// A line that may not leave makes a bounce.
			m := newMail("ann@ours.test", "too long a line")
			m.body = strings.Repeat("x", 2000) + "\r\n"
			sender := unique("bounced") + "@elsewhere.test"
			e.dial(t, eximInside).send(sender, "bob@elsewhere.test", m.bytes())
			got := e.sink.wait(t, sender)
			if got.sender != "" {
				t.Errorf("bounce from %q", got.sender)
			}
			e.checkSigned(t, got.data)
		})
		t.Run("no key", func(t *testing.T) {
			to := unique("nokey") + "@elsewhere.test"
			r := e.dial(t, eximInside).send("bob@nokey.test", to, newMail("bob@nokey.test", "no key").bytes())
			if got := e.sink.wait(t, to); len(named(got.data, "DKIM-Signature")) != 0 {
				t.Errorf("signed:\n%s", got.data)
			}
			if rec := e.recordOf(t, "unsigned", r.eximID()); !strings.HasPrefix(rec.Reason, "no_key") {
				t.Errorf("record %+v", rec)
			}
		})
		t.Run("foreign mail keeps its signature", func(t *testing.T) {
			name := unique("fwd")
			data := byTheirs.sign(t, newMail("bob@theirs.example", "forwarded").bytes())
			e.dial(t, eximOutside).send("bob@theirs.example", name+"@forward.test", data)
			got := verifyWithPython(t, e.dns, e.sink.wait(t, name+"@elsewhere.test").data)
			if !slices.Equal(got, []verdict{{"theirs.example", "rsa-sha256", true}}) {
				t.Errorf("%v", got)
			}
		})
	})
}

var byTheirs = crafted{domain: "theirs.example"}
