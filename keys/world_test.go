package keys_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/message"
	"dkimd/keys"
)

// The key of RFC 8463 appendix A.2, as openssl genpkey writes it.
const (
	rfc8463Seed   = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
	rfc8463Public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	rfc8463PEM    = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

var rsaPEM = sync.OnceValue(func() string {
	return pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey())))
})

var ecKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pemOf(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

// fakeRSA is a private key of a size that crypto/rsa would take long to make, or refuses to.
func fakeRSA(bits uint) *rsa.PrivateKey {
	one := big.NewInt(1)
	n := new(big.Int).Lsh(one, bits-1)
	n.Add(n, one)
	return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, D: big.NewInt(3), Primes: []*big.Int{big.NewInt(3), big.NewInt(5)}}
}

// world is a directory of keys.
type world struct {
	t   *testing.T
	dir string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	return &world{t, dir}
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// write writes a file at mode 0640, and the directory above it.
func (w *world) write(name, content string) string {
	w.t.Helper()
	path := w.path(name)
	w.check(os.MkdirAll(filepath.Dir(path), 0o750))
	w.check(os.WriteFile(path, []byte(content), 0o640))
	w.check(os.Chmod(path, 0o640))
	return path
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// open opens the store and waits for its keys.
func (w *world) open() (*keys.Store, fault.Faults) {
	w.t.Helper()
	s := w.with(keys.Config{Directory: w.dir})
	return s, s.Faults()
}

// with is open for another configuration.
func (w *world) with(c keys.Config) *keys.Store {
	w.t.Helper()
	s, _ := keys.Open(c)
	w.t.Cleanup(s.Close)
	w.check(s.Wait(within(w.t)))
	return s
}

// within is a context that ends long after any test should.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// texts are faults with the world's directory left out.
func (w *world) texts(faults fault.Faults) string {
	var all []string
	for _, f := range faults {
		all = append(all, strings.ReplaceAll(f.Error(), w.dir+"/", ""))
	}
	return strings.ReplaceAll(strings.Join(all, "\n"), w.dir, "DIR")
}

func seedKey() ed25519.PrivateKey {
	block, _ := pem.Decode([]byte(rfc8463PEM))
	return must(x509.ParsePKCS8PrivateKey(block.Bytes)).(ed25519.PrivateKey)
}

// lookup is the one domain that signs for a domain, or nil.
func lookup(s *keys.Store, name domain.Name) *keys.Domain {
	found := s.Lookup(message.Address{Local: "joe", Domain: name})
	if len(found) == 0 {
		return nil
	}
	return found[0]
}
