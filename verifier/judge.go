package verifier

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
)

// futureLimit is how far ahead t= may be: clocks go wrong by a day, not by more.
const futureLimit = 24 * time.Hour

// judgeKey turns the answer of a lookup into usable keys, or decides the
// signature (RFC 6376 section 6.1.2). answered: the lookup ended in time.
func (w *Verification) judgeKey(c *check, answered bool) {
	l := c.lookup
	for _, i := range c.at {
		w.results[i].Lookup = l.waited()
	}
	if !answered {
		w.concludeAll(c, TempError, because(ErrKeyUnavailable, "key server failed: no answer within %s", w.v.cfg.Timeout))
		return
	}
	if l.err != nil {
		w.concludeAll(c, lookupStatus(l.err), lookupFault(l))
		return
	}
	for _, i := range c.at {
		w.results[i].Authenticated = l.answer.Authenticated
	}
	keys, refused, err := w.v.usable(l.answer.Records, c.sig)
	if len(keys) == 0 {
		if err == nil {
			err = because(ErrKeyAbsent, "no key at %s (no TXT record)", printable(l.name, maxReason))
		}
		w.describeKey(c, refused)
		w.concludeAll(c, PermError, err)
		return
	}
	c.keys = keys
	w.describeKey(c, keys[0].KeyRecord)
}

func (w *Verification) describeKey(c *check, key *dkim.KeyRecord) {
	if key == nil {
		return
	}
	for _, i := range c.at {
		w.results[i].KeyBits = key.Bits
		w.results[i].Testing = key.Testing
	}
}

func lookupStatus(err error) Status {
	if absent(err) {
		return PermError
	}
	return TempError
}

func lookupFault(l *lookup) error {
	name := printable(l.name, maxNameLength)
	switch {
	case errors.Is(l.err, resolver.ErrName):
		return &fault{kind: ErrKeyAbsent, words: "no key at " + name + " (not a DNS name)", cause: l.err}
	case errors.Is(l.err, resolver.ErrNotExist):
		return &fault{kind: ErrKeyAbsent, words: "no key at " + name + " (NXDOMAIN)", cause: l.err}
	case errors.Is(l.err, resolver.ErrNoData):
		return &fault{kind: ErrKeyAbsent, words: "no key at " + name + " (no TXT record)", cause: l.err}
	}
	text := strings.TrimPrefix(l.err.Error(), resolver.ErrTemporary.Error()+": ")
	if server := l.answer.Server; server != "" && !strings.Contains(text, server) {
		text += " from " + server
	}
	return &fault{kind: ErrKeyUnavailable, words: "key server failed: " + printable(text, maxReason), cause: l.err}
}

// usable reads the TXT records at a name. Where there are several RFC 6376
// section 3.6.2.2 leaves the outcome open: what is no key is passed over, since
// wildcards put SPF and other records there, and each usable key is tried. If none is, the
// refused record that says most about why comes with the error.
func (v *Verifier) usable(records []string, sig *dkim.Signature) (keys []*key, refused *dkim.KeyRecord, err error) {
	for _, txt := range records[:min(len(records), resolver.MaxRecords)] {
		one := v.keys.read(txt)
		fault := v.refuse(one.KeyRecord, one.err, sig)
		if fault == nil {
			keys = append(keys, one)
			if len(keys) == maxCandidates {
				break
			}
			continue
		}
		if err == nil || weight(fault) > weight(err) {
			refused, err = one.KeyRecord, fault
		}
	}
	return keys, refused, err
}

// weight is how much a refusal tells an administrator.
func weight(err error) int {
	switch {
	case errors.Is(err, ErrKeyRevoked):
		return 2
	case errors.Is(err, dkim.ErrKeyVersion):
		return 0 // not meant to be a key
	}
	return 1
}

