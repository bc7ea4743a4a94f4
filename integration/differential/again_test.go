//go:build integration

package differential_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/dkim/dkimtest"
)

// holds checks the hashes of a signature once more, with the canonicalization of
// dkimtest and all keys we have: whatever the others say, a signature must not pass unless these do. It
// knows nothing else of RFC 6376, and trusts that the field can be read.
func (c *dispute) holds() bool {
	header, body := c.canon()
	fields, text := dkimtest.Split(c.sample.raw)
	canonical := dkimtest.Body(text, body == "relaxed")
	if l, ok := c.tag("l"); ok {
		n, err := strconv.Atoi(l)
		if err != nil || n < 0 || n > len(canonical) {
			return false // too large for an int is too large for the body
		}
		canonical = canonical[:n]
	}
	sum := sha256.Sum256(canonical)
	bh, _ := c.tag("bh")
	if got, err := base64.StdEncoding.DecodeString(unspaced(bh)); err != nil || !slices.Equal(got, sum[:]) {
		return false
	}
	names, _ := c.tag("h")
	own := slices.IndexFunc(fields, func(f []byte) bool { return string(f) == c.signature+"\r\n" })
	if own >= 0 {
		fields = slices.Delete(fields, own, own+1)
	}
	digest := sha256.New()
	for name := range strings.SplitSeq(names, ":") {
		for i, f := range slices.Backward(fields) {
			have, _, _ := strings.Cut(string(f), ":")
			if strings.EqualFold(strings.TrimRight(have, " \t"), strings.TrimSpace(name)) {
				digest.Write(dkimtest.Field(f, header == "relaxed"))
				fields = slices.Delete(fields, i, i+1)
				break
			}
		}
	}
	prefix, value, _ := strings.Cut(c.signature, ":")
	specs := strings.Split(value, ";")
	for i, spec := range specs {
		if name, _, _ := strings.Cut(spec, "="); strings.TrimSpace(name) == "b" {
			specs[i] = name + "="
		}
	}
	unsigned := dkimtest.Field([]byte(prefix+":"+strings.Join(specs, ";")), header == "relaxed")
	digest.Write(unsigned[:len(unsigned)-2])
	b, _ := c.tag("b")
	signature, err := base64.StdEncoding.DecodeString(unspaced(b))
	if err != nil {
		return false
	}
	for _, k := range keyring() {
		switch public := k.private.Public().(type) {
		case *rsa.PublicKey:
			if rsa.VerifyPKCS1v15(public, crypto.SHA256, digest.Sum(nil), signature) == nil {
				return true
			}
		case ed25519.PublicKey:
			if ed25519.Verify(public, digest.Sum(nil), signature) {
				return true
			}
		}
	}
	return false
}

func unspaced(s string) string { return strings.Join(strings.Fields(s), "") }
