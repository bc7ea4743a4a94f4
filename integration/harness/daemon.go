package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/internal/resolver/dnstest"
)

// Daemon is a running dkimd.
type Daemon struct {
	*Process
	Stream *Stream
}

// Settings is the configuration a test gives dkimd: lines of dkimd.toml by
// section, and rules files by name.
type Settings struct {
	Sign, Verify, DNS, Metrics string

	Rules map[string]string
	Keys  string // directory; empty: that of ours.test
	Lane  LaneKind
}

// World is what one test has to itself: a lane of Postfix, a dkimd at its
// milter address, and a DNS server that dkimd asks.
type World struct {
	*Lane
	Stage  *Stage
	DNS    *dnstest.Server
	Dir    string // holds dkimd.toml and rules/
	Daemon *Daemon
}

// NewWorld sets a world up and takes it down when the test ends.
func NewWorld(t *testing.T, s Settings) *World {
	t.Helper()
	stage := OnStage(t)
	w := &World{Stage: stage, DNS: StartDNS(t), Dir: t.TempDir()}
	keys := ours(t)
	if err := w.DNS.SetZone(keys.zone); err != nil {
		t.Fatalf("what key generate prints is no zone: %v\n%s", err, keys.zone)
	}
	if s.Keys == "" {
		s.Keys = keys.dir
	}
	w.Lane = stage.Postfix.TakeLane(t, s.Lane)
	if err := os.Mkdir(filepath.Join(w.Dir, "rules"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.configure(t, s)
	for name, text := range s.Rules {
		w.Rule(t, name, text)
	}
	w.Start(t)
	t.Cleanup(func() {
		w.Stop(t)
		if t.Failed() {
			w.tell(t)
			for line := range strings.Lines(stage.Postfix.MailLog()) {
				if strings.Contains(line, "warning: ") && strings.Contains(line, w.Milter) {
					t.Logf("Postfix said: %s", line)
				}
			}
		}
	})
	return w
}

// tell logs what dkimd said and recorded.
func (w *World) tell(t *testing.T) {
	t.Helper()
	t.Logf("dkimd said:\n%s", w.Daemon.Log)
	for _, r := range w.Daemon.Stream.All() {
		t.Logf("record: %+v", r)
	}
}

// ConfigFile is the path of dkimd.toml.
func (w *World) ConfigFile() string { return filepath.Join(w.Dir, "dkimd.toml") }

// configure writes dkimd.toml.
func (w *World) configure(t *testing.T, s Settings) {
	t.Helper()
	text := fmt.Sprintf(`hostname = %q
[milter]
listen = [%q]
socket_group = "postfix"
[sign]
directory = %q
%s

[verify]
%s
[dns]
servers = [%q]
%s
[policy]
directory = %q
[log]
output = "stdout"
[metrics]
%s
`, Hostname, w.Milter, s.Keys, s.Sign, s.Verify, w.DNS.Addr(), s.DNS, filepath.Join(w.Dir, "rules"), s.Metrics)
	w.Write(t, "dkimd.toml", text)
}

// Rule writes a rules file; the name is without .toml.
func (w *World) Rule(t *testing.T, name, text string) {
	t.Helper()
	w.Write(t, "rules/"+name+".toml", text)
}

// Write writes a file of the world, below its directory.
func (w *World) Write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(w.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Start runs dkimd and waits until it takes connections.
func (w *World) Start(t *testing.T) {
	t.Helper()
	dkimd := Binary(t)
	d := &Daemon{Stream: new(Stream)}
	cmd := exec.Command(dkimd, "serve", "--config", w.ConfigFile())
	cmd.Stdout = d.Stream
	var err error
	if d.Process, err = StartProcess("dkimd", cmd); err != nil {
		t.Fatal(err)
	}
	w.Daemon = d
	// The milter's socket is not the last that opens.
	up := Poll(20*time.Second, func() bool { return strings.Contains(d.Log.String(), "msg=ready") || d.Ended() })
	if !up || d.Ended() {
		d.Stop(syscall.SIGKILL, 0)
		t.Fatalf("dkimd does not start:\n%s", d.Log)
	}
}

// Address is a milter address as net.Dial has it.
func Address(milter string) (network, address string) {
	if path, found := strings.CutPrefix(milter, "unix:"); found {
		return "unix", path
	}
	return "tcp", strings.TrimPrefix(milter, "inet:")
}

// Stop ends dkimd in good order, and checks what it leaves.
func (w *World) Stop(t *testing.T) {
	t.Helper()
	if w.Daemon.Ended() {
		return
	}
	w.Daemon.Signal(syscall.SIGTERM)
	code, err := w.Daemon.Exit(35 * time.Second)
	if err != nil || code != 0 {
		t.Errorf("dkimd after SIGTERM: exit code %d, %v; want 0", code, err)
	}
	w.Daemon.Stop(syscall.SIGKILL, 0)
	if RaceEnabled && strings.Contains(w.Daemon.Log.String(), "DATA RACE") {
		t.Error("dkimd has a data race")
	}
	if broken := w.Daemon.Stream.broken; len(broken) > 0 {
		t.Errorf("no records, but in the log stream: %q", broken)
	}
}

// Kill ends dkimd as the kernel does that runs out of memory.
func (w *World) Kill(t *testing.T) {
	t.Helper()
	w.Daemon.Signal(syscall.SIGKILL)
	if _, err := w.Daemon.Exit(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// Reload sends SIGHUP and waits until dkimd has logged all of these words again.
func (w *World) Reload(t *testing.T, words ...string) {
	t.Helper()
	before := len(w.Daemon.Log.String())
	w.Daemon.Signal(syscall.SIGHUP)
	Eventually(t, 20*time.Second, fmt.Sprintf("dkimd says %q after SIGHUP; it says: %s", words, w.Daemon.Log), func() bool {
		said := w.Daemon.Log.String()[before:]
		for _, word := range words {
			if !strings.Contains(said, word) {
				return false
			}
		}
		return true
	})
}

// Binary is the path of the binary under test.
func Binary(t *testing.T) string {
	t.Helper()
	path, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// EximSignBinary is the path of dkimd-exim-sign, built as make build does it.
func EximSignBinary(t *testing.T) string {
	t.Helper()
	path, err := builtEximSign()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
