package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// server is a running daemon, with its children.
type server struct {
	name   string
	socket string
	cmd    *exec.Cmd
	next   *server // the milter that an MTA asks after this one; nil: none
}

// start runs a daemon and waits for its socket.
func start(ctx context.Context, name, socket, logFile string, argv ...string) (*server, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the programs to be measured
	out, err := os.Create(logFile)                        //nolint:gosec // in our own directory
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	_ = out.Close()
	if err != nil {
		return nil, err
	}
	s := &server{name: name, socket: socket, cmd: cmd}
	// rspamd reads its rules for some 20 s, and more on a busy machine.
	for end := time.Now().Add(5 * time.Minute); ; {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			_ = conn.Close()
			return s, nil
		}
		if time.Now().After(end) || s.gone() {
			s.stop()
			said, _ := os.ReadFile(logFile) //nolint:gosec // see above
			return nil, fmt.Errorf("%s does not open its socket: %w\n%s", name, err, said)
		}
		pause(5 * time.Millisecond)
	}
}

func pause(d time.Duration) { <-time.After(d) }

// gone reports whether the daemon has ended; it is not waited for until stop.
func (s *server) gone() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(after, "Z")
}

// stop ends the daemon.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(3*time.Second, func() { _ = s.cmd.Process.Kill() })
	_ = s.cmd.Wait()
	timer.Stop()
}

// pids are the daemon, its children, which for rspamd do the work, and the next one.
func (s *server) pids() []int {
	all := []int{s.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, task := range tasks {
			list, _ := os.ReadFile(task) //nolint:gosec // of the process
			for child := range strings.FieldsSeq(string(list)) {
				if pid, err := strconv.Atoi(child); err == nil {
					all = append(all, pid)
				}
			}
		}
	}
	if s.next != nil {
		all = append(all, s.next.pids()...)
	}
	return all
}

// cpu is the CPU time of the daemon so far, user and system, in nanoseconds'
// resolution: the clock of a process (clock_getcpuclockid) instead of the ticks in /proc.
func (s *server) cpu() (time.Duration, error) {
	var total time.Duration
	for _, pid := range s.pids() {
		var ts unix.Timespec
		clock := int32(^pid<<3 | 2) //nolint:gosec // CPUCLOCK_SCHED of that process
		if err := unix.ClockGettime(clock, &ts); err != nil {
			return 0, fmt.Errorf("CPU clock of %s: %w", s.name, err)
		}
		total += time.Duration(ts.Nano())
	}
	return total, nil
}

// ownCPU is that of this process.
func ownCPU() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// forgetPeak begins a new peak of memory.
func (s *server) forgetPeak() {
	for _, pid := range s.pids() {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // where it is forbidden the peak is that of the run
	}
}

// peak is the largest resident memory since forgetPeak, in bytes, of all processes together.
func (s *server) peak() int64 { return s.memory("VmHWM:") }

// resident is what is there now, in bytes.
func (s *server) resident() int64 { return s.memory("VmRSS:") }

func (s *server) memory(kind string) int64 {
	var total int64
	for _, pid := range s.pids() {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, kind); ok {
				kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
				total += kib << 10
			}
		}
	}
	return total
}

// find is the path of a program, or is empty.
func find(name string) string {
	path, err := exec.LookPath(name)
	if err != nil && errors.Is(err, exec.ErrNotFound) {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		return ""
	}
	return path
}

func cores() int { return runtime.NumCPU() }
