package dkim_test

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
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

// RFC 8463 section 4: an Ed25519 key has 32 octets, however it is wrapped.
func TestWrappedKeyOfAnotherLength(t *testing.T) {
	t.Parallel()
	for n := 30; n <= 34; n++ {
		// SubjectPublicKeyInfo of RFC 8410 section 4.
		der := append([]byte{0x30, byte(n + 10), 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, byte(n + 1), 0}, make([]byte, n)...)
		k, err := dkim.ParseKeyRecord("k=ed25519; p=" + base64.StdEncoding.EncodeToString(der))
		if (err == nil) != (n == 32) || n != 32 && !errors.Is(err, dkim.ErrKeyData) || n != 32 && k.PublicKey != nil {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

// A DKIM-Signature field has 64 KiB at most, its name and colon included.
func TestSignatureFieldLimit(t *testing.T) {
	t.Parallel()
	for size, tooLong := range map[int]bool{65536: false, 65537: true} {
		f := message.NewField("DKIM-Signature", " v=1; x="+strings.Repeat("x", size-len("DKIM-Signature: v=1; x=")))
		if _, err := dkim.ParseSignature(f); len(f.Raw()) != size || errors.Is(err, dkim.ErrTooLong) != tooLong {
			t.Errorf("%d octets: %v", len(f.Raw()), err)
		}
	}
}

// RFC 6376 section 6.1.3: names are compared without regard to case, also where
// there are so many that they are looked up in another way.
func TestNamesOfManyInAnyCase(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 31, 32, 33, 500} {
		var h message.Header
		var lower, upper []string
		for i := range n {
			name := "X-Name-" + strconv.Itoa(i)
			h.Add(name, " v")
			lower = append(lower, strings.ToLower(name))
			upper = append(upper, strings.ToUpper(name))
		}
		f := message.NewField(dkim.SignatureField, " b=")
		got := dkim.HeaderHash(&h, lower, dkim.Relaxed, f)
		if got != dkim.HeaderHash(&h, upper, dkim.Relaxed, f) {
			t.Errorf("%d names: case matters", n)
		}
		if got == dkim.HeaderHash(&message.Header{}, lower, dkim.Relaxed, f) {
			t.Errorf("%d names: none of them is found", n)
		}
	}
}
