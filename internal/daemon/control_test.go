package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dkimd/internal/control"
	"dkimd/keys"
)

func (w *world) controller() *control.Client {
	w.t.Helper()
	c, err := control.NewClient("unix:" + w.path("c"))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) ask(acceptRemoval bool) control.Reload {
	w.t.Helper()
	done, err := w.controller().Reload(w.t.Context(), acceptRemoval)
	if err != nil {
		w.t.Fatal(err)
	}
	return done
}

// Whoever asks for a reload is told what came of it, and by then it is in force.
func TestReloadIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.key("example.org", "k2")
	if done := w.ask(false); done.Result != control.Taken || len(done.Faults) > 0 || done.Summary != "1 domain signed for, 1 rules file" {
		t.Errorf("a good reload: %+v", done)
	}
	if got := w.signers(); got != "k1 k2" {
		t.Errorf("signed by %q after the answer", got)
	}
	w.write("rules/other.example.toml", "mod")
	if done := w.ask(false); done.Result != control.Partly || len(done.Faults) != 1 || !strings.Contains(done.Faults[0].Text, "other.example.toml:1: ") {
		t.Errorf("with a broken rules file: %+v", done)
	}
	w.configure("[log]\nformat = \"syslog\"\n[metrics]\nlisten = 7\n")
	if done := w.ask(false); done.Result != control.Refused || len(done.Faults) != 2 || !strings.Contains(done.Summary, "was refused: ") {
		t.Errorf("with a broken dkimd.toml: %+v", done)
	}
	w.configure("[metrics]\nlisten = \"inet:127.0.0.1:0\"\n")
	if done := w.ask(false); strings.Join(done.Restart, " ") != "metrics.listen" {
		t.Errorf("a change that needs a restart: %+v", done)
	}
}

// The operator's word takes a removal that could be an accident; it counts for this reload only.
func TestReloadAcceptsARemoval(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.remove("rules/reject.example.toml")
	if done := w.ask(false); done.Result != control.Refused || !strings.Contains(done.Faults[0].Text, "dkimd reload --accept-removal") {
		t.Errorf("%+v", done)
	}
	if done := w.ask(true); done.Result != control.Taken {
		t.Errorf("accepted: %+v", done)
	}
	if err := os.RemoveAll(w.path("keys/example.org")); err != nil {
		t.Fatal(err)
	}
	if done := w.ask(false); done.Result != control.Refused {
		t.Errorf("the word still counts: %+v", done)
	}
}

// A command that would destroy a key asks for the files outside the directory of keys that mail is signed with.
func TestElsewhereIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := keys.New{Directory: w.path("other"), Domain: "b.example", Selector: "s1", Type: keys.Ed25519}
	if err := os.Mkdir(other.Directory, 0o750); err != nil {
		t.Fatal(err)
	}
	file, err := keys.Generate(other)
	if err != nil {
		t.Fatal(err)
	}
	w.write("t/KeyTable", "k b.example:s1:"+file.Path+"\n")
	w.write("t/SigningTable", "*@b.example k\n")
	text, err := os.ReadFile(w.path("dkimd.toml"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("dkimd.toml", strings.Replace(string(text), "[sign]\n", fmt.Sprintf("[sign]\nkey_table = %q\nsigning_table = \"refile:%s\"\n",
		w.path("t/KeyTable"), w.path("t/SigningTable")), 1))
	w.start()
	paths, err := w.controller().Elsewhere(t.Context())
	if err != nil || len(paths) != 1 || paths[0] != file.Path {
		t.Errorf("%q, %v; want %s", paths, err, file.Path)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.signers()
	status := func() control.Status {
		t.Helper()
		s, err := w.controller().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := status()
	if !s.Ready || s.PID != os.Getpid() || s.Version != "1.2.3" || s.Config != w.path("dkimd.toml") || s.Started.IsZero() || s.Loaded.Before(s.Started) {
		t.Errorf("%+v", s)
	}
	if len(s.Doors) != 1 || s.Doors[0].Front != "milter" || s.Doors[0].Limit != 4096 || s.Doors[0].Listen[0] != "unix:"+w.socket {
		t.Errorf("doors %+v", s.Doors)
	}
	if s.Keys != (control.Keys{Usable: 1, Domains: 1}) || s.Rules != (control.Rules{Files: 1}) || s.DNS.Servers[0] != "127.0.0.1:1" || s.Log.Outputs[0] != "stdout" {
		t.Errorf("%+v", s)
	}
	if len(s.Messages) != 1 || s.Messages[0] != (control.Count{Front: "milter", Mode: "sign", Verdict: "accept", Count: 1}) {
		t.Errorf("messages %+v", s.Messages)
	}
	session := w.session()
	if _, err := session.Send(t.Context(), mail("joe@example.org", "Q")); err != nil {
		t.Fatal(err)
	}
	if s = status(); s.Doors[0].Connections != 1 || s.Messages[0].Count != 2 {
		t.Errorf("with a connection: %+v %+v", s.Doors, s.Messages)
	}
	w.configure("[log]\nformat = 1\n")
	w.ask(false)
	if s = status(); s.Ready || s.LastReload == nil || len(s.LastReload.Faults) != 1 || !strings.Contains(fmt.Sprint(s.Faults), "log.format") {
		t.Errorf("after a refused reload: %+v", s)
	}
}

// Only root and the daemon's user may ask. The socket goes with the daemon.
func TestControlSocketIsPrivate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	info, err := os.Stat(w.path("c"))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	w.stop()
	if _, err := os.Stat(w.path("c")); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := w.controller().Status(t.Context()); err == nil || !strings.Contains(err.Error(), "is dkimd running") {
		t.Errorf("asked a daemon that is gone: %v", err)
	}
}

// Whoever waits for a reload when dkimd stops is told so.
func TestReloadEndsWithTheDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 300 {
		w.write(filepath.Join("keys", "d"+string(rune('a'+i%26))+strings.Repeat("x", i%50+1)+".example", "k.pem"), "junk")
	}
	w.start()
	answered := make(chan error, 20)
	for range cap(answered) {
		go func() {
			_, err := w.controller().Reload(t.Context(), false)
			answered <- err
		}()
	}
	w.signals <- syscall.SIGTERM
	if err := <-w.served; err != nil {
		t.Error(err)
	}
	for range cap(answered) {
		if err := <-answered; err != nil { // an answer or an error, but never none
			t.Log(err)
		}
	}
}