// refuse says why a record cannot verify a signature; err is why it cannot be read.
func (v *Verifier) refuse(key *dkim.KeyRecord, err error, sig *dkim.Signature) error {
	switch {
	case errors.Is(err, dkim.ErrKeyRevoked): // RFC 6376 section 6.1.2 step 7
		return &fault{kind: ErrKeyRevoked, words: "key revoked", cause: err}
	case errors.Is(err, dkim.ErrKeyHash), errors.Is(err, dkim.ErrKeyService), errors.Is(err, dkim.ErrKeyType):
		return &fault{kind: ErrKeyMismatch, words: keyWords(err), cause: err}
	case errors.Is(err, dkim.ErrKeySize):
		return &fault{kind: ErrKeySize, words: keyWords(err), cause: err}
	case errors.Is(err, dkim.ErrKeyVersion):
		return &fault{kind: ErrKeySyntax, words: "the TXT record is not a DKIM key", cause: err}
	case err != nil:
		return &fault{kind: ErrKeySyntax, words: ErrKeySyntax.Error() + ": " + keyWords(err), cause: err}
	}
	keyType, hash, _ := strings.Cut(sig.Algorithm, "-")
	switch {
	case key.Type != keyType: // RFC 6376 section 6.1.2 step 8
		return because(ErrKeyMismatch, "key is %s, signature %s", printable(key.Type, 16), keyType)
	case len(key.Hashes) > 0 && !slices.ContainsFunc(key.Hashes, func(h string) bool { return strings.EqualFold(h, hash) }):
		return because(ErrKeyMismatch, "key does not allow %s (h=)", hash) // step 6
	case len(key.Services) > 0 && !slices.ContainsFunc(key.Services, func(s string) bool { return s == "*" || strings.EqualFold(s, "email") }):
		return because(ErrKeyMismatch, "key is not for email (s=)") // RFC 6376 section 3.6.1
	case key.Strict && identityDomain(sig) != sig.Domain:
		// RFC 6376 section 3.6.1: with t=s the domain of i= is d= and not below it.
		return because(ErrDomainMismatch, "i= is below d=, and the key forbids that (t=s)")
	}
	switch public := key.PublicKey.(type) {
	case *rsa.PublicKey: // RFC 8301 section 3.2
		if bits := public.N.BitLen(); bits < v.cfg.MinRSABits || bits > v.cfg.MaxRSABits {
			return because(ErrKeySize, "RSA key of %d bits; want %d to %d", bits, v.cfg.MinRSABits, v.cfg.MaxRSABits)
		}
	case ed25519.PublicKey: // RFC 8463 section 3
		if len(public) != ed25519.PublicKeySize {
			return because(ErrKeySyntax, "Ed25519 key of %d bytes", len(public))
		}
	default:
		return because(ErrKeySyntax, "key type is not supported")
	}
	return nil
}

// keyWords is an error of a key record without the words that say so.
func keyWords(err error) string {
	return strings.TrimPrefix(printable(err.Error(), maxReason), "key record: ")
}

func identityDomain(sig *dkim.Signature) string {
	return message.DomainOf(sig.Identity)
}

// judgeHashes decides a signature whose key is there (RFC 6376 section 6.1.3).
func (w *Verification) judgeHashes(c *check) {
	if err := w.brokenBody(c); err != nil {
		w.concludeAll(c, Fail, err)
		return
	}
	key := c.verifiedBy()
	if key == nil {
		w.concludeAll(c, Fail, because(ErrSignature, "signature did not verify"))
		return
	}
	w.describeKey(c, key.KeyRecord)
	// Only a signature that holds gets as far as its dates and l=.
	if err := w.disqualified(c); err != nil {
		w.concludeAll(c, Policy, err)
		return
	}
	w.concludeAll(c, Pass, nil)
}

func (w *Verification) brokenBody(c *check) error {
	sum := c.body.Sum()
	if l := c.sig.BodyLength; l >= 0 && l > c.body.Length() {
		// RFC 6376 section 3.5: l= must not exceed the body; the body was cut short.
		return because(ErrBodyHash, "body hash did not verify: l=%d, but the body has %d bytes", l, c.body.Length())
	}
	if len(c.sig.BodyHash) != sha256.Size || subtle.ConstantTimeCompare(sum[:], c.sig.BodyHash) != 1 {
		return because(ErrBodyHash, "body hash did not verify")
	}
	return nil
}

// verifiedBy is the key that verifies the signature over the header, or nil.
func (c *check) verifiedBy() *key {
	for _, key := range c.keys {
		if key.verifies(&c.headerHash, c.sig.Value) {
			return key
		}
	}
	return nil
}

// disqualified says what stands against a signature that verified.
func (w *Verification) disqualified(c *check) error {
	now := w.v.cfg.Now().Unix()
	sig := c.sig
	switch {
	case sig.Expiration >= 0 && sig.Expiration < now-int64(w.v.cfg.ClockSkew/time.Second): // RFC 6376 section 3.5, x=
		return because(ErrExpired, "expired %s", moment(sig.Expiration))
	case sig.Timestamp >= 0 && sig.Timestamp > now+int64(futureLimit/time.Second): // RFC 6376 section 3.5, t=
		return because(ErrFuture, "dated in the future: %s", moment(sig.Timestamp))
	case sig.BodyLength >= 0 && sig.BodyLength < c.body.Length() && !w.v.cfg.HonourBodyLength: // RFC 6376 section 8.2
		return because(ErrPartialBody, "l= leaves %d bytes unsigned", c.body.Length()-sig.BodyLength)
	}
	return nil
}
