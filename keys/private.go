package keys

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/semaphore"
)

// The types of keys, as k= names them (RFC 6376 section 3.6.1, RFC 8463 section 3).
const (
	RSA     = "rsa"
	Ed25519 = "ed25519"
)

// Private is a key that is ready to sign. However it is printed, logged or
// marshalled, the secret does not come out; nor does that of its Signer.
type Private struct {
	// Signer signs a SHA-256 digest: RSA with crypto.SHA256 as its options (RFC
	// 8017 section 8.2), Ed25519 with crypto.Hash(0) (RFC 8463 section 3).
	Signer crypto.Signer
	Type   string // RSA or Ed25519
	Bits   int    // of the modulus; 256 for Ed25519
	Engine string // what signed with an RSA key when it was loaded: libcrypto or crypto/rsa

	// engage puts an engine in front of crypto/rsa; see rsaKey. It reports whether it is in use. Nil for Ed25519.
	engage func(open openEngine, alarm func(error)) bool
}

// signSlots admits at most GOMAXPROCS private-key operations at once, first come
// first served. Without it 64 messages that end at once share the processors, and
// each of them, and every other connection, waits for all (measured: p99 8 times worse); with
// libcrypto each of them would also be a thread.
//
//nolint:gochecknoglobals // the processors belong to the process
var signSlots = semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))

// Sign signs a SHA-256 hash: with RSA as its digest (RFC 6376 section 3.3.2), with
// Ed25519 as its message (RFC 8463 section 3). It waits for a slot among all private-key
// operations of the process; that wait ends with ctx.
func (p Private) Sign(ctx context.Context, hash [sha256.Size]byte) ([]byte, error) {
	if err := signSlots.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for a processor: %w", context.Cause(ctx))
	}
	defer signSlots.Release(1)
	var opts crypto.SignerOpts = crypto.SHA256
	if p.Type == Ed25519 {
		opts = crypto.Hash(0)
	}
	signature, err := p.Signer.Sign(rand.Reader, hash[:], opts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Type, err)
	}
	return signature, nil
}

// time is how long one signature takes.
func (p Private) time() (time.Duration, error) {
	_ = signSlots.Acquire(context.Background(), 1) // never fails
	defer signSlots.Release(1)
	digest := sha256.Sum256(nil)
	start := time.Now()
	_, err := p.Signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	return time.Since(start), err
}

// String names the kind of key.
func (p Private) String() string { return p.Type + " key of " + strconv.Itoa(p.Bits) + " bits" }

// Format is String for every verb.
func (p Private) Format(f fmt.State, _ rune) { write(f, p.String()) }

// LogValue is String.
func (p Private) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText is String.
func (p Private) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// guarded is a crypto.Signer that keeps its secret to itself. The secret is in a
// closure, because fmt prints what it meets in unexported fields, or with a verb
// that does not fit, without asking its methods, and follows pointers there; of a function it prints the address.
type guarded struct {
	public crypto.PublicKey
	sign   func(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func privateRSA(private *rsa.PrivateKey) *Private {
	k := &rsaKey{private: private}
	return &Private{Signer: &guarded{private.Public(), k.sign}, Type: RSA, Bits: private.N.BitLen(), Engine: engineGo, engage: k.engage}
}

func privateEd25519(k ed25519.PrivateKey) *Private {
	return &Private{Signer: &guarded{k.Public(), k.Sign}, Type: Ed25519, Bits: 256}
}

func (g *guarded) Public() crypto.PublicKey { return g.public }

func (g *guarded) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return g.sign(random, digest, opts)
}

func (g *guarded) String() string               { return "private key" }
func (g *guarded) Format(f fmt.State, _ rune)   { write(f, g.String()) }
func (g *guarded) LogValue() slog.Value         { return slog.StringValue(g.String()) }
func (g *guarded) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

func write(f fmt.State, s string) { _, _ = io.WriteString(f, s) }
