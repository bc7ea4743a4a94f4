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
	"dkimd/internal/domain"
	"dkimd/internal/message"
)

// futureLimit is how far ahead t= may be: clocks go wrong by a day, not by more.
const futureLimit = 24 * time.Hour

// readKeys finds the usable keys of a signature in what its lookup brought, or says why there are
// none (RFC 6376 section 6.1.2).
func (w *Verification) readKeys(s *signature) error {
	if s.keys != nil || s.keyErr != nil {
		return s.keyErr
	}
	l := s.lookup
	s.result.Lookup = l.waited()
	switch {
	case !l.cached() && !l.answered:
		s.keyErr = because(ErrKeyUnavailable, "key server failed: no answer within %s", w.v.cfg.Timeout)
		return s.keyErr
	case l.err != nil:
		s.keyErr = lookupFailed(l)
		return s.keyErr
	}
	s.result.Authenticated = l.answer.Authenticated
	var refused *dkim.KeyRecord
	s.keys, refused, s.keyErr = w.v.usable(l.answer.Records, s.Signature)
	switch {
	case len(s.keys) > 0:
		s.keyErr = nil
		s.describeKey(s.keys[0].KeyRecord)
	case s.keyErr == nil:
		s.keyErr = because(ErrKeyAbsent, "no key at %s (no TXT record)", printable(l.name, maxReason))
	default:
		s.describeKey(refused)
	}
	return s.keyErr
}

func (s *signature) describeKey(key *dkim.KeyRecord) {
	if key != nil {
		s.result.KeyBits, s.result.Testing = key.Bits, key.Testing
	}
}

// usable reads the TXT records at a name. Where there are several RFC 6376
// section 3.6.2.2 leaves the outcome open: a record that is not a key is skipped, because
// wildcards put SPF and other records there, and each usable key is tried. If none is, the
// refused record that says most about why comes with the error.
func (v *Verifier) usable(records []string, sig *dkim.Signature) (keys []*key, refused *dkim.KeyRecord, err error) {
	for _, txt := range records[:min(len(records), maxKeyRecords)] {
		one := v.keys.read(txt)
		refusal := v.refuse(one.KeyRecord, one.err, sig)
		if refusal == nil {
			keys = append(keys, one)
			if len(keys) == maxCandidates {
				break
			}
			continue
		}
		if err == nil || weight(refusal) > weight(err) {
			refused, err = one.KeyRecord, refusal
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
	if err != nil {
		return unusable(err)
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

func identityDomain(sig *dkim.Signature) domain.Name {
	return message.DomainOf(sig.Identity)
}

// brokenBody says how the body differs from the one that was signed (RFC 6376 section 6.1.3 step 2).
func (s *signature) brokenBody() error {
	sum := s.body.Sum()
	if l := s.BodyLength; l >= 0 && l > s.body.Length() {
		// RFC 6376 section 3.5: l= must not exceed the body; the body was cut short.
		return because(ErrBodyHash, "body hash did not verify: l=%d, but the body has %d bytes", l, s.body.Length())
	}
	if len(s.BodyHash) != sha256.Size || subtle.ConstantTimeCompare(sum[:], s.BodyHash) != 1 {
		return because(ErrBodyHash, "body hash did not verify")
	}
	return nil
}

// verifiedBy is the key that verifies the signature over the header, or nil.
func (s *signature) verifiedBy() *key {
	for _, key := range s.keys {
		if key.verifies(&s.headerHash, s.Value) {
			return key
		}
	}
	return nil
}

// unacceptable says what stands against a signature that verified.
func (w *Verification) unacceptable(s *signature) error {
	now := w.v.cfg.Now().Unix()
	switch {
	case s.Expiration >= 0 && s.Expiration < now-int64(w.v.cfg.ClockSkew/time.Second): // RFC 6376 section 3.5, x=
		return because(ErrExpired, "expired %s", moment(s.Expiration))
	case s.Timestamp >= 0 && s.Timestamp > now+int64(futureLimit/time.Second): // RFC 6376 section 3.5, t=
		return because(ErrFuture, "dated in the future: %s", moment(s.Timestamp))
	case s.BodyLength >= 0 && s.BodyLength < s.body.Length() && !w.v.cfg.HonourBodyLength: // RFC 6376 section 8.2
		return because(ErrPartialBody, "l= leaves %d bytes unsigned", s.body.Length()-s.BodyLength)
	}
	return nil
}
