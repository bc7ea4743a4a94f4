//go:build integration

package integration_test

import (
	"io"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// What docs/postfix.md says about dkimd among other filters.

func TestMilterAfterDkimdSeesItsResults(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	check := nextMilter(t, w.Second)
	m := harness.NewMail("bob@theirs.example", "a chain").With(forged[0])
	got := harness.Dial(t, w.Chained).As("mail.theirs.example", "203.0.113.9").Send("bob@theirs.example", "chain@elsewhere.test", m.Bytes())
	if got.Code != 250 {
		t.Fatal(got)
	}
	check()
}

// nextMilter is the filter after dkimd. check tests that it was shown our result alone.
func nextMilter(t *testing.T, address string) (check func()) {
	t.Helper()
	fields := make(chan string, 100)
	harness.ServeMilter(t, address, func(conn io.ReadWriter) { harness.AcceptAll(conn, func(field string) { fields <- field }) })
	return func() {
		t.Helper()
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
}

func TestReinjectionPortCallsNoMilter(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{})
	to := harness.Unique("reinjected") + "@elsewhere.test"
	// A forgery from outside that a content filter hands back from 127.0.0.1.
	m := harness.NewMail("alice@ours.test", "a forgery").With("Authentication-Results: " + harness.Hostname + "; dkim=none")
	if got := harness.Dial(t, w.Reinjection).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	data := w.Stage.Sink.Wait(t, to).Data
	if got := harness.FieldValues(data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("signed: %q", got)
	}
	if got := harness.FieldValues(data, "Authentication-Results"); len(got) != 1 {
		t.Errorf("Authentication-Results %q; want the one of the first pass", got)
	}
	if got := w.Daemon.Stream.All(); len(got) > 0 {
		t.Errorf("dkimd was asked: %+v", got)
	}
}

func TestBouncesOfPostfixAreSignedIfAskedFor(t *testing.T) {
	t.Parallel()
	harness.OnStage(t)
	keys := t.TempDir()
	zone := harness.GenerateKey(t, keys, "harness.test", "s1", "rsa")
	w := harness.NewWorld(t, harness.Settings{Lane: harness.WithLocal, Keys: keys})
	if err := w.DNS.SetZone(zone); err != nil {
		t.Fatal(err)
	}
	sender := harness.Unique("sender") + "@elsewhere.test"
	got := harness.Dial(t, w.Outside).As("mail.theirs.example", "203.0.113.9").
		Send(sender, "nobody@elsewhere.test", harness.NewMail("bob@theirs.example", "to nobody").Bytes())
	if got.Code != 250 {
		t.Fatal(got)
	}
	bounce := w.Stage.Sink.Wait(t, sender)
	if bounce.Sender != "" {
		t.Errorf("the bounce comes from <%s>", bounce.Sender)
	}
	if got := harness.FieldValues(bounce.Data, "DKIM-Signature"); len(got) != 1 || !strings.Contains(got[0], "d=harness.test;") {
		t.Errorf("signatures of the bounce: %q", got)
	}
	if pass, said := harness.VerifyWithOpenDKIM(t, w.DNS, bounce.Data); !pass {
		t.Errorf("OpenDKIM: %s", said)
	}
}
