package dkim_test

import (
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/message"
)

// A message may bring a hundred signatures with names of 64 KiB in U-labels;
// making A-labels of one took four seconds.
func TestLongNamesCostNothing(t *testing.T) {
	t.Parallel()
	var name strings.Builder
	for c := rune(0x4e00); c < 0x9f00; c++ {
		name.WriteRune(c)
	}
	took := cputime.Of(func() {
		for range 100 {
			f := message.NewField("DKIM-Signature", " v=1; a=rsa-sha256; d="+name.String()+"; s=s; i=@"+name.String()[:3000]+"; h=from; bh=AA==; b=AA==")
			if _, err := dkim.ParseSignature(f); err == nil {
				t.Error("a name of 62 KiB was accepted")
			}
		}
	})
	if took > 5*time.Second {
		t.Errorf("100 signatures took %v", took)
	}
	// A name of 253 octets in A-labels is at its longest in U-labels.
	long := strings.Repeat("\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4\u00e4.", 12) + "example"
	if got, err := domain.ParseExact(long); err != nil || len(got) > 253 {
		t.Errorf("a name of %d octets in A-labels: %v", len(got), err)
	}
}
