package dkim_test

import (
	"testing"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

// RFC 6376 section 3.4: canonicalization does not change what is transmitted.
func TestCanonicalizationLeavesTheMessageAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
		f := message.NewField("SUBJect ", "  A\tb \r\n  c  ")
		before := string(f.Raw())
		c.AppendField(nil, f)
		if got := string(f.Raw()); got != before {
			t.Errorf("%s made %q of the field %q", c, got, before)
		}
		const text = " A \t b\r\n\r\nc  \r\n \r\n\r\n"
		body := []byte(text)
		hash := dkim.NewBodyHash(c, -1)
		_, _ = hash.Write(body)
		hash.Sum()
		if string(body) != text {
			t.Errorf("%s made %q of the body %q", c, body, text)
		}
	}
}
