//go:build libcrypto && cgo

package openssl_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"runtime"
	"sync"
	"testing"

	"dkimd/internal/openssl"
)

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func verifier(t testing.TB, public *rsa.PublicKey) openssl.Verifier {
	t.Helper()
	verify, err := openssl.SHA256Verifier(x509.MarshalPKCS1PublicKey(public))
	if err != nil {
		t.Fatal(err)
	}
	return verify
}

// digestInfo is what stands before a SHA-256 hash in PKCS #1 v1.5 (RFC 8017 section 9.2).
var digestInfo = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

// padded is an encoded message with a padding of n octets, and more behind the hash.
func padded(size, n int, info, digest, more []byte) []byte {
	em := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, n)...)
	em = append(append(append(append(em, 0), info...), digest...), more...)
	return append(em, make([]byte, max(0, size-len(em)))...)[:size]
}

// libcrypto and crypto/rsa agree on every signature, well made and not: also where
// whoever made it has the key, as a sender does.
func TestLibcryptoAgreesWithCryptoRSA(t *testing.T) {
	t.Parallel()
	digest := sha256.Sum256([]byte("a header"))
	other := sha256.Sum256([]byte("another"))
	for _, bits := range []int{1024, 1031, 1536, 2048, 4096} {
		private := newRSA(t, bits)
		public := &private.PublicKey
		fast := verifier(t, public)
		size := public.Size()
		raw := func(em []byte) []byte {
			return new(big.Int).Exp(new(big.Int).SetBytes(em), private.D, private.N).FillBytes(make([]byte, size))
		}
		good := raw(padded(size, size-3-len(digestInfo)-32, digestInfo, digest[:], nil))
		noNull := append([]byte{0x30, 0x2f, 0x30, 0x0b}, append(append([]byte{}, digestInfo[4:15]...), 0x04, 0x20)...)
		signatures := map[string][]byte{
			"good":               good,
			"empty":              {},
			"nil":                nil,
			"zero":               make([]byte, size),
			"one":                append(make([]byte, size-1), 1),
			"shorter":            good[:size-1],
			"without its zeros":  bytes.TrimLeft(good, "\x00"),
			"longer":             append(append([]byte{}, good...), 0),
			"zero in front":      append([]byte{0}, good...),
			"not below modulus":  private.N.FillBytes(make([]byte, size)),
			"much too long":      bytes.Repeat([]byte{1}, 5*size),
			"short padding":      raw(padded(size, 8, digestInfo, digest[:], bytes.Repeat([]byte{7}, size))),
			"no padding":         raw(padded(size, 0, digestInfo, digest[:], nil)),
			"zeros behind":       raw(padded(size, size-4-len(digestInfo)-32, digestInfo, digest[:], []byte{0})),
			"without NULL":       raw(padded(size, size-3-len(noNull)-32, noNull, digest[:], nil)),
			"bare hash":          raw(padded(size, size-3-32, nil, digest[:], nil)),
			"of another hash":    raw(padded(size, size-3-len(digestInfo)-32, digestInfo, other[:], nil)),
			"of a longer hash":   raw(padded(size, size-3-len(digestInfo)-33, digestInfo, digest[:], []byte{1})),
			"the other sign":     new(big.Int).Sub(private.N, new(big.Int).SetBytes(good)).FillBytes(make([]byte, size)),
			"plus the modulus":   plus(good, private.N, size),
			"block type 2":       raw(append([]byte{0, 2}, padded(size, size-3-len(digestInfo)-32, digestInfo, digest[:], nil)[2:]...)),
			"first octet not 0":  raw(append([]byte{0, 0}, padded(size, size-3-len(digestInfo)-32, digestInfo, digest[:], nil)[2:]...)),
			"padding of 0xfe":    raw(bytes.Replace(padded(size, size-3-len(digestInfo)-32, digestInfo, digest[:], nil), []byte{0xff}, []byte{0xfe}, 1)),
			"another DigestInfo": raw(padded(size, size-3-len(digestInfo)-32, append(append([]byte{}, digestInfo[:14]...), 2, 5, 0, 4, 0x20), digest[:], nil)),
		}
		for i := 0; i < size; i += 7 {
			flipped := bytes.Clone(good)
			flipped[i] ^= 1 << (i % 8)
			signatures["flipped "+string(rune('0'+i%10))+string(rune('a'+i/10))] = flipped
		}
		passed := 0
		for name, signature := range signatures {
			want := rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
			if got := fast(&digest, signature); got != want {
				t.Errorf("%d bits, %s: libcrypto says %v, crypto/rsa %v", bits, name, got, want)
			}
			if want {
				passed++
			}
		}
		if passed == 0 || !fast(&digest, good) || fast(&other, good) {
			t.Errorf("%d bits: %d signatures of %d pass", bits, passed, len(signatures))
		}
	}
}

// plus is a signature with the modulus added: the same residue, out of range. Where
// it does not fit into the size it is the signature itself.
func plus(signature []byte, n *big.Int, size int) []byte {
	sum := new(big.Int).Add(new(big.Int).SetBytes(signature), n)
	if sum.BitLen() > 8*size {
		return signature
	}
	return sum.FillBytes(make([]byte, size))
}

// Keys that nobody holds are freed while others are in use.
func TestLibcryptoPublicKeysComeAndGo(t *testing.T) {
	t.Parallel()
	private := newRSA(t, 1024)
	digest := sha256.Sum256([]byte("x"))
	signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			verify := verifier(t, &private.PublicKey)
			for i := range 300 {
				if i%10 == 0 {
					verify = verifier(t, &private.PublicKey)
					runtime.GC()
				}
				if !verify(&digest, signature) {
					t.Error("a good signature was refused")
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkVerify(b *testing.B) {
	private := newRSA(b, 2048)
	digest := sha256.Sum256(nil)
	signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	verify := verifier(b, &private.PublicKey)
	b.ReportAllocs()
	for b.Loop() {
		if !verify(&digest, signature) {
			b.Fatal("a good signature was refused")
		}
	}
}
