package verifier

import (
	"fmt"
	"time"

	"dkimd/internal/dmarc"
	"dkimd/internal/spf"
)

// Status is the outcome of one signature, in the words of RFC 8601 section 2.7.1.
type Status uint8

// The outcomes. None stands for a message without signatures; no Result has it.
const (
	None      Status = iota
	Pass             // both hashes verified and nothing stands against the signature
	Fail             // the body hash or the signature does not match
	Policy           // both hashes match, but expired, future-dated, or content left unsigned by l=
	Neutral          // not looked at: past a limit
	TempError        // the key could not be fetched; a retry may succeed
	PermError        // no retry will ever verify it
)

// String is the word of RFC 8601 section 2.7.1.
func (s Status) String() string {
	switch s {
	case None:
		return "none"
	case Pass:
		return "pass"
	case Fail:
		return "fail"
	case Policy:
		return "policy"
	case Neutral:
		return "neutral"
	case TempError:
		return "temperror"
	case PermError:
		return "permerror"
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// MarshalText writes the word of RFC 8601 section 2.7.1.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Alignment says how a signature's d= relates to the domain of From.
type Alignment = dmarc.Alignment

// The alignments, weakest first.
const (
	AlignNone    = dmarc.AlignNone
	AlignRelaxed = dmarc.AlignRelaxed // the same organizational domain
	AlignStrict  = dmarc.AlignStrict  // the same domain
)

// Result is what became of one DKIM-Signature field.
type Result struct {
	Status Status
	Err    error // nil for a pass; otherwise wraps one of the sentinels of this package

	Domain           string // d= in the form of a domain.Name; empty where it could not be read
	Selector         string // s=
	Algorithm        string // a=, lower case
	Canonicalization string // "relaxed/simple": header, then body
	Identity         string // i=, or "@" and the domain
	B                string // the first 8 characters of b=, more where needed to tell it apart (RFC 6008 section 4)

	Headers []string // h=, as written
	// Duplicates are fields of which a message may have one, and this one has more than h= covers.
	Duplicates []string
	KeyBits    int  // size of the public key; 0: no key
	Bits       int  // length of the signature (b=)
	Testing    bool // the key says t=y (RFC 6376 section 3.6.1)

	Timestamp  int64 // t=, seconds since 1970; -1: absent
	Expiration int64 // x=, seconds since 1970; -1: absent
	BodyLength int64 // l=, octets; -1: absent

	// Aligned is that of d= with the domain of From, by RFC 9989 where DMARC was asked for; else as the public suffix list has it.
	Aligned       Alignment
	AlignmentOpen bool          // DNS did not say
	Authenticated bool          // the resolver vouches for the key record with DNSSEC (AD)
	Lookup        time.Duration // how long the lookup took, or had taken when it was given up; 0: cached
}

// Reason says in words why a signature did not pass. It is printable ASCII,
// at most maxReason characters, and empty for a pass.
func (r Result) Reason() string {
	if r.Err == nil {
		return ""
	}
	return printable(r.Err.Error(), maxReason)
}

// Report is all that verifying a message brought to light.
type Report struct {
	Results     []Result // one for each DKIM-Signature field, top first
	SPF         spf.Outcome
	DMARC       dmarc.Verdict
	DNS         time.Duration // the longest lookup; lookups run beside the body, so the message need not have waited
	LookupPanic bool          // a lookup panicked: raise an alarm

	discovery *dmarc.Discovery // nil: not asked for
	several   bool             // From fields
}
