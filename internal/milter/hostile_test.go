package milter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
	"dkimd/internal/pipeline"
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
	if code, _ := answerOf(t, conn); code != 'O' {
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
		"empty sender":             {[]string{"M\x00", f, "N", "E"}, client.TempFail},
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
					last, _ = answerOf(t, conn)
				}
				if want := map[client.Action]byte{client.Continue: 'c', client.TempFail: 't'}[tt.action]; last != want {
					t.Errorf("answered %q, want %q", last, want)
				}
				misbehaved := tt.action == client.TempFail || strings.HasPrefix(name, "macros") && name != "macros of no stage"
				if n := strings.Count(w.logs.String(), "departs from the milter protocol"); n != map[bool]int{true: 1}[misbehaved] {
					t.Errorf("%d lines in the log:\n%s", n, w.logs)
				}
				// The connection goes on, and the next message is untouched.
				before := len(w.all())
				for _, p := range []string{m, f, "N", "Bgood", "E"} {
					_, _ = conn.Write(packet(p[0], p[1:]))
					if protocol&client.NoReplies == 0 || p[0] == 'E' {
						if code, _ := answerOf(t, conn); code != 'c' {
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
			w := start(t, milter.Config{Listen: []string{socketIn(short(t))}})
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
			eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines && descriptors(t) <= fds }, func() string {
				return "goroutines or descriptors stay"
			})
			for _, m := range w.all() {
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
	w := start(t, milter.Config{Listen: []string{socketIn(short(t))}})
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
	w := start(t, milter.Config{Listen: []string{socketIn(short(t))}})
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	_ = agree(t, w, client.AllProtocol).Close()
	w.expect(t, "connection of the MTA ends")
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

// TestPanics injects a panic into each step of a message.
func TestPanics(t *testing.T) {
	t.Parallel()
	const spared = "451 4.7.5 fault"
	tests := map[string]struct {
		at    string
		reply string // of an answer the message gave; empty: a bare tempfail
	}{
		"begin":                     {"begin", ""},
		"header":                    {"header", spared},
		"end of header":             {"eoh", spared},
		"body":                      {"body", spared},
		"finish":                    {"finish", spared},
		"finish, twice":             {"finish again", ""},
		"finish and fault":          {"finish fault", ""},
		"finish, fault and abort":   {"finish fault abort", ""},
		"header and fault":          {"header fault", ""},
		"header, finish and abort":  {"header again abort", ""},
		"begin and what else comes": {"begin abort fault", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, milter.Config{})
			s := w.dial(t, client.Options{})
			send(t, s, letter("1"))
			w.panicAt = tt.at
			r := send(t, s, letter("2"))
			if r.Action != client.TempFail || r.Reply != tt.reply {
				t.Errorf("got %+v, want a tempfail with %q", r, tt.reply)
			}
			w.panicAt = ""
			if r := send(t, s, letter("3")); r.Action != client.Continue {
				t.Errorf("the next message got %+v", r)
			}
			w.expect(t, "level=ERROR")
			w.expect(t, "injected: "+strings.Fields(tt.at)[0])
		})
	}
}

// TestPanicInAbort ends on the MTA's wish, with nobody there to answer.
func TestPanicInAbort(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{})
	_, _ = s.Mail("a@example.com", nil)
	w.panicAt = "abort"
	_ = s.Abort()
	w.expect(t, "injected: abort")
	w.panicAt = ""
	send(t, s, letter("2"))
}

// TestCloseWhileFinishing: an MTA that leaves while keys are fetched is noticed.
func TestCloseWhileFinishing(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	waiting := make(chan struct{})
	w.outcome = func(ctx context.Context, _ *fakeMessage) pipeline.Outcome {
		close(waiting)
		<-ctx.Done()
		return pipeline.Outcome{}
	}
	s := w.dial(t, client.Options{})
	go func() {
		<-waiting
		_ = s.Close()
	}()
	if _, err := s.Send(t.Context(), letter("1")); err == nil {
		t.Error("an answer on a closed connection")
	}
	if got := w.ended(t, 1)[0]; context.Cause(got.ctx).Error() != "the MTA closed the connection" {
		t.Errorf("the message's context ended because of %v", context.Cause(got.ctx))
	}
}

// TestSlowFinish has answers that come after somebody began to watch, and an
// MTA that talks on meanwhile.
func TestSlowFinish(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	w.outcome = func(ctx context.Context, _ *fakeMessage) pipeline.Outcome {
		select {
		case <-time.After(120 * time.Millisecond):
		case <-ctx.Done():
			t.Error("the context ended while the MTA waits")
		}
		return pipeline.Outcome{}
	}
	s := w.dial(t, client.Options{})
	for _, id := range []string{"1", "2", "3"} {
		if r := send(t, s, letter(id)); r.Action != client.Continue {
			t.Fatal(r)
		}
	}
	conn := agree(t, w, client.AllProtocol)
	_, _ = conn.Write(append(packet('M', "<a@example.com>\x00"), packet('E', "")...))
	_, _ = conn.Write(append(packet('A', ""), packet('M', "<b@example.com>\x00")...))
	_, _ = conn.Write(packet('E', ""))
	for range 2 {
		if code, _ := answerOf(t, conn); code != 'c' {
			t.Fatalf("answer %q", code)
		}
	}
}
