package milter_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
)

func packet(code byte, payload string) []byte {
	p := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)))
	return append(append(p, code), payload...)
}

// offer is an option negotiation.
func offer(version, actions, protocol uint32) []byte {
	p := binary.BigEndian.AppendUint32(nil, version)
	p = binary.BigEndian.AppendUint32(p, actions)
	return packet('O', string(binary.BigEndian.AppendUint32(p, protocol)))
}

// agree negotiates by hand.
func agree(t *testing.T, w *world, protocol uint32) net.Conn {
	t.Helper()
	conn := w.conn(t)
	_, _ = conn.Write(offer(6, client.AllActions, protocol))
	if code := answerOf(t, conn); code != 'O' {
		t.Fatalf("answer %q to the offer", code)
	}
	return conn
}

// closes fails the test unless the server closes the connection.
func closes(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	rest, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection stays open")
	}
	return rest
}

func TestBadOffers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		send []byte
		log  string
	}{
		"version 1":            {offer(1, 0x1f, 0x7f), "milter protocol version 1"},
		"version 0":            {offer(0, 0x1f, 0x7f), "milter protocol version 0"},
		"too short":            {packet('O', "\x00\x00\x00\x06"), "option negotiation of 4 bytes"},
		"not an offer":         {packet('C', "a\x00U"), "before the option negotiation"},
		"length 0":             {[]byte{0, 0, 0, 0}, "a packet of 0 bytes"},
		"an HTTP client":       {[]byte("GET / HTTP/1.1\r\n\r\n"), "a packet of 1195725856 bytes"},
		"half a length":        {[]byte{0, 0}, "in the middle of a packet"},
		"half an offer":        {offer(6, 0, 0)[:9], "in the middle of a packet"},
		"two offers":           {append(offer(6, client.AllActions, 0), offer(6, 0, 0)...), "a second option negotiation"},
		"an offer, a fraction": {append(offer(6, client.AllActions, 0), 0, 0, 0), "in the middle of a packet"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, milter.Config{})
			conn := w.conn(t)
			_, _ = conn.Write(tt.send)
			_ = conn.(*net.TCPConn).CloseWrite()
			closes(t, conn)
			w.expect(t, tt.log)
			if n := strings.Count(w.logs.String(), "level=WARN"); n != 1 {
				t.Errorf("%d lines:\n%s", n, w.logs)
			}
		})
	}
}

