package dkim

import (
	"crypto"
	"fmt"
	"strings"
)

// KeyRecord is a public key as DNS publishes it (RFC 6376 section 3.6.1).
type KeyRecord struct {
	Type      string           // k=: "rsa" or "ed25519"
	PublicKey crypto.PublicKey // *rsa.PublicKey or ed25519.PublicKey
	Bits      int              // of the modulus; 256 for Ed25519
	Hashes    []string         // h=, as written; nil: any
	Services  []string         // s=, as written; nil: any
	Testing   bool             // t=y
	Strict    bool             // t=s: i= must not be in a subdomain of d=
}

// The key types of k= that there are.
const (
	TypeRSA     = "rsa"
	TypeEd25519 = "ed25519"
)

// ParseKeyRecord reads a key record. The record is never nil: with an error it holds what
// could be read, the flags above all. The errors wrap this package's sentinels.
//
// The grammar is that of section 3.6.1. Beyond it we take what is published and
// does no harm: CR or LF for white space, any case in k=, h=, s= and t= (OpenDKIM
// compares them so), an RSA key with or without its SubjectPublicKeyInfo (the RFC's text
// and its examples disagree), an Ed25519 key with one (RFC 8463 section 4 wants
// it bare), and p= without padding. The tags g= and n= and unknown ones mean nothing.
func ParseKeyRecord(txt string) (*KeyRecord, error) {
	k := &KeyRecord{Type: TypeRSA}
	if len(txt) > MaxKeyRecordBytes {
		return k, ErrKeyTooLong
	}
	if strings.IndexByte(txt, '\r') >= 0 || strings.IndexByte(txt, '\n') >= 0 {
		txt = strings.NewReplacer("\r", " ", "\n", " ").Replace(txt)
	}
	tags, err := ParseTagList(txt)
	k.flags(tags)
	if err != nil {
		return k, keySyntaxError{err}
	}
	// RFC 6376 section 3.6.1: v= MUST be the first tag if it is there, and records
	// with another value MUST be discarded.
	if v, ok := tags.Lookup("v"); ok && (v != "DKIM1" || tags[0].Name != "v") {
		return k, ErrKeyVersion
	}
	p, ok := tags.Lookup("p")
	if !ok {
		return k, fmt.Errorf("%w: p= is missing", ErrKeySyntax)
	}
	if p == "" {
		return k, ErrKeyRevoked
	}
	if kind, ok := tags.Lookup("k"); ok {
		k.Type = strings.ToLower(kind)
	}
	if k.Type != TypeRSA && k.Type != TypeEd25519 {
		return k, ErrKeyType
	}
	if h, ok := tags.Lookup("h"); ok {
		k.Hashes = splitList(h)
		if !contains(k.Hashes, "sha256") {
			return k, ErrKeyHash
		}
	}
	if s, ok := tags.Lookup("s"); ok {
		k.Services = splitList(s)
		if !contains(k.Services, "*") && !contains(k.Services, "email") {
			return k, ErrKeyService
		}
	}
	return k, k.readKey(p)
}

// flags reads t=. Unknown flags are ignored (RFC 6376 section 3.6.1).
func (k *KeyRecord) flags(tags TagList) {
	t, _ := tags.Lookup("t")
	list := splitList(t)
	k.Testing = contains(list, "y")
	k.Strict = contains(list, "s")
}

// splitList is a list with colons between its items.
func splitList(s string) []string {
	items := strings.Split(s, ":")
	for i := range items {
		items[i] = trimSpace(items[i])
	}
	return items
}

func contains(list []string, word string) bool {
	for _, item := range list {
		if strings.EqualFold(item, word) {
			return true
		}
	}
	return false
}
