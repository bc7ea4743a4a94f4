package milter

import (
	"bufio"
	"encoding/binary"
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
	// maxPacket is the protocol's largest packet dkimd takes: command and payload.
	maxPacket = 1 << 20

	readBuffer = 8 << 10
	// keepScratch and keepOut are the largest buffers kept between packets.
	keepScratch = 16 << 10
	keepOut     = 4 << 10
	// flushOut is when answers are written although more may follow.
	flushOut = 32 << 10

	bodyPiece = 64 << 10
)

var (
	errClosed    = errors.New("the MTA closed the connection")
	errMidPacket = errors.New("the MTA closed the connection in the middle of a packet")
	errIdle      = errors.New("the MTA sent nothing for too long")
	errStalled   = errors.New("the MTA did not finish a packet in time")
	errUnread    = errors.New("the MTA does not read the answers")
	errStopping  = errors.New("dkimd stops")
	errSlow      = errors.New("the end of the message took too long")
	errNoMemory  = errors.New("no memory is left for a packet of the MTA")
)

// bodyPieces lends buffers for bodies that do not fit into the read buffer.
//
//nolint:gochecknoglobals // a pool has to be shared to be of use
var bodyPieces = sync.Pool{New: func() any { return new([bodyPiece]byte) }}

// wire reads packets from an MTA and writes answers to it. It never holds more
// of a packet than has arrived: a claimed length alone costs nothing. One goroutine
// uses it at a time; only watch lends it to another one.
type wire struct {
	conn        net.Conn
	idle, write time.Duration

	in       *bufio.Reader
	out      []byte
	scratch  []byte
	held     message.Held // scratch
	dead     error        // once set, nothing is read or written any more
	watching bool

	// left is how much of the payload being read is still to come, deadline
	// when all of it must be here.
	inPacket bool
	deadline time.Time
	left     int
}

func newWire(conn net.Conn, cfg Config) *wire {
	// Before negotiation the shorter packet timeout applies.
	w := &wire{conn: conn, idle: packetTimeout, write: cfg.WriteTimeout, held: cfg.Memory.Hold()}
	w.in = bufio.NewReaderSize(source{w}, readBuffer)
	return w
}

// source is the connection as the read buffer sees it: answers go out before
// anything is waited for, and every wait has its deadline.
type source struct{ w *wire }

