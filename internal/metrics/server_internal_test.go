package metrics

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener with connections in memory, so that a test has the clock in hand.
type pipes struct{ conns chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// Connections are closed on which no request comes: when none was begun, when one was, and after an answer.
func TestSilentConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	const whole = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, test := range map[string]struct {
		sent  string
		after time.Duration
	}{
		"nothing": {"", 2 * time.Second}, "half a header": {"GET / HTTP/1.1\r\nHo", 2 * time.Second}, "a request": {whole, 5 * time.Second},
		"a request and a half": {whole + "GET / HTT", 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ln := pipes{make(chan net.Conn, 1)}
				here, there := net.Pipe()
				ln.conns <- there
				server := newServer([]net.Listener{ln}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), slog.New(slog.DiscardHandler))
				server.Start()
				began := time.Now()
				go func() { _, _ = io.WriteString(here, test.sent) }()
				_, _ = io.Copy(io.Discard, here)
				if took := time.Since(began); took != test.after {
					t.Errorf("closed after %s, want %s", took, test.after)
				}
				close(ln.conns)
				_ = server.Close()
			})
		})
	}
}
