package harness

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/internal/resolver/dnstest"

	"golang.org/x/sys/unix"
)

// Addresses in the small world of a fresh root.
const (
	RootAddress    = "203.0.113.1"
	OutsideAddress = "203.0.113.9"
)

// FreshRoot is a throw-away copy of this machine with a network of its own and
// a fresh Postfix on port 25, as testdata/freshroot.sh sets it up.
type FreshRoot struct {
	Process *Process
	output  *Transcript // what the steps print on stdout
	steps   *os.File    // names of scripts to run
	done    int         // how many steps have been run
	DNS     *dnstest.Server
}

// NewFreshRoot makes a fresh root and starts its Postfix.
func NewFreshRoot(t *testing.T) *FreshRoot {
	t.Helper()
	Need(t, "postfix", "unshare", "ip", "chroot")
	if os.Geteuid() != 0 {
		SkipOrFail(t, "a fresh root needs root")
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--uts", "--pid", "--fork",
		"mount", "-t", "tmpfs", "tmpfs", t.TempDir()).CombinedOutput(); err != nil {
		SkipOrFail(t, fmt.Sprintf("namespaces and mounts are not allowed here: %v: %s", err, out))
	}
	stepsOut, stepsIn, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child",
		"sh", testdata("freshroot.sh"), t.TempDir(), Repository(""))
	cmd.ExtraFiles = []*os.File{stepsOut} // descriptor 3
	output := new(Transcript)
	cmd.Stdout = output
	p, err := StartProcess("fresh root", cmd)
	if err != nil {
		t.Fatal(err)
	}
	_ = stepsOut.Close()
	f := &FreshRoot{Process: p, output: output, steps: stepsIn}
	t.Cleanup(func() {
		_ = stepsIn.Close()
		p.Stop(syscall.SIGKILL, 0)
	})
	if _, err := f.finish(0); err != nil {
		t.Fatalf("fresh root: %v\n%s%s", err, output, p.Log)
	}
	f.Within(t, func() error {
		f.DNS, err = dnstest.Start("127.0.0.1:53")
		return err
	})
	t.Cleanup(f.DNS.Close)
	return f
}

// Within does something with the network of the fresh root.
func (f *FreshRoot) Within(t *testing.T, do func() error) {
	t.Helper()
	InNetwork(t, f.Process.Cmd.Process.Pid, do)
}

// InNetwork does something with the network of a process: sockets belong to
// the network that their thread is in when it opens them.
func InNetwork(t *testing.T, pid int, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err == nil {
			err = unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
			_ = network.Close()
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("in the network of process %d: %v", pid, err)
	}
}

// Run carries out a shell script and returns what it printed on stdout.
func (f *FreshRoot) Run(t *testing.T, script string) (string, error) {
	t.Helper()
	before := len(f.output.String())
	if err := os.WriteFile(f.Path(t, "/root/step.sh"), []byte(script), 0o600); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(f.steps, "/root/step.sh"); err != nil {
		return "", err
	}
	return f.finish(before)
}

// finish waits for the end of a step and returns what was printed since before.
func (f *FreshRoot) finish(before int) (string, error) {
	f.done++
	mark := fmt.Sprintf("-- end of step %d\n", f.done)
	var out string
	ended := false
	Poll(3*time.Minute, func() bool {
		out, _, ended = strings.Cut(f.output.String()[before:], mark)
		return ended || f.Process.Ended()
	})
	if !ended {
		return out, errors.New("a command failed, or does not end")
	}
	return out, nil
}

// Path is where a file of the fresh root is for us.
func (f *FreshRoot) Path(t *testing.T, name string) string {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", f.Process.Cmd.Process.Pid))
	if err != nil || len(strings.Fields(string(children))) == 0 {
		t.Fatalf("the fresh root has no process: %v\n%s", err, f.Process.Log)
	}
	return filepath.Join("/proc", strings.Fields(string(children))[0], "root", name)
}

// Read returns a file of the fresh root, empty if it is not there or the root has ended.
func (f *FreshRoot) Read(t *testing.T, name string) string {
	t.Helper()
	if f.Process.Ended() {
		return ""
	}
	text, _ := os.ReadFile(f.Path(t, name))
	return string(text)
}

// Dial connects from an address of the fresh root to its Postfix.
func (f *FreshRoot) Dial(t *testing.T, from, to string) *Session {
	t.Helper()
	var conn net.Conn
	f.Within(t, func() (err error) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
		conn, err = dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(to, "25"))
		return err
	})
	s := NewSession(t, conn)
	t.Cleanup(s.HangUp)
	if greeting, err := s.Read(); err != nil || greeting.Code != 220 {
		t.Fatalf("greeting %v: %v", greeting, err)
	}
	s.Want(250, "EHLO client.test")
	return s
}
