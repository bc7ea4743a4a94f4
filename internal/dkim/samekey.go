package dkim

import "crypto"

// SameKey reports whether two key records have the same public key: k= and p= count, however they are written, and none
// of the tags that say what the key is for. A record without a key has none in common.
func SameKey(a, b string) bool {
	one, other := publicKeyOf(a), publicKeyOf(b)
	return one != nil && other != nil && one.Equal(other)
}

// publicKeyOf is the key of a record, also of one that verifiers cannot use; nil: it has none.
func publicKeyOf(text string) interface {
	Equal(key crypto.PublicKey) bool
} {
	tags, _ := ParseTagList(text)
	p, ok := tags.Lookup("p")
	if !ok {
		return nil
	}
	bare := "p=" + p
	if k, ok := tags.Lookup("k"); ok {
		bare = "k=" + k + "; " + bare
	}
	record, err := ParseKeyRecord(bare)
	if err != nil {
		return nil
	}
	key, _ := record.PublicKey.(interface {
		Equal(key crypto.PublicKey) bool
	})
	return key
}
