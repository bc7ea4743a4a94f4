//go:build integration

package integration_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// session is an SMTP client that the tests lead command by command.
type session struct {
	t    *testing.T
	conn net.Conn
	text *textproto.Conn
}

// reply is an SMTP reply, its lines joined by a line feed.
type reply struct {
	code int
	text string
}

func (r reply) String() string { return fmt.Sprintf("%d %s", r.code, r.text) }

// queueID is what Postfix or Sendmail says it queued the message as.
func (r reply) queueID() string {
	if before, found := strings.CutSuffix(r.text, " Message accepted for delivery"); found {
		return strings.TrimPrefix(before, "2.0.0 ")
	}
	_, id, _ := strings.Cut(r.text, "queued as ")
	return id
}

// dial connects to one of Postfix's ports and says EHLO.
func dial(t *testing.T, port int) *session {
	t.Helper()
	s, err := tryDial(t, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.hangUp)
	s.want(250, "EHLO client.test")
	return s
}

func tryDial(t *testing.T, port int) (*session, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 10*time.Second)
	if err != nil {
		return nil, fmt.Errorf("dial Postfix: %w", err)
	}
	s := newSession(t, conn)
	if greeting, err := s.read(); err != nil || greeting.code != 220 {
		s.hangUp()
		return nil, fmt.Errorf("greeting %v: %w", greeting, err)
	}
	return s, nil
}

// dialFrom connects from an address of this host and says EHLO.
func dialFrom(t *testing.T, from, to string) *session {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(t, conn)
	t.Cleanup(s.hangUp)
	if greeting, err := s.read(); err != nil || greeting.code != 220 {
		t.Fatalf("greeting %v: %v", greeting, err)
	}
	s.want(250, "EHLO client.test")
	return s
}

func newSession(t *testing.T, conn net.Conn) *session {
	t.Helper()
	return &session{t: t, conn: conn, text: textproto.NewConn(conn)}
}

// hangUp closes the connection as a client does that loses its line.
func (s *session) hangUp() { _ = s.conn.Close() }

func (s *session) read() (reply, error) {
	_ = s.conn.SetDeadline(time.Now().Add(2 * time.Minute))
	code, text, err := s.text.ReadResponse(0)
	return reply{code, text}, err
}

// command sends a line and returns the answer.
func (s *session) command(format string, args ...any) reply {
	s.t.Helper()
	line := fmt.Sprintf(format, args...)
	if err := s.text.PrintfLine("%s", line); err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	r, err := s.read()
	if err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	return r
}

// want sends a line and fails the test when the answer has another code.
func (s *session) want(code int, format string, args ...any) {
	s.t.Helper()
	r := s.command(format, args...)
	if r.code != code {
		s.t.Fatalf("%s: got %s; want %d", fmt.Sprintf(format, args...), r, code)
	}
}

// as makes Postfix take the client for another host, with XCLIENT.
func (s *session) as(name, address string) *session {
	s.t.Helper()
	s.want(220, "XCLIENT NAME=%s ADDR=%s", name, address)
	s.want(250, "EHLO %s", name)
	return s
}

// login authenticates the client (RFC 4954, mechanism PLAIN).
func (s *session) login(user string) *session {
	s.t.Helper()
	s.want(235, "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	return s
}

// envelope sends MAIL and RCPT, all of which must be taken.
func (s *session) envelope(sender string, recipients ...string) {
	s.t.Helper()
	s.want(250, "MAIL FROM:<%s>", sender)
	for _, r := range recipients {
		s.want(250, "RCPT TO:<%s>", r)
	}
}

// send hands over a whole message and returns the answer to it.
func (s *session) send(sender, recipient string, data []byte) reply {
	s.t.Helper()
	s.envelope(sender, recipient)
	return s.data(data)
}

// data sends DATA and the message, and returns the answer to it.
func (s *session) data(data []byte) reply {
	s.t.Helper()
	s.want(354, "DATA")
	w := s.text.DotWriter()
	if _, err := w.Write(data); err != nil {
		s.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	r, err := s.read()
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}
