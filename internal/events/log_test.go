package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/events"
)

// writerFunc is an output that a test steers.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// journal is a buffer that several goroutines may use.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func open(t *testing.T, cfg events.Config) *events.Log {
	t.Helper()
	l, err := events.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func numbered(n int) *events.Event { return &events.Event{ID: fmt.Sprint(n)} }

// ids are the ids of the records in a stream, which must be whole JSON lines.
func ids(t *testing.T, stream string) []string {
	t.Helper()
	var list []string
	for line := range strings.Lines(stream) {
		var e struct{ ID string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "}\n") {
			t.Errorf("not a record: %q", line)
		}
		list = append(list, e.ID)
	}
	return list
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tests := map[string]struct {
		cfg  events.Config
		want string
	}{
		"format":       {events.Config{Format: "xml"}, "log.format"},
		"relative":     {events.Config{Output: "log"}, "log.output"},
		"no directory": {events.Config{Output: dir + "/no/log"}, "no such file or directory"},
		"directory":    {events.Config{Output: dir}, "is a directory"},
	}
	for name, test := range tests {
		if _, err := events.Open(test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOutputs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"stdout", "stderr", ""} {
		var stdout, stderr bytes.Buffer
		l := open(t, events.Config{Output: name, Stdout: &stdout, Stderr: &stderr})
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

func TestRecordsComeInOrderAndWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, events.Config{Output: path})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				l.Write(numbered(w*1000 + i))
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := map[int]int{}
	all := ids(t, string(data))
	for _, id := range all {
		var n int
		_, _ = fmt.Sscan(id, &n)
		if n%1000 < last[n/1000] {
			t.Fatalf("%d after %d", n, last[n/1000])
		}
		last[n/1000] = n % 1000
	}
	if len(all) != 4000 || l.Lost() != 0 {
		t.Errorf("%d records, %d lost", len(all), l.Lost())
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestIdleLogIsFlushed: a record is there although no further one comes.
func TestIdleLogIsFlushed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &journal{}
		l, err := events.Open(events.Config{Stdout: out})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for n := range 3 {
			l.Write(numbered(n))
			synctest.Wait()
			if got := ids(t, out.String()); len(got) != n+1 {
				t.Errorf("after record %d: %v", n, got)
			}
		}
		if time.Since(start) > 0 {
			t.Error("a timer was waited for")
		}
		_ = l.Close()
	})
}

func TestBusyOutputGetsBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var writes []int
		l, err := events.Open(events.Config{Stdout: writerFunc(func(p []byte) (int, error) {
			writes = append(writes, bytes.Count(p, []byte("\n")))
			time.Sleep(time.Millisecond) //nolint:forbidigo // the bubble's clock
			return len(p), nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		l.Write(numbered(0))
		synctest.Wait()
		for n := range 100 {
			l.Write(numbered(n))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if fmt.Sprint(writes) != "[1 100]" {
			t.Errorf("records a write: %v", writes)
		}
	})
}

func TestReopenAfterRename(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	synctest.Test(t, func(t *testing.T) {
		l, err := events.Open(events.Config{Output: path})
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
		l := open(t, events.Config{Output: path})
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
	log := &journal{}
	l := open(t, events.Config{Output: "/dev/full", Logger: log.logger()})
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
				out := &journal{}
				room := 1 << 20
				l, err := events.Open(events.Config{Stdout: writerFunc(func(p []byte) (int, error) {
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
		out := &journal{}
		l, err := events.Open(events.Config{Stdout: writerFunc(func(p []byte) (int, error) {
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

func TestPanicInTheOutputCostsItsRecordsOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out, log := &journal{}, &journal{}
		broken := true
		l, err := events.Open(events.Config{Logger: log.logger(), Stdout: writerFunc(func(p []byte) (int, error) {
			if broken {
				panic("disk on fire")
			}
			return out.Write(p)
		})})
		if err != nil {
			t.Fatal(err)
		}
		l.Write(numbered(1))
		synctest.Wait()
		broken = false
		l.Write(numbered(2))
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if fmt.Sprint(ids(t, strings.TrimPrefix(out.String(), "\n"))) != "[2]" || l.Lost() != 1 {
			t.Errorf("%d lost: %s", l.Lost(), out)
		}
		if !strings.Contains(log.String(), "disk on fire") || !strings.Contains(log.String(), "log_test.go") {
			t.Errorf("no stack in %s", log)
		}
	})
}

func TestNilEventCostsNothing(t *testing.T) {
	t.Parallel()
	l := open(t, events.Config{Stdout: io.Discard})
	l.Write(nil)
	l.Write(numbered(1))
	if err := l.Close(); err != nil || l.Lost() != 1 {
		t.Errorf("%v, %d lost", err, l.Lost())
	}
}

// TestWriteNeverWaits: with an output that takes nothing, 8 MiB wait and the rest is lost.
func TestWriteNeverWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		log := &journal{}
		l, err := events.Open(events.Config{Logger: log.logger(), Stdout: writerFunc(func(p []byte) (int, error) {
			<-release
			return len(p), nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		e := sample()
		record, _ := e.MarshalJSON()
		start := time.Now()
		written := 12 << 20 / len(record)
		l.Write(e)
		synctest.Wait() // it is taken by the writer, and stuck
		for range written - 1 {
			l.Write(e)
		}
		if time.Since(start) > 0 {
			t.Error("Write waited")
		}
		fits := 8<<20/(len(record)+1) + 1 // and the one being written
		if lost := int(l.Lost()); lost != written-fits {
			t.Errorf("%d of %d lost, %d fit", lost, written, fits)
		}
		synctest.Wait()
		if !strings.Contains(log.String(), "too slowly") {
			t.Errorf("not reported: %s", log)
		}
		lost := l.Lost()
		close(release)
		if err := l.Close(); err != nil || l.Lost() != lost {
			t.Errorf("%v, %d lost more", err, l.Lost()-lost)
		}
	})
}

func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		log := &journal{}
		l, err := events.Open(events.Config{Logger: log.logger(), Stdout: writerFunc(func([]byte) (int, error) {
			<-release
			return 0, io.ErrClosedPipe
		})})
		if err != nil {
			t.Fatal(err)
		}
		l.Write(numbered(0))
		synctest.Wait()
		l.Write(numbered(1))
		start := time.Now()
		err = l.Close()
		if took := time.Since(start); err == nil || took != 2*time.Second {
			t.Errorf("Close: %v after %v", err, took)
		}
		l.Write(numbered(2))
		if l.Lost() != 2 || l.Close() != nil {
			t.Errorf("%d lost", l.Lost())
		}
		if !strings.Contains(log.String(), "takes no more records") {
			t.Errorf("not reported: %s", log)
		}
	})
}

// TestStuckLoggerHoldsNobodyUp: losses are counted even if they cannot be reported.
func TestStuckLoggerHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		stuck := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			<-release
			return len(p), nil
		}), nil))
		l, err := events.Open(events.Config{Logger: stuck, Stdout: writerFunc(func([]byte) (int, error) { return 0, syscall.ENOSPC })})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for n := range 100 {
			l.Write(numbered(n))
			synctest.Wait()
		}
		if err := l.Close(); err != nil || l.Lost() != 100 || time.Since(start) > 3*time.Second {
			t.Errorf("%v, %d lost, %v", err, l.Lost(), time.Since(start))
		}
	})
}

func TestLossesAreReportedOnceAMinuteAndWhenOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &journal{}
		var full atomic.Bool
		full.Store(true)
		l, err := events.Open(events.Config{Logger: log.logger(), Stdout: writerFunc(func(p []byte) (int, error) {
			if full.Load() {
				return 0, syscall.ENOSPC
			}
			return len(p), nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		l.Write(numbered(0))
		time.Sleep(time.Second / 2) //nolint:forbidigo // the bubble's clock
		for n := range 149 {        // and one a second for 2.5 minutes
			l.Write(numbered(n))
			time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		}
		full.Store(false)
		for n := range 3 {
			l.Write(numbered(n))
			time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		}
		full.Store(true)
		l.Write(numbered(9))
		synctest.Wait()
		const lost = `level=ERROR msg="log records are lost" lost=%d lost_total=%d error="no space left on device"` + "\n"
		want := fmt.Sprintf(lost, 1, 1) + fmt.Sprintf(lost, 60, 61) + fmt.Sprintf(lost, 60, 121) +
			"level=WARN msg=\"log records are written again\" lost_total=150\n"
		if got := log.String(); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if got := log.String(); got != want+fmt.Sprintf(lost, 30, 151) {
			t.Errorf("after Close:\n%s", got)
		}
	})
}

func TestWriteAllocatesLittle(t *testing.T) {
	l := open(t, events.Config{Stdout: io.Discard})
	e := sample()
	if n := testing.AllocsPerRun(2000, func() { l.Write(e) }); n > 2 {
		t.Errorf("%v allocations a record", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, format := range []string{"json", "text", "exim"} {
		b.Run(format, func(b *testing.B) {
			l, err := events.Open(events.Config{Format: format, Stdout: io.Discard})
			if err != nil {
				b.Fatal(err)
			}
			e := sample()
			b.ReportAllocs()
			for b.Loop() {
				l.Write(e)
			}
			_ = l.Close()
		})
	}
}
