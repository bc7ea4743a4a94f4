package verifier_test

import (
	"testing"

	"dkimd/internal/message"
	"dkimd/verifier"
)

// TestVerifyAllocations bounds what a message costs with its key in the cache: what was
// measured, and some for the race detector.
// It is not parallel: AllocsPerRun counts for all.
func TestVerifyAllocations(t *testing.T) {
	tests := map[string]struct {
		signatures int
		most       float64
	}{
		"no signature":     {0, 7},
		"one signature":    {1, 52},
		"three signatures": {3, 80},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.sign = nil
			for range tt.signatures {
				w.sign = append(w.sign, newSigning())
			}
			w.signAll()
			v, err := verifier.New(w.config)
			if err != nil {
				t.Fatal(err)
			}
			header := build(w.header)
			request := verifier.Request{Header: header, From: message.ReadFrom(header)}
			body := []byte(w.body)
			n := testing.AllocsPerRun(100, func() {
				running := v.Begin(t.Context(), request)
				_, _ = running.Write(body)
				verifier.AuthenticationResults("mx.example.net", running.Finish(t.Context()))
				w.dns.asked = w.dns.asked[:0]
			})
			if n > tt.most {
				t.Errorf("%v allocations; want at most %v", n, tt.most)
			}
			t.Logf("%v allocations", n)
		})
	}
	without, with := policies(t)
	least, most := testing.AllocsPerRun(100, without), testing.AllocsPerRun(100, with)
	// 45 without the race detector, which empties pools at will; 112 once.
	if more := most - least; more > 60 {
		t.Errorf("SPF and DMARC make %v more allocations; want at most 60", more)
	}
	t.Logf("%v allocations, %v with SPF and DMARC", least, most)
}
