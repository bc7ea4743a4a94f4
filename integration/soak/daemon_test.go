//go:build integration

package soak_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"

	"golang.org/x/sys/unix"
)

// daemon is the running dkimd.
type daemon struct {
	cmd  *exec.Cmd
	log  *watcher
	done chan struct{}
}

// startDaemon runs dkimd and waits until it takes connections.
func startDaemon(t *testing.T, binary, config string, sockets ...string) *daemon {
	t.Helper()
	d := &daemon{cmd: exec.Command(binary, "serve", "--config", config), log: newWatcher(), done: make(chan struct{})}
	d.cmd.Stderr = d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig means this thread
		err := d.cmd.Start()
		started <- err
		if err == nil {
			_ = d.cmd.Wait()
			close(d.done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.done
	})
	for _, socket := range sockets {
		network := "tcp"
		if strings.HasPrefix(socket, "/") {
			network = "unix"
		}
		if !harness.Poll(20*time.Second, func() bool { return harness.Accepts(network, socket) || d.ended() }) || d.ended() {
			t.Fatalf("dkimd does not start:\n%s", d.log.tail())
		}
	}
	return d
}

func (d *daemon) pid() int { return d.cmd.Process.Pid }

func (d *daemon) ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// stop ends dkimd in good order.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.done:
		if code := d.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("dkimd after SIGTERM: exit code %d; want 0\n%s", code, d.log.tail())
		}
	case <-time.After(40 * time.Second):
		t.Error("dkimd does not end after SIGTERM")
	}
}

// limit sets how many descriptors dkimd may have, and returns the limit before.
func (d *daemon) limit(descriptors uint64) (uint64, error) {
	var old unix.Rlimit
	if err := unix.Prlimit(d.pid(), unix.RLIMIT_NOFILE, nil, &old); err != nil {
		return 0, err
	}
	return old.Cur, unix.Prlimit(d.pid(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: descriptors, Max: old.Max}, nil)
}

// hasOpen reports whether dkimd has a file open.
func (d *daemon) hasOpen(path string) bool {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", d.pid()))
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == path {
			return true
		}
	}
	return false
}

// watcher reads what dkimd says on stderr.
type watcher struct {
	mu       sync.Mutex
	partial  []byte
	last     []string // lines, for a report
	faults   []string // lines that must not be
	lost     uint64   // records, as dkimd has reported
	lossSaid int      // how often it did
	reloads  chan bool
}

func newWatcher() *watcher { return &watcher{reloads: make(chan bool, 16)} }

// expectedErrors are the errors that dkimd rightly complains of in a soak.
var expectedErrors = []string{
	"reload refused", "log records are lost", "could not reopen the log file", "rules file unusable",
}

var (
	lostTotal = regexp.MustCompile(`lost_total=(\d+)`)
	keyFault  = regexp.MustCompile(`msg="(key|a key|keys)`)
)

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial = append(w.partial, p...)
	for {
		line, rest, found := bytes.Cut(w.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		w.partial = rest
		w.line(string(line))
	}
}

func (w *watcher) line(line string) {
	if w.last = append(w.last, line); len(w.last) > 200 {
		w.last = append([]string(nil), w.last[100:]...)
	}
	expected := false
	for _, words := range expectedErrors {
		expected = expected || strings.Contains(line, words)
	}
	switch {
	case strings.Contains(line, "panic"), strings.Contains(line, "DATA RACE"), strings.Contains(line, "fatal error"),
		strings.Contains(line, "level=ERROR") && !expected && !keyFault.MatchString(line), !strings.HasPrefix(line, "time="):
		if len(w.faults) < 20 {
			w.faults = append(w.faults, line)
		}
	case strings.Contains(line, "msg=reloaded"):
		w.reloads <- true
	case strings.Contains(line, `msg="reload refused`):
		w.reloads <- false
	}
	if m := lostTotal.FindStringSubmatch(line); m != nil {
		n, _ := strconv.ParseUint(m[1], 10, 64)
		w.lost = max(w.lost, n)
		w.lossSaid++
	}
}

func (w *watcher) tail() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.last, "\n")
}

// losses are the records that dkimd says it lost, and how often it said so.
func (w *watcher) losses() (uint64, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost, w.lossSaid
}

// usage is what dkimd takes of the machine.
type usage struct {
	resident    int64 // KiB
	descriptors int
	threads     int
	goroutines  int // -1: not known
}

func (u usage) String() string {
	return fmt.Sprintf("%d KiB resident, %d descriptors, %d threads, %d goroutines", u.resident, u.descriptors, u.threads, u.goroutines)
}

// usage waits until dkimd is at rest, as far as it comes to that, and measures.
func (d *daemon) usage(metrics string) (usage, error) {
	var u usage
	rest := 0
	harness.Poll(30*time.Second, func() bool {
		now := d.descriptors()
		if rest++; now != u.descriptors {
			u.descriptors, rest = now, 0
		}
		return rest > 300
	})
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.pid()))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		number, _ := strconv.ParseInt(strings.Fields(value + " 0")[0], 10, 64)
		switch name {
		case "VmRSS":
			u.resident = number
		case "Threads":
			u.threads = int(number)
		}
	}
	u.goroutines, err = goroutines(metrics)
	return u, errors.Join(err)
}

func (d *daemon) descriptors() int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.pid()))
	return len(entries)
}
