//go:build integration

package integration_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// A message of ours sent over an open connection; what Postfix answers.
func (w *world) sendOver(s *session, to string) reply {
	s.t.Helper()
	if r := s.command("MAIL FROM:<alice@ours.test>"); r.code != 250 {
		return r
	}
	if r := s.command("RCPT TO:<%s>", to); r.code != 250 {
		return r
	}
	return s.data(newMail("alice@ours.test", "a crash").bytes())
}

func TestKilledDaemonLeavesMailToTheDefaultAction(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		port func(*lane) int
		want string
	}{
		"tempfail": {func(l *lane) int { return l.outside }, "451 4.7.1 Service unavailable"},
		"accept":   {func(l *lane) int { return l.accepting }, "250 "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			open := dial(t, test.port(w.lane))
			first := unique("crash") + "@elsewhere.test"
			if got := w.sendOver(open, first); got.code != 250 {
				t.Fatal(got)
			}
			w.kill(t)
			for what, client := range map[string]func() *session{
				"the open connection": func() *session { return open },
				"a new connection":    func() *session { return dial(t, test.port(w.lane)) },
			} {
				to := unique("crash") + "@elsewhere.test"
				got := w.sendOver(client(), to)
				if !strings.HasPrefix(got.String(), test.want) {
					t.Errorf("on %s: %q, want %q", what, got, test.want)
				}
				if got.code == 250 {
					if signed := named(w.stage.sink.wait(t, to).data, "DKIM-Signature"); len(signed) > 0 {
						t.Errorf("on %s: signed by whom? %q", what, signed)
					}
				}
			}
			if got := named(w.stage.sink.wait(t, first).data, "DKIM-Signature"); len(got) != 2 {
				t.Errorf("the message before the crash has %d signatures, want 2", len(got))
			}
		})
	}
}

func TestStartAfterAKillFindsNothingInItsWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{lane: overUnix})
	w.kill(t)
	_, path := address(w.milter)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the kill leaves no stale socket to test with: %v", err)
	}
	w.start(t)
	to := unique("restart") + "@elsewhere.test"
	if got := w.sendOver(dial(t, w.outside), to); got.code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.stage.sink.wait(t, to).data)

	// A second dkimd must not take the socket of one that lives.
	second, err := startProcess("second dkimd", exec.Command(dkimdBinary(t), "serve", "--config", w.configFile()))
	if err != nil {
		t.Fatal(err)
	}
	code, err := second.exit(waitLimit)
	second.stop(syscall.SIGKILL, 0)
	if err != nil || code != 2 || !strings.Contains(second.log.String(), path) {
		t.Errorf("a second dkimd on the same socket: exit code %d, %v, says %q; want 2 and the socket named", code, err, second.log)
	}
	if got := w.sendOver(dial(t, w.outside), unique("restart")+"@elsewhere.test"); got.code != 250 {
		t.Errorf("the first dkimd, after it: %s", got)
	}
}
