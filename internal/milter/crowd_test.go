package milter_test

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
	"dkimd/internal/socket"
)

// upToBody is a message by hand, up to its body.
func upToBody() []byte {
	return slices.Concat(packet('M', "<a@example.com>\x00"), packet('R', "<b@example.net>\x00"),
		packet('L', "From\x00 a@example.com\x00"), packet('N', ""))
}

// TestMillionsOfPackets: a packet of one byte costs what its bytes on the wire
// cost, give or take what a call costs.
func TestMillionsOfPackets(t *testing.T) { //nolint:paralleltest // it measures time
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const count = 2_000_000
	one := bytes.Repeat(packet('B', "x"), 10_000)
	many := packet('B', string(bytes.Repeat([]byte("x"), 60_000-5)))
	w := start(t, milter.Config{Config: socket.Config{Listen: []string{socketIn(short(t))}}})
	take := func(piece []byte, times, size int) time.Duration {
		conn := agree(t, w, client.AllProtocol)
		before := len(w.all())
		began := time.Now()
		_, _ = conn.Write(upToBody())
		for range times {
			if _, err := conn.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = conn.Write(packet('E', ""))
		if code := answerOf(t, conn); code == 0 {
			t.Error("no answer")
		}
		took := time.Since(began)
		_ = conn.Close()
		if got := w.ended(t, before+1)[before].body.Len(); got != size {
			t.Fatalf("%d bytes came, want %d", got, size)
		}
		return took
	}
	tiny, usual := time.Hour, time.Hour
	for range 2 {
		tiny = min(tiny, take(one, count/10_000, count))
		usual = min(usual, take(many, count*6/60_000, count/10_000*(60_000-5)))
	}
	t.Logf("%d packets of one byte take %v, the same octets in large ones %v", count, tiny, usual)
	if tiny > 40*usual+time.Second {
		t.Errorf("%d packets of one byte take %v, the same octets in large ones %v", count, tiny, usual)
	}
}

// TestOthersKeepTheirLatency: what 300 hostile connections do at once costs no one else
// his time, and leaves nothing behind.
func TestOthersKeepTheirLatency(t *testing.T) { //nolint:paralleltest // it measures time and counts goroutines
	w := start(t, milter.Config{Config: socket.Config{Listen: []string{socketIn(short(t))}}})
	s := w.dial(t, client.Options{})
	median := func() time.Duration {
		var all []time.Duration
		for range 41 {
			began := time.Now()
			send(t, s, letter("1"))
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	usual := median()
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	stop := make(chan struct{})
	var hostile []net.Conn
	feed := func(conn net.Conn, piece []byte) {
		go func() {
			for {
				if _, err := conn.Write(piece); err != nil {
					return
				}
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
	}
	for i := range 300 {
		conn := agree(t, w, client.AllProtocol)
		hostile = append(hostile, conn)
		switch i % 6 {
		case 0: // half a packet that claims much
			_, _ = conn.Write([]byte{0, 0x0f, 0xff, 0xff, 'B', 'x'})
		case 1: // a message without end, in bytes
			_, _ = conn.Write(upToBody())
			feed(conn, packet('B', "x"))
		case 2: // a header without end
			_, _ = conn.Write(packet('M', "<a@example.com>\x00"))
			feed(conn, packet('L', "X-Endless\x00 y\x00"))
		case 3: // questions whose answers it does not read
			feed(conn, slices.Concat(upToBody(), packet('E', ""), packet('A', "")))
		case 4: // nothing at all
		case 5: // macros, for ever
			feed(conn, packet('D', "Mi\x00Q\x00"))
		}
	}
	got := median()
	// 250 of them write every millisecond: on two processors beside other tests, a message waits for its turn.
	if got > 30*usual+time.Second {
		t.Errorf("a message takes %v beside them, %v alone", got, usual)
	}
	t.Logf("a message takes %v beside them, %v alone", got, usual)
	close(stop)
	for _, conn := range hostile {
		_ = conn.Close()
	}
	eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines && descriptors(t) <= fds }, func() string {
		return "goroutines or descriptors stay"
	})
}

// TestNeverReads: a client that asks and never reads the answers is cut off when the
// socket is full, and its message ends.
func TestNeverReads(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{Config: socket.Config{Listen: []string{socketIn(short(t))}}, WriteTimeout: 200 * time.Millisecond})
	conn := agree(t, w, 0) // every event is answered
	piece := bytes.Repeat(slices.Concat(packet('M', "<a@example.com>\x00"), packet('A', "")), 1000)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	for {
		if _, err := conn.Write(piece); err != nil {
			break
		}
	}
	w.expect(t, "does not read the answers")
	_, _ = io.Copy(io.Discard, conn)
	for _, m := range w.all() {
		if m.ends > 1 {
			t.Fatalf("a message ended %d times", m.ends)
		}
	}
}

// TestOddPacketsInMidSession: what ends a session at its beginning ends it later, too,
// with its message, and no other.
func TestOddPacketsInMidSession(t *testing.T) {
	t.Parallel()
	for name, odd := range map[string][]byte{
		"length 0":          {0, 0, 0, 0},
		"length 4 GiB":      {0xff, 0xff, 0xff, 0xff, 'B'},
		"a second offer":    offer(6, 0, 0),
		"an unknown packet": packet('z', "x"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, milter.Config{})
			other := w.dial(t, client.Options{})
			conn := agree(t, w, client.AllProtocol)
			_, _ = conn.Write(append(upToBody(), odd...))
			closes(t, conn)
			if m := w.ended(t, 1)[0]; m.ends != 1 || m.ended == "finish" {
				t.Errorf("the message ended %d times, with %q", m.ends, m.ended)
			}
			send(t, other, letter("1"))
		})
	}
}
