package explain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

// maxTries bounds the headers that are tried.
const maxTries = 500

// headerCase is a header with one signature in it.
type headerCase struct {
	fields []values
	own    int // the signature's place
	sig    *dkim.Signature
	keys   []*dkim.KeyRecord
	signed [][sha256.Size]byte // the hashes that were signed, where an RSA key gives them away
	tries  int
}

func newHeaderCase(h *message.Header, own int, sig *dkim.Signature) *headerCase {
	return &headerCase{fields: fieldsOf(h), own: own, sig: sig}
}

// verifies reports whether the signature holds over these fields.
func (h *headerCase) verifies(fields []values, own int, c dkim.Canonicalization) bool {
	if h.tries++; h.tries > maxTries {
		return false
	}
	digest := h.digest(fields, own, c)
	for _, key := range h.keys {
		switch public := key.PublicKey.(type) {
		case *rsa.PublicKey:
			if slices.Contains(h.signed, digest) {
				return true
			}
		case ed25519.PublicKey:
			if ed25519.Verify(public, digest[:], h.sig.Value) {
				return true
			}
		}
	}
	return false
}

func (h *headerCase) digest(fields []values, own int, c dkim.Canonicalization) [sha256.Size]byte {
	header := &message.Header{}
	for _, f := range fields {
		header.Add(f.name, f.value)
	}
	all := header.Fields()
	if own >= len(all) {
		return [sha256.Size]byte{} // over a limit
	}
	return dkim.HeaderHash(header, h.sig.Headers, c, all[own])
}

// header says whether the signature value verifies, and else why not.
func (e *Explanation) header(h *headerCase, lookup func(string) ([]string, error)) bool {
	h.keys = e.fetch(h.sig, lookup)
	if len(h.keys) == 0 {
		return false
	}
	if !e.signer(h) {
		return false
	}
	c := h.sig.HeaderCanon
	if h.verifies(h.fields, h.own, c) {
		return true
	}
	e.say("the header is not the one that was signed: the signature does not verify over it")
	told := e.copied(h)
	for _, try := range []func() string{h.canonicalization, h.space, h.added, h.rewritten} {
		if found := try(); found != "" {
			e.say(found)
			return false
		}
	}
	switch {
	case told:
	case h.sig.Copied == "":
		e.say("which field was changed cannot be told: the signature has no z= that would say how they were")
	default:
		e.say("which field was changed cannot be told: those that z= has are as they were")
	}
	if absent := h.absent(); absent != "" {
		e.say("h= names fields that are not there, on purpose or because they were removed: " + absent)
	}
	return false
}

// signer says whether one of the keys can have made the signature. An RSA key
// gives away the hash that was signed; another key makes noise of it.
func (e *Explanation) signer(h *headerCase) bool {
	possible := false
	for _, key := range h.keys {
		public, ok := key.PublicKey.(*rsa.PublicKey)
		if !ok {
			possible = true
			continue
		}
		if size := public.Size(); size != len(h.sig.Value) {
			e.say("the key in DNS is another one: it has " + strconv.Itoa(key.Bits) + " bits, and the signature was made by one of " +
				strconv.Itoa(8*len(h.sig.Value)))
			continue
		}
		digest, ok := signedHash(public, h.sig.Value)
		if !ok {
			e.say("the key in DNS is another one than the key that signed, or b= was damaged: what the signature says under it is noise")
			continue
		}
		h.signed = append(h.signed, digest)
		possible = true
	}
	return possible
}

// signedHash is the hash in an RSA signature (RFC 8017 section 9.2).
func signedHash(key *rsa.PublicKey, signature []byte) (digest [sha256.Size]byte, ok bool) {
	m := new(big.Int).SetBytes(signature)
	if m.Cmp(key.N) >= 0 {
		return digest, false
	}
	block := m.Exp(m, big.NewInt(int64(key.E)), key.N).FillBytes(make([]byte, key.Size()))
	// DigestInfo of SHA-256: an AlgorithmIdentifier and an OCTET STRING of 32.
	info := "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
	head := len(block) - len(info) - sha256.Size
	if head < 11 || block[0] != 0 || block[1] != 1 || block[head-1] != 0 ||
		len(bytes.Trim(block[2:head-1], "\xff")) != 0 || string(block[head:head+len(info)]) != info {
		return digest, false
	}
	copy(digest[:], block[head+len(info):])
	return digest, true
}

