package output

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"dkimd/internal/events"
)

const (
	// maxPending is how many bytes of records wait for a slow output. Records beyond that are dropped.
	maxPending = 8 << 20
	// keepBuffer is the largest buffer kept for the next batch.
	keepBuffer = 1 << 20
	// closeTime is how long Close waits for records to be written.
	closeTime = 2 * time.Second
)

var errClosed = errors.New("the log is closed")

// stream carries the records to one output: a queue, a goroutine that empties it, and a count of
// lost records. No output waits for another.
type stream struct {
	target

	mu      sync.Mutex
	pending batch
	next    sink // opened by reopen, not yet taken by the writer
	closed  bool
	opened  sink // closed by close when the writer is stuck

	wake    chan struct{} // there may be something to write
	done    chan struct{} // the writer has ended
	scratch sync.Pool
	losses  losses
}

// sink takes records where they go. Only the writer goroutine writes to it.
type sink interface {
	// write writes records, which end in buf where ends says, and returns how many of them were written.
	write(buf []byte, ends []int) (int, error)
	close() error
}

// batch is records on their way to the output.
type batch struct {
	buf  []byte
	ends []int // where in buf each record ends
}

// startStream starts to write to out. It must be closed.
func startStream(to target, out sink, cfg Config) *stream {
	s := &stream{target: to, opened: out, wake: make(chan struct{}, 1), done: make(chan struct{})}
	s.scratch.New = func() any { return new([]byte) }
	s.losses.start(cfg.Logger.With("output", to.String()))
	go s.write(out)
	return s
}

// record queues the record of one message and keeps no reference to e. It never
// waits for the output: what does not fit into the queue is dropped and counted.
func (s *stream) record(e *events.Event) {
	defer func() {
		// No fault in a record may stop its message.
		if fault := recover(); fault != nil {
			s.losses.add(1, panicError(fault))
		}
	}()
	buf, _ := s.scratch.Get().(*[]byte)
	*buf = s.encode((*buf)[:0], e)
	err := s.enqueue(*buf)
	if cap(*buf) <= keepBuffer {
		s.scratch.Put(buf)
	}
	if err != nil {
		s.losses.add(1, err)
		return
	}
	signal(s.wake)
}

func (s *stream) enqueue(record []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errClosed
	case len(s.pending.buf)+len(record) > maxPending:
		return errors.New("the output takes records too slowly")
	}
	s.pending.buf = append(s.pending.buf, record...)
	s.pending.ends = append(s.pending.ends, len(s.pending.buf))
	return nil
}

// reopen opens a file anew, after it was renamed. When that fails, records go
// on into the old one.
func (s *stream) reopen() error {
	if !s.IsFile() {
		return nil
	}
	out, err := s.open()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = out.close()
		return errClosed
	}
	if s.next != nil {
		_ = s.next.close()
	}
	s.next = out
	signal(s.wake)
	return nil
}

// close writes what is queued, for 2 seconds at most, and closes the output.
// Records that come later are dropped and counted.
func (s *stream) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	signal(s.wake)

	deadline := time.NewTimer(closeTime)
	defer deadline.Stop()
	var err error
	select {
	case <-s.done:
	case <-deadline.C:
		before := s.losses.count.Load()
		s.mu.Lock()
		stuck := len(s.pending.ends)
		s.pending = batch{}
		out := s.opened
		s.mu.Unlock()
		_ = out.close()
		if _, ok := out.(*socketSink); ok {
			<-s.done // closing a socket ends the write, and the records in it are counted
		}
		s.losses.count.Add(uint64(stuck))
		err = fmt.Errorf("log.output %s takes no more records; %d at least are lost", s, s.losses.count.Load()-before)
		s.losses.report(err)
	}
	s.losses.stop()
	return err
}

// write is the writer goroutine. It writes all that is queued at a time: many
// records under load, otherwise each as it comes.
func (s *stream) write(out sink) {
	defer close(s.done)
	var b batch
	for range s.wake {
		for {
			var closed bool
			b, out, closed = s.take(b, out)
			if len(b.ends) > 0 {
				s.writeBatch(out, b)
				continue
			}
			if closed {
				if err := out.close(); err != nil {
					s.losses.report(err)
				}
				return
			}
			break
		}
	}
}

// take exchanges a written batch for the pending one, and the output for a
// reopened one.
func (s *stream) take(written batch, out sink) (batch, sink, bool) {
	if cap(written.buf) > keepBuffer {
		written = batch{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.pending
	s.pending = batch{buf: written.buf[:0], ends: written.ends[:0]}
	if s.next != nil {
		if file, ok := s.next.(*lineSink); ok {
			file.follows(out)
		}
		_ = out.close()
		out, s.opened, s.next = s.next, s.next, nil
	}
	return taken, out, s.closed
}

// writeBatch writes a batch and drops what cannot be written: a broken log
// must neither stop mail nor fill the memory.
func (s *stream) writeBatch(out sink, b batch) {
	through := 0
	var err error
	defer func() {
		if fault := recover(); fault != nil {
			err = panicError(fault)
		}
		if through < len(b.ends) {
			s.losses.add(len(b.ends)-through, err)
			return
		}
		s.losses.over()
	}()
	through, err = out.write(b.buf, b.ends)
}

// panicError is a panic as an error with its stack.
func panicError(fault any) error { return fmt.Errorf("panic: %v\n%s", fault, debug.Stack()) }

// signal wakes a goroutine, which then does all the work that is waiting.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
