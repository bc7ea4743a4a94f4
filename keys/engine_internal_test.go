package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"dkimd/internal/openssl"
)

var testRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func testRSAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(testRSA())})
}

// reference is an engine that does what crypto/rsa does.
func reference(digest *[sha256.Size]byte) ([]byte, error) {
	return rsa.SignPKCS1v15(nil, testRSA(), crypto.SHA256, digest[:])
}

// failures is a Meter.
type failures struct{ atomic.Int32 }

func (f *failures) EngineFailed() { f.Add(1) }

var errInjected = errors.New("injected")

// However an engine fails, the key signs on with crypto/rsa, and one alarm says so.
func TestEngineFails(t *testing.T) {
	t.Parallel()
	failsFrom := func(call int32) openEngine {
		var calls atomic.Int32
		return func([]byte) (openssl.Signer, error) {
			return func(digest *[sha256.Size]byte) ([]byte, error) {
				if calls.Add(1) >= call {
					return nil, errInjected
				}
				return reference(digest)
			}, nil
		}
	}
	spoilt := func(spoil func(signature []byte) []byte) openEngine {
		return func([]byte) (openssl.Signer, error) {
			return func(digest *[sha256.Size]byte) ([]byte, error) {
				signature, err := reference(digest)
				return spoil(signature), err
			}, nil
		}
	}
	for name, test := range map[string]struct {
		open  openEngine
		name  string
		alarm string // empty: none
	}{
		"works":            {func([]byte) (openssl.Signer, error) { return reference, nil }, engineLibcrypto, ""},
		"is not there":     {func([]byte) (openssl.Signer, error) { return nil, nil }, engineGo, ""},
		"does not open":    {func([]byte) (openssl.Signer, error) { return nil, errInjected }, engineGo, "error=injected"},
		"fails its test":   {failsFrom(1), engineGo, `error="self-test: injected"`},
		"fails in service": {failsFrom(2), engineLibcrypto, "error=injected"},
		"fails late":       {failsFrom(9), engineLibcrypto, "error=injected"},
		"one bit is wrong": {spoilt(func(s []byte) []byte { s[200] ^= 1; return s }), engineGo, errWrong.Error()},
		"is short":         {spoilt(func(s []byte) []byte { return s[1:] }), engineGo, errWrong.Error()},
		"is empty":         {spoilt(func([]byte) []byte { return nil }), engineGo, errWrong.Error()},
		"has a zero more":  {spoilt(func(s []byte) []byte { return append([]byte{0}, s...) }), engineGo, errWrong.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			path := filepath.Join(t.TempDir(), "s1.pem")
			if err := os.WriteFile(path, testRSAPEM(), 0o600); err != nil {
				t.Fatal(err)
			}
			failed := &failures{}
			r := newReader(Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Meter: failed}, fingerprint{})
			r.open = test.open
			private, err := newKey("example.org", "s1", path, fingerprint{}, r).Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if private.Engine != test.name {
				t.Errorf("engine %s, want %s", private.Engine, test.name)
			}
			var messages sync.WaitGroup
			for i := range 16 {
				messages.Go(func() {
					hash := sha256.Sum256([]byte{byte(i)})
					want, _ := reference(&hash)
					if got, err := private.Sign(t.Context(), hash); err != nil || !bytes.Equal(got, want) {
						t.Errorf("Sign: %x %v", got, err)
					}
				})
			}
			messages.Wait()
			if want := min(1, len(test.alarm)); int(failed.Load()) != want {
				t.Errorf("%d failures were counted, want %d", failed.Load(), want)
			}
			alarm := `level=ERROR msg="engine failed: crypto/rsa signs with this key from now on" engine=libcrypto domain=example.org selector=s1 `
			switch text := log.String(); {
			case test.alarm == "" && text != "":
				t.Errorf("log: %s", text)
			case test.alarm != "" && (strings.Count(text, "\n") != 1 || !strings.Contains(text, alarm) || !strings.Contains(text, test.alarm)):
				t.Errorf("log: %s", text)
			}
		})
	}
}

// The DER of a key does not stay in memory, whether an engine takes it or not.
func TestEngineGetsTheKeyAndItIsCleared(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{nil, errInjected} {
		var der []byte
		k := &rsaKey{private: testRSA()}
		k.engage(func(data []byte) (openssl.Signer, error) {
			if key, err := x509.ParsePKCS1PrivateKey(data); err != nil || !key.Equal(testRSA()) {
				t.Error("not the key")
			}
			der = data
			return reference, fault
		}, func(error) {})
		if len(der) == 0 || len(bytes.Trim(der, "\x00")) != 0 {
			t.Error("the key is left in memory")
		}
	}
}

// An engine signs SHA-256 digests with PKCS #1 v1.5 and nothing else.
func TestEngineIsNotAskedForOthers(t *testing.T) {
	t.Parallel()
	k := &rsaKey{private: testRSA()}
	calls := 0
	k.engage(func([]byte) (openssl.Signer, error) {
		return func(digest *[sha256.Size]byte) ([]byte, error) { calls++; return reference(digest) }, nil
	}, func(err error) { t.Error(err) })
	calls = 0
	digest := sha256.Sum256(nil)
	if _, err := k.sign(rand.Reader, digest[:20], crypto.SHA1); err != nil {
		t.Error(err)
	}
	if _, err := k.sign(rand.Reader, digest[:31], crypto.SHA256); err == nil {
		t.Error("a short digest is signed")
	}
	signature, err := k.sign(rand.Reader, digest[:], &rsa.PSSOptions{Hash: crypto.SHA256})
	if err != nil || rsa.VerifyPSS(&k.private.PublicKey, crypto.SHA256, digest[:], signature, nil) != nil {
		t.Errorf("PSS: %v", err)
	}
	if calls != 0 {
		t.Errorf("asked %d times", calls)
	}
}

// threads is the number of threads of the process.
func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	return len(tasks)
}

// With libcrypto a signature under way is a thread: 200 messages at once must not be 200
// of them, nor 200 keys that are used for the first time. It runs alone: other tests make threads, too.
func TestThreadsAreBounded(t *testing.T) {
	const messages = 200
	dir := t.TempDir()
	var all []*Key
	r := newReader(Config{}, fingerprint{})
	for i := range messages {
		path := filepath.Join(dir, fmt.Sprintf("s%d.pem", i))
		if err := os.WriteFile(path, testRSAPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		all = append(all, newKey("example.org", fmt.Sprintf("s%d", i), path, fingerprint{}, r))
	}
	before := threads(t)
	most := atomic.Int64{}
	var work sync.WaitGroup
	for _, k := range all {
		work.Go(func() {
			for range 3 {
				private, err := k.Load(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := private.Sign(context.Background(), sha256.Sum256(nil)); err != nil {
					t.Error(err)
				}
				most.Store(max(most.Load(), int64(threads(t))))
			}
		})
	}
	work.Wait()
	bound := before + runtime.GOMAXPROCS(0) + 6
	t.Logf("%d threads before, %d at most, bound %d", before, most.Load(), bound)
	if most.Load() > int64(bound) {
		t.Errorf("%d threads; want %d at most", most.Load(), bound)
	}
}
