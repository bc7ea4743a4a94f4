package harness

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// ChunkSink is the host that an Exim delivers everything to. It takes CHUNKING
// (RFC 3030), and remembers what was broken off.
type ChunkSink struct {
	listener net.Listener
	all      sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	messages []ChunkDelivery
	broken   int // transactions that ended in the middle of a message, with some of it sent
	plain    bool
}

// ChunkDelivery is one message as it left Exim.
type ChunkDelivery struct {
	Delivery
	Verb string // DATA or BDAT
}

func startChunkSink(t *testing.T) *ChunkSink {
	t.Helper()
	return StartChunkSinkAt(t, "127.0.0.1:0")
}

// StartChunkSinkAt starts a sink at an address.
func StartChunkSinkAt(t *testing.T, address string) *ChunkSink {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &ChunkSink{listener: listener, conns: map[net.Conn]bool{}}
	s.all.Go(s.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		s.mu.Lock()
		for conn := range s.conns {
			_ = conn.Close()
		}
		s.mu.Unlock()
		s.all.Wait()
	})
	return s
}

func (s *ChunkSink) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *ChunkSink) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.all.Go(func() {
			s.serve(conn)
			_ = conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

func (s *ChunkSink) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	say := func(format string, args ...any) bool {
		_, err := fmt.Fprintf(conn, format+"\r\n", args...)
		return err == nil
	}
	ok := say("220 sink.test ESMTP")
	var now ChunkDelivery
	keep := func() {
		s.mu.Lock()
		s.messages = append(s.messages, now)
		s.mu.Unlock()
		now = ChunkDelivery{}
	}
	lost := func(n int) {
		if n > 0 {
			s.mu.Lock()
			s.broken++
			s.mu.Unlock()
		}
	}
	for ok {
		line, err := in.ReadString('\n')
		if err != nil {
			lost(len(now.Data))
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb := strings.ToUpper(line)
		switch {
		case strings.HasPrefix(verb, "EHLO"):
			extensions := "250-CHUNKING\r\n"
			if s.isPlain() {
				extensions = ""
			}
			ok = say("250-sink.test\r\n250-8BITMIME\r\n250-PIPELINING\r\n%s250 SIZE 0", extensions)
		case strings.HasPrefix(verb, "MAIL FROM:"):
			now = ChunkDelivery{Delivery: Delivery{Sender: angle(line)}}
			ok = say("250 ok")
		case strings.HasPrefix(verb, "RCPT TO:"):
			now.recipients = append(now.recipients, angle(line))
			ok = say("250 ok")
		case verb == "DATA":
			if ok = say("354 go on"); !ok {
				return
			}
			_, peeked := in.Peek(1)
			if now.Data, err = readData(in); err != nil {
				if peeked == nil {
					lost(1)
				}
				return
			}
			now.Verb = "DATA"
			keep()
			ok = say("250 kept")
		case strings.HasPrefix(verb, "BDAT "):
			words := strings.Fields(verb)
			n, _ := strconv.Atoi(words[1])
			chunk := make([]byte, n)
			got, err := io.ReadFull(in, chunk)
			if now.Data = append(now.Data, chunk[:got]...); err != nil {
				lost(len(now.Data))
				return
			}
			now.Verb = "BDAT"
			if len(words) == 3 {
				keep()
			}
			ok = say("250 kept")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			ok = say("250 ok")
		}
	}
}

// Speak sets whether CHUNKING is offered.
func (s *ChunkSink) Speak(chunking bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plain = !chunking
}

func (s *ChunkSink) isPlain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plain
}

// Find returns the deliveries to a recipient.
func (s *ChunkSink) Find(recipient string) []ChunkDelivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []ChunkDelivery
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
func (s *ChunkSink) Wait(t *testing.T, recipient string) ChunkDelivery {
	t.Helper()
	var found []ChunkDelivery
	Eventually(t, WaitLimit, "delivered to "+recipient, func() bool {
		found = s.Find(recipient)
		return len(found) > 0
	})
	if len(found) > 1 {
		t.Fatalf("%s got %d messages, want 1", recipient, len(found))
	}
	return found[0]
}

// Halves is how many messages were broken off after some of them was sent.
func (s *ChunkSink) Halves() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}
