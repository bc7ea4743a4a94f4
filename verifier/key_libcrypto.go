//go:build libcrypto && cgo

package verifier

/*
#cgo pkg-config: libcrypto
#cgo noescape dkimd_verify
#cgo nocallback dkimd_verify_init
#cgo nocallback dkimd_open_public
#cgo nocallback dkimd_verify
#cgo nocallback dkimd_free_public

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

// The system's openssl.cnf is for programs that want what it may load; see keys.
static int dkimd_verify_init(int config) {
	return OPENSSL_init_crypto(config ? OPENSSL_INIT_LOAD_CONFIG : OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1;
}

// dkimd_open_public makes the template of which each verification takes a copy, from
// an RSAPublicKey (RFC 8017 appendix A.1.1).
static EVP_PKEY_CTX *dkimd_open_public(const unsigned char *der, long n) {
	EVP_PKEY_CTX *ctx = NULL;
	EVP_PKEY *key = d2i_PublicKey(EVP_PKEY_RSA, NULL, &der, n);
	int ok = key != NULL &&
		(ctx = EVP_PKEY_CTX_new(key, NULL)) != NULL &&
		EVP_PKEY_verify_init(ctx) > 0 &&
		EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) > 0 &&
		EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0;
	EVP_PKEY_free(key); // ctx has a reference of its own
	if (!ok) {
		EVP_PKEY_CTX_free(ctx);
		ctx = NULL;
	}
	ERR_clear_error();
	return ctx;
}

static int dkimd_verify(EVP_PKEY_CTX *template, const unsigned char *digest, const unsigned char *sig, size_t n) {
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_dup(template);
	int ok = ctx != NULL && EVP_PKEY_verify(ctx, sig, n, digest, 32) == 1;
	EVP_PKEY_CTX_free(ctx);
	if (!ok) ERR_clear_error(); // errors belong to the thread, and another goroutine may have it next
	return ok;
}

static void dkimd_free_public(EVP_PKEY_CTX *template) { EVP_PKEY_CTX_free(template); }
*/
import "C"

import (
	"crypto/fips140"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"runtime"
	"sync"
	"unsafe"
)

// libcrypto is set up once.
//
//nolint:gochecknoglobals // it belongs to the process
var libcrypto = sync.OnceValue(func() bool {
	config := C.int(0)
	if fips140.Enabled() {
		config = 1
	}
	return C.dkimd_verify_init(config) == 1
})

// publicKey is an RSA key in the memory of OpenSSL.
type publicKey struct{ template *C.EVP_PKEY_CTX }

// newFastVerify verifies through the system's OpenSSL, in half the time of crypto/rsa,
// which prepares the modulus anew each time. The key has passed the checks of
// ParseKeyRecord; what OpenSSL does not take, crypto/rsa may still verify.
func newFastVerify(public *rsa.PublicKey) fastVerify {
	if !libcrypto() {
		return nil
	}
	der := x509.MarshalPKCS1PublicKey(public)
	k := &publicKey{C.dkimd_open_public((*C.uchar)(unsafe.SliceData(der)), C.long(len(der)))}
	if k.template == nil {
		return nil
	}
	runtime.AddCleanup(k, func(template *C.EVP_PKEY_CTX) { C.dkimd_free_public(template) }, k.template)
	return k.verify
}

func (k *publicKey) verify(digest *[sha256.Size]byte, signature []byte) bool {
	ok := C.dkimd_verify(k.template, (*C.uchar)(&digest[0]), (*C.uchar)(unsafe.SliceData(signature)), C.size_t(len(signature))) == 1
	runtime.KeepAlive(k)
	return ok
}
