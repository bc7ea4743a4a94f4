package verifier_test

import (
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/verifier"
)

// BenchmarkVerify is one message of 20 KiB from Begin to its Authentication-Results, with its key in the cache.
func BenchmarkVerify(b *testing.B) {
	w := newWorld()
	w.body = strings.Repeat("Hello Bob, how are you?\r\n", 800)
	w.signAll()
	v, err := verifier.New(w.config)
	if err != nil {
		b.Fatal(err)
	}
	header := build(w.header)
	request := verifier.Request{Header: header, From: message.ReadFrom(header)}
	body := []byte(w.body)
	b.ReportAllocs()
	for b.Loop() {
		running := v.Begin(b.Context(), request)
		_, _ = running.Write(body)
		report := running.Finish(b.Context())
		if report.Results[0].Status != verifier.Pass {
			b.Fatal(report.Results[0].Reason())
		}
		verifier.AuthenticationResults(authserv, report)
		w.dns.asked = w.dns.asked[:0]
	}
}
