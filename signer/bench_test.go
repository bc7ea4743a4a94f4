package signer_test

import (
	"strings"
	"testing"

	"dkimd/internal/message"
)

// BenchmarkSign is one message of 20 KiB from Begin to its signature.
func BenchmarkSign(b *testing.B) {
	w := newWorld(b)
	w.key("example.org", "s1", "ed25519")
	s := w.signer()
	header := w.header()
	from := message.ReadFrom(header)
	body := []byte(strings.Repeat("Hello Bob, how are you?\r\n", 800))
	b.ReportAllocs()
	for b.Loop() {
		signing, reason := s.Begin(b.Context(), w.env, header, from)
		if signing == nil {
			b.Fatal(reason.Text)
		}
		_, _ = signing.Write(body)
		if _, err := signing.Finish(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
