//go:build integration

package integration_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// The harness must be right by itself: these tests need no dkimd.

func TestHarnessDeliversEveryByte(t *testing.T) {
	t.Parallel()
	s := onStage(t)
	body := "..dot\r\n.\x80 8-bit \xff\r\n" + strings.Repeat("x", 900) + "\r\n\r\n\r\n"
	data := append(newMail("bob@theirs.example", "plain").bytes(), body...)
	to := unique("plain") + "@elsewhere.test"
	dial(t, s.postfix.plain).send("bob@theirs.example", to, data)
	got := s.sink.wait(t, to)
	if !bytes.HasSuffix(got.data, data) {
		t.Errorf("delivered\n%q\nwant at its end\n%q", got.data, data)
	}
}

func TestHarnessShowsMailToAMilter(t *testing.T) {
	t.Parallel()
	s := onStage(t)
	lane := s.postfix.takeLane(t, overTCP)
	startOpenDKIM(t, lane.milter)
	to := unique("milter") + "@elsewhere.test"

	c := dial(t, lane.outside).as("mail.theirs.example", "203.0.113.9")
	if got := c.send("bob@theirs.example", to, newMail("bob@theirs.example", "milter").bytes()); got.code != 250 {
		t.Fatal(got)
	}
	if got := named(s.sink.wait(t, to).data, "Authentication-Results"); len(got) != 1 || !strings.Contains(got[0], "standin.test") {
		t.Errorf("Authentication-Results: %q", got)
	}
}

func TestHarnessSubmitsLocally(t *testing.T) {
	t.Parallel()
	s := onStage(t)
	to := unique("local") + "@elsewhere.test"
	lane := s.postfix.takeLane(t, andLocal)
	startOpenDKIM(t, lane.milter)
	s.postfix.sendmail(t, newMail("bob@theirs.example", "local").without("To").with("To: "+to).bytes())
	s.sink.wait(t, to)
}

func TestHarnessKnowsLogins(t *testing.T) {
	t.Parallel()
	s := onStage(t)
	lane := s.postfix.takeLane(t, overTCP)
	startOpenDKIM(t, lane.milter)
	c := dial(t, lane.submission)
	if got := c.command("AUTH PLAIN AGEAYg=="); got.code != 535 {
		t.Errorf("wrong password: %s; want 535", got)
	}
	c.login(loginOrg)
}

// The foreign signers and verifiers must agree among themselves.
func TestHarnessProgramsAgree(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	publish(dns, "theirs.example")
	message := newMail("bob@theirs.example", "agreement").bytes()
	for name, sign := range map[string]foreignSigner{"python": signWithPython, "perl": signWithPerl, "opendkim": signWithOpenDKIM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signed := sign(t, "theirs.example", message)
			want := []verdict{{"theirs.example", "rsa-sha256", true}}
			if got := verifyWithPython(t, dns, signed); !slices.Equal(got, want) {
				t.Errorf("python3-dkim: %v", got)
			}
			if got := verifyWithPerl(t, dns, signed); !slices.Equal(got, want) {
				t.Errorf("Mail::DKIM: %v", got)
			}
			if pass, said := verifyWithOpenDKIM(t, dns, signed); !pass {
				t.Errorf("OpenDKIM: %s", said)
			}
			tampered := bytes.Replace(signed, []byte("Dear"), []byte("Poor"), 1)
			if pass, _ := verifyWithOpenDKIM(t, dns, tampered); pass {
				t.Error("OpenDKIM takes a changed body")
			}
		})
	}
}
