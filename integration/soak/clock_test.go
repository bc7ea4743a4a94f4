//go:build integration

package soak_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"dkimd/integration/harness"
)

// wallClock is the wall clock of one other process, and of no one else. See the
// package's documentation.
type wallClock struct {
	memory *os.File
	offset int64 // where in that memory the seconds stand by which the clock is wrong
}

// clockCode is int clock_gettime(clockid_t, struct timespec *) of amd64: the system
// call, and for CLOCK_REALTIME the seconds behind the code added to what came of it.
var clockCode = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov $228, %eax
	0x0f, 0x05, // syscall
	0x85, 0xff, // test %edi, %edi
	0x75, 0x0a, // jne 1f
	0x48, 0x8b, 0x0d, 0x06, 0x00, 0x00, 0x00, // mov offset(%rip), %rcx
	0x48, 0x01, 0x0e, // add %rcx, (%rsi)
	0xc3,       // 1: ret
	0x90, 0x90, // offset is at 24
}

// takeClock puts clockCode into a process.
func takeClock(pid int) (*wallClock, error) {
	if runtime.GOARCH != "amd64" {
		return nil, errors.New("the code that reads the clock is written for amd64")
	}
	low, high, err := vdso(pid)
	if err != nil {
		return nil, err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	image := make([]byte, high-low)
	if _, err := memory.ReadAt(image, low); err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	at, err := symbol(image, "__vdso_clock_gettime", len(clockCode)+8)
	if err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	c := &wallClock{memory: memory, offset: low + at + int64(len(clockCode))}
	// No thread may be in the code while it changes.
	for range 100 {
		if err = stopped(pid, func(inside func(low, high int64) bool) error {
			if inside(low, high) {
				return errBusy
			}
			_, err := memory.WriteAt(append(bytes.Clone(clockCode), make([]byte, 8)...), low+at)
			return err
		}); !errors.Is(err, errBusy) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	return c, nil
}

var errBusy = errors.New("the process reads the clock all the time")

// set makes the clock wrong by d, in whole seconds.
func (c *wallClock) set(d time.Duration) error {
	_, err := c.memory.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(int64(d/time.Second))), c.offset)
	return err
}

// vdso is where a process has the kernel's code mapped.
func vdso(pid int) (low, high int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "[vdso]") {
			_, err = fmt.Sscanf(line, "%x-%x", &low, &high)
			return low, high, err
		}
	}
	return 0, 0, errors.New("the process has no vDSO")
}

// symbol is where a function begins in an image, if it is long enough.
func symbol(image []byte, name string, size int) (int64, error) {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == name && s.Size >= uint64(size) && s.Value%8 == 0 {
			return int64(s.Value), nil
		}
	}
	return 0, fmt.Errorf("no function %s that is long enough", name)
}

// stopped does something while a process stands still. inside tells whether one of its
// threads is somewhere between two addresses.
func stopped(pid int, do func(inside func(low, high int64) bool) error) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	if !harness.Poll(5*time.Second, func() bool { return standsStill(pid) }) {
		return fmt.Errorf("process %d does not stop", pid)
	}
	return do(func(low, high int64) bool {
		for _, where := range tasks(pid, "syscall") {
			fields := strings.Fields(where)
			var pc int64
			if len(fields) == 0 {
				continue
			}
			if _, err := fmt.Sscanf(fields[len(fields)-1], "0x%x", &pc); err != nil || low <= pc && pc < high {
				return true // also where it cannot be told
			}
		}
		return false
	})
}

// standsStill reports whether all threads of a process are stopped.
func standsStill(pid int) bool {
	for _, stat := range tasks(pid, "stat") {
		if _, state, _ := strings.Cut(stat, ") "); !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// tasks reads a file of each thread of a process.
func tasks(pid int, file string) []string {
	var texts []string
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/%s", pid, file))
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil {
			texts = append(texts, string(text))
		}
	}
	return texts
}
