package harness

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Sink is the host that Postfix delivers everything to. It keeps each message
// byte for byte, with its envelope.
type Sink struct {
	listener net.Listener
	sessions sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	messages []Delivery
}

// Delivery is one message as it left Postfix.
type Delivery struct {
	Sender     string
	recipients []string
	Data       []byte // without dot-stuffing, CRLF at line ends
}

func startSink() (*Sink, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start sink: %w", err)
	}
	s := &Sink{listener: listener, conns: map[net.Conn]bool{}}
	s.sessions.Go(s.accept)
	return s, nil
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

// serve speaks as much SMTP (RFC 5321) as Postfix's client needs. It offers
// 8BITMIME and SMTPUTF8, so that nothing is converted on the way.
func (s *Sink) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	say := func(line string) bool {
		_, err := conn.Write([]byte(line + "\r\n"))
		return err == nil
	}
	ok := say("220 sink.test ESMTP")
	var now Delivery
	for ok {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, ":")
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
			s.mu.Lock()
			s.messages = append(s.messages, now)
			s.mu.Unlock()
			ok = say("250 2.0.0 kept")
		case strings.HasPrefix(verb, "EHLO"):
			ok = say("250-sink.test\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 0")
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

// angle takes the address out of "<address> PARAMETER=...".
func angle(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

// readData reads up to the final dot and undoes dot-stuffing, RFC 5321 section 4.5.2.
func readData(in *bufio.Reader) ([]byte, error) {
	var data bytes.Buffer
	start := true // at the start of a line
	for {
		piece, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
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
	Eventually(t, 30*time.Second, "delivered to "+recipient, func() bool {
		found = s.Find(recipient)
		return len(found) > 0
	})
	if len(found) > 1 {
		t.Fatalf("%s got %d messages, want 1", recipient, len(found))
	}
	return found[0]
}
