package policy

import (
	"slices"
	"strings"

	"dkimd/internal/domain"
	"dkimd/verifier"
)

// signature is what the rules see of one result.
type signature struct {
	status       verifier.Status
	domain       domain.Name        // d=
	organization domain.Name        // its organizational domain by the public suffix list
	aligned      verifier.Alignment // with From
	open         bool               // DNS did not say whether it is
	algorithm    string             // lower case
	bits         int                // 0: the key was never seen
	testing      bool
	duplicates   bool // a field of which one is allowed is there more often than h= covers
}

// unknown reports whether the signature's key could not be fetched.
func (s *signature) unknown() bool { return s.status == verifier.TempError }

// as is the signature's status under an assumption on keys that could not be fetched.
func (s *signature) as(assumed verifier.Status) verifier.Status {
	if s.unknown() {
		return assumed
	}
	return s.status
}

// alignment relates the signature to a sender domain (RFC 9989 section 4.10.2). Result.Aligned is about the author of From
// alone; a file may judge the envelope, or one of several authors: the public suffix list tells then.
func (s *signature) alignment(c *claim, a assumption) verifier.Alignment {
	switch {
	case c.author && s.open && a.aligned:
		return verifier.AlignRelaxed
	case c.author:
		return s.aligned
	case c.sender == "" || s.domain == "":
		return verifier.AlignNone
	case s.domain == c.sender:
		return verifier.AlignStrict
	case s.organization != "" && s.organization == c.organization:
		return verifier.AlignRelaxed
	}
	return verifier.AlignNone
}

// signaturesOf reads a report. RFC 6376 section 3.6.1: a signature whose key
// says t=y must not be treated differently from no signature when it does not
// verify, so such a one is absent.
func signaturesOf(results []verifier.Result) []signature {
	list := make([]signature, 0, len(results))
	for i := range results {
		r := &results[i]
		if r.Status == verifier.None || r.Testing && r.Status != verifier.Pass {
			continue
		}
		// A d= that could not be read as a domain may hold anything.
		sdid, err := domain.ParseLax(r.Domain)
		s := signature{status: r.Status, domain: sdid, algorithm: strings.ToLower(r.Algorithm), bits: r.KeyBits, testing: r.Testing, duplicates: len(r.Duplicates) > 0, aligned: r.Aligned, open: r.AlignmentOpen}
		if err == nil {
			s.organization = sdid.Organizational()
		}
		list = append(list, s)
	}
	return list
}

// outcomes is a set of statuses, one bit each.
type outcomes uint16

func outcome(s verifier.Status) outcomes { return 1 << s }

// better reports whether status a vouches for more than b.
func better(a, b verifier.Status) bool { return rank(a) < rank(b) }

func rank(s verifier.Status) int {
	switch s {
	case verifier.Pass:
		return 0
	case verifier.TempError:
		return 1
	case verifier.Policy:
		return 2
	case verifier.Neutral:
		return 3
	case verifier.Fail:
		return 4
	case verifier.PermError:
		return 5
	case verifier.None:
	}
	return 6
}

// selection says which signatures count for a rule: those that meet all of it.
type selection struct {
	signers, notSigners domainSet // nil: any, none
	aligned             verifier.Alignment
	algorithms          []string // nil: any
	bits                int      // the least RSA key size; 0: any
	testing             ternary  // whether the key says t=y
	duplicates          ternary  // whether it leaves duplicate fields unsigned
}

// counts decides about one signature. What is unknown because the key was never
// seen leaves a signature in: it does not pass, or the three assumptions decide.
func (sel *selection) counts(s *signature, c *claim, a assumption) bool {
	switch {
	case sel.aligned != verifier.AlignNone && s.alignment(c, a) < sel.aligned:
		return false
	case sel.signers != nil && !sel.signers.has(s.domain):
		return false
	case sel.notSigners != nil && sel.notSigners.has(s.domain):
		return false
	case sel.algorithms != nil && !slices.Contains(sel.algorithms, s.algorithm):
		return false
	case !s.unknown() && !sel.testing.allows(s.testing), !sel.duplicates.allows(s.duplicates):
		return false
	}
	// Ed25519 keys have 256 bits, all of them strong (RFC 8463).
	if sel.bits > 0 && strings.HasPrefix(s.algorithm, "rsa-") && s.bits < sel.bits {
		return s.bits == 0 && s.status != verifier.Pass
	}
	return true
}

// best is the outcome of the signatures that count: that of the best of them.
// One pass is a pass, whatever else failed.
func (sel *selection) best(list []signature, c *claim, a assumption) verifier.Status {
	best := verifier.None
	for i := range list {
		if status := list[i].as(a.keys); better(status, best) && sel.counts(&list[i], c, a) {
			best = status
		}
	}
	return best
}

// ternary is a condition on a fact: none, it must be so, it must not be so.
type ternary uint8

const (
	either ternary = iota
	yes
	no
)

func (t ternary) allows(fact bool) bool { return t == either || fact == (t == yes) }
