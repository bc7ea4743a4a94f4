package milter

import (
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"dkimd/internal/message"
	"dkimd/internal/milter/client"
	"dkimd/internal/socket"
)

func newcomersServer(t *testing.T) (*Server, func() net.Conn) {
	t.Helper()
	s, err := New(Config{
		Config: socket.Config{Listen: []string{"unix:" + filepath.Join(t.TempDir(), "s")}}, Logger: slog.New(slog.DiscardHandler),
		MaxConnections: 1024, Begin: func(*message.Envelope) Message { return &quiet{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve() }()
	t.Cleanup(func() { _ = s.Close() })
	return s, func() net.Conn {
		conn, err := net.Dial("unix", s.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

// However a connection ends, and after its first message, its place is free again.
func TestNewcomersGiveTheirPlaceBack(t *testing.T) {
	t.Parallel()
	s, dial := newcomersServer(t)
	taken := func(want int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); len(s.newcomers) != want; {
			if time.Now().After(end) {
				t.Fatalf("%d places are taken, not %d", len(s.newcomers), want)
			}
			<-time.After(time.Millisecond)
		}
	}
	silent := dial()
	taken(1)
	_ = silent.Close()
	taken(0)

	garbage := dial()
	if _, err := garbage.Write([]byte("\x00\x00\x00\x01?")); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, garbage)
	taken(0)

	mta, err := client.New(dial(), client.Options{Version: 6, Actions: client.AllActions, Protocol: client.AllProtocol})
	if err != nil {
		t.Fatal(err)
	}
	taken(1) // it negotiated, and waits for its SMTP client
	for range 3 {
		if _, err := mta.Send(t.Context(), client.Mail{Sender: "a@example.com", Recipients: []string{"b@example.net"}, Raw: []byte("From: a@example.com\r\n\r\nx\r\n")}); err != nil {
			t.Fatal(err)
		}
		taken(0)
	}
}

// Connections that bring nothing, as those of an MTA that waits for its clients do
// for a while, keep nobody out.
func TestIdleNewcomersKeepNobodyOut(t *testing.T) {
	t.Parallel()
	s, dial := newcomersServer(t)
	for range 4 * cap(s.newcomers) {
		dial()
	}
	mta, err := client.New(dial(), client.Options{Version: 6, Actions: client.AllActions, Protocol: client.AllProtocol})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mta.Send(t.Context(), client.Mail{Sender: "a@example.com", Recipients: []string{"b@example.net"}, Raw: []byte("From: a@example.com\r\n\r\nx\r\n")}); err != nil {
		t.Fatal(err)
	}
	if len(s.newcomers) != cap(s.newcomers) {
		t.Errorf("%d places are taken of %d", len(s.newcomers), cap(s.newcomers))
	}
}
