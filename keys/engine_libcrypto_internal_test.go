//go:build libcrypto && cgo

package keys

import (
	"testing"

	"dkimd/internal/openssl"
)

// In this build keys sign through OpenSSL.
func TestLibcryptoEngages(t *testing.T) {
	t.Parallel()
	k := &rsaKey{private: testRSA()}
	if !k.engage(openssl.SHA256Signer, func(err error) { t.Error(err) }) {
		t.Error("crypto/rsa signs")
	}
}
