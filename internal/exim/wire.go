package exim

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"dkimd/internal/message"
)

const (
	readBuffer = 32 << 10
	// maxHead bounds the lines in front of a message. 10,000 recipients take
	// about half of it.
	maxHead = 1 << 20
)

var (
	errSilent     = errors.New("the peer closed the connection without a request")
	errIncomplete = errors.New("the peer closed the connection before the request was complete")
	errStalled    = errors.New("the peer did not complete its request in time")
	errLonger     = errors.New("the request is longer than it says")
	errStopping   = errors.New("dkimd stops")
	errNoMemory   = errors.New("no memory is left for the message")
	errHead       = fmt.Errorf("the lines in front of the message are over %d bytes (hint: lower recipients_max in Exim)", maxHead)
)

// readers lends read buffers: a connection lives for one message only.
//
//nolint:gochecknoglobals // a pool has to be shared to be of use
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}

// wire reads a request. Every wait has its deadline, and nothing that a peer
// claims is believed before it has arrived.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	idle time.Duration
	end  time.Time // of the whole request
	head time.Time // of the lines in front of the message; zero: they are read
	room int       // what the head may still take
	any  bool      // something was read
	held message.Held
}

func newWire(conn net.Conn, cfg Config) *wire {
	w := &wire{conn: conn, idle: cfg.IdleTimeout, room: maxHead, held: cfg.Memory.Hold()}
	now := time.Now()
	w.end, w.head = now.Add(cfg.RequestTimeout), now.Add(cfg.IdleTimeout)
	in, ok := readers.Get().(*bufio.Reader)
	if !ok {
		in = bufio.NewReaderSize(nil, readBuffer)
	}
	w.in = in
	w.in.Reset(source{w})
	return w
}

// release gives the read buffer and all memory back.
func (w *wire) release() {
	w.held.Release()
	w.in.Reset(nil)
	readers.Put(w.in)
	w.in = nil
}

// source is the connection as the read buffer sees it.
type source struct{ w *wire }

func (s source) Read(p []byte) (int, error) {
	w := s.w
	deadline := time.Now().Add(w.idle)
	if !w.head.IsZero() {
		deadline = w.head
	}
	if w.end.Before(deadline) {
		deadline = w.end
	}
	_ = w.conn.SetReadDeadline(deadline)
	n, err := w.conn.Read(p)
	w.any = w.any || n > 0
	return n, err
}

// readError says what a failed read means.
func (w *wire) readError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errStalled
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return errStopping
	case !w.any:
		return errSilent
	}
	// A reset tells nothing more than an orderly close does.
	return errIncomplete
}

// line reads a line of the head, without its line end. It is valid until the
// next read.
func (w *wire) line() ([]byte, error) {
	line, err := w.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = w.longLine(line)
	}
	if err != nil {
		if errors.Is(err, errHead) || errors.Is(err, errNoMemory) {
			return nil, err
		}
		return nil, w.readError(err)
	}
	if w.room -= len(line); w.room < 0 {
		return nil, errHead
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// longLine goes on with a line that is longer than the read buffer.
func (w *wire) longLine(start []byte) ([]byte, error) {
	var long []byte
	err := bufio.ErrBufferFull
	for piece := start; ; piece, err = w.in.ReadSlice('\n') {
		if len(long)+len(piece) > w.room {
			return nil, errHead
		}
		grown, ok := w.held.Grow(long, len(piece), maxHead)
		if !ok {
			return nil, errNoMemory
		}
		if long = append(grown, piece...); !errors.Is(err, bufio.ErrBufferFull) {
			return long, err
		}
	}
}

// endOfHead begins the message: from here on the clock is for each read.
func (w *wire) endOfHead() { w.head = time.Time{} }

// readN hands exactly n bytes to f, in pieces as they arrive. A piece is valid
// during the call only.
func (w *wire) readN(n int64, f func(p []byte)) error {
	for n > 0 {
		if w.in.Buffered() == 0 {
			if _, err := w.in.Peek(1); err != nil {
				return w.readError(err)
			}
		}
		p, _ := w.in.Peek(int(min(n, int64(w.in.Buffered()))))
		f(p)
		n -= int64(len(p))
		_, _ = w.in.Discard(len(p))
	}
	return nil
}

// rejectExtra is expectEOF for a peer that keeps its side open: it looks at what has arrived by now.
func (w *wire) rejectExtra() error {
	if w.in.Buffered() > 0 {
		return errLonger
	}
	return nil
}

// expectEOF checks that the peer has sent all it wanted to send, and no more.
func (w *wire) expectEOF() error {
	switch _, err := w.in.Peek(1); {
	case err == nil:
		return errLonger
	case errors.Is(err, io.EOF):
		return nil
	default:
		return w.readError(err)
	}
}
