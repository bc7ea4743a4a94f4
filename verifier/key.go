package verifier

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"

	"dkimd/internal/dkim"

	"github.com/maypok86/otter/v2"
)

// keptKeys is how many key records are kept as they were read. A few senders bring
// most of the mail. With libcrypto a key takes about 5 KiB.
const keptKeys = 1024

// key is a key record as it was read. It does not change.
type key struct {
	*dkim.KeyRecord
	err  error      // why it cannot be used, as ParseKeyRecord says
	fast fastVerify // nil: crypto/rsa verifies
}

// fastVerify reports whether an RSA signature, PKCS #1 v1.5 (RFC 8017 section 8.2.2), is
// one of a SHA-256 digest. It is used from many goroutines at once.
type fastVerify func(digest *[sha256.Size]byte, signature []byte) bool

// keyring keeps key records by their text. Whatever DNS says is looked up there, so a
// record that changes is another one; and one that is thrown out is read again.
type keyring struct{ kept *otter.Cache[string, *key] }

func newKeyring() (*keyring, error) {
	kept, err := otter.New(&otter.Options[string, *key]{
		MaximumSize: keptKeys,
		Executor:    func(do func()) { do() }, // no goroutine without an owner
		Logger:      &otter.NoopLogger{},
	})
	if err != nil {
		return nil, err
	}
	return &keyring{kept}, nil
}

// read is a TXT record as a key.
func (r *keyring) read(txt string) *key {
	if k, ok := r.kept.GetIfPresent(txt); ok {
		return k
	}
	k := &key{}
	k.KeyRecord, k.err = dkim.ParseKeyRecord(txt)
	// Keys of other sizes are refused, or rare: nothing of them reaches OpenSSL.
	if public, ok := k.PublicKey.(*rsa.PublicKey); ok && k.err == nil && k.Bits >= minAnyRSABits && k.Bits <= defaultRSABits {
		k.fast = newFastVerify(public)
	}
	r.kept.Set(txt, k)
	return k
}

// verifies reports whether the key made a signature of a header hash.
//
// What the fast way does not verify is asked of crypto/rsa once more: no mail
// may be refused because two libraries differ.
func (k *key) verifies(digest *[sha256.Size]byte, signature []byte) bool {
	switch public := k.PublicKey.(type) {
	case *rsa.PublicKey:
		return k.fast != nil && k.fast(digest, signature) ||
			rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
	case ed25519.PublicKey: // RFC 8463 section 3: what is signed is the SHA-256 hash
		return ed25519.Verify(public, digest[:], signature)
	}
	return false
}
