//go:build !libcrypto || !cgo

package openssl

// SHA256Signer returns nil, and no error: this build has no OpenSSL.
func SHA256Signer([]byte) (Signer, error) { return nil, nil } //nolint:nilnil // it is not a failure

// SHA256Verifier returns nil, and no error: this build has no OpenSSL.
func SHA256Verifier([]byte) (Verifier, error) { return nil, nil } //nolint:nilnil // it is not a failure
