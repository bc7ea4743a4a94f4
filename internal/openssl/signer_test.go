//go:build libcrypto && cgo

package openssl_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
	"testing"

	"dkimd/internal/openssl"
)

// Byte for byte what crypto/rsa makes, for each size that signs, from many goroutines.
func TestLibcryptoSignsAsGoDoes(t *testing.T) {
	t.Parallel()
	for _, bits := range []int{1024, 1536, 2048, 3072, 4096} {
		key := newRSA(t, bits)
		sign, err := openssl.SHA256Signer(x509.MarshalPKCS1PrivateKey(key))
		if err != nil {
			t.Fatal(err)
		}
		var callers sync.WaitGroup
		for caller := range uint32(4) {
			callers.Go(func() {
				for i := range uint32(20) {
					digest := sha256.Sum256(binary.BigEndian.AppendUint32(nil, caller<<16+i))
					got, err := sign(&digest)
					want, goErr := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
					if err != nil || goErr != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bits: %v %v", bits, err, goErr)
					}
				}
			})
		}
		callers.Wait()
	}
}

// The error is that of this call, in OpenSSL's words, and the next call is not the worse for it.
func TestLibcryptoRefuses(t *testing.T) {
	t.Parallel()
	der := x509.MarshalPKCS1PrivateKey(newRSA(t, 2048))
	for name, bad := range map[string][]byte{"nothing": nil, "junk": []byte("junk"), "half a key": der[:len(der)/2]} {
		sign, err := openssl.SHA256Signer(bad)
		if sign != nil || err == nil || !strings.HasPrefix(err.Error(), "read the key: openssl: error:") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := openssl.SHA256Signer(der); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

// Keys that nobody holds are freed, and one that is held never with them.
func TestLibcryptoKeysComeAndGo(t *testing.T) {
	t.Parallel()
	private := newRSA(t, 2048)
	der := x509.MarshalPKCS1PrivateKey(private)
	digest := sha256.Sum256(nil)
	want, _ := rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest[:])
	for range 50 {
		for range 10 {
			if _, err := openssl.SHA256Signer(der); err != nil {
				t.Fatal(err)
			}
		}
		sign, err := openssl.SHA256Signer(der)
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		if got, err := sign(&digest); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v", err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	sign, err := openssl.SHA256Signer(x509.MarshalPKCS1PrivateKey(newRSA(b, 2048)))
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sign(&digest); err != nil {
			b.Fatal(err)
		}
	}
}
