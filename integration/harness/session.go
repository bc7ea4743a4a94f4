package harness

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// Session is an SMTP client that the tests lead command by command.
type Session struct {
	T    *testing.T
	Conn net.Conn
	Text *textproto.Conn
}

// Reply is an SMTP reply, its lines joined by a line feed.
type Reply struct {
	Code int
	Text string
}

func (r Reply) String() string { return fmt.Sprintf("%d %s", r.Code, r.Text) }

// QueueID is what Postfix or Sendmail says it queued the message as.
func (r Reply) QueueID() string {
	if before, found := strings.CutSuffix(r.Text, " Message accepted for delivery"); found {
		return strings.TrimPrefix(before, "2.0.0 ")
	}
	_, id, _ := strings.Cut(r.Text, "queued as ")
	return id
}

// Dial connects to one of Postfix's ports and says EHLO.
func Dial(t *testing.T, port int) *Session {
	t.Helper()
	s, err := TryDial(t, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.HangUp)
	s.Want(250, "EHLO client.test")
	return s
}

// TryDial connects to one of Postfix's ports, which may refuse.
func TryDial(t *testing.T, port int) (*Session, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 10*time.Second)
	if err != nil {
		return nil, fmt.Errorf("dial Postfix: %w", err)
	}
	s := NewSession(t, conn)
	if greeting, err := s.Read(); err != nil || greeting.Code != 220 {
		s.HangUp()
		return nil, fmt.Errorf("greeting %v: %w", greeting, err)
	}
	return s, nil
}

// DialFrom connects from an address of this host and says EHLO.
func DialFrom(t *testing.T, from, to string) *Session {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSession(t, conn)
	t.Cleanup(s.HangUp)
	if greeting, err := s.Read(); err != nil || greeting.Code != 220 {
		t.Fatalf("greeting %v: %v", greeting, err)
	}
	s.Want(250, "EHLO client.test")
	return s
}

// NewSession is a client on an open connection, before the greeting.
func NewSession(t *testing.T, conn net.Conn) *Session {
	t.Helper()
	return &Session{T: t, Conn: conn, Text: textproto.NewConn(conn)}
}

// HangUp closes the connection as a client does that loses its line.
func (s *Session) HangUp() { _ = s.Conn.Close() }

// Read reads one reply.
func (s *Session) Read() (Reply, error) {
	_ = s.Conn.SetDeadline(time.Now().Add(2 * time.Minute))
	code, text, err := s.Text.ReadResponse(0)
	return Reply{code, text}, err
}

// Command sends a line and returns the answer.
func (s *Session) Command(format string, args ...any) Reply {
	s.T.Helper()
	line := fmt.Sprintf(format, args...)
	if err := s.Text.PrintfLine("%s", line); err != nil {
		s.T.Fatalf("%s: %v", line, err)
	}
	r, err := s.Read()
	if err != nil {
		s.T.Fatalf("%s: %v", line, err)
	}
	return r
}

// Want sends a line and fails the test when the answer has another code.
func (s *Session) Want(code int, format string, args ...any) {
	s.T.Helper()
	r := s.Command(format, args...)
	if r.Code != code {
		s.T.Fatalf("%s: got %s; want %d", fmt.Sprintf(format, args...), r, code)
	}
}

// As makes Postfix take the client for another host, with XCLIENT.
func (s *Session) As(name, address string) *Session {
	s.T.Helper()
	s.Want(220, "XCLIENT NAME=%s ADDR=%s", name, address)
	s.Want(250, "EHLO %s", name)
	return s
}

// Encrypt begins TLS (RFC 3207) and says EHLO again. The client shows its certificates, if it has any.
func (s *Session) Encrypt(certificates ...tls.Certificate) *Session {
	s.T.Helper()
	s.Want(220, "STARTTLS")
	config := &tls.Config{InsecureSkipVerify: true} // it is our own Postfix
	if len(certificates) > 0 {                      // also where its issuer is none of those that the server asks for
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificates[0], nil }
	}
	s.Conn = tls.Client(s.Conn, config)
	s.Text = textproto.NewConn(s.Conn)
	s.Want(250, "EHLO client.test")
	return s
}

// Login authenticates the client (RFC 4954, mechanism PLAIN).
func (s *Session) Login(user string) *Session {
	s.T.Helper()
	s.Want(235, "AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)))
	return s
}

// Envelope sends MAIL and RCPT, all of which must be taken.
func (s *Session) Envelope(sender string, recipients ...string) {
	s.T.Helper()
	s.Want(250, "MAIL FROM:<%s>", sender)
	for _, r := range recipients {
		s.Want(250, "RCPT TO:<%s>", r)
	}
}

// Send hands over a whole message and returns the answer to it.
func (s *Session) Send(sender, recipient string, data []byte) Reply {
	s.T.Helper()
	s.Envelope(sender, recipient)
	return s.Data(data)
}

// Data sends DATA and the message, and returns the answer to it.
func (s *Session) Data(data []byte) Reply {
	s.T.Helper()
	s.Want(354, "DATA")
	w := s.Text.DotWriter()
	if _, err := w.Write(data); err != nil {
		s.T.Fatal(err)
	}
	if err := w.Close(); err != nil {
		s.T.Fatal(err)
	}
	r, err := s.Read()
	if err != nil {
		s.T.Fatal(err)
	}
	return r
}

// Try sends commands as long as they are taken, and returns the last answer.
func (s *Session) Try(commands ...string) (r Reply, err error) {
	for _, c := range commands {
		if err = s.Text.PrintfLine("%s", c); err != nil {
			return r, err
		}
		if r, err = s.Read(); err != nil || r.Code >= 400 {
			return r, err
		}
	}
	return r, nil
}
