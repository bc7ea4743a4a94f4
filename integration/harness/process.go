package harness

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a child that never outlives the tests, however they end. It leads
// a process group of its own, which is ended with it.
type Process struct {
	name string
	Cmd  *exec.Cmd
	done chan struct{} // closed when the child has been waited for
	Log  *Transcript   // what it wrote on stderr, and on stdout if nobody else reads that
}

// StartProcess starts a command, and a guardian that ends its group when the
// pipe from the tests breaks: SIGTERM first, then by force, for unshare(1) ignores
// SIGTERM. (The kernel's parent-death signal does not do: Postfix loses it when
// it changes its user.)
func StartProcess(name string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{name: name, Cmd: cmd, done: make(chan struct{}), Log: new(Transcript)}
	cmd.Stderr = p.Log
	if cmd.Stdout == nil {
		cmd.Stdout = p.Log
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	guardian := exec.Command("sh", "-c", `read -r never; kill -TERM "$0"; sleep 3; kill -KILL -- "-$0"`, strconv.Itoa(cmd.Process.Pid))
	guardian.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := guardian.StdinPipe()
	if err == nil {
		err = guardian.Start()
	}
	go func() {
		_ = cmd.Wait() // the exit code is read from ProcessState
		if err == nil {
			_ = guardian.Process.Kill()
			_ = guardian.Wait()
			_ = leash.Close()
		}
		close(p.done)
	}()
	if err != nil {
		p.Stop(syscall.SIGKILL, 0)
		return nil, fmt.Errorf("start the guardian of %s: %w", name, err)
	}
	return p, nil
}

// Signal sends a signal to the process itself.
func (p *Process) Signal(sig syscall.Signal) { _ = p.Cmd.Process.Signal(sig) }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Exit waits for the end and returns the exit code, -1 after a signal.
func (p *Process) Exit(limit time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.Cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("%s still runs after %s", p.name, limit)
	}
}

// Stop ends the process: asked first, then with its whole group by force.
func (p *Process) Stop(sig syscall.Signal, grace time.Duration) {
	if !p.Ended() {
		p.Signal(sig)
		_, _ = p.Exit(grace)
	}
	_ = syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL) // whoever is left of the group
	<-p.done
}

// Transcript collects text from a process, safe for a reader while it grows.
type Transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (tr *Transcript) Write(p []byte) (int, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.Write(p)
}

func (tr *Transcript) String() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.text.String()
}

// Need skips the test where a program is missing, or fails it when everything
// is required (DKIMD_REQUIRE_ALL).
func Need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			SkipOrFail(t, program+" is not installed; run scripts/install-test-deps")
		}
	}
}

// SkipOrFail skips the test, or fails it when everything is required (DKIMD_REQUIRE_ALL).
func SkipOrFail(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("DKIMD_REQUIRE_ALL") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Run runs a program to its end and returns its stdout.
func Run(t *testing.T, input []byte, name string, args ...string) []byte {
	t.Helper()
	out, complaint, err := TryRun(t, input, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, complaint)
	}
	return out
}

// TryRun runs a program that may fail; complaint is its stderr.
func TryRun(t *testing.T, input []byte, name string, args ...string) (out []byte, complaint string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	err = cmd.Run()
	return stdout.Bytes(), stderr.String(), err
}

// WaitLimit is long enough for anything that takes no time of its own.
const WaitLimit = 30 * time.Second

// Eventually polls until a condition holds, and fails the test after the limit.
func Eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	if !Poll(limit, holds) {
		t.Fatalf("after %s still not: %s", limit, what)
	}
}

// Accepts reports whether somebody takes connections at an address.
func Accepts(network, address string) bool {
	conn, err := net.Dial(network, address)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// HasLine reports whether one line of a log has all of these words.
func HasLine(log string, words ...string) bool {
	for line := range strings.Lines(log) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			return true
		}
	}
	return false
}

// Poll asks again and again until a condition holds or the limit is reached.
func Poll(limit time.Duration, holds func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for {
		if holds() {
			return true
		}
		select {
		case <-tick.C:
		case <-deadline:
			return holds()
		}
	}
}
