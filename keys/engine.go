package keys

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"dkimd/internal/openssl"
)

// The engines, as the log names them.
const (
	engineGo        = "crypto/rsa"
	engineLibcrypto = "libcrypto"
)

// openEngine makes the engine of a key, as openssl.SHA256Signer does. A nil engine: crypto/rsa is to sign.
type openEngine func(der []byte) (openssl.Signer, error)

// rsaKey signs with the engine as long as that works, and with crypto/rsa
// otherwise. It is only ever held by closures: see guarded.
type rsaKey struct {
	private *rsa.PrivateKey
	engine  atomic.Pointer[openssl.Signer]
	alarm   func(error) // hears of the engine's one failure
}

// sign has the signature of crypto.Signer.
func (k *rsaKey) sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if e := k.engine.Load(); e != nil && opts == crypto.SHA256 && len(digest) == sha256.Size {
		signature, err := (*e)((*[sha256.Size]byte)(digest))
		if err == nil {
			return signature, nil
		}
		if k.engine.CompareAndSwap(e, nil) {
			k.alarm(err)
		}
	}
	return k.private.Sign(random, digest, opts)
}

// errWrong is an engine whose signature is not the one that crypto/rsa makes.
var errWrong = errors.New("self-test: another signature than that of crypto/rsa")

// engage puts an engine in front of crypto/rsa once it has passed its self-test.
// It is called before the key is used, and reports whether the engine signs now. The alarm is called
// at most once, now or later, with the engine's error: crypto/rsa signs from then on.
func (k *rsaKey) engage(open openEngine, alarm func(error)) bool {
	der := x509.MarshalPKCS1PrivateKey(k.private)
	e, err := open(der)
	clear(der)
	if err == nil && e != nil {
		err = selfTest(e, &k.private.PublicKey)
	}
	switch {
	case err != nil:
		alarm(err)
	case e != nil:
		k.alarm = alarm
		k.engine.Store(&e)
		return true
	}
	return false
}

// selfTest compares an engine with crypto/rsa on a fixed digest. PKCS #1 v1.5 has one
// signature for a digest, so one that crypto/rsa verifies is byte for byte the one
// that crypto/rsa makes; and to verify takes a thirtieth of the time.
func selfTest(e openssl.Signer, public *rsa.PublicKey) error {
	digest := sha256.Sum256([]byte("dkimd"))
	signature, err := e(&digest)
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	if rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) != nil {
		return errWrong
	}
	return nil
}
