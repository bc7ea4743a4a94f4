//go:build libcrypto && cgo

package openssl

/*
#cgo pkg-config: libcrypto
#cgo noescape dkimd_sign
#cgo noescape dkimd_verify
#cgo nocallback dkimd_init
#cgo nocallback dkimd_open
#cgo nocallback dkimd_sign
#cgo nocallback dkimd_verify
#cgo nocallback dkimd_free

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#if OPENSSL_VERSION_MAJOR < 3
#error "the build tag libcrypto needs OpenSSL 3"
#endif

// OpenSSL keeps errors per thread, and after a call Go may continue on another thread:
// each function fetches and clears its own. 0 means success.
static unsigned long dkimd_error(int ok) {
	if (ok) return 0;
	unsigned long code = ERR_peek_last_error();
	ERR_clear_error();
	return code ? code : 1;
}

static unsigned long dkimd_init(int config) {
	return dkimd_error(OPENSSL_init_crypto(config ? OPENSSL_INIT_LOAD_CONFIG : OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1);
}

// dkimd_open makes the template that each operation copies, from an RSAPrivateKey or an
// RSAPublicKey (RFC 8017 appendix A.1).
static unsigned long dkimd_open(int private, const unsigned char *der, long n, EVP_PKEY_CTX **template, int *size) {
	EVP_PKEY_CTX *ctx = NULL;
	EVP_PKEY *key = private ? d2i_PrivateKey(EVP_PKEY_RSA, NULL, &der, n) : d2i_PublicKey(EVP_PKEY_RSA, NULL, &der, n);
	int ok = key != NULL &&
		(ctx = EVP_PKEY_CTX_new(key, NULL)) != NULL &&
		(private ? EVP_PKEY_sign_init(ctx) : EVP_PKEY_verify_init(ctx)) > 0 &&
		EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) > 0 &&
		EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0 &&
		(*size = EVP_PKEY_get_size(key)) > 0;
	unsigned long err = dkimd_error(ok);
	EVP_PKEY_free(key); // ctx holds its own reference
	if (ok) *template = ctx;
	else EVP_PKEY_CTX_free(ctx);
	return err;
}

static unsigned long dkimd_sign(EVP_PKEY_CTX *template, const unsigned char *digest, unsigned char *sig, size_t *n) {
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_dup(template);
	unsigned long err = dkimd_error(ctx != NULL && EVP_PKEY_sign(ctx, sig, n, digest, 32) > 0);
	EVP_PKEY_CTX_free(ctx);
	return err;
}

static int dkimd_verify(EVP_PKEY_CTX *template, const unsigned char *digest, const unsigned char *sig, size_t n) {
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_dup(template);
	unsigned long err = dkimd_error(ctx != NULL && EVP_PKEY_verify(ctx, sig, n, digest, 32) == 1);
	EVP_PKEY_CTX_free(ctx);
	return err == 0;
}

// dkimd_free wipes a private key, too.
static void dkimd_free(EVP_PKEY_CTX *template) { EVP_PKEY_CTX_free(template); }
*/
import "C"

import (
	"crypto/fips140"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

// initialize sets OpenSSL up once. The system's openssl.cnf may load providers and engines for other
// programs: it is read only in FIPS mode (GODEBUG=fips140), which needs the provider it names.
//
//nolint:gochecknoglobals // the library belongs to the process
var initialize = sync.OnceValue(func() error {
	config := C.int(0)
	if fips140.Enabled() {
		config = 1
	}
	return opensslError(C.dkimd_init(config))
})

// key is an RSA key in the memory of OpenSSL.
type key struct {
	template *C.EVP_PKEY_CTX
	size     C.int // octets of a signature
}

const (
	public  = 0
	private = 1
)

// open reads a key. OpenSSL keeps no reference to der.
func open(kind C.int, der []byte) (*key, error) {
	if err := initialize(); err != nil {
		return nil, err
	}
	k := &key{}
	if err := opensslError(C.dkimd_open(kind, (*C.uchar)(unsafe.SliceData(der)), C.long(len(der)), &k.template, &k.size)); err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	runtime.AddCleanup(k, func(template *C.EVP_PKEY_CTX) { C.dkimd_free(template) }, k.template)
	return k, nil
}

// SHA256Signer makes the Signer of an RSAPrivateKey (RFC 8017 appendix A.1.2). It keeps no
// reference to der.
func SHA256Signer(der []byte) (Signer, error) {
	k, err := open(private, der)
	if err != nil {
		return nil, err
	}
	return k.sign, nil
}

// SHA256Verifier makes the Verifier of an RSAPublicKey (RFC 8017 appendix A.1.1). It keeps no
// reference to der.
func SHA256Verifier(der []byte) (Verifier, error) {
	k, err := open(public, der)
	if err != nil {
		return nil, err
	}
	return k.verify, nil
}

// sign makes one call into C.
func (k *key) sign(digest *[sha256.Size]byte) ([]byte, error) {
	signature := make([]byte, k.size)
	n := C.size_t(len(signature))
	err := opensslError(C.dkimd_sign(k.template, (*C.uchar)(&digest[0]), (*C.uchar)(&signature[0]), &n))
	runtime.KeepAlive(k)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signature[:n], nil
}

// verify makes one call into C.
func (k *key) verify(digest *[sha256.Size]byte, signature []byte) bool {
	ok := C.dkimd_verify(k.template, (*C.uchar)(&digest[0]), (*C.uchar)(unsafe.SliceData(signature)), C.size_t(len(signature)))
	runtime.KeepAlive(k)
	return ok == 1
}

func opensslError(code C.ulong) error {
	if code == 0 {
		return nil
	}
	text := make([]byte, 256)
	C.ERR_error_string_n(code, (*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text)))
	return errors.New("openssl: " + C.GoString((*C.char)(unsafe.Pointer(&text[0]))))
}
