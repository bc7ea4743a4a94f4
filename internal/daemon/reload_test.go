package daemon_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestReloadTakesKeysAndRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	if got := w.signers(); got != "k1" {
		t.Errorf("signed by %q", got)
	}
	w.key("example.org", "k2")
	w.write("rules/reject.example.toml", strings.Replace(rejectRules, "old", "new", 1)+"[[rule]]\naction = \"accept\"\n")
	if got := w.signers(); got != "k1" {
		t.Errorf("signed by %q before the reload", got)
	}
	w.hangup("reloaded")
	if got := w.signers(); got != "k1 k2" {
		t.Errorf("signed by %q after the reload", got)
	}
	if got := w.send("x@reject.example", "Q").Reply; got != "550 5.7.20 new rule" {
		t.Errorf("reply %q", got)
	}
	w.err.Wait(t, 1, `level=WARN msg="rules file" warning=.*a rule that is never reached`)
	w.remove("keys/example.org/k1.pem")
	w.hangup("reloaded")
	if got := w.signers(); got != "k2" {
		t.Errorf("signed by %q after k1 was taken away", got)
	}
}

// What is broken on disk does not become the configuration in force. The way
// back needs nothing but a file that is right.
func TestReloadKeepsTheOldOnAFault(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(w *world)
		fault string
	}{
		"dkimd.toml":    {func(w *world) { w.configure("[log]\nformat = \"syslog\"\n") }, `dkimd.toml:12: log.format: got`},
		"no dkimd.toml": {func(w *world) { w.remove("dkimd.toml") }, `dkimd.toml: got no such file`},
		"a rules file":  {func(w *world) { w.write("rules/reject.example.toml", "mode = \"enforced\"") }, `reject.example.toml:1: mode: got`},
		"_default.toml": {func(w *world) { w.write("rules/_default.toml", "mod") }, `_default.toml:1: got`},
		"a key":         {func(w *world) { w.write("keys/example.org/k1.pem", "junk") }, `k1.pem: got no PEM block`},
		"another key":   {func(w *world) { w.write("keys/example.net/k1.pem", "junk") }, `example.net/k1.pem: got no PEM block`},
		"a key's mode": {func(w *world) {
			if err := os.Chmod(w.path("keys/example.org/k1.pem"), 0o644); err != nil {
				w.t.Fatal(err)
			}
		}, `k1.pem: got mode 0644`},
		"domain.toml": {func(w *world) { w.write("keys/example.org/domain.toml", "expiry = 7") }, `domain.toml:1: expiry: got 7`},
		"no rules": {func(w *world) {
			if err := os.RemoveAll(w.path("rules")); err != nil {
				w.t.Fatal(err)
			}
		}, `policy.directory: got`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.start()
			w.signers() // the domain is read
			test.spoil(w)
			for range 2 { // a second try finds the same
				w.hangup("reload refused: the previous configuration stays in force. fault=.*" + test.fault)
				if got := w.signers(); got != "k1" {
					t.Errorf("signed by %q", got)
				}
				if got := w.send("x@reject.example", "Q").Reply; got != "550 5.7.20 old rule" {
					t.Errorf("reply %q", got)
				}
			}
			if err := os.RemoveAll(w.path("keys")); err != nil {
				t.Fatal(err)
			}
			w.key("example.org", "k2")
			_ = os.Remove(w.path("rules/_default.toml"))
			w.write("rules/reject.example.toml", strings.Replace(rejectRules, "old", "mended", 1))
			w.configure("")
			w.hangup("reloaded")
			if got := w.signers(); got != "k2" {
				t.Errorf("signed by %q when all is mended", got)
			}
			if got := w.send("x@reject.example", "Q").Reply; got != "550 5.7.20 mended rule" {
				t.Errorf("reply %q", got)
			}
		})
	}
}

