//go:build system

package system_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"
	"dkimd/internal/resolver/dnstest"
)

// systems is where scripts/install-test-systems puts them.
const systems = "/var/cache/dkimd-test/systems"

// bootLimit is long enough for a boot or a halt on a busy machine.
const bootLimit = 2 * time.Minute

// system is a Debian with systemd that runs.
type system struct {
	process *harness.Process
	pid     int    // of its systemd, as we see it
	smtp    string // where its mail server is to be reached
	DNS     *dnstest.Server
}

// boot starts a fresh copy of a Debian release. Before it starts, prepare is run in its root.
func boot(t *testing.T, release, prepare string) *system {
	t.Helper()
	harness.Need(t, "unshare", "nsenter", "ip")
	root := filepath.Join(systems, release)
	if _, err := os.Stat(root + ".complete"); err != nil {
		harness.SkipOrFail(t, root+" is not there; run scripts/install-test-systems")
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--cgroup", "--pid", "--fork",
		"mount", "-t", "tmpfs", "tmpfs", t.TempDir()).CombinedOutput(); err != nil {
		harness.SkipOrFail(t, fmt.Sprintf("namespaces and mounts are not allowed here: %v: %s", err, out))
	}
	script, err := filepath.Abs("testdata/boot.sh")
	if err != nil {
		t.Fatal(err)
	}
	p, err := harness.StartProcess(release, exec.Command("unshare", "--mount", "--net", "sh", script, root, t.TempDir(), prepare))
	if err != nil {
		t.Fatal(err)
	}
	s := &system{process: p, smtp: harness.RootAddress}
	t.Cleanup(func() { s.halt(t) })
	s.await(t)
	t.Cleanup(func() {
		if t.Failed() && !s.process.Ended() {
			out, _ := s.run("journalctl -b --no-pager | grep -v ' systemd\\[' | tail -n 60")
			t.Logf("the journal:\n%s", out)
		}
	})
	harness.InNetwork(t, p.Cmd.Process.Pid, func() error {
		s.DNS, err = dnstest.Start("127.0.0.1:53")
		return err
	})
	t.Cleanup(s.DNS.Close)
	return s
}

// await waits until systemd has started what it starts.
func (s *system) await(t *testing.T) {
	t.Helper()
	harness.Eventually(t, bootLimit, "systemd runs as process 1 of a namespace", func() bool {
		s.pid = firstProcess(s.process.Cmd.Process.Pid)
		return s.pid != 0 || s.process.Ended()
	})
	if s.process.Ended() {
		t.Fatalf("the system does not boot:\n%s", s.process.Log)
	}
	out, err := s.run(`n=0
until state=$(systemctl is-system-running 2>&1) && [ "$state" = running ]; do
	n=$((n + 1))
	if [ "$state" = degraded ] || [ $n = 240 ]; then
		echo "$state"
		systemctl --failed --no-legend
		systemctl list-jobs --no-legend
		journalctl -b --no-pager | tail -n 50
		exit 1
	fi
	sleep 0.5
done`)
	if err != nil {
		t.Fatalf("the system does not come up: %v: %s", err, out)
	}
}

// firstProcess finds, among the descendants of a process, systemd as process 1 of another namespace; 0: none yet.
func firstProcess(pid int) int {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	for child := range strings.FieldsSeq(string(children)) {
		n, err := strconv.Atoi(child)
		if err != nil {
			continue
		}
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", n))
		if string(name) == "systemd\n" {
			return n
		}
		if found := firstProcess(n); found != 0 {
			return found
		}
	}
	return 0
}

// halt stops the system as its power button does.
func (s *system) halt(t *testing.T) {
	t.Helper()
	if s.pid != 0 && !s.process.Ended() {
		_ = syscall.Kill(s.pid, syscall.Signal(34+4)) // SIGRTMIN+4: poweroff.target
		if _, err := s.process.Exit(bootLimit); err != nil {
			t.Errorf("the system does not halt: %v", err)
		}
	}
	s.process.Stop(syscall.SIGKILL, 0)
}

// restart restarts the system and waits until it is up again.
func (s *system) restart(t *testing.T) {
	t.Helper()
	before := s.pid
	if err := syscall.Kill(s.pid, syscall.Signal(34+5)); err != nil { // SIGRTMIN+5: reboot.target
		t.Fatal(err)
	}
	harness.Eventually(t, bootLimit, "the system went down", func() bool {
		now := firstProcess(s.process.Cmd.Process.Pid)
		return now != 0 && now != before || s.process.Ended()
	})
	s.await(t)
}

// run carries out a shell script in the system and returns its stdout; its stderr is in the error.
func (s *system) run(script string) (string, error) {
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(s.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "sh", "-ec", script)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, complaint.String())
	}
	return out.String(), err
}

// must carries out a shell script that has to succeed.
func (s *system) must(t *testing.T, script string) string {
	t.Helper()
	out, err := s.run(script)
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return out
}

// put copies a file into the system.
func (s *system) put(t *testing.T, file, to string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(fmt.Sprintf("/proc/%d/root%s", s.pid, to), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dial connects from an address of the system to its Postfix.
func (s *system) dial(t *testing.T, from, to string) (*harness.Session, error) {
	t.Helper()
	var conn net.Conn
	var err error
	harness.InNetwork(t, s.process.Cmd.Process.Pid, func() error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
		conn, err = dialer.Dial("tcp", net.JoinHostPort(to, "25"))
		return nil
	})
	if err != nil {
		return nil, err
	}
	session := harness.NewSession(t, conn)
	if greeting, err := session.Read(); err != nil || greeting.Code != 220 {
		session.HangUp()
		return nil, fmt.Errorf("greeting %v: %w", greeting, err)
	}
	return session, nil
}