func (s source) Read(p []byte) (int, error) {
	w := s.w
	if w.watching {
		return w.conn.Read(p)
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	// The clock of a packet runs from its first byte on, however many reads
	// it takes; otherwise a peer that trickles bytes could hold the connection forever.
	if !w.inPacket {
		_ = w.conn.SetReadDeadline(time.Now().Add(w.idle))
	} else if w.deadline.IsZero() {
		w.deadline = time.Now().Add(packetTimeout)
		_ = w.conn.SetReadDeadline(w.deadline)
	}
	return w.conn.Read(p)
}

// readError says what a failed read means.
func (w *wire) readError(err error) error {
	switch {
	case w.dead != nil:
		return w.dead
	case errors.Is(err, os.ErrDeadlineExceeded) && w.inPacket:
		w.dead = fmt.Errorf("%w: %s", errStalled, packetTimeout)
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.dead = fmt.Errorf("%w: %s", errIdle, w.idle)
	case closedHere(err):
		w.dead = errStopping
	case w.inPacket:
		w.dead = errMidPacket
	default:
		// A reset tells nothing more than an orderly close does.
		w.dead = errClosed
	}
	return w.dead
}

// closedHere reports that the connection was closed on this side, which only
// a server that stops, or closes an idle connection to make room, does.
func closedHere(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

// next begins the next packet and returns its command; left is its payload.
func (w *wire) next() (byte, error) {
	if w.dead != nil {
		return 0, w.dead
	}
	w.inPacket, w.deadline = false, time.Time{}
	if _, err := w.in.Peek(1); err != nil {
		return 0, w.readError(err)
	}
	w.inPacket = true
	head, err := w.in.Peek(4)
	if err != nil {
		return 0, w.readError(err)
	}
	length := binary.BigEndian.Uint32(head)
	if length == 0 || length > maxPacket {
		w.dead = fmt.Errorf("a packet of %d bytes", length)
		return 0, w.dead
	}
	head, err = w.in.Peek(5)
	if err != nil {
		return 0, w.readError(err)
	}
	command := head[4]
	w.left = int(length) - 1
	_, _ = w.in.Discard(5)
	return command, nil
}

// payload reads the rest of the packet. It is valid until the next call. Where there is no memory for it
// the packet is passed over: errNoMemory.
func (w *wire) payload() ([]byte, error) {
	n := w.left
	w.left = 0
	defer func() { w.inPacket = false }()
	if n <= w.in.Size() {
		p, err := w.in.Peek(n)
		if err != nil {
			return nil, w.readError(err)
		}
		// The bytes stay where they are until the next read.
		_, _ = w.in.Discard(n)
		return p, nil
	}
	buf := w.scratch[:0]
	for len(buf) < n {
		if len(buf) == cap(buf) {
			// Room for what comes next, not for what is claimed to come.
			grown, ok := w.held.Grow(buf, min(n-len(buf), max(cap(buf), keepScratch)), n)
			if !ok {
				return nil, w.passOver(n - len(buf))
			}
			buf = grown
		}
		have := len(buf)
		buf = buf[:min(n, cap(buf))]
		if _, err := io.ReadFull(w.in, buf[have:]); err != nil {
			return nil, w.readError(err)
		}
	}
	w.scratch = buf
	return buf, nil
}

// passOver reads the rest of a packet for which there is no memory.
func (w *wire) passOver(left int) error {
	w.scratch = nil
	w.held.Release()
	w.left = left
	if err := w.stream(func([]byte) {}); err != nil {
		return err
	}
	return errNoMemory
}

// stream hands the rest of the packet to f in pieces, as they arrive.
func (w *wire) stream(f func(p []byte)) error {
	defer func() { w.inPacket = false }()
	for w.left > 0 {
		have := w.in.Buffered()
		if have == 0 && w.left > w.in.Size() {
			return w.streamLarge(f)
		}
		if have == 0 {
			if _, err := w.in.Peek(1); err != nil {
				return w.readError(err)
			}
			have = w.in.Buffered()
		}
		p, err := w.in.Peek(min(w.left, have))
		if err != nil {
			return w.readError(err)
		}
		f(p)
		_, _ = w.in.Discard(len(p))
		w.left -= len(p)
	}
	return nil
}

// streamLarge reads past the read buffer, which is too small for it.
func (w *wire) streamLarge(f func(p []byte)) error {
	piece, ok := bodyPieces.Get().(*[bodyPiece]byte)
	if !ok {
		piece = new([bodyPiece]byte)
	}
	defer bodyPieces.Put(piece)
	for w.left > 0 {
		n, err := w.in.Read(piece[:min(w.left, len(piece))])
		if n > 0 {
			f(piece[:n])
			w.left -= n
		}
		if err != nil {
			return w.readError(err)
		}
	}
	return nil
}

// Write takes an answer; it goes out before the next wait.
func (w *wire) Write(p []byte) (int, error) {
	if w.dead == nil {
		w.out = append(w.out, p...)
		if len(w.out) >= flushOut {
			_ = w.flush()
		}
	}
	// The caller learns of a failure at its next read.
	return len(p), nil
}

func (w *wire) flush() error {
	if w.dead != nil {
		return w.dead
	}
	if len(w.out) == 0 {
		return nil
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(w.write))
	_, err := w.conn.Write(w.out)
	w.out = w.out[:0]
	if cap(w.out) > keepOut {
		w.out = nil
	}
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.dead = fmt.Errorf("%w: %s", errUnread, w.write)
	case closedHere(err):
		w.dead = errStopping
	default:
		w.dead = errClosed
	}
	return w.dead
}

// shrink gives back what only a large packet needed.
func (w *wire) shrink() {
	w.held.Release() // what stays is small, and no reason to defer mail
	if cap(w.scratch) > keepScratch {
		w.scratch = nil
	}
}

// watchDelay is how long the end of a message may take before a goroutine
// watches whether the MTA is still there. Most messages end before, and cost none.
const watchDelay = 50 * time.Millisecond

// watch calls gone when the MTA closes the connection, or when limit has passed,
// until the returned function is called. In between nothing else may use the wire.
func (w *wire) watch(limit time.Duration, gone func(error)) (stop func()) {
	var (
		mu      sync.Mutex
		stopped bool
		ended   chan struct{}
	)
	end := time.Now().Add(limit)
	timer := time.AfterFunc(min(watchDelay, limit), func() {
		mu.Lock()
		if stopped {
			mu.Unlock()
			return
		}
		done := make(chan struct{})
		ended = done
		w.watching = true
		_ = w.conn.SetReadDeadline(end)
		mu.Unlock()
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				gone(fmt.Errorf("panic while watching the connection: %v", v))
			}
		}()
		// A packet that comes early is no concern of the watch: it is read later.
		if _, err := w.in.Peek(1); err != nil {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case stopped:
			case errors.Is(err, os.ErrDeadlineExceeded):
				gone(errSlow)
			default:
				gone(w.readError(err))
			}
		}
	})
	return func() {
		mu.Lock()
		stopped = true
		done := ended
		if done != nil {
			_ = w.conn.SetReadDeadline(time.Unix(1, 0))
		}
		mu.Unlock()
		if done == nil {
			timer.Stop()
			return
		}
		<-done
		w.watching = false
	}
}
