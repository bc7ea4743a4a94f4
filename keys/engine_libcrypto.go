//go:build libcrypto && cgo

package keys

/*
#cgo pkg-config: libcrypto
#cgo noescape dkimd_sign
#cgo nocallback dkimd_init
#cgo nocallback dkimd_open
#cgo nocallback dkimd_sign
#cgo nocallback dkimd_free

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#if OPENSSL_VERSION_MAJOR < 3
#error "the build tag libcrypto needs OpenSSL 3"
#endif

// OpenSSL keeps its errors by thread, and after a call Go may go on in another one:
// each function takes the error with it. 0 means that all is well.
static unsigned long dkimd_error(int ok) {
	if (ok) return 0;
	unsigned long code = ERR_peek_last_error();
	ERR_clear_error();
	return code ? code : 1;
}

static unsigned long dkimd_init(int config) {
	return dkimd_error(OPENSSL_init_crypto(config ? OPENSSL_INIT_LOAD_CONFIG : OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1);
}

// dkimd_open makes the template of which each signature takes a copy.
static unsigned long dkimd_open(const unsigned char *der, long n, EVP_PKEY_CTX **template) {
	EVP_PKEY_CTX *ctx = NULL;
	EVP_PKEY *key = d2i_PrivateKey(EVP_PKEY_RSA, NULL, &der, n);
	int ok = key != NULL &&
		(ctx = EVP_PKEY_CTX_new(key, NULL)) != NULL &&
		EVP_PKEY_sign_init(ctx) > 0 &&
		EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) > 0 &&
		EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0;
	unsigned long err = dkimd_error(ok);
	EVP_PKEY_free(key); // ctx has a reference of its own
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

// dkimd_free clears the key, too.
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

// libcrypto is set up once. The system's openssl.cnf is for programs that want
// what it may load; only who asks for FIPS mode (GODEBUG=fips140) needs the providers it names.
//
//nolint:gochecknoglobals // it belongs to the process
var libcrypto = sync.OnceValue(func() error {
	config := C.int(0)
	if fips140.Enabled() {
		config = 1
	}
	return opensslError(C.dkimd_init(config))
})

// libcryptoKey is an RSA key in the memory of OpenSSL.
type libcryptoKey struct{ template *C.EVP_PKEY_CTX }

// newEngine signs through the system's OpenSSL.
func newEngine(der []byte) (engine, error) {
	if err := libcrypto(); err != nil {
		return nil, err
	}
	k := &libcryptoKey{}
	if err := opensslError(C.dkimd_open((*C.uchar)(unsafe.SliceData(der)), C.long(len(der)), &k.template)); err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	runtime.AddCleanup(k, func(template *C.EVP_PKEY_CTX) { C.dkimd_free(template) }, k.template)
	return k.sign, nil
}

// sign makes one crossing of the border to C.
func (k *libcryptoKey) sign(digest *[sha256.Size]byte) ([]byte, error) {
	signature := make([]byte, MaxRSABits/8)
	n := C.size_t(len(signature))
	err := opensslError(C.dkimd_sign(k.template, (*C.uchar)(&digest[0]), (*C.uchar)(&signature[0]), &n))
	runtime.KeepAlive(k)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return signature[:n], nil
}

func opensslError(code C.ulong) error {
	if code == 0 {
		return nil
	}
	text := make([]byte, 256)
	C.ERR_error_string_n(code, (*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text)))
	return errors.New("openssl: " + C.GoString((*C.char)(unsafe.Pointer(&text[0]))))
}
