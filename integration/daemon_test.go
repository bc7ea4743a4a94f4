//go:build integration

package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/internal/resolver/dnstest"
)

// daemon is a running dkimd.
type daemon struct {
	*process
	stream *stream
}

// settings is the configuration a test gives dkimd: lines of dkimd.toml by
// section, and rules files by name.
type settings struct {
	milter, sign, verify, dns, metrics string

	rules map[string]string
	keys  string // directory; empty: that of ours.test
	lane  laneKind
}

// world is what one test has to itself: a lane of Postfix, a dkimd at its
// milter address, and a DNS server that dkimd asks.
type world struct {
	*lane
	stage  *stage
	dns    *dnstest.Server
	dir    string // holds dkimd.toml and rules/
	daemon *daemon
}

func newWorld(t *testing.T, s settings) *world {
	t.Helper()
	stage := onStage(t)
	w := &world{stage: stage, dns: startDNS(t), dir: t.TempDir()}
	keys := ours(t)
	if err := w.dns.SetZone(keys.zone); err != nil {
		t.Fatalf("what key generate prints is no zone: %v\n%s", err, keys.zone)
	}
	if s.keys == "" {
		s.keys = keys.dir
	}
	w.lane = stage.postfix.takeLane(t, s.lane)
	if err := os.Mkdir(filepath.Join(w.dir, "rules"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.configure(t, s)
	for name, text := range s.rules {
		w.rule(t, name, text)
	}
	w.start(t)
	t.Cleanup(func() {
		w.stop(t)
		if t.Failed() {
			t.Logf("dkimd said:\n%s", w.daemon.log)
			for _, r := range w.daemon.stream.all() {
				t.Logf("record: %+v", r)
			}
		}
	})
	return w
}

func (w *world) configFile() string { return filepath.Join(w.dir, "dkimd.toml") }

// configure writes dkimd.toml.
func (w *world) configure(t *testing.T, s settings) {
	t.Helper()
	text := fmt.Sprintf(`hostname = %q
[milter]
listen = [%q]
socket_group = "postfix"
%s
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
`, mailName, w.milter, s.milter, s.keys, s.sign, s.verify, w.dns.Addr(), s.dns, filepath.Join(w.dir, "rules"), s.metrics)
	w.write(t, "dkimd.toml", text)
}

// rule writes a rules file; the name is without .toml.
func (w *world) rule(t *testing.T, name, text string) {
	t.Helper()
	w.write(t, "rules/"+name+".toml", text)
}

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start runs dkimd and waits until it takes connections.
func (w *world) start(t *testing.T) {
	t.Helper()
	dkimd := dkimdBinary(t)
	d := &daemon{stream: new(stream)}
	cmd := exec.Command(dkimd, "serve", "--config", w.configFile())
	cmd.Stdout = d.stream
	var err error
	if d.process, err = startProcess("dkimd", cmd); err != nil {
		t.Fatal(err)
	}
	w.daemon = d
	network, address := address(w.milter)
	up := poll(20*time.Second, func() bool {
		conn, err := net.Dial(network, address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil || d.ended()
	})
	if !up || d.ended() {
		d.stop(syscall.SIGKILL, 0)
		t.Fatalf("dkimd does not start:\n%s", d.log)
	}
}

// address is a milter address as net.Dial has it.
func address(milter string) (network, address string) {
	if path, found := strings.CutPrefix(milter, "unix:"); found {
		return "unix", path
	}
	return "tcp", strings.TrimPrefix(milter, "inet:")
}

// stop ends dkimd in good order, and checks what it leaves.
func (w *world) stop(t *testing.T) {
	t.Helper()
	if w.daemon.ended() {
		return
	}
	w.daemon.signal(syscall.SIGTERM)
	code, err := w.daemon.exit(35 * time.Second)
	if err != nil || code != 0 {
		t.Errorf("dkimd after SIGTERM: exit code %d, %v; want 0", code, err)
	}
	w.daemon.stop(syscall.SIGKILL, 0)
	if raceEnabled && strings.Contains(w.daemon.log.String(), "DATA RACE") {
		t.Error("dkimd has a data race")
	}
	if broken := w.daemon.stream.broken; len(broken) > 0 {
		t.Errorf("no records, but in the log stream: %q", broken)
	}
}

// kill ends dkimd as the kernel does that runs out of memory.
func (w *world) kill(t *testing.T) {
	t.Helper()
	w.daemon.signal(syscall.SIGKILL)
	if _, err := w.daemon.exit(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// reload sends SIGHUP and waits until dkimd has logged all of these words again.
func (w *world) reload(t *testing.T, words ...string) {
	t.Helper()
	before := len(w.daemon.log.String())
	w.daemon.signal(syscall.SIGHUP)
	eventually(t, 20*time.Second, fmt.Sprintf("dkimd says %q after SIGHUP; it says: %s", words, w.daemon.log), func() bool {
		said := w.daemon.log.String()[before:]
		for _, word := range words {
			if !strings.Contains(said, word) {
				return false
			}
		}
		return true
	})
}

// dkimdBinary is the path of the binary under test.
func dkimdBinary(t *testing.T) string {
	t.Helper()
	path, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
