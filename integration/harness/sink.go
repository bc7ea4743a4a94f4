package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Sink is the host that an MTA delivers everything to. It keeps each message
// byte for byte, with its envelope, and remembers what was broken off.
type Sink struct {
	listener net.Listener
	sessions sync.WaitGroup

	mu         sync.Mutex
	conns      map[net.Conn]bool
	messages   []Delivery
	broken     int      // transactions that ended in the middle of a message, with some of it sent
	extensions []string // what is offered
}

// Delivery is one message as it left the MTA.
type Delivery struct {
	Sender     string
	recipients []string
	Verb       string // DATA or BDAT
	Data       []byte // without dot-stuffing, CRLF at line ends
}

func startSink(address string, extensions ...string) (*Sink, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start sink: %w", err)
	}
	s := &Sink{listener: listener, conns: map[net.Conn]bool{}, extensions: extensions}
	s.sessions.Go(s.accept)
	return s, nil
}

// StartSink starts a sink for Exim at an address.
func StartSink(t *testing.T, address string) *Sink {
	t.Helper()
	s, err := startSink(address)
	if err != nil {
		t.Fatal(err)
	}
	s.Speak(true)
	t.Cleanup(s.close)
	return s
}

// Speak sets whether Exim is offered CHUNKING (RFC 3030).
func (s *Sink) Speak(chunking bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extensions = []string{"8BITMIME", "PIPELINING"}
	if chunking {
		s.extensions = append(s.extensions, "CHUNKING")
	}
}

func (s *Sink) addr() *net.TCPAddr { return s.listener.Addr().(*net.TCPAddr) }

func (s *Sink) close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.sessions.Wait()
}

func (s *Sink) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.sessions.Go(func() {
			s.serve(conn)
			_ = conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

// serve speaks as much SMTP (RFC 5321) as the clients of the MTAs need.
func (s *Sink) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	say := func(line string) bool {
		_, err := conn.Write([]byte(line + "\r\n"))
		return err == nil
	}
	ok := say("220 sink.test ESMTP")
	var now Delivery
	defer func() { s.end(now) }()
	for ok {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		switch verb = strings.ToUpper(verb); {
		case verb == "MAIL FROM":
			now = Delivery{Sender: angle(rest)}
			ok = say("250 2.1.0 ok")
		case verb == "RCPT TO":
			if strings.HasPrefix(angle(rest), "nobody") {
				ok = say("550 5.1.1 nobody has this name") // so that Postfix writes a bounce
				continue
			}
			now.recipients = append(now.recipients, angle(rest))
			ok = say("250 2.1.5 ok")
		case verb == "DATA":
			if !say("354 go on") {
				return
			}
			if now.Data, err = readData(in); err != nil {
				return
			}
			s.keep(&now, verb)
			ok = say("250 2.0.0 kept")
		case strings.HasPrefix(verb, "BDAT "):
			chunk, last, err := readChunk(in, verb)
			if now.Data = append(now.Data, chunk...); err != nil {
				return
			}
			if last {
				s.keep(&now, "BDAT")
			}
			ok = say("250 2.0.0 kept")
		case strings.HasPrefix(verb, "EHLO"):
			ok = say("250-sink.test\r\n250-" + s.offers() + "\r\n250 SIZE 0")
		case verb == "QUIT":
			say("221 2.0.0 bye")
			return
		case verb == "RSET":
			now = Delivery{}
			ok = say("250 2.0.0 ok")
		default:
			ok = say("500 5.5.2 what?")
		}
	}
}

func (s *Sink) offers() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.extensions, "\r\n250-")
}

// keep takes a message that is whole, and empties it.
func (s *Sink) keep(d *Delivery, verb string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Verb = verb
	s.messages = append(s.messages, *d)
	*d = Delivery{}
}

// end looks at what a session that is over did not finish.
func (s *Sink) end(d Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(d.Data) > 0 {
		s.broken++
	}
}

// Halves is how many messages were broken off after some of them was sent.
func (s *Sink) Halves() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// readChunk reads what a BDAT announces, or as much of it as comes.
func readChunk(in *bufio.Reader, command string) (chunk []byte, last bool, err error) {
	words := strings.Fields(command)
	size, err := strconv.Atoi(words[1])
	if err != nil {
		return nil, false, err
	}
	chunk = make([]byte, size)
	n, err := io.ReadFull(in, chunk)
	return chunk[:n], len(words) == 3, err
}

// angle takes the address out of "<address> PARAMETER=...".
func angle(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

// readData reads up to the final dot and undoes dot-stuffing, RFC 5321 section 4.5.2. With an
// error it returns what came.
func readData(in *bufio.Reader) ([]byte, error) {
	var data bytes.Buffer
	start := true // at the start of a line
	for {
		piece, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return append(data.Bytes(), piece...), err
		}
		if start && string(piece) == ".\r\n" {
			return data.Bytes(), nil
		}
		if start && len(piece) > 0 && piece[0] == '.' {
			piece = piece[1:]
		}
		data.Write(piece)
		start = err == nil
	}
}

// Find returns the deliveries to a recipient.
func (s *Sink) Find(recipient string) []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Delivery
	for _, d := range s.messages {
		for _, r := range d.recipients {
			if strings.EqualFold(r, recipient) {
				found = append(found, d)
			}
		}
	}
	return found
}

// Wait returns the one delivery to a recipient as soon as it is there.
func (s *Sink) Wait(t *testing.T, recipient string) Delivery {
	t.Helper()
	var found []Delivery
	Eventually(t, WaitLimit, "delivered to "+recipient, func() bool {
		found = s.Find(recipient)
		return len(found) > 0
	})
	if len(found) > 1 {
		t.Fatalf("%s got %d messages, want 1", recipient, len(found))
	}
	return found[0]
}
