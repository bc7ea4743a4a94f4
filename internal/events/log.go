package events

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// maxPending is how many bytes of records wait for a slow output. One
	// record more is lost.
	maxPending = 8 << 20
	// keepBuffer is the largest buffer kept for the next batch.
	keepBuffer = 1 << 20
	// closeTime is how long Close waits for records to be written.
	closeTime = 2 * time.Second
)

var errClosed = errors.New("the log is closed")

// Config says how and where records are written.
type Config struct {
	Format string // json (also when empty), text, exim
	Output string // stdout (also when empty), stderr, or the absolute path of a file
	// Stdout and Stderr are what those words mean; nil: records are discarded.
	Stdout, Stderr io.Writer
	Logger         *slog.Logger // is told of lost records; nil: nobody is
}

// Log is the stream of records. It is safe for concurrent use.
type Log struct {
	cfg    Config
	format func([]byte, *Event) []byte

	mu      sync.Mutex
	pending batch
	next    *output // opened by Reopen, not yet taken by the writer
	closed  bool
	opened  *output // what Close closes when the writer is stuck

	wake    chan struct{} // there may be something to write
	done    chan struct{} // the writer has ended
	scratch sync.Pool
	losses  losses
}

// batch is records on their way to the output.
type batch struct {
	buf  []byte
	ends []int // where in buf each record ends
}

// Open opens the output and starts to write. Close must be called.
func Open(cfg Config) (*Log, error) {
	format, ok := map[string]func([]byte, *Event) []byte{
		"": appendJSON, "json": appendJSON, "text": appendText, "exim": appendExim,
	}[cfg.Format]
	if !ok {
		return nil, fmt.Errorf("log.format: got %q; want json, text or exim", cfg.Format)
	}
	if cfg.Stdout == nil {
		cfg.Stdout = io.Discard
	}
	if cfg.Stderr == nil {
		cfg.Stderr = io.Discard
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	out, err := openOutput(cfg)
	if err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, format: format, opened: out, wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.scratch.New = func() any { return new([]byte) }
	l.losses.start(cfg.Logger)
	go l.write(out)
	return l, nil
}

// Write queues the record of one message and keeps nothing of e. It never
// waits for the output: what does not fit into the queue is lost and counted.
func (l *Log) Write(e *Event) {
	defer func() {
		// Mail goes on whatever happens to its record.
		if fault := recover(); fault != nil {
			l.losses.add(1, panicError(fault))
		}
	}()
	buf, _ := l.scratch.Get().(*[]byte)
	*buf = append(l.format((*buf)[:0], e), '\n')
	err := l.enqueue(*buf)
	if cap(*buf) <= keepBuffer {
		l.scratch.Put(buf)
	}
	if err != nil {
		l.losses.add(1, err)
		return
	}
	signal(l.wake)
}

func (l *Log) enqueue(record []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return errClosed
	case len(l.pending.buf)+len(record) > maxPending:
		return errors.New("the output takes records too slowly")
	}
	l.pending.buf = append(l.pending.buf, record...)
	l.pending.ends = append(l.pending.ends, len(l.pending.buf))
	return nil
}

// Reopen opens the file anew, after it was renamed. When that fails, records
// go on into the old one. For stdout and stderr it does nothing.
func (l *Log) Reopen() error {
	out, err := openOutput(l.cfg)
	if err != nil {
		return err
	}
	if out.file == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = out.close()
		return errClosed
	}
	_ = l.next.close()
	l.next = out
	signal(l.wake)
	return nil
}

// Close writes what is queued, for 2 seconds at most, and closes the file.
// Records that are written later are lost.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	signal(l.wake)

	deadline := time.NewTimer(closeTime)
	defer deadline.Stop()
	var err error
	select {
	case <-l.done:
	case <-deadline.C:
		l.mu.Lock()
		stuck := len(l.pending.ends)
		l.pending = batch{}
		out := l.opened
		l.mu.Unlock()
		err = fmt.Errorf("log.output takes no more records; %d at least are lost", stuck)
		l.losses.add(stuck, err)
		_ = out.close()
	}
	l.losses.stop()
	return err
}

// Lost counts the records that were not written.
func (l *Log) Lost() uint64 { return l.losses.count.Load() }

// write is the writer goroutine. It writes as much as there is at a time:
// under load that is many records, else each one as it comes.
func (l *Log) write(out *output) {
	defer close(l.done)
	var b batch
	for range l.wake {
		for {
			var closed bool
			b, out, closed = l.take(b, out)
			if len(b.ends) > 0 {
				l.writeBatch(out, b)
				continue
			}
			if closed {
				if err := out.close(); err != nil {
					l.losses.report(err)
				}
				return
			}
			break
		}
	}
}

// take exchanges a written batch for the pending one, and the output for a
// reopened one.
func (l *Log) take(written batch, out *output) (batch, *output, bool) {
	if cap(written.buf) > keepBuffer {
		written = batch{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.pending
	l.pending = batch{buf: written.buf[:0], ends: written.ends[:0]}
	if l.next != nil {
		l.next.follows(out)
		_ = out.close()
		out, l.opened, l.next = l.next, l.next, nil
	}
	return taken, out, l.closed
}

// writeBatch writes a batch; what does not get through is lost: a log that
// cannot be written must neither stop mail nor fill the memory.
func (l *Log) writeBatch(out *output, b batch) {
	written := 0
	var err error
	defer func() {
		if fault := recover(); fault != nil {
			err = panicError(fault)
		}
		through := 0
		for through < len(b.ends) && b.ends[through] <= written {
			through++
		}
		if through < len(b.ends) {
			l.losses.add(len(b.ends)-through, err)
			return
		}
		l.losses.over()
	}()
	written, err = out.write(b.buf)
}

// panicError is a panic as an error with its stack.
func panicError(fault any) error { return fmt.Errorf("panic: %v\n%s", fault, debug.Stack()) }

// signal wakes a goroutine that looks for all there is to do.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
