package output

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// reportTime is the least time between two reports of losses.
const reportTime = time.Minute

// losses counts lost records and reports them: at once, then once a minute while it goes on, and
// when the output has recovered. It has its own goroutine, because a logger may block and mail must not.
type losses struct {
	logger  *slog.Logger
	count   atomic.Uint64
	failing atomic.Bool
	cause   atomic.Pointer[error]

	lost, again, quit chan struct{}
	done              chan struct{}
	once              sync.Once
}

func (s *losses) start(logger *slog.Logger) {
	s.logger = logger
	s.lost, s.again = make(chan struct{}, 1), make(chan struct{}, 1)
	s.quit, s.done = make(chan struct{}), make(chan struct{})
	go s.reporting()
}

// stop reports what is left. It does not wait for a logger that is stuck.
func (s *losses) stop() {
	s.once.Do(func() { close(s.quit) })
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
	}
}

// add counts n lost records.
func (s *losses) add(n int, cause error) {
	s.count.Add(uint64(max(n, 0)))
	s.report(cause)
}

// report asks for a report of a fault of the output.
func (s *losses) report(cause error) {
	s.cause.Store(&cause)
	s.failing.Store(true)
	signal(s.lost)
}

// over is called after each batch that was written completely.
func (s *losses) over() {
	if s.failing.Load() && s.failing.Swap(false) {
		signal(s.again)
	}
}

func (s *losses) reporting() {
	defer close(s.done)
	var (
		said     uint64
		last     time.Time
		reported bool             // and the recovery is not yet reported
		minute   <-chan time.Time // set while a report waits for its minute
	)
	say := func() {
		minute, last, reported = nil, time.Now(), s.failing.Load()
		said = s.say(said)
	}
	for {
		select {
		case <-s.lost:
			switch wait := reportTime - time.Since(last); {
			case wait <= 0:
				say()
			case minute == nil:
				minute = time.After(wait)
			}
		case <-minute:
			say()
		case <-s.again:
			if reported {
				reported = false
				s.logger.Warn("log output recovered", "lost_total", s.count.Load())
			}
		case <-s.quit:
			if minute != nil || s.count.Load() > said {
				s.say(said)
			}
			return
		}
	}
}

// say reports what was lost since the last report, and returns the new total.
func (s *losses) say(said uint64) uint64 {
	defer func() { _ = recover() }() // a logger that panics must not end the goroutine
	total := s.count.Load()
	cause := ""
	if err := s.cause.Load(); err != nil && *err != nil {
		cause = (*err).Error()
	}
	s.logger.Error("log records are lost", "lost", total-said, "lost_total", total, "error", cause)
	return total
}
