package dkim

import (
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// readKey reads the public key of p=.
func (k *KeyRecord) readKey(p string) error {
	data, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(withoutSpace(p), "="))
	if err != nil {
		return fmt.Errorf("%w: p= is not base64", ErrKeySyntax)
	}
	if k.Type == TypeEd25519 {
		return k.readEd25519(data)
	}
	return k.readRSA(data)
}

// readEd25519 takes the 32 octets of RFC 8463 section 4, or
// SubjectPublicKeyInfo around them (RFC 8410 section 4).
func (k *KeyRecord) readEd25519(data []byte) error {
	if len(data) != ed25519.PublicKeySize {
		id, bits, ok := readPublicKeyInfo(data)
		if !ok || !id.Equal(asn1.ObjectIdentifier{1, 3, 101, 112}) || len(bits) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: not an Ed25519 key", ErrKeyData)
		}
		data = bits
	}
	k.PublicKey = ed25519.PublicKey(data)
	k.Bits = 8 * ed25519.PublicKeySize
	return nil
}

// readRSA takes SubjectPublicKeyInfo or a bare RSAPublicKey (RFC 8017 appendix
// A.1.1). The size of the numbers is looked at while they are still octets.
func (k *KeyRecord) readRSA(data []byte) error {
	if id, bits, ok := readPublicKeyInfo(data); ok {
		if !id.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}) {
			return fmt.Errorf("%w: not an RSA key", ErrKeyData)
		}
		data = bits
	}
	input := cryptobyte.String(data)
	var sequence, modulus, exponent cryptobyte.String
	if !input.ReadASN1(&sequence, cbasn1.SEQUENCE) || !input.Empty() ||
		!sequence.ReadASN1(&modulus, cbasn1.INTEGER) || !sequence.ReadASN1(&exponent, cbasn1.INTEGER) || !sequence.Empty() {
		return fmt.Errorf("%w: not an RSA key", ErrKeyData)
	}
	n, ok := positive(modulus)
	if !ok || n[len(n)-1]&1 == 0 {
		return fmt.Errorf("%w: the RSA modulus is not a positive odd number", ErrKeyData)
	}
	if len(n) > MaxModulusBits/8 {
		return ErrKeySize
	}
	e, ok := positive(exponent)
	if !ok || len(e) > 4 || e[len(e)-1]&1 == 0 {
		return fmt.Errorf("%w: the RSA exponent is not a sane odd number", ErrKeyData)
	}
	exp := 0
	for _, b := range e {
		exp = exp<<8 | int(b)
	}
	if exp < 3 || exp > 1<<31-1 {
		return fmt.Errorf("%w: the RSA exponent is not a sane odd number", ErrKeyData)
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: exp}
	k.PublicKey = key
	k.Bits = key.N.BitLen()
	return nil
}

// readPublicKeyInfo is the algorithm and the key inside SubjectPublicKeyInfo
// (RFC 5280 section 4.1.2.7), if that is what all of data is.
func readPublicKeyInfo(data []byte) (asn1.ObjectIdentifier, []byte, bool) {
	input := cryptobyte.String(data)
	var info, algorithm cryptobyte.String
	var id asn1.ObjectIdentifier
	var bits []byte
	if !input.ReadASN1(&info, cbasn1.SEQUENCE) || !input.Empty() ||
		!info.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&id) ||
		!info.ReadASN1BitStringAsBytes(&bits) || !info.Empty() {
		return nil, nil, false
	}
	return id, bits, true
}

// positive is an INTEGER above zero as octets without leading zeros.
func positive(integer []byte) ([]byte, bool) {
	if len(integer) == 0 || integer[0]&0x80 != 0 {
		return nil, false
	}
	for len(integer) > 0 && integer[0] == 0 {
		integer = integer[1:]
	}
	return integer, len(integer) > 0
}
