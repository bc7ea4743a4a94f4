package daemon_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
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
		"dkimd.toml":    {func(w *world) { w.configure("[log]\nformat = \"syslog\"\n") }, `dkimd.toml:14: log.format: got`},
		"no dkimd.toml": {func(w *world) { w.remove("dkimd.toml") }, `dkimd.toml: got no such file`},
		"_default.toml": {func(w *world) { w.write("rules/_default.toml", "mod") }, `_default.toml:1: got`},
		"no rules": {func(w *world) {
			if err := os.RemoveAll(w.path("rules")); err != nil {
				w.t.Fatal(err)
			}
		}, `policy.directory: got`},
		"rules that are not mounted": {func(w *world) { w.remove("rules/reject.example.toml") }, `policy.directory: got a directory without any rules file`},
		"keys that are not mounted": {func(w *world) {
			if err := os.RemoveAll(w.path("keys/example.org")); err != nil {
				w.t.Fatal(err)
			}
		}, `sign.directory: got a directory without any domain`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.start()
			w.signers() // the domain is read
			test.spoil(w)
			for range 2 { // a second try finds the same
				w.hangup("reload refused: the previous configuration stays in force. fault=.*" + test.fault)
				w.inForce("k1", "550 5.7.20 old rule")
			}
			if err := os.RemoveAll(w.path("keys")); err != nil {
				t.Fatal(err)
			}
			w.key("example.org", "k2")
			_ = os.Remove(w.path("rules/_default.toml"))
			w.write("rules/reject.example.toml", strings.Replace(rejectRules, "old", "mended", 1))
			w.configure("")
			w.hangup("reloaded")
			w.inForce("k2", "550 5.7.20 mended rule")
		})
	}
}

// A domain that broke on disk stays as it was, for as many reloads as it is broken; what is good is taken.
func TestReloadKeepsABrokenDomain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(w *world)
		fault string
	}{
		"a rules file": {func(w *world) { w.write("rules/reject.example.toml", "mode = \"enforced\"") }, `domain=reject.example .*reject.example.toml:1: mode: got`},
		"a key":        {func(w *world) { w.write("keys/example.org/k1.pem", "junk") }, `domain=example.org .*k1.pem: got no PEM block`},
		"a new domain": {func(w *world) { w.write("keys/example.net/k1.pem", "junk") }, `domain=example.net .*example.net/k1.pem: got no PEM block`},
		"a key's mode": {func(w *world) {
			if err := os.Chmod(w.path("keys/example.org/k1.pem"), 0o644); err != nil {
				w.t.Fatal(err)
			}
		}, `domain=example.org .*k1.pem: got mode 0644`},
		"domain.toml": {func(w *world) { w.write("keys/example.org/domain.toml", "expiry = 7") }, `domain=example.org .*domain.toml:1: expiry: got 7`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.start()
			w.signers() // the domain is read
			test.spoil(w)
			w.write("rules/other.example.toml", strings.Replace(rejectRules, "old", "other", 1))
			for range 2 { // a second reload keeps it, too
				w.hangup("reloaded.*kept=1")
				w.err.Wait(t, 1, "a domain stays as it was: its files are broken. "+test.fault)
				w.inForce("k1", "550 5.7.20 old rule")
				if got := w.send("x@other.example", "Q").Reply; got != "550 5.7.20 other rule" {
					t.Errorf("reply of what is good: %q", got)
				}
			}
			if err := os.RemoveAll(w.path("keys")); err != nil {
				t.Fatal(err)
			}
			w.key("example.org", "k2")
			w.write("rules/reject.example.toml", strings.Replace(rejectRules, "old", "mended", 1))
			w.hangup("reloaded.*kept=0")
			w.inForce("k2", "550 5.7.20 mended rule")
		})
	}
}

// The operator accepts the one removal he was told of, and no later one.
func TestReloadAsksBeforeMostDomainsGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := []string{"example.org"}
	for i := range 9 {
		name := "d" + strconv.Itoa(i) + ".example"
		w.key(name, "k1")
		w.write("rules/"+name+".toml", rejectRules)
		many = append(many, name)
	}
	w.start()
	take := func(names []string) {
		for _, name := range names {
			if err := os.RemoveAll(w.path("keys/" + name)); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(w.path("rules/" + name + ".toml"))
		}
	}
	take(many[5:]) // half
	w.hangup("reloaded")
	for _, name := range many[5:] {
		w.key(name, "k1")
		w.write("rules/"+name+".toml", rejectRules)
	}
	w.hangup("reloaded")
	refused := func() string {
		t.Helper()
		w.hangup("reload refused: .*no key any more for 6 of 10 domains.*no rules file any more for 6 of 10 domains")
		text := w.err.String()
		found := regexp.MustCompile(`echo ([0-9a-f]{8}) > (\S+), and`).FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			t.Fatalf("no hint in %s", text)
		}
		if path := found[len(found)-1][2]; path != w.path("accept-removal") {
			t.Errorf("accepted by %s", path)
		}
		return found[len(found)-1][1]
	}
	take(many[4:])
	token := refused()
	w.write("accept-removal", "yes")
	refused()
	w.write("accept-removal", token+"\n")
	w.hangup("removal accepted")
	w.err.Wait(t, 3, "msg=reloaded")
	// The file that was left behind accepts nothing that comes later.
	for _, name := range many[4:] {
		w.key(name, "k1")
		w.write("rules/"+name+".toml", rejectRules)
	}
	w.hangup("reloaded")
	take(many[4:])
	if again := refused(); again == token {
		t.Error("the removal of another day has the same token")
	}
}

// What was broken at the start is out of use, and no reason to keep the rest.
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
	w.write("rules/other.example.toml", "mode = \"enforced\"")
	w.hangup("reloaded .*faults=3 kept=1")
	w.err.Wait(t, 1, "a domain stays") // it is logged after that line
	if text := w.err.String(); strings.Contains(text[strings.LastIndex(text, "a domain stays"):], "broken.example") {
		t.Error("a domain that was broken at the start is said to be as it was")
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
	w.recorded("log.1", "SECOND")
	w.hangup("reloaded")
	w.send("joe@example.org", "THIRD")
	w.recorded("log", "THIRD")
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

// recorded waits until a file of the log stream has the record of a message: mail does not wait for it.
func (w *world) recorded(file, id string) {
	w.t.Helper()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if text, err := os.ReadFile(w.path(file)); err == nil && strings.Contains(string(text), `"id":"`+id+`"`) {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-w.t.Context().Done():
			w.t.Fatalf("%s has no record of %s", file, id)
		}
	}
}

// inForce tests by which selectors mail of example.org is signed, and what mail from reject.example is answered.
func (w *world) inForce(selectors, reply string) {
	w.t.Helper()
	if got := w.signers(); got != selectors {
		w.t.Errorf("signed by %q, want %q", got, selectors)
	}
	if got := w.send("x@reject.example", "Q").Reply; got != reply {
		w.t.Errorf("reply %q, want %q", got, reply)
	}
}
