//go:build integration

package differential_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// seed makes a run repeatable: the messages and their damage, not the keys.
var seed = sync.OnceValue(func() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("DKIMD_DIFF_SEED"), 10, 64); err == nil {
		return n
	}
	return 6376
})

// times is how many messages there are where n are enough for every day.
func times(n int) int {
	if factor, err := strconv.ParseFloat(os.Getenv("DKIMD_DIFF_COUNT"), 64); err == nil {
		return int(float64(n) * factor)
	}
	return n
}

// need skips the test where a program is missing, or fails it when everything is required.
func need(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err == nil {
		return
	}
	harness.SkipOrFail(t, fmt.Sprintf("%s cannot be run: %v\n%s; run scripts/install-test-deps", name, err, out))
}

// A key that signs for every domain under its own selectors.
type key struct {
	algorithm string
	private   crypto.Signer
	pkcs1     []byte // PEM for RSA; the seed in base64, as python3-dkim and OpenDKIM want it, for Ed25519
	pkcs8     []byte // PEM
	p         string // p=
	record    string
}

func newKey(private crypto.Signer) key {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	k := key{private: private, pkcs8: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
	switch private := private.(type) {
	case *rsa.PrivateKey:
		public, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			panic(err)
		}
		k.algorithm = "rsa-sha256"
		k.pkcs1 = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})
		k.p = base64.StdEncoding.EncodeToString(public)
		k.record = "v=DKIM1; k=rsa; p=" + k.p
	case ed25519.PrivateKey:
		public, _ := private.Public().(ed25519.PublicKey)
		k.algorithm = "ed25519-sha256"
		k.pkcs1 = []byte(base64.StdEncoding.EncodeToString(private.Seed()))
		k.p = base64.StdEncoding.EncodeToString(public)
		k.record = "v=DKIM1; k=ed25519; p=" + k.p
	}
	return k
}

// The keys, by selector. RSA keys of 1024 bits, as small as RFC 8301 allows,
// since dkimpy signs slowly; one of usual size.
var keyring = sync.OnceValue(func() map[string]key {
	ring := map[string]key{}
	for name, bits := range map[string]int{"rsa": 1024, "other": 1024, "rsa2048": 2048} {
		private, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		ring[name] = newKey(private)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	ring["ed"] = newKey(private)
	return ring
})

// A sample is a message on its way to the verifiers.
type sample struct {
	name    string // how it was made, so that it can be made again
	raw     []byte
	records map[string][]string // TXT records by name; "!" is a server that fails
	now     time.Time           // zero: the clock
	odd     []string            // what was done to it
	fixture bool
	// otherKey: DNS may hold another key than the one that signed.
	otherKey bool
}

// A class is what a verifier says of a signature.
type class string

// The classes. dkimpy tells no more than whether it passed.
const (
	pass      class = "pass"
	fail      class = "fail"
	policy    class = "policy"
	temperror class = "temperror"
	permerror class = "permerror"
	none      class = "none"  // the verifier does not mention the signature
	broken    class = "error" // not a pass, and no more is known
)

// A judgement is what a verifier says of one signature.
type judgement struct {
	class  class
	detail string
	b      string // the beginning of b=, or all of it; empty: unknown
}

// A peer judges the signatures of a message, top first. It may leave out some,
// if it gives the b= of the others.
type peer interface {
	name() string
	verify(t *testing.T, s *sample) []judgement
}

// standard is the DNS of most samples: each key under its selector.
func standard(domains ...string) map[string][]string {
	records := map[string][]string{}
	for _, domain := range domains {
		for selector, k := range keyring() {
			records[selector+"._domainkey."+domain] = []string{k.record}
		}
	}
	return records
}
