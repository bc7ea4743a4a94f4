package output_test

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dkimd/internal/events/output"
	"dkimd/internal/logtest"
)

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
		l, err := output.Open(output.Config{Logger: stuck, Stdout: writerFunc(func([]byte) (int, error) { return 0, syscall.ENOSPC })})
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
		log := &logtest.Lines{}
		var full atomic.Bool
		full.Store(true)
		l, err := output.Open(output.Config{Logger: log.Logger(), Stdout: writerFunc(func(p []byte) (int, error) {
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
		const lost = `level=ERROR msg="log records are lost" output=stdout lost=%d lost_total=%d error="no space left on device"` + "\n"
		want := fmt.Sprintf(lost, 1, 1) + fmt.Sprintf(lost, 60, 61) + fmt.Sprintf(lost, 60, 121) +
			"level=WARN msg=\"log output recovered\" output=stdout lost_total=150\n"
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
