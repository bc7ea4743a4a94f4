//go:build libcrypto && cgo

package keys

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Byte for byte what crypto/rsa makes, for each size that signs, from many goroutines.
func TestLibcryptoSignsAsGoDoes(t *testing.T) {
	t.Parallel()
	for _, bits := range []int{1024, 1536, 2048, 3072, 4096} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		sign, err := newEngine(x509.MarshalPKCS1PrivateKey(key))
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
	der := x509.MarshalPKCS1PrivateKey(testRSA())
	for name, bad := range map[string][]byte{"nothing": nil, "junk": []byte("junk"), "half a key": der[:len(der)/2]} {
		sign, err := newEngine(bad)
		if sign != nil || err == nil || !strings.HasPrefix(err.Error(), "read the key: openssl: error:") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := newEngine(der); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

// Keys that nobody holds are freed, and one that is held never with them.
func TestLibcryptoKeysComeAndGo(t *testing.T) {
	t.Parallel()
	der := x509.MarshalPKCS1PrivateKey(testRSA())
	digest := sha256.Sum256(nil)
	want, _ := reference(&digest)
	for range 50 {
		for range 10 {
			if _, err := newEngine(der); err != nil {
				t.Fatal(err)
			}
		}
		sign, err := newEngine(der)
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		if got, err := sign(&digest); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v", err)
		}
	}
}

// What engages in this build is libcrypto.
func TestLibcryptoEngages(t *testing.T) {
	t.Parallel()
	k := &rsaKey{private: testRSA()}
	if !k.engage(newEngine, func(err error) { t.Error(err) }) {
		t.Error("crypto/rsa signs")
	}
}

func BenchmarkEngineLibcrypto(b *testing.B) {
	sign, err := newEngine(x509.MarshalPKCS1PrivateKey(testRSA()))
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