// canonicalization tries the other algorithm, with which nothing but a slip of
// the signer matches: simple leaves the case of names, relaxed does not.
func (h *headerCase) canonicalization() string {
	c := other(h.sig.HeaderCanon)
	if !h.verifies(h.fields, h.own, c) {
		return ""
	}
	return "under " + c.String() + " header canonicalization it verifies: the signer says " + h.sig.HeaderCanon.String() + " in c= and did not do it"
}

// space tries what simple canonicalization does not survive in mail servers:
// they fold, and add or remove the space behind a colon.
func (h *headerCase) space() string {
	if h.sig.HeaderCanon != dkim.Simple {
		return ""
	}
	for _, try := range []struct {
		change func(v values) values
		words  string
	}{
		{func(v values) values { return values{v.name, strings.TrimPrefix(v.value, " ")} }, "without the space behind the colons it verifies: a server or filter put it there"},
		{func(v values) values { return values{v.name, " " + v.value} }, "with one space more behind the colons it verifies: a server or filter removed it"},
		{func(v values) values { return values{v.name, strings.ReplaceAll(v.value, "\r\n\t", "\r\n ")} }, "with spaces for the tabs at folds it verifies: a server changed them"},
		{func(v values) values { return values{v.name, strings.ReplaceAll(v.value, "\r\n ", "\r\n\t")} }, "with tabs for the spaces at folds it verifies: a server changed them"},
		{oneSpace, "with one space for each fold and run of white space it verifies: a server folded fields. A signer that uses c=relaxed/relaxed survives that"},
	} {
		fields := make([]values, len(h.fields))
		for i, v := range h.fields {
			if fields[i] = v; i != h.own {
				fields[i] = try.change(v)
			}
		}
		if h.verifies(fields, h.own, dkim.Simple) {
			return try.words
		}
	}
	return ""
}

func oneSpace(v values) values {
	return values{v.name, " " + strings.Join(strings.FieldsFunc(v.value, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }), " ")}
}

// added tries the header without each field that h= selects by its name.
func (h *headerCase) added() string {
	for i, f := range h.fields {
		if i == h.own || !slices.ContainsFunc(h.sig.Headers, func(name string) bool { return strings.EqualFold(name, strings.TrimRight(f.name, " \t")) }) {
			continue
		}
		own := h.own
		if i < own {
			own--
		}
		if !h.verifies(slices.Delete(slices.Clone(h.fields), i, i+1), own, h.sig.HeaderCanon) {
			continue
		}
		where := "above the signature"
		if i > h.own {
			where = "below the signature"
		}
		return "without one field it verifies: it was added after signing, " + where + ", as field " + strconv.Itoa(i+1) + ": " + quote(f.name+":"+f.value)
	}
	return ""
}

// absent lists what h= names and the header does not have.
func (h *headerCase) absent() string {
	var names []string
	for _, f := range h.chosen() {
		if f.at < 0 && !slices.Contains(names, visible(f.name)) && !slices.ContainsFunc(h.fields, func(v values) bool { return strings.EqualFold(strings.TrimRight(v.name, " \t"), f.name) }) {
			names = append(names, visible(f.name))
		}
	}
	return strings.Join(names, ", ")
}

// choice is what one name of h= selects; at is -1 where it selects nothing.
type choice struct {
	name string
	at   int
}

// chosen is the selection of RFC 6376 section 5.4.2.
func (h *headerCase) chosen() []choice {
	taken := map[string]int{} // from where upward the next one may stand
	var list []choice
	for _, name := range h.sig.Headers {
		lower := strings.ToLower(name)
		from, ok := taken[lower]
		if !ok {
			from = len(h.fields)
		}
		at := from - 1
		for at >= 0 && (at == h.own || !strings.EqualFold(strings.TrimRight(h.fields[at].name, " \t"), name)) {
			at--
		}
		taken[lower] = max(at, 0)
		list = append(list, choice{name, at})
	}
	return list
}

// canonical are the signed fields as they are hashed.
func (h *headerCase) canonical() []string {
	var list []string
	for _, f := range h.chosen() {
		if f.at < 0 {
			list = append(list, "("+visible(f.name)+": nothing more)")
			continue
		}
		v := h.fields[f.at]
		text := h.sig.HeaderCanon.AppendField(nil, message.NewField(v.name, v.value))
		list = append(list, visible(string(bytes.TrimSuffix(text, []byte("\r\n")))))
	}
	return list
}
