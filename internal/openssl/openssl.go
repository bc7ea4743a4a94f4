// Package openssl signs and verifies with RSA keys through the system's OpenSSL 3: PKCS #1 v1.5
// (RFC 8017 section 8.2) over SHA-256 digests, faster than crypto/rsa. It is the only package that
// uses cgo, and only with the build tag libcrypto; without it there is no engine.
//
// It judges no key: callers check size and form first, and fall back to crypto/rsa.
package openssl

import "crypto/sha256"

// Signer signs a SHA-256 digest. It may be used from many goroutines at once.
type Signer func(digest *[sha256.Size]byte) ([]byte, error)

// Verifier reports whether a signature is one of a SHA-256 digest. It may be used from many
// goroutines at once.
type Verifier func(digest *[sha256.Size]byte, signature []byte) bool
