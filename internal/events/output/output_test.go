package output_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"dkimd/internal/events/output"
	"dkimd/internal/logtest"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		cfg  output.Config
		want string
	}{
		"pipe that nobody reads": {output.Config{Outputs: []string{dir + "/pipe"}}, "no such device or address"},
		"format":                 {output.Config{Format: "xml"}, "log.format"},
		"relative":               {output.Config{Outputs: []string{"log"}}, "log.output"},
		"no directory":           {output.Config{Outputs: []string{dir + "/no/log"}}, "no such file or directory"},
		"directory":              {output.Config{Outputs: []string{dir}}, "is a directory"},
	}
	for name, test := range tests {
		if _, err := output.Open(test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOutputs(t *testing.T) {
	t.Parallel()
	for name, outputs := range map[string][]string{"stdout": {"stdout"}, "stderr": {"stderr"}, "": nil} {
		var stdout, stderr bytes.Buffer
		l := open(t, output.Config{Outputs: outputs, Stdout: &stdout, Stderr: &stderr})
		if err := l.Reopen(); err != nil {
			t.Error(err)
		}
		l.Write(numbered(1))
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if (stderr.Len() > 0) != (name == "stderr") || (stdout.Len() > 0) == (name == "stderr") {
			t.Errorf("%q: stdout %q, stderr %q", name, &stdout, &stderr)
		}
	}
}

func TestReopenAfterRename(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	synctest.Test(t, func(t *testing.T) {
		l, err := output.Open(output.Config{Outputs: []string{path}})
		if err != nil {
			t.Fatal(err)
		}
		l.Write(numbered(1))
		synctest.Wait()
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		l.Write(numbered(2)) // still into the old one
		synctest.Wait()
		for range 3 {
			if err := l.Reopen(); err != nil {
				t.Fatal(err)
			}
		}
		l.Write(numbered(3))
		synctest.Wait()
		links, _ := filepath.Glob("/proc/self/fd/*")
		for _, link := range links {
			if target, _ := os.Readlink(link); target == path+".1" {
				t.Error("the renamed file is still open")
			}
		}
		if err := os.Mkdir(path+".d", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Rename(path, path+".2"), os.Rename(path+".d", path)); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err == nil {
			t.Error("a directory was opened")
		}
		l.Write(numbered(4)) // the old file is still in use
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Reopen(); err == nil {
			t.Error("reopened after Close")
		}
		for name, want := range map[string]string{".1": "[1 2]", ".2": "[3 4]"} {
			data, err := os.ReadFile(path + name)
			if err != nil || fmt.Sprint(ids(t, string(data))) != want {
				t.Errorf("%s: %s, %v; want %s", name, data, err, want)
			}
		}
	})
}

func TestTornLineOfThePastIsEnded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	for _, torn := range []string{"{\"id\":\"ha", "{\"id\":\"whole\"}\n", ""} {
		if err := os.WriteFile(path, []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, output.Config{Outputs: []string{path}})
		l.Write(numbered(1))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		head, found := strings.CutPrefix(string(data), torn)
		if torn != "" && !strings.HasSuffix(torn, "\n") {
			found = found && head[0] == '\n'
			head = head[1:]
		}
		if !found || fmt.Sprint(ids(t, head)) != "[1]" {
			t.Errorf("%q became %q", torn, data)
		}
	}
}

func TestFullDiskLosesRecordsOnly(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full on this system")
	}
	log := &logtest.Lines{}
	l := open(t, output.Config{Outputs: []string{"/dev/full"}, Logger: log.Logger()})
	for n := range 10 {
		l.Write(numbered(n))
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if l.Lost() != 10 || !strings.Contains(log.String(), "no space left on device") {
		t.Errorf("%d lost; %s", l.Lost(), log)
	}
}

func TestShortWriteJoinsNoLines(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{"full": syscall.ENOSPC, "no error": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				out := &logtest.Lines{}
				room := 1 << 20
				l, err := output.Open(output.Config{Stdout: writerFunc(func(p []byte) (int, error) {
					n := min(len(p), room)
					_, _ = out.Write(p[:n])
					if room -= n; n < len(p) {
						return n, fault
					}
					return n, nil
				})})
				if err != nil {
					t.Fatal(err)
				}
				l.Write(numbered(1))
				synctest.Wait()
				room = 20 // within the second record
				l.Write(numbered(2))
				synctest.Wait()
				l.Write(numbered(3)) // not even a line end fits
				synctest.Wait()
				room = 1 // a line end, and no more
				l.Write(numbered(4))
				synctest.Wait()
				room = 1 << 20
				l.Write(numbered(5))
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				lines := strings.SplitAfter(out.String(), "\n")
				if len(lines) != 4 || len(lines[1]) != 21 || fmt.Sprint(ids(t, lines[0]+lines[2])) != "[1 5]" || l.Lost() != 3 {
					t.Errorf("%d lost: %q", l.Lost(), lines)
				}
			})
		})
	}
}

// TestPartOfABatchIsCounted: what got through before a fault is not lost.
func TestPartOfABatchIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		first := true
		out := &logtest.Lines{}
		l, err := output.Open(output.Config{Stdout: writerFunc(func(p []byte) (int, error) {
			if first {
				first = false
				<-release
				return len(p), nil
			}
			n := len(p) * 7 / 10
			_, _ = out.Write(p[:n])
			return n, io.ErrClosedPipe
		})})
		if err != nil {
			t.Fatal(err)
		}
		l.Write(numbered(0))
		synctest.Wait()
		for n := range 10 {
			l.Write(numbered(n))
		}
		close(release)
		_ = l.Close()
		whole := strings.Count(out.String(), "\n")
		if whole < 5 || l.Lost() != uint64(10-whole) {
			t.Errorf("%d written, %d lost", whole, l.Lost())
		}
	})
}

// A reopened file may show half of a line that is still being written; no line may be ended for that.
func TestReopenOfABusyFileAddsNoEmptyLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	synctest.Test(t, func(t *testing.T) {
		l, err := output.Open(output.Config{Outputs: []string{path}})
		if err != nil {
			t.Fatal(err)
		}
		l.Write(numbered(1))
		synctest.Wait()
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, int64(len(whole)/2)); err != nil { // so far
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		l.Write(numbered(2))
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		text, _ := os.ReadFile(path)
		if bytes.Contains(text, []byte("\n\n")) || bytes.Count(text, []byte("\n")) != 2 {
			t.Errorf("the log is\n%s", text)
		}
	})
}
