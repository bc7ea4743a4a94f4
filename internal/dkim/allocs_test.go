package dkim_test

import (
	"testing"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

// TestAllocations bounds what the parts of a verification allocate. It is not
// parallel: AllocsPerRun counts for all.
func TestAllocations(t *testing.T) {
	var h message.Header
	for _, name := range []string{"Received", "From", "To", "Subject", "Date", "Message-ID"} {
		h.Add(name, " some value of some length, as they are")
	}
	h.Add("DKIM-Signature", " v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s1;\r\n\th=From:From:To:To:Subject:Date:Message-ID;\r\n\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=dGVzdA==\r\n\tdGVz")
	field := h.All("DKIM-Signature")[0]
	signature, _ := dkim.ParseSignature(field)
	const record = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	tests := map[string]struct {
		most float64
		f    func()
	}{
		"ParseSignature": {12, func() { _, _ = dkim.ParseSignature(field) }},
		"HeaderHash":     {7, func() { signature.HeaderHash(&h) }},
		"ParseKeyRecord": {5, func() { _, _ = dkim.ParseKeyRecord(record) }},
		"NewBodyHash":    {2, func() { dkim.NewBodyHash(dkim.Relaxed, -1) }},
	}
	for name, tt := range tests {
		n := testing.AllocsPerRun(100, tt.f)
		if n > tt.most {
			t.Errorf("%s: %v allocations; want at most %v", name, n, tt.most)
		}
		t.Logf("%s: %v allocations", name, n)
	}
}
