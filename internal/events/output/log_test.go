package output_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
	"dkimd/internal/events/output"
	"dkimd/internal/logtest"
)

func TestRecordsComeInOrderAndWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, output.Config{Outputs: []string{path}})
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
		out := &logtest.Lines{}
		l, err := output.Open(output.Config{Stdout: out})
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
		l, err := output.Open(output.Config{Stdout: writerFunc(func(p []byte) (int, error) {
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

func TestPanicInTheOutputCostsItsRecordsOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out, log := &logtest.Lines{}, &logtest.Lines{}
		broken := true
		l, err := output.Open(output.Config{Logger: log.Logger(), Stdout: writerFunc(func(p []byte) (int, error) {
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
	l := open(t, output.Config{Stdout: io.Discard})
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
		log := &logtest.Lines{}
		l, err := output.Open(output.Config{Logger: log.Logger(), Stdout: writerFunc(func(p []byte) (int, error) {
			<-release
			return len(p), nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		e := eventstest.Sample()
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
		log := &logtest.Lines{}
		l, err := output.Open(output.Config{Logger: log.Logger(), Stdout: writerFunc(func([]byte) (int, error) {
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

func TestWriteAllocatesLittle(t *testing.T) {
	l := open(t, output.Config{Stdout: io.Discard})
	e := eventstest.Sample()
	if n := testing.AllocsPerRun(2000, func() { l.Write(e) }); n > 2 {
		t.Errorf("%v allocations a record", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, format := range []events.Format{events.JSON, events.Text, events.Exim} {
		b.Run(string(format), func(b *testing.B) {
			l, err := output.Open(output.Config{Format: format, Stdout: io.Discard})
			if err != nil {
				b.Fatal(err)
			}
			e := eventstest.Sample()
			b.ReportAllocs()
			for b.Loop() {
				l.Write(e)
			}
			_ = l.Close()
		})
	}
}
