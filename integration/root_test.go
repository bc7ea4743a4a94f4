//go:build integration

package integration_test

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
	rootAddress    = "203.0.113.1"
	outsideAddress = "203.0.113.9"
)

// freshRoot is a throw-away copy of this machine with a network of its own and
// a fresh Postfix on port 25, as testdata/freshroot.sh sets it up.
type freshRoot struct {
	process *process
	output  *transcript // what the steps print on stdout
	steps   *os.File    // names of scripts to run
	done    int         // how many steps have been run
	clients []*session
	dns     *dnstest.Server
}

func newFreshRoot(t *testing.T) *freshRoot {
	t.Helper()
	need(t, "postfix", "unshare", "ip", "chroot")
	if os.Geteuid() != 0 {
		missing(t, "a fresh root needs root")
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--uts", "--pid", "--fork",
		"mount", "-t", "tmpfs", "tmpfs", t.TempDir()).CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("namespaces and mounts are not allowed here: %v: %s", err, out))
	}
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	stepsOut, stepsIn, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child",
		"sh", "testdata/freshroot.sh", t.TempDir(), repository)
	cmd.ExtraFiles = []*os.File{stepsOut} // descriptor 3
	output := new(transcript)
	cmd.Stdout = output
	p, err := startProcess("fresh root", cmd)
	if err != nil {
		t.Fatal(err)
	}
	_ = stepsOut.Close()
	f := &freshRoot{process: p, output: output, steps: stepsIn}
	t.Cleanup(func() {
		_ = stepsIn.Close()
		p.stop(syscall.SIGKILL, 0)
	})
	if _, err := f.finish(0); err != nil {
		t.Fatalf("fresh root: %v\n%s%s", err, output, p.log)
	}
	f.within(t, func() error {
		f.dns, err = dnstest.Start("127.0.0.1:53")
		return err
	})
	t.Cleanup(f.dns.Close)
	return f
}

// within does something with the network of the fresh root: sockets belong to
// the network that their thread is in when it opens them.
func (f *freshRoot) within(t *testing.T, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", f.process.cmd.Process.Pid))
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
		t.Fatalf("in the fresh root: %v", err)
	}
}

// run carries out a shell script and returns what it printed on stdout.
func (f *freshRoot) run(t *testing.T, script string) (string, error) {
	t.Helper()
	before := len(f.output.String())
	if err := os.WriteFile(f.path(t, "/root/step.sh"), []byte(script), 0o600); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(f.steps, "/root/step.sh"); err != nil {
		return "", err
	}
	return f.finish(before)
}

// finish waits for the end of a step and returns what was printed since before.
func (f *freshRoot) finish(before int) (string, error) {
	f.done++
	mark := fmt.Sprintf("-- end of step %d\n", f.done)
	var out string
	ended := false
	poll(3*time.Minute, func() bool {
		out, _, ended = strings.Cut(f.output.String()[before:], mark)
		return ended || f.process.ended()
	})
	if !ended {
		return out, errors.New("a command failed, or does not end")
	}
	return out, nil
}

// path is where a file of the fresh root is for us.
func (f *freshRoot) path(t *testing.T, name string) string {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", f.process.cmd.Process.Pid))
	if err != nil || len(strings.Fields(string(children))) == 0 {
		t.Fatalf("the fresh root has no process: %v\n%s", err, f.process.log)
	}
	return filepath.Join("/proc", strings.Fields(string(children))[0], "root", name)
}

// read returns a file of the fresh root, empty if it is not there or the root has ended.
func (f *freshRoot) read(t *testing.T, name string) string {
	t.Helper()
	if f.process.ended() {
		return ""
	}
	text, _ := os.ReadFile(f.path(t, name))
	return string(text)
}

// hangUp ends the connections of every client.
func (f *freshRoot) hangUp() {
	for _, s := range f.clients {
		s.hangUp()
	}
	f.clients = nil
}

// dial connects from an address of the fresh root to its Postfix.
func (f *freshRoot) dial(t *testing.T, from, to string) *session {
	t.Helper()
	var conn net.Conn
	f.within(t, func() (err error) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
		conn, err = dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(to, "25"))
		return err
	})
	s := newSession(t, conn)
	f.clients = append(f.clients, s)
	t.Cleanup(s.hangUp)
	if greeting, err := s.read(); err != nil || greeting.code != 220 {
		t.Fatalf("greeting %v: %v", greeting, err)
	}
	s.want(250, "EHLO client.test")
	return s
}
