package verifier

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"

	"dkimd/internal/dkim"
	"dkimd/internal/openssl"

	"github.com/maypok86/otter/v2"
)

// keptKeys is how many key records are kept as they were read. A few senders bring
// most of the mail. With libcrypto a key takes about 5 KiB.
const keptKeys = 1024

// key is a key record as it was read. It does not change.
type key struct {
	*dkim.KeyRecord
	err  error            // why it cannot be used, as ParseKeyRecord says
	fast openssl.Verifier // nil: crypto/rsa verifies
}

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
	if public, ok := k.PublicKey.(*rsa.PublicKey); ok && k.err == nil && k.Bits >= MinRSABits && k.Bits <= DefaultMaxRSABits {
		k.fast, _ = openssl.SHA256Verifier(x509.MarshalPKCS1PublicKey(public)) // crypto/rsa may take what OpenSSL does not
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
