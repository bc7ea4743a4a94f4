package dkim

import (
	"crypto/sha256"
	"hash"

	"dkimd/internal/message"
)

// hashBlock is how many canonical bytes are gathered before they are hashed.
const hashBlock = 4096

// HeaderHasher holds the hash of the fields a signature selects, ready for the
// signature fields that share this selection.
type HeaderHasher struct {
	hash  hash.Cloner
	canon Canonicalization
}

// NewHeaderHasher hashes the fields that the names of h= select, in their order.
func NewHeaderHasher(h *message.Header, names []string, c Canonicalization) *HeaderHasher {
	return &HeaderHasher{hash: hashFields(h, names, c, message.Field{}), canon: c}
}

// Sum is the header hash for one signature field, which is hashed with its b= value
// emptied. It can be called again, with another field.
func (x *HeaderHasher) Sum(signature message.Field) [sha256.Size]byte {
	clone, err := x.hash.Clone()
	if err != nil { // crypto/sha256 can always be cloned
		return [sha256.Size]byte{}
	}
	return hashSignature(clone, x.canon, signature)
}

// HeaderHash is the hash that a signature signs (RFC 6376 section 3.7): the
// fields the names select, then the signature field with the value of b=
// deleted, without a final CRLF. The cost is linear in the header and the names.
//
// The names are served in order, each with the lowest field of that name that
// is still free (section 5.4.2); one that is absent adds nothing. The
// signature field itself is never selected, but it takes the Field of the header
// for that, not a copy of it.
func HeaderHash(h *message.Header, names []string, c Canonicalization, signature message.Field) [sha256.Size]byte {
	return hashSignature(hashFields(h, names, c, signature), c, signature)
}

// HeaderHash is the hash that this signature must have signed.
func (s *Signature) HeaderHash(h *message.Header) [sha256.Size]byte {
	return HeaderHash(h, s.Headers, s.HeaderCanon, s.Field)
}

func hashFields(h *message.Header, names []string, c Canonicalization, own message.Field) hash.Cloner {
	digest, _ := sha256.New().(hash.Cloner) // documented of every hash in the standard library
	fields := h.Fields()
	buf := make([]byte, 0, hashBlock/2)
	for _, i := range selectFields(fields, names, own) {
		buf = c.AppendField(buf, fields[i])
		if len(buf) >= hashBlock {
			_, _ = digest.Write(buf)
			buf = buf[:0]
		}
	}
	_, _ = digest.Write(buf)
	return digest
}

func hashSignature(digest hash.Hash, c Canonicalization, signature message.Field) (sum [sha256.Size]byte) {
	buf := c.AppendField(make([]byte, 0, len(signature.Raw())), withoutValue(signature))
	_, _ = digest.Write(buf[:len(buf)-2]) // without the final CRLF
	digest.Sum(sum[:0])
	return sum
}

// selectFields are the indexes of the fields that the names select. One pass up the
// header makes, for each name that occurs, a chain of its fields; the names then eat the chains.
func selectFields(fields []message.Field, names []string, own message.Field) []int32 {
	const none = -1
	chains := newChains(len(names))
	slots := make([]int32, len(names)) // the chain of each name
	for i, name := range names {
		slot, ok := chains.find([]byte(name))
		if !ok {
			slot = chains.add(name, none)
		}
		slots[i] = slot
	}
	next := make([]int32, len(fields))
	for i := int32(len(fields)) - 1; i >= 0; i-- { //nolint:gosec // a header has at most message.MaxFields and a few
		f := fields[i]
		if sameField(f, own) {
			continue
		}
		name := f.Raw()[:len(f.Raw())-len(f.Value())-1]
		slot, ok := chains.find(trimWSP(name))
		if !ok {
			continue
		}
		next[i] = none
		if c := &chains.list[slot]; c.first == none {
			c.first, c.last = i, i
		} else {
			next[c.last] = i
			c.last = i
		}
	}
	selected := make([]int32, 0, len(names))
	for _, slot := range slots {
		if i := chains.list[slot].first; i != none {
			selected = append(selected, i)
			chains.list[slot].first = next[i]
		}
	}
	return selected
}

// fewNames is up to how many names are looked through one by one; more get a
// map, so that the cost stays linear.
const fewNames = 32

// chains are chains of fields by name.
type chains struct {
	list  []chain
	index map[string]int32 // by name in lower case; nil: few names
}

// chain is the fields of one name: the lowest in the header and the highest so far.
type chain struct {
	name        string
	first, last int32
}

func newChains(names int) *chains {
	c := &chains{list: make([]chain, 0, names)}
	if names > fewNames {
		c.index = make(map[string]int32, names)
	}
	return c
}

func (c *chains) add(name string, end int32) int32 {
	slot := int32(len(c.list)) //nolint:gosec // at most as many as there are names
	c.list = append(c.list, chain{name, end, end})
	if c.index != nil {
		c.index[string(appendLower(nil, []byte(name)))] = slot
	}
	return slot
}

func (c *chains) find(name []byte) (int32, bool) {
	if c.index != nil {
		var scratch [64]byte
		slot, ok := c.index[string(appendLower(scratch[:0], name))]
		return slot, ok
	}
	for i := range c.list {
		if sameName(c.list[i].name, name) {
			return int32(i), true
		}
	}
	return 0, false
}

// sameName compares field names in any case, of ASCII letters only.
func sameName(a string, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range b {
		if d := a[i]; c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

func trimWSP(b []byte) []byte {
	for len(b) > 0 && isWSP(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// sameField reports whether two fields are the same one, not merely equal.
func sameField(a, b message.Field) bool {
	return len(a.Raw()) > 0 && len(a.Raw()) == len(b.Raw()) && &a.Raw()[0] == &b.Raw()[0]
}

// withoutValue is the signature field with the value of its b= tag deleted,
// and the white space around that value with it (RFC 6376 section 3.7). The tag is
// found by parsing: "b=" may well stand inside z=, i= or a tag we do not know.
func withoutValue(f message.Field) message.Field {
	value := string(f.Value())
	start, end, ok := valueSpan(value, "b")
	if !ok || start == end {
		return f
	}
	name := string(f.Raw()[:len(f.Raw())-len(value)-1])
	return message.NewField(name, value[:start]+value[end:])
}
