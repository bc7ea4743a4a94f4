//go:build integration

package harness_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// The harness must be right by itself: these tests need no dkimd.

func TestHarnessDeliversEveryByte(t *testing.T) {
	t.Parallel()
	s := harness.OnStage(t)
	body := "..dot\r\n.\x80 8-bit \xff\r\n" + strings.Repeat("x", 900) + "\r\n\r\n\r\n"
	data := append(harness.NewMail("bob@theirs.example", "plain").Bytes(), body...)
	to := harness.Unique("plain") + "@elsewhere.test"
	harness.Dial(t, s.Postfix.Plain).Send("bob@theirs.example", to, data)
	got := s.Sink.Wait(t, to)
	if !bytes.HasSuffix(got.Data, data) {
		t.Errorf("delivered\n%q\nwant at its end\n%q", got.Data, data)
	}
}

func TestHarnessShowsMailToAMilter(t *testing.T) {
	t.Parallel()
	s := harness.OnStage(t)
	lane := s.Postfix.TakeLane(t, harness.OverTCP)
	harness.StartOpenDKIM(t, lane.Milter)
	to := harness.Unique("milter") + "@elsewhere.test"

	c := harness.Dial(t, lane.Outside).As("mail.theirs.example", "203.0.113.9")
	if got := c.Send("bob@theirs.example", to, harness.NewMail("bob@theirs.example", "milter").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	if got := harness.FieldValues(s.Sink.Wait(t, to).Data, "Authentication-Results"); len(got) != 1 || !strings.Contains(got[0], "standin.test") {
		t.Errorf("Authentication-Results: %q", got)
	}
}

func TestHarnessSubmitsLocally(t *testing.T) {
	t.Parallel()
	s := harness.OnStage(t)
	to := harness.Unique("local") + "@elsewhere.test"
	lane := s.Postfix.TakeLane(t, harness.WithLocal)
	harness.StartOpenDKIM(t, lane.Milter)
	s.Postfix.Sendmail(t, harness.NewMail("bob@theirs.example", "local").Without("To").With("To: "+to).Bytes())
	s.Sink.Wait(t, to)
}

func TestHarnessKnowsLogins(t *testing.T) {
	t.Parallel()
	s := harness.OnStage(t)
	lane := s.Postfix.TakeLane(t, harness.OverTCP)
	harness.StartOpenDKIM(t, lane.Milter)
	c := harness.Dial(t, lane.Submission)
	if got := c.Command("AUTH PLAIN AGEAYg=="); got.Code != 535 {
		t.Errorf("wrong password: %s; want 535", got)
	}
	c.Login(harness.Login)
}

// The foreign signers and verifiers must agree among themselves.
func TestHarnessProgramsAgree(t *testing.T) {
	t.Parallel()
	dns := harness.StartDNS(t)
	harness.PublishForeignKeys(dns, "theirs.example")
	message := harness.NewMail("bob@theirs.example", "agreement").Bytes()
	for name, sign := range map[string]harness.ForeignSigner{"python": harness.SignWithPython, "perl": harness.SignWithPerl, "opendkim": harness.SignWithOpenDKIM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signed := sign(t, "theirs.example", message)
			want := []harness.Verdict{{Domain: "theirs.example", Algorithm: "rsa-sha256", Pass: true}}
			if got := harness.VerifyWithPython(t, dns, signed); !slices.Equal(got, want) {
				t.Errorf("python3-dkim: %v", got)
			}
			if got := harness.VerifyWithPerl(t, dns, signed); !slices.Equal(got, want) {
				t.Errorf("Mail::DKIM: %v", got)
			}
			if pass, said := harness.VerifyWithOpenDKIM(t, dns, signed); !pass {
				t.Errorf("OpenDKIM: %s", said)
			}
			tampered := bytes.Replace(signed, []byte("Dear"), []byte("Poor"), 1)
			if pass, _ := harness.VerifyWithOpenDKIM(t, dns, tampered); pass {
				t.Error("OpenDKIM takes a changed body")
			}
		})
	}
}
