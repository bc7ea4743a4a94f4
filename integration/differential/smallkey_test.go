//go:build integration

package differential_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"math/big"
)

// smallKey is an RSA key that crypto/rsa refuses to make and to sign with.
type smallKey struct{ n, d *big.Int }

func newSmallKey(bits int) smallKey {
	e, one := big.NewInt(65537), big.NewInt(1)
	for {
		p, err := rand.Prime(rand.Reader, bits/2)
		if err != nil {
			panic(err)
		}
		q, err := rand.Prime(rand.Reader, bits-bits/2)
		if err != nil {
			panic(err)
		}
		n := new(big.Int).Mul(p, q)
		d := new(big.Int).ModInverse(e, new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)))
		if n.BitLen() == bits && d != nil {
			return smallKey{n, d}
		}
	}
}

func (k smallKey) Public() crypto.PublicKey { return &rsa.PublicKey{N: k.n, E: 65537} }

// Sign is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2.1).
func (k smallKey) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	info := append([]byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, digest...)
	size := (k.n.BitLen() + 7) / 8
	padded := append([]byte{0, 1}, bytes.Repeat([]byte{0xff}, size-3-len(info))...)
	padded = append(append(padded, 0), info...)
	return new(big.Int).Exp(new(big.Int).SetBytes(padded), k.d, k.n).FillBytes(make([]byte, size)), nil
}
