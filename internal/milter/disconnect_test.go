package milter_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
	"dkimd/internal/socket"
)

// recorder keeps what is written.
type recorder struct {
	net.Conn
	sent bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.sent.Write(p)
	return r.Conn.Write(p)
}

// record is all an MTA sends in a dialogue of two messages, the first aborted.
func record(t *testing.T, w *world, o client.Options) []byte {
	t.Helper()
	r := &recorder{Conn: w.conn(t)}
	s, err := client.New(r, o)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = s.Connect(peer("203.0.113.9"))
	_, _ = s.Helo("helo.example")
	_, _ = s.Mail("lost@example.com", nil)
	_, _ = s.Header("A", " b")
	_ = s.Abort()
	send(t, s, letter("1"))
	if err := s.Quit(); err != nil {
		t.Fatal(err)
	}
	return r.sent.Bytes()
}

// TestDisconnectAtEveryByte ends a dialogue at each of its bytes: no message
// stays open, nothing panics, no goroutine and no descriptor stays.
//
//nolint:paralleltest // counts goroutines
func TestDisconnectAtEveryByte(t *testing.T) {
	for name, o := range map[string]client.Options{
		"postfix":  {},
		"sendmail": {MTA: client.Sendmail},
		"replies":  {Version: 6, Actions: client.AllActions, Protocol: client.LeadingSpace},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, milter.Config{Config: socket.Config{Listen: []string{socketIn(short(t))}}})
			sent := record(t, w, o)
			eventually(t, func() bool { return len(w.ended(t, 2)) == 2 }, func() string { return "the dialogue failed" })
			goroutines, fds := runtime.NumGoroutine(), descriptors(t)
			var wg sync.WaitGroup
			gate := make(chan struct{}, 50)
			for n := range sent {
				gate <- struct{}{}
				wg.Go(func() {
					defer func() { <-gate }()
					conn, err := net.Dial("unix", w.addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = conn.Write(sent[:n])
					if n%2 == 0 {
						_ = conn.(*net.UnixConn).CloseWrite()
						_, _ = io.Copy(io.Discard, conn)
					}
					_ = conn.Close()
				})
			}
			wg.Wait()
			// Connections are accepted in their order: now none waits in the kernel's queue any more.
			record(t, w, o)
			eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines && descriptors(t) <= fds }, func() string {
				return "goroutines or descriptors stay"
			})
			// A session may still be ending: base was taken while others ran.
			for _, m := range w.ended(t, len(w.all())) {
				if m.ends != 1 {
					t.Fatalf("a message ended %d times", m.ends)
				}
			}
			if strings.Contains(w.logs.String(), "panic") {
				t.Error(w.logs)
			}
		})
	}
}

// TestEveryChunking sends a dialogue in two writes, cut at each of its bytes,
// and one byte at a time.
func TestEveryChunking(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{Config: socket.Config{Listen: []string{socketIn(short(t))}}})
	sent := record(t, w, client.Options{})
	done := w.ended(t, 2)
	want := done[1]
	check := func(write func(net.Conn)) {
		t.Helper()
		before := len(w.all())
		conn := w.conn(t)
		write(conn)
		closes(t, conn)
		_ = conn.Close()
		got := w.ended(t, before+2)[before+1]
		if got.env.Sender != want.env.Sender || strings.Join(got.fields, "\n") != strings.Join(want.fields, "\n") ||
			got.body.String() != want.body.String() || got.ended != "finish" {
			t.Fatalf("got %+v", got)
		}
	}
	for n := 1; n < len(sent); n += 7 {
		check(func(conn net.Conn) {
			_, _ = conn.Write(sent[:n])
			runtime.Gosched()
			_, _ = conn.Write(sent[n:])
		})
	}
	check(func(conn net.Conn) {
		for i := range sent {
			_, _ = conn.Write(sent[i : i+1])
		}
	})
}

// TestIdleConnectionsCostLittle: neither does the length that a packet claims.
//
//nolint:paralleltest // counts goroutines and memory
func TestIdleConnectionsCostLittle(t *testing.T) {
	const n = 2000
	w := start(t, milter.Config{Config: socket.Config{Listen: []string{socketIn(short(t))}}})
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	_ = agree(t, w, client.AllProtocol).Close()
	w.expect(t, "milter connection closed")
	goroutines, before := runtime.NumGoroutine(), memory()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = agree(t, w, client.AllProtocol)
		// Half of a packet that claims 1 MiB.
		_, _ = conns[i].Write(append(binary.BigEndian.AppendUint32(nil, 1<<20), "L..."...))
	}
	eventually(t, func() bool { return runtime.NumGoroutine()-goroutines <= n }, func() string { return "more than one goroutine a connection" })
	if got := memory() - before; got > n*40<<10 {
		t.Errorf("%d KiB a connection", got/n>>10)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines }, func() string { return "goroutines stay" })
}
