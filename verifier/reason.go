package verifier

import (
	"errors"
	"fmt"
	"math"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/resolver"
	"dkimd/internal/safetext"
)

// What may stand in Result.Err, besides nil for a pass. Result.Err wraps one of
// these and adds detail; test it with errors.Is.
var (
	ErrSyntax         = errors.New("signature field cannot be read")
	ErrFromUnsigned   = errors.New("the From field is not signed")
	ErrDomainMismatch = errors.New("identity is outside the signing domain")
	ErrPublicSuffix   = errors.New("signing domain is a public suffix")
	ErrAlgorithm      = errors.New("algorithm not supported")
	ErrKeyAbsent      = errors.New("no key")
	ErrKeyRevoked     = errors.New("key revoked")
	ErrKeySyntax      = errors.New("key record cannot be read")
	ErrKeyMismatch    = errors.New("key does not allow this signature")
	ErrKeySize        = errors.New("key size out of bounds")
	ErrKeyUnavailable = errors.New("key server failed")
	ErrBodyHash       = errors.New("body hash did not verify")
	ErrSignature      = errors.New("signature did not verify")
	ErrExpired        = errors.New("expired")
	ErrFuture         = errors.New("dated in the future")
	ErrPartialBody    = errors.New("l= leaves content unsigned")
	ErrLimit          = errors.New("not verified: over a limit")
)

// reason is why a signature did not pass: what kind, in the words for people, and what lower
// layers said.
type reason struct {
	kind  error
	words string
	cause error
}

func (r *reason) Error() string { return r.words }

func (r *reason) Unwrap() []error {
	if r.cause == nil {
		return []error{r.kind}
	}
	return []error{r.kind, r.cause}
}

// because gives a sentinel its details.
func because(kind error, format string, args ...any) error {
	return &reason{kind: kind, words: fmt.Sprintf(format, args...)}
}

// unreadable is what internal/dkim has against a signature field.
func unreadable(sig *dkim.Signature, err error) error {
	switch {
	case errors.Is(err, dkim.ErrFromUnsigned): // RFC 6376 section 5.4
		return &reason{kind: ErrFromUnsigned, words: ErrFromUnsigned.Error(), cause: err}
	case errors.Is(err, dkim.ErrDomainMismatch): // RFC 6376 section 6.1.1
		return &reason{kind: ErrDomainMismatch, words: "i= is not within d=", cause: err}
	case errors.Is(err, dkim.ErrAlgorithm): // RFC 8301 section 3.1: rsa-sha1 too
		return unsupported(sig, err)
	}
	return &reason{kind: ErrSyntax, words: ErrSyntax.Error() + ": " + printable(err.Error(), maxReason), cause: err}
}

func unsupported(sig *dkim.Signature, err error) error {
	return &reason{kind: ErrAlgorithm, words: "algorithm " + printable(sig.Algorithm, 64) + " is not supported", cause: err}
}

// lookupFailed is what DNS said in place of a key.
func lookupFailed(l *lookup) error {
	name := printable(l.name, maxNameLength)
	more := ""
	if explained, ok := errors.AsType[*resolver.Explained](l.err); ok {
		more = "; " + explained.Words
	}
	switch {
	case errors.Is(l.err, resolver.ErrName):
		return &reason{kind: ErrKeyAbsent, words: "no key at " + name + " (not a DNS name)", cause: l.err}
	case errors.Is(l.err, resolver.ErrNotExist):
		return &reason{kind: ErrKeyAbsent, words: "no key at " + name + " (NXDOMAIN" + more + ")", cause: l.err}
	case errors.Is(l.err, resolver.ErrNoData):
		return &reason{kind: ErrKeyAbsent, words: "no key at " + name + " (no TXT record" + more + ")", cause: l.err}
	}
	cause := l.err
	if failure, ok := errors.AsType[*resolver.Failure](l.err); ok {
		cause = failure.Cause
	}
	text := cause.Error()
	if server := l.answer.Server; server != "" {
		text += " from " + server
	}
	return &reason{kind: ErrKeyUnavailable, words: "key server failed: " + printable(text, maxReason), cause: l.err}
}

// unusable is what internal/dkim has against a key record.
func unusable(err error) error {
	words := printable(err.Error(), maxReason)
	switch {
	case errors.Is(err, dkim.ErrKeyRevoked): // RFC 6376 section 6.1.2 step 7
		return &reason{kind: ErrKeyRevoked, words: "key revoked", cause: err}
	case errors.Is(err, dkim.ErrKeyHash), errors.Is(err, dkim.ErrKeyService), errors.Is(err, dkim.ErrKeyType):
		return &reason{kind: ErrKeyMismatch, words: words, cause: err}
	case errors.Is(err, dkim.ErrKeySize):
		return &reason{kind: ErrKeySize, words: words, cause: err}
	case errors.Is(err, dkim.ErrKeyVersion):
		return &reason{kind: ErrKeySyntax, words: "the TXT record is not a DKIM key", cause: err}
	}
	return &reason{kind: ErrKeySyntax, words: ErrKeySyntax.Error() + ": " + words, cause: err}
}

// maxReason bounds the words of a reason.
const maxReason = 200

// printable makes attacker text fit for logs, replies and header fields:
// printable ASCII, at most limit characters.
func printable(s string, limit int) string { return safetext.ASCII(s[:min(len(s), limit)]) }

// moment writes seconds since 1970 as a date, where there is such a date.
func moment(seconds int64) string {
	if seconds < 0 || seconds > math.MaxUint32*50 { // a few thousand years
		return fmt.Sprintf("@%d", seconds)
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
}
