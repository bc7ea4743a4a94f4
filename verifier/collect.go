package verifier

import (
	"slices"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/message"
)

// collect makes a Result of every DKIM-Signature field, and a signature of each that is looked at
// (RFC 6376 section 6.1.1).
func (w *Verification) collect(req Request) {
	exceeded := req.Exceeded
	if exceeded == "" {
		exceeded = req.Header.Exceeded()
	}
	fields := req.Header.All("DKIM-Signature")
	if len(fields) == 0 {
		return
	}
	repeats := repeatedIn(req.Header)
	w.results = make([]Result, len(fields))
	looked := min(len(fields), maxLooked)
	for i := range w.results[looked:] {
		w.results[looked+i] = unseen(exceeded)
	}
	all := make([]signature, looked)
	w.signatures = make([]*signature, looked)
	var same map[string]*signature // fields by their octets
	if looked > 1 {
		same = make(map[string]*signature, looked)
	}
	for i, f := range fields[:looked] {
		s := &all[i]
		w.signatures[i] = s
		sig, err := dkim.ParseSignature(f)
		w.results[i] = describe(sig, req.From)
		w.results[i].Duplicates = duplicates(repeats, sig.Headers)
		s.Signature, s.result = sig, &w.results[i]
		if exceeded != "" {
			s.invalid = tooLarge(exceeded)
			continue
		}
		if s.invalid = invalid(sig, err); s.invalid == nil && same != nil {
			if s.first = same[string(f.Raw())]; s.first == nil {
				same[string(f.Raw())] = s
			}
		}
	}
	distinguish(w.signatures)
}

// choose returns the signatures that are verified, and says of the others why they are not. Those
// policy asks for come first, then those of the author's domain, then from the top.
func (w *Verification) choose(req Request) []*signature {
	worth := make([]*signature, 0, min(len(w.signatures), maxLooked))
	for _, s := range w.signatures {
		if s.invalid == nil && s.first == nil {
			worth = append(worth, s)
		}
	}
	limit := w.v.cfg.MaxSignatures
	if len(worth) <= limit {
		return worth
	}
	worth = inOrder(worth, req)
	for _, s := range worth[limit:] {
		s.skipped = because(ErrLimit, "not verified: more than %d signatures", limit)
	}
	return worth[:limit]
}

// inOrder puts the signatures that matter first. A stranger chooses how many there
// are and how many domains From names: each is looked at once.
func inOrder(worth []*signature, req Request) []*signature {
	prefer := make(map[domain.Name]bool, len(req.Prefer))
	for _, d := range req.Prefer {
		prefer[d] = true
	}
	authors := make(map[domain.Name]bool, 2*len(req.From.Claimed)) // domains, and their organizational ones
	for _, d := range req.From.Claimed {
		authors[d] = true
		if org := d.Organizational(); org != "" {
			authors[org] = true
		}
	}
	var ranked [3][]*signature
	for _, s := range worth {
		rank := 2
		switch d := s.Domain; {
		case prefer[d]:
			rank = 0
		case authors[d], authors[d.Organizational()]:
			rank = 1
		}
		ranked[rank] = append(ranked[rank], s)
	}
	return slices.Concat(ranked[:]...)
}

// unseen is the Result of a field past the number that is looked at.
func unseen(exceeded string) Result {
	r := Result{Status: Neutral, Timestamp: -1, Expiration: -1, BodyLength: -1}
	r.Err = because(ErrLimit, "not looked at: more than %d signatures", maxLooked)
	if exceeded != "" {
		r.Status, r.Err = PermError, tooLarge(exceeded)
	}
	return r
}

func tooLarge(exceeded string) error {
	return because(ErrLimit, "message is over a limit: %s", printable(exceeded, maxReason))
}

// describe fills in what a signature says of itself, as far as it can be read.
func describe(sig *dkim.Signature, from message.Originator) Result {
	return Result{
		Domain:           printable(string(sig.Domain), maxNameLength),
		Selector:         printable(sig.Selector, maxNameLength),
		Algorithm:        printable(sig.Algorithm, 64),
		Canonicalization: sig.HeaderCanon.String() + "/" + sig.BodyCanon.String(),
		Identity:         printable(sig.Identity, 320),
		Headers:          sig.Headers,
		Bits:             8 * len(sig.Value),
		Timestamp:        sig.Timestamp,
		Expiration:       sig.Expiration,
		BodyLength:       sig.BodyLength,
		Aligned:          alignment(sig.Domain, from),
	}
}

// alignment compares d= with the author's domain. With several From fields, or
// several domains in one, nothing is aligned (RFC 7489 section 6.6.1).
func alignment(sdid domain.Name, from message.Originator) Alignment {
	if from.Fields != 1 || len(from.Claimed) != 1 {
		return AlignNone
	}
	switch author := from.Claimed[0]; {
	case sdid == "":
	case sdid == author:
		return AlignStrict
	case sdid.Aligned(author):
		return AlignRelaxed
	}
	return AlignNone
}

// invalid says what is wrong with a signature before its key is known; err is why it cannot be read.
func invalid(sig *dkim.Signature, err error) error {
	switch {
	case err != nil:
		return unreadable(sig, err)
	case sig.Algorithm != "rsa-sha256" && sig.Algorithm != "ed25519-sha256":
		return unsupported(sig, nil)
	}
	// A registry may sign for its own name, but not for the names below it. The
	// list's private section (a hoster's domains) may sign as it likes.
	if sig.Domain.IsPublicSuffix() {
		return because(ErrPublicSuffix, "d=%s is a public suffix", printable(string(sig.Domain), maxNameLength))
	}
	return nil
}

const (
	minB = 8
	maxB = 64
)

// distinguish gives each Result the shortest prefix of its b= that no other
// signature of the message shares (RFC 6008 section 4), within bounds.
func distinguish(signatures []*signature) {
	order := slices.Clone(signatures)
	slices.SortFunc(order, func(a, b *signature) int { return strings.Compare(a.B, b.B) })
	previous, before := "", 0 // the distinct b= before this one, and its longest common prefix with its own predecessor
	var group []*signature
	flush := func(common int) {
		for _, s := range group {
			n := min(max(minB, common+1), maxB)
			s.result.B = printable(previous, n)
		}
		group = group[:0]
	}
	for _, s := range order {
		if b := s.B; b != previous {
			common := commonPrefix(previous, b)
			flush(max(before, common))
			previous, before = b, common
		}
		group = append(group, s)
	}
	flush(before)
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b), maxB) && a[n] == b[n] {
		n++
	}
	return n
}