// TestDisorder has packets where none belongs. Nobody else must suffer, the
// message in question must not get through, and one line in the log says so.
func TestDisorder(t *testing.T) {
	t.Parallel()
	const (
		m = "M<a@example.com>\x00"
		f = "LFrom\x00 a@example.com\x00"
	)
	tests := map[string]struct {
		packets []string
		action  client.Action // of the message
	}{
		"in order":                 {[]string{m, "R<b@example.net>\x00", "T", f, "N", "Bbody", "E"}, client.Continue},
		"no recipient, no DATA":    {[]string{m, f, "N", "Bbody", "E"}, client.Continue},
		"no end of header":         {[]string{m, f, "Bbody", "E"}, client.Continue},
		"no body":                  {[]string{m, f, "N", "E"}, client.Continue},
		"no header at all":         {[]string{m, "E"}, client.Continue},
		"end without a message":    {[]string{"E"}, client.TempFail},
		"body without a message":   {[]string{"Bbody", "E"}, client.TempFail},
		"header without a message": {[]string{f, "N", "Bbody", "E"}, client.TempFail},
		"rcpt without a message":   {[]string{"R<b@example.net>\x00", "E"}, client.TempFail},
		"end twice":                {[]string{m, f, "N", "E1", "E"}, client.TempFail},
		"header after its end":     {[]string{m, f, "N", "LFrom\x00 b@example.com\x00", "E"}, client.TempFail},
		"header in the body":       {[]string{m, f, "N", "Bbody", f, "Bbody", "E"}, client.TempFail},
		"end of header twice":      {[]string{m, f, "N", "N", "E"}, client.TempFail},
		"recipient in the header":  {[]string{m, f, "R<b@example.net>\x00", "N", "E"}, client.TempFail},
		"no sender":                {[]string{"M", f, "N", "E"}, client.TempFail},
		"Postfix's own bounce":     {[]string{"M\x00", f, "N", "E"}, client.Continue},
		"empty recipient":          {[]string{m, "R\x00", f, "N", "E"}, client.TempFail},
		"a sender without its NUL": {[]string{"M<a@example.com>", f, "N", "E"}, client.TempFail},
		"a sender without end":     {[]string{"M<" + strings.Repeat("a", 5000) + ">\x00", f, "N", "E"}, client.TempFail},
		"no recipient's address":   {[]string{m, "R", f, "N", "E"}, client.TempFail},
		"a field without NUL":      {[]string{m, "LFrom: a@example.com", "N", "E"}, client.TempFail},
		"a field with one NUL":     {[]string{m, "LFrom\x00 a@example.com", "N", "E"}, client.TempFail},
		"a field without a name":   {[]string{m, "L\x00 a@example.com\x00", "N", "E"}, client.TempFail},
		"a field of nothing":       {[]string{m, "L", "N", "E"}, client.TempFail},
		"a name with a colon":      {[]string{m, "LX: a\x00 a@example.com\x00", "N", "E"}, client.TempFail},
		"a name with a line end":   {[]string{m, "LX\nFrom\x00 a@example.com\x00", "N", "E"}, client.TempFail},
		"a name with DEL":          {[]string{m, "LX\x7f\x00 a@example.com\x00", "N", "E"}, client.TempFail},
		"macros of nothing":        {[]string{"D", m, f, "N", "E"}, client.Continue},
		"macros, odd count":        {[]string{"DMi\x00", m, f, "N", "E"}, client.Continue},
		"macros without NUL":       {[]string{"DMi\x00Q1", m, f, "N", "E"}, client.Continue},
		"macros of no stage":       {[]string{"D?i\x00Q1\x00", m, f, "N", "E"}, client.Continue},
	}
	for name, tt := range tests {
		for reply, protocol := range map[string]uint32{"replies": client.LeadingSpace, "no replies": client.LeadingSpace | client.NoReplies} {
			t.Run(name+"/"+reply, func(t *testing.T) {
				t.Parallel()
				w := start(t, milter.Config{})
				conn := agree(t, w, protocol)
				var last byte
				for _, p := range tt.packets {
					_, _ = conn.Write(packet(p[0], p[1:]))
					if p[0] == 'D' || protocol&client.NoReplies != 0 && p[0] != 'E' {
						continue
					}
					last = answerOf(t, conn)
				}
				if want := map[client.Action]byte{client.Continue: 'c', client.TempFail: 't'}[tt.action]; last != want {
					t.Errorf("answered %q, want %q", last, want)
				}
				misbehaved := tt.action == client.TempFail || strings.HasPrefix(name, "macros") && name != "macros of no stage"
				if n := strings.Count(w.logs.String(), "violated the milter protocol"); n != map[bool]int{true: 1}[misbehaved] {
					t.Errorf("%d lines in the log:\n%s", n, w.logs)
				}
				// The connection goes on, and the next message is untouched.
				before := len(w.all())
				for _, p := range []string{m, f, "N", "Bgood", "E"} {
					_, _ = conn.Write(packet(p[0], p[1:]))
					if protocol&client.NoReplies == 0 || p[0] == 'E' {
						if code := answerOf(t, conn); code != 'c' {
							t.Fatalf("the next message's %q got %q", p[0], code)
						}
					}
				}
				if got := w.all()[before]; len(got.fields) != 1 || got.body.String() != "good" || got.ended != "finish" {
					t.Errorf("the next message came as %v %q %q", got.fields, got.body.String(), got.ended)
				}
			})
		}
	}
}

// TestNULInHeaderStaysVisible: go-milter would not show such a field at all.
func TestNULInHeaderStaysVisible(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{})
	_, _ = s.Mail("a@example.com", nil)
	s.Raw('L', []byte("From\x00 a@example.com\x00<b@example.com>\x00"))
	_, _ = s.EndOfMessage()
	if got := w.ended(t, 1)[0].fields; len(got) != 1 || got[0] != "From: a@example.com\x00<b@example.com>" {
		t.Errorf("%q", got)
	}
}

func TestUnknownPacketEndsConnection(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{})
	_, _ = s.Mail("a@example.com", nil)
	_, _ = s.Header("A", " b")
	s.Raw('?', nil)
	_ = s.Flush()
	closes(t, s.Conn())
	if got := w.ended(t, 1)[0].ended; got != "abort: an unknown packet '?'" {
		t.Errorf("ended with %q", got)
	}
	w.expect(t, "an unknown packet")
}

// TestOversizePacket: the largest packet passes, one more byte does not.
func TestOversizePacket(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	conn := agree(t, w, client.AllProtocol)
	_, _ = conn.Write(packet('M', "<a@example.com>\x00"))
	_, _ = conn.Write(packet('B', strings.Repeat("x", 1<<20-1)))
	_, _ = conn.Write(binary.BigEndian.AppendUint32(nil, 1<<20+1))
	closes(t, conn)
	w.expect(t, "a packet of 1048577 bytes")
	if got := w.ended(t, 1)[0]; got.body.Len() != 1<<20-1 || !strings.HasPrefix(got.ended, "abort: a packet of") {
		t.Errorf("%d bytes, %q", got.body.Len(), got.ended)
	}
}
