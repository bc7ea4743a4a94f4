package milter_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
	"dkimd/internal/pipeline"
	"dkimd/internal/socket"
)

// TestShutdownDrains: connections without a message are closed at once, a
// message under way is answered, none begins any more.
func TestShutdownDrains(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	idle, greeted, busy, finishing := w.dial(t, client.Options{}), w.dial(t, client.Options{}), w.dial(t, client.Options{}), w.dial(t, client.Options{})
	after := w.dial(t, client.Options{})
	send(t, after, letter("0"))
	_, _ = greeted.Connect(peer("203.0.113.9"))
	_ = greeted.Flush()
	_, _ = busy.Mail("busy@example.com", nil)
	_, _ = busy.Header("A", " b")
	_ = busy.Flush()
	release, entered := make(chan struct{}), make(chan struct{})
	w.outcome = func(_ context.Context, m *fakeMessage) pipeline.Outcome {
		if strings.HasPrefix(m.env.Sender, "slow") {
			close(entered)
			<-release
		}
		return pipeline.Outcome{}
	}
	answered := make(chan error, 1)
	go func() {
		r, err := finishing.Send(context.Background(), letter("slow"))
		if err == nil && r.Action != client.Continue {
			err = errors.New(string(r.Action))
		}
		answered <- err
	}()
	<-entered
	eventually(t, func() bool { return len(w.all()) == 3 }, func() string { return "messages are missing" })
	down := make(chan error, 1)
	go func() { down <- w.server.Shutdown(context.Background()) }()
	for _, s := range []*client.Session{idle, greeted, after} {
		closes(t, s.Conn())
	}
	if conn, err := net.Dial("tcp", w.addr().String()); err == nil {
		_ = conn.Close()
		t.Error("a connection was taken")
	}
	if err := <-w.served; err != nil {
		t.Error(err)
	}
	select {
	case err := <-down:
		t.Fatalf("over with messages under way: %v", err)
	default:
	}
	if r, err := busy.EndOfMessage(); err != nil || r.Action != client.Continue {
		t.Errorf("the message under way got %v %v", r, err)
	}
	closes(t, busy.Conn())
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the message at its end got %v", err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// TestShutdownCuts what is left when its time is up.
func TestShutdownCuts(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{})
	_, _ = s.Mail("a@example.com", nil)
	_, _ = s.Header("A", " b")
	_ = s.Flush()
	eventually(t, func() bool { return len(w.all()) == 1 }, func() string { return "no message" })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if got := w.ended(t, 1)[0].ended; got != "abort: dkimd stops" {
		t.Errorf("ended with %q", got)
	}
}

// TestCloseCutsFinish: a message that waits for DNS does not hold up the end.
func TestCloseCutsFinish(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	entered := make(chan struct{})
	w.outcome = func(ctx context.Context, _ *fakeMessage) pipeline.Outcome {
		close(entered)
		<-ctx.Done()
		return pipeline.Outcome{}
	}
	s := w.dial(t, client.Options{})
	go func() { _, _ = s.Send(context.Background(), letter("1")) }()
	<-entered
	if err := w.server.Close(); err != nil {
		t.Error(err)
	}
	if w.ended(t, 1)[0].ends == 0 {
		t.Error("a message is left")
	}
}

// TestConnectionCap: the connection over the cap waits, and is served when
// another one ends.
func TestConnectionCap(t *testing.T) {
	t.Parallel()
	dir := short(t)
	w := start(t, milter.Config{MaxConnections: 2, Config: socket.Config{Listen: []string{"inet:127.0.0.1:0", socketIn(dir)}}})
	first, second := w.dial(t, client.Options{}), w.dial(t, client.Options{})
	third := w.conn(t)
	_, _ = third.Write(offer(6, 0, 0))
	w.expect(t, "connection limit reached, new connections wait")
	_ = third.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := third.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatal("served beyond the cap")
	}
	send(t, first, letter("1"))
	_ = second.Close()
	if code := answerOf(t, third); code != 'O' {
		t.Errorf("answer %q", code)
	}
	_ = third.Close()
	_ = first.Close()
	// A quiet socket keeps no slot from a busy one, and the other way round.
	for range 2 {
		s, err := client.Dial(t.Context(), "unix", w.server.Addrs()[1].String(), client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
	}
}

func TestServeAfterClose(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	if err := w.server.Close(); err != nil {
		t.Error(err)
	}
	if err := w.server.Close(); err != nil {
		t.Error(err)
	}
	if err := w.server.Serve(); err != nil {
		t.Error(err)
	}
	if err := w.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNoNagle: with Nagle's algorithm and delayed acknowledgements a message
// takes 40 ms more.
func TestNoNagle(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{Version: 6, Actions: client.AllActions, Protocol: client.LeadingSpace})
	send(t, s, letter("0"))
	begin := time.Now()
	const n = 20
	for range n {
		send(t, s, letter("1"))
	}
	if each := time.Since(begin) / n; each > 30*time.Millisecond {
		t.Errorf("%s a message", each)
	}
}
