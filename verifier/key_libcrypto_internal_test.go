//go:build libcrypto && cgo

package verifier

import (
	"crypto/rsa"
	"math/big"
	"testing"
)

// Strangers publish keys of any size.
func TestOnlyUsualKeysReachLibcrypto(t *testing.T) {
	t.Parallel()
	ring, err := newKeyring()
	if err != nil {
		t.Fatal(err)
	}
	for bits, want := range map[int]bool{1016: false, 1024: true, 4096: true, 4104: false, 16384: false} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		k := ring.read(rsaRecord(t, &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}))
		if k.err != nil || (k.fast != nil) != want {
			t.Errorf("%d bits: fast %v, want %v; %v", bits, k.fast != nil, want, k.err)
		}
	}
}
