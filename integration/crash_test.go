//go:build integration

package integration_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"dkimd/integration/harness"
)

// A message of ours sent over an open connection; what Postfix answers.
func sendOver(s *harness.Session, to string) harness.Reply {
	s.T.Helper()
	if r := s.Command("MAIL FROM:<alice@ours.test>"); r.Code != 250 {
		return r
	}
	if r := s.Command("RCPT TO:<%s>", to); r.Code != 250 {
		return r
	}
	return s.Data(harness.NewMail("alice@ours.test", "a crash").Bytes())
}

func TestKilledDaemonLeavesMailToTheDefaultAction(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		port func(*harness.Lane) int
		want string
	}{
		"tempfail": {func(l *harness.Lane) int { return l.Outside }, "451 4.7.1 Service unavailable"},
		"accept":   {func(l *harness.Lane) int { return l.Accepting }, "250 "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t, harness.Settings{})
			open := harness.Dial(t, test.port(w.Lane))
			first := harness.Unique("crash") + "@elsewhere.test"
			if got := sendOver(open, first); got.Code != 250 {
				t.Fatal(got)
			}
			w.Kill(t)
			for what, client := range map[string]func() *harness.Session{
				"the open connection": func() *harness.Session { return open },
				"a new connection":    func() *harness.Session { return harness.Dial(t, test.port(w.Lane)) },
			} {
				to := harness.Unique("crash") + "@elsewhere.test"
				got := sendOver(client(), to)
				if !strings.HasPrefix(got.String(), test.want) {
					t.Errorf("on %s: %q, want %q", what, got, test.want)
				}
				if got.Code == 250 {
					if signed := harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "DKIM-Signature"); len(signed) > 0 {
						t.Errorf("on %s: signed by whom? %q", what, signed)
					}
				}
			}
			if got := harness.FieldValues(w.Stage.Sink.Wait(t, first).Data, "DKIM-Signature"); len(got) != 2 {
				t.Errorf("the message before the crash has %d signatures, want 2", len(got))
			}
		})
	}
}

func TestStartAfterAKillFindsNothingInItsWay(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{Lane: harness.OverUnix})
	w.Kill(t)
	_, path := harness.Address(w.Milter)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the kill leaves no stale socket to test with: %v", err)
	}
	w.Start(t)
	to := harness.Unique("restart") + "@elsewhere.test"
	if got := sendOver(harness.Dial(t, w.Outside), to); got.Code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.Stage.Sink.Wait(t, to).Data)

	// A second dkimd must not take the socket of one that lives.
	second, err := harness.StartProcess("second dkimd", exec.Command(harness.Binary(t), "serve", "--config", w.ConfigFile()))
	if err != nil {
		t.Fatal(err)
	}
	code, err := second.Exit(harness.WaitLimit)
	second.Stop(syscall.SIGKILL, 0)
	if err != nil || code != 2 || !strings.Contains(second.Log.String(), path) {
		t.Errorf("a second dkimd on the same socket: exit code %d, %v, says %q; want 2 and the socket named", code, err, second.Log)
	}
	if got := sendOver(harness.Dial(t, w.Outside), harness.Unique("restart")+"@elsewhere.test"); got.Code != 250 {
		t.Errorf("the first dkimd, after it: %s", got)
	}
}
