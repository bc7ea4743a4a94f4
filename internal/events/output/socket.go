package output

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// reconnectWindow is how long to keep trying a receiver that went away: long enough for syslogd to
	// restart. After that each batch of records tries once.
	reconnectWindow = 10 * time.Second
	// retryPause is between two attempts within that time.
	retryPause = 100 * time.Millisecond
	// sendTimeout is how long one record waits for a receiver that does not read. By then
	// another one may listen at the same path.
	sendTimeout = 10 * time.Second
)

// socketSink sends records to the receiver at a unix socket: journald or syslogd. It connects when there
// is something to send, and again when sending fails: the receiver may be restarted at any time. Datagram
// sockets are connected, too: only then does the system report when a full one has room again.
type socketSink struct {
	path     string
	networks []string // kinds to try: unixgram, unix
	send     func(conn *net.UnixConn, record []byte) error
	down     time.Time // since when the receiver cannot be reached; zero: it can

	mu     sync.Mutex
	conn   *net.UnixConn // nil: not connected
	closed chan struct{}
}

func newSocketSink(path string, send func(*net.UnixConn, []byte) error, networks ...string) *socketSink {
	return &socketSink{path: path, networks: networks, send: send, closed: make(chan struct{})}
}

// reach connects, unless there is a connection.
func (s *socketSink) reach() error {
	_, err := s.connect()
	return err
}

func (s *socketSink) write(buf []byte, ends []int) (int, error) {
	start := 0
	for i, end := range ends {
		if err := s.deliver(buf[start:end]); err != nil {
			return i, err
		}
		start = end
	}
	return len(ends), nil
}

// deliver sends one record, over a new connection if necessary.
func (s *socketSink) deliver(record []byte) error {
	for {
		err := s.attempt(record)
		if err == nil {
			s.down = time.Time{}
			return nil
		}
		s.disconnect()
		pause := retryPause
		if s.down.IsZero() {
			s.down, pause = time.Now(), 0 // it may be back already
		}
		if time.Since(s.down) > reconnectWindow {
			return err
		}
		select {
		case <-s.closed:
			return err
		case <-time.After(pause):
		}
	}
}

func (s *socketSink) attempt(record []byte) error {
	conn, err := s.connect()
	if err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	return s.send(conn, record)
}

func (s *socketSink) connect() (*net.UnixConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		return s.conn, nil
	}
	select {
	case <-s.closed:
		return nil, net.ErrClosed
	default:
	}
	var err error
	for _, network := range s.networks {
		s.conn, err = net.DialUnix(network, nil, &net.UnixAddr{Name: s.path, Net: network})
		if err == nil {
			return s.conn, nil
		}
		s.conn = nil
		if !errors.Is(err, syscall.EPROTOTYPE) { // the socket is of another kind
			break
		}
	}
	return nil, err
}

func (s *socketSink) disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

func (s *socketSink) close() error {
	s.mu.Lock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	s.mu.Unlock()
	s.disconnect()
	return nil
}

// sendLines sends each line of a record as a datagram of its own; over a stream
// socket, the lines as they are.
func sendLines(conn *net.UnixConn, record []byte) error {
	if conn.RemoteAddr().Network() == "unix" {
		_, err := conn.Write(record)
		return err
	}
	for line := range bytes.Lines(record) {
		if _, err := conn.Write(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			return err
		}
	}
	return nil
}