// Who lives with a fault must be able to change something else.
func TestReloadWithAFaultThatWasThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("keys/example.net/k1.pem", "junk")
	w.write("rules/broken.example.toml", "mode = \"enforced\"")
	w.start()
	w.err.Wait(t, 1, `level=ERROR msg="rules file unusable.*broken.example.toml:1: mode`)
	w.err.Wait(t, 1, `level=WARN msg="key cannot be used".*example.net/k1.pem`)
	if got := w.send("x@broken.example", "Q").Reply; got != "451 4.7.5 local policy for broken.example is broken, try again later" {
		t.Errorf("reply %q", got)
	}
	w.key("example.org", "k2")
	w.write("rules/broken.example.toml", "# the same, one line below\nmode = \"enforced\"")
	w.hangup("reloaded .*faults=2")
	if got := w.signers(); got != "k1 k2" {
		t.Errorf("signed by %q", got)
	}
	// One more is one too many.
	w.write("rules/other.example.toml", "mode = \"enforced\"")
	w.hangup("reload refused: .*other.example.toml")
	if text := w.err.String(); strings.Contains(text[strings.LastIndex(text, "reload refused"):], "broken.example") {
		t.Error("the reload is refused for the old fault, too")
	}
}

// Sockets and the log are what they were at the start: each reload says what waits for
// the next one, and nothing once it was taken back.
func TestReloadWarnsOfWhatNeedsARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.configure("[log]\nformat = \"text\"\n")
	const warning = `level=WARN msg="this change takes effect after a restart" key=log.format`
	for n := range 2 {
		w.hangup("reloaded")
		w.err.Wait(t, n+1, warning)
	}
	w.signers()
	w.out.Wait(t, 1, `^{"time":`)
	w.configure("")
	w.hangup("reloaded")
	if n := w.err.Count("takes effect after a restart"); n != 2 {
		t.Errorf("%d warnings in\n%s", n, w.err)
	}
	w.configure("[log]\nformat = \"syslog\"\n")
	w.hangup("reload refused")
	if n := w.err.Count("takes effect after a restart"); n != 2 {
		t.Error("a refused configuration is announced for the next start")
	}
}

func TestReloadReopensTheLogFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := "[log]\noutput = \"" + w.path("log") + "\"\n"
	w.configure(log)
	w.start()
	w.send("joe@example.org", "FIRST")
	if err := os.Rename(w.path("log"), w.path("log.1")); err != nil {
		t.Fatal(err)
	}
	w.send("joe@example.org", "SECOND") // goes into the renamed file
	w.hangup("reloaded")
	w.send("joe@example.org", "THIRD")
	// A broken configuration is no reason to fill a file that was rotated away.
	w.configure(log + "[dns]\n")
	if err := os.Rename(w.path("log"), w.path("log.0")); err != nil {
		t.Fatal(err)
	}
	w.hangup("reload refused")
	w.send("joe@example.org", "FOURTH")
	w.stop()
	for name, want := range map[string]string{"log.1": "FIRST SECOND", "log.0": "THIRD", "log": "FOURTH"} {
		text, err := os.ReadFile(w.path(name))
		if err != nil {
			t.Error(err)
		}
		var ids []string
		for _, id := range []string{"FIRST", "SECOND", "THIRD", "FOURTH"} {
			if strings.Contains(string(text), `"id":"`+id+`"`) {
				ids = append(ids, id)
			}
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
}

// A message is signed and judged by the configuration with which it began.
func TestMessageUnderWayKeepsItsConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	s := w.session()
	m := mail("joe@example.org", "Q")
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Connect(m.Peer))
	must(s.Helo("here.example"))
	must(s.Mail(m.Sender, nil))
	w.key("example.org", "k2")
	w.remove("keys/example.org/k1.pem")
	w.hangup("reloaded")
	must(s.Rcpt("ann@example.net"))
	must(s.Data())
	must(s.Header("From", " joe@example.org"))
	must(s.EndOfHeader())
	must(s.Body([]byte("Hello\r\n")))
	r, err := s.EndOfMessage()
	must(nil, err)
	if len(r.Edits) != 1 || !strings.Contains(r.Edits[0].Value, "s=k1;") {
		t.Errorf("edits %v", r.Edits)
	}
	if got := w.signers(); got != "k2" {
		t.Errorf("the next one is signed by %q", got)
	}
}

// Signals that come faster than reloads are answered by one that begins after the last of them.
func TestManyHangups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	for range 50 {
		w.signals <- syscall.SIGHUP
	}
	w.key("example.org", "k2")
	w.hangup("reloaded")
	w.err.Wait(t, 1, "msg=reloaded")
	for w.signers() != "k1 k2" {
		w.hangup("reloaded") // the one that was counted had begun before
	}
	w.stop()
}
