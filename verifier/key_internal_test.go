package verifier

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"dkimd/internal/dkim"
)

func rsaRecord(t *testing.T, public *rsa.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

func newRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

// A record is read once; another text at the same name is another key.
func TestKeyringReadsARecordOnce(t *testing.T) {
	t.Parallel()
	ring, err := newKeyring()
	if err != nil {
		t.Fatal(err)
	}
	first, second := newRSA(t, 1024), newRSA(t, 1024)
	digest := sha256.Sum256([]byte("x"))
	signature, err := rsa.SignPKCS1v15(nil, first, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	k := ring.read(rsaRecord(t, &first.PublicKey))
	if !k.verifies(&digest, signature) || ring.read(rsaRecord(t, &first.PublicKey)) != k {
		t.Error("the key is not the one that was read")
	}
	if other := ring.read(rsaRecord(t, &second.PublicKey)); other == k || other.verifies(&digest, signature) {
		t.Error("another record has the same key")
	}
	for range 2 {
		if revoked := ring.read("v=DKIM1; p="); !errors.Is(revoked.err, dkim.ErrKeyRevoked) || revoked.verifies(&digest, signature) {
			t.Errorf("a revoked key: %v", revoked.err)
		}
	}
}

// Strangers publish as many records as they like.
func TestKeyringIsBounded(t *testing.T) {
	t.Parallel()
	ring, err := newKeyring()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * keptKeys {
		ring.read(fmt.Sprintf("v=DKIM1; n=%d; p=", i))
	}
	ring.kept.CleanUp()
	if n := ring.kept.EstimatedSize(); n > keptKeys {
		t.Errorf("%d keys are kept", n)
	}
}

// No mail is refused by the fast way alone.
func TestCryptoRSAHasTheLastWord(t *testing.T) {
	t.Parallel()
	private := newRSA(t, 1024)
	digest := sha256.Sum256([]byte("x"))
	signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	k := &key{
		KeyRecord: &dkim.KeyRecord{PublicKey: &private.PublicKey},
		fast:      func(*[sha256.Size]byte, []byte) bool { asked++; return false },
	}
	if !k.verifies(&digest, signature) || asked != 1 {
		t.Error("a good signature was refused")
	}
	signature[5] ^= 1
	if k.verifies(&digest, signature) {
		t.Error("a broken signature passed")
	}
}
