package milter_test

import (
	"context"
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
	"dkimd/internal/pipeline"
	"dkimd/internal/smtpreply"
	"dkimd/policy"
)

// unread defers what is not known in full, as the pipeline does.
func unread(_ context.Context, m *fakeMessage) pipeline.Outcome {
	if !m.env.Held.Exceeded() {
		return pipeline.Outcome{}
	}
	return pipeline.Outcome{Action: policy.TempFail, Reply: smtpreply.Reply{Code: 451, Enhanced: "4.3.2", Text: "later"}}
}

// A field for which there is no memory is passed over, the message deferred, and the next one taken.
func TestPacketsTakeMemory(t *testing.T) {
	t.Parallel()
	for name, protocol := range map[string]uint32{"no replies": client.AllProtocol, "replies": client.AllProtocol &^ client.NoReplies} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, milter.Config{Memory: message.NewMemory(400_000)})
			w.outcome = unread
			s := w.dial(t, client.Options{Version: 6, Actions: client.AllActions, Protocol: protocol})
			for _, size := range []int{100_000, 900_000, 100_000} {
				raw := "From: a@example.org\r\nX: " + strings.Repeat("x", size) + "\r\nTo: b@example.org\r\n\r\nbody\r\n"
				r := send(t, s, client.Mail{Sender: "a@example.org", Recipients: []string{"b@example.org"}, QueueID: "Q", Raw: []byte(raw)})
				want := client.Continue
				if size > 400_000 {
					want = client.TempFail
				}
				if r.Action != want {
					t.Errorf("a field of %d bytes: %v %s", size, r.Action, r.Reply)
				}
			}
		})
	}
}

// Half-sent packets of many connections take memory together, and give it back when they end.
func TestHalfSentPacketsTakeMemory(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{Memory: message.NewMemory(1 << 20)})
	w.outcome = unread
	for range 8 {
		conn := agree(t, w, client.AllProtocol)
		_, _ = conn.Write(packet('M', "<a@example.org>\x00"))
		_, _ = conn.Write(packet('L', "X\x00"+strings.Repeat("x", 500_000)+"\x00")[:300_000])
		t.Cleanup(func() { _ = conn.Close() })
	}
	eventually(t, func() bool { return w.memory.Held() > 1<<18 }, func() string { return "little is held" })
	if held := w.memory.Held(); held > 7<<17 {
		t.Errorf("%d bytes are held of 1 MiB, of which an eighth is for usual messages", held)
	}
	s := w.dial(t, client.Options{})
	if r := send(t, s, client.Mail{Sender: "a@example.org", Recipients: []string{"b@example.org"}, Raw: []byte("From: a@example.org\r\n\r\n")}); r.Action != client.Continue {
		t.Errorf("a usual message: %v", r)
	}
}

// What cannot be passed over, such as macros, ends the connection.
func TestMacrosPastAllMemory(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{Memory: message.NewMemory(100_000)})
	conn := agree(t, w, client.AllProtocol)
	_, _ = conn.Write(packet('D', "Mi\x00"+strings.Repeat("x", 200_000)+"\x00"))
	closes(t, conn)
	w.expect(t, "no memory is left for a packet of the MTA")
}
