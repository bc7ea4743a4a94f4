package keys

import (
	"context"
	"crypto"
)

// Key is one key file.
type Key struct {
	Domain, Selector, Path string
}

// Private is a key that is ready to sign.
type Private struct {
	Signer crypto.Signer
	Type   string // "rsa" or "ed25519"
	Bits   int
}

// Load waits until the key is parsed, once, or until ctx is done.
func (k *Key) Load(context.Context) (*Private, error) { return nil, nil }

// Ready is the key or its fault if it is parsed already.
func (k *Key) Ready() (*Private, error, bool) { return nil, nil, false }
