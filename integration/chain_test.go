//go:build integration

package integration_test

import (
	"io"
	"strings"
	"testing"
)

// What docs/postfix.md says about dkimd among other filters.

func TestMilterAfterDkimdSeesItsResults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	fields := make(chan string, 100)
	pretend(t, w.second, func(conn io.ReadWriter) { nod(conn, func(field string) { fields <- field }) })
	m := newMail("bob@theirs.example", "a chain").with(forged[0])
	got := dial(t, w.chained).as("mail.theirs.example", "203.0.113.9").send("bob@theirs.example", "chain@elsewhere.test", m.bytes())
	if got.code != 250 {
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

func TestReinjectionPortCallsNoMilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	to := unique("reinjected") + "@elsewhere.test"
	// A forgery from outside that a content filter hands back from 127.0.0.1.
	m := newMail("alice@ours.test", "a forgery").with("Authentication-Results: " + mailName + "; dkim=none")
	if got := dial(t, w.reinjection).send("alice@ours.test", to, m.bytes()); got.code != 250 {
		t.Fatal(got)
	}
	data := w.stage.sink.wait(t, to).data
	if got := named(data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("signed: %q", got)
	}
	if got := named(data, "Authentication-Results"); len(got) != 1 {
		t.Errorf("Authentication-Results %q; want the one of the first pass", got)
	}
	if got := w.daemon.stream.all(); len(got) > 0 {
		t.Errorf("dkimd was asked: %+v", got)
	}
}

func TestBouncesOfPostfixAreSignedIfAskedFor(t *testing.T) {
	t.Parallel()
	onStage(t)
	keys := t.TempDir()
	zone := generate(t, keys, "harness.test", "s1", "rsa")
	w := newWorld(t, settings{lane: andLocal, keys: keys})
	if err := w.dns.SetZone(zone); err != nil {
		t.Fatal(err)
	}
	sender := unique("sender") + "@elsewhere.test"
	got := dial(t, w.outside).as("mail.theirs.example", "203.0.113.9").
		send(sender, "nobody@elsewhere.test", newMail("bob@theirs.example", "to nobody").bytes())
	if got.code != 250 {
		t.Fatal(got)
	}
	bounce := w.stage.sink.wait(t, sender)
	if bounce.sender != "" {
		t.Errorf("the bounce comes from <%s>", bounce.sender)
	}
	if got := named(bounce.data, "DKIM-Signature"); len(got) != 1 || !strings.Contains(got[0], "d=harness.test;") {
		t.Errorf("signatures of the bounce: %q", got)
	}
	if pass, said := verifyWithOpenDKIM(t, w.dns, bounce.data); !pass {
		t.Errorf("OpenDKIM: %s", said)
	}
}
