package verifier_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"dkimd/verifier"
)

// RFC 6376 section 3.5: unknown tags mean nothing, and are part of what is signed.
func TestUnknownTagsAreSigned(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.first().extra = " x_1=one; x_2=two; x_3=three; x_4=four; x_5=five;"
	if r := w.one(t); r.Status != verifier.Pass {
		t.Errorf("unknown tags: %s (%s)", r.Status, r.Reason())
	}
	w = newWorld()
	w.first().extra = " x_1=one;"
	spoil("x_1=one", "x_1=two")(w)
	if r := w.one(t); !errors.Is(r.Err, verifier.ErrSignature) {
		t.Errorf("an unknown tag was changed: %s (%s)", r.Status, r.Reason())
	}
}

// RFC 6376 section 3.5: z= is for diagnosis. It saves no message that was
// changed, and breaks none that was not.
func TestCopiedFieldsDecideNothing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.first().extra = " z=From:=20Eve=20<eve@evil.example>|Subject:=20lies;"
	if r := w.one(t); r.Status != verifier.Pass {
		t.Errorf("z= tells something else: %s (%s)", r.Status, r.Reason())
	}
	w = newWorld()
	w.first().extra = " z=From:=20Ann=20<ann@example.org>|To:=20bob@example.net|Subject:=20a=20test=0D=0A=20of=20folding;"
	w.tamper = func(w *world) { w.header[2][1] = " eve@evil.example" }
	if r := w.one(t); !errors.Is(r.Err, verifier.ErrSignature) {
		t.Errorf("z= tells how it was: %s (%s)", r.Status, r.Reason())
	}
}

// RFC 6376 section 3.7: the parts of a MIME message are nothing special.
func TestAttachmentsAreSigned(t *testing.T) {
	t.Parallel()
	for _, canon := range []string{"simple/simple", "relaxed/relaxed"} {
		w := newWorld()
		w.first().canon = canon
		w.header = append(w.header, [2]string{"Content-Type", " multipart/mixed; boundary=x"})
		w.body = "--x\r\n\r\nHello\r\n--x\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n--x--\r\n"
		if r := w.one(t); r.Status != verifier.Pass {
			t.Errorf("%s: %s (%s)", canon, r.Status, r.Reason())
		}
		w.tamper = func(w *world) { w.body = strings.Replace(w.body, "JVBERi0xLjQK", "JVBERi0xLjUK", 1) }
		w.header, w.fields = w.header[1:], nil
		if r := w.one(t); !errors.Is(r.Err, verifier.ErrBodyHash) {
			t.Errorf("%s: the attachment was changed: %s (%s)", canon, r.Status, r.Reason())
		}
	}
}

// RFC 8301 section 3.2: 1024 to 4096 bits verify, fewer than 1024 never.
func TestRSAKeySizes(t *testing.T) {
	t.Parallel()
	for bits, want := range map[int]verifier.Status{1023: verifier.PermError, 1024: verifier.Pass, 4096: verifier.Pass, 4097: verifier.PermError} {
		t.Run(strconv.Itoa(bits), func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			if want == verifier.Pass {
				w.first().key = newRSA(bits)
				w.setKey(rsaRecord(w.first().key))
			} else {
				// Nobody makes such a key here: any odd number of this size will do.
				modulus := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
				der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: modulus, E: 65537})
				if err != nil {
					t.Fatal(err)
				}
				w.setKey("p=" + base64.StdEncoding.EncodeToString(der))
			}
			r := w.one(t)
			if r.Status != want || r.KeyBits != bits {
				t.Errorf("got %s (%s), %d bits; want %s", r.Status, r.Reason(), r.KeyBits, want)
			}
			if want != verifier.Pass && !errors.Is(r.Err, verifier.ErrKeySize) {
				t.Errorf("got %v; want ErrKeySize", r.Err)
			}
		})
	}
}

// What comes at the very ends of the numbers of a signature is a number like another.
func TestExtremeNumbersDecideLikeOthers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		extra string
		want  verifier.Status
	}{
		"x= for ever":          {" x=999999999999;", verifier.Pass},
		"x= past all numbers":  {" x=" + strings.Repeat("9", 70) + ";", verifier.Pass},
		"x= at the beginning":  {" x=1;", verifier.Policy},
		"t= and x= at the end": {fmt.Sprintf(" t=%d; x=%d;", int64(math.MaxInt64)-1, int64(math.MaxInt64)), verifier.PermError},
		"t= past all numbers":  {" t=" + strings.Repeat("9", 70) + ";", verifier.Policy},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.first().extra = test.extra
			if r := w.one(t); r.Status != test.want {
				t.Errorf("got %s (%s); want %s", r.Status, r.Reason(), test.want)
			}
		})
	}
}

// The limits of docs/design.md, from both sides and in figures.
func TestLimits(t *testing.T) {
	t.Parallel()
	t.Run("100 looked at", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		w.tamper = func(w *world) {
			for range 100 { // and the real one is the 101st
				w.header = append([][2]string{{"DKIM-Signature", " v=1; d=junk.example"}}, w.header...)
			}
		}
		results := w.verify(t).Results
		if results[99].Status != verifier.PermError || results[100].Status != verifier.Neutral {
			t.Errorf("the 100th is %s, the 101st %s", results[99].Status, results[100].Status)
		}
		w = newWorld()
		w.tamper = func(w *world) {
			for range 99 {
				w.header = append([][2]string{{"DKIM-Signature", " v=1; d=junk.example"}}, w.header...)
			}
		}
		if results = w.verify(t).Results; results[99].Status != verifier.Pass {
			t.Errorf("a signature that is the 100th: %s", results[99].Status)
		}
	})
	t.Run("10 verified", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		for i := range 10 {
			w.add(fmt.Sprintf("z%d.example", i)) // on top of that of the author's domain
		}
		count := map[verifier.Status]int{}
		for _, r := range w.verify(t).Results {
			count[r.Status]++
		}
		if count[verifier.Pass] != 10 || count[verifier.Neutral] != 1 {
			t.Errorf("11 signatures: %v", count)
		}
	})
	t.Run("16 records", func(t *testing.T) {
		t.Parallel()
		for n, want := range map[int]verifier.Status{15: verifier.Pass, 16: verifier.PermError} {
			w := newWorld()
			var records []string
			for range n {
				records = append(records, "v=spf1 -all")
			}
			w.setKey(append(records, w.key())...)
			if r := w.one(t); r.Status != want {
				t.Errorf("the key behind %d other records: %s (%s)", n, r.Status, r.Reason())
			}
		}
	})
}
