package keys

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"io"
	"log/slog"
	"strconv"
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

func privateRSA(k *rsa.PrivateKey) *Private {
	return &Private{&guarded{k.Public(), k.Sign}, RSA, k.N.BitLen()}
}

func privateEd25519(k ed25519.PrivateKey) *Private {
	return &Private{&guarded{k.Public(), k.Sign}, Ed25519, 256}
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
