package signer_test

import (
	"context"
	"testing"

	"dkimd/internal/message"
	"dkimd/keys"
)

// TestSignAllocations bounds what a message costs, besides the key's own
// arithmetic. It is not parallel: AllocsPerRun counts for all.
func TestSignAllocations(t *testing.T) {
	w := newWorld(t)
	w.key("example.com", "s1", keys.Ed25519)
	w.fields[1] = "From: Joe <joe@example.com>"
	s := w.signer()
	h := w.header()
	from := message.ReadFrom(h)
	body := []byte(w.body)
	n := testing.AllocsPerRun(100, func() {
		signing, _ := s.Begin(context.Background(), w.env, h, from)
		_, _ = signing.Write(body)
		if _, err := signing.Finish(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
	const most = 48
	if n > most {
		t.Errorf("%v allocations; want at most %v", n, most)
	}
	t.Logf("%v allocations", n)
}
