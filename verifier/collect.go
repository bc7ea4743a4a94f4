package verifier

import (
	"errors"
	"slices"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/message"

	"golang.org/x/net/publicsuffix"
)

// collect makes a Result of every DKIM-Signature field and a check of those that
// will be verified.
func (w *Verification) collect(req Request) {
	exceeded := req.Exceeded
	if exceeded == "" {
		exceeded = req.Header.Exceeded()
	}
	fields := req.Header.All("DKIM-Signature")
	if len(fields) == 0 {
		return
	}
	w.results = make([]Result, len(fields))
	looked := min(len(fields), maxLooked)
	signatures := make([]*dkim.Signature, looked)
	var same map[string]*check // of fields that are there more than once
	if looked > 1 {
		same = make(map[string]*check, looked)
	}
	var worth []*check
	for i, f := range fields {
		if i >= maxLooked {
			w.results[i] = unseen(exceeded)
			continue
		}
		// RFC 6376 section 6.1.1: a field that cannot be read is permerror.
		sig, err := dkim.ParseSignature(f)
		signatures[i] = sig
		w.results[i] = describe(sig, req.From)
		if exceeded != "" {
			w.conclude(i, PermError, because(ErrLimit, "message is over a limit: %s", printable(exceeded, maxReason)))
			continue
		}
		if err = admissible(sig, err); err != nil {
			w.conclude(i, PermError, err)
			continue
		}
		if c := same[string(f.Raw())]; c != nil {
			c.at = append(c.at, i)
			continue
		}
		c := &check{sig: sig, at: []int{i}}
		if same != nil {
			same[string(f.Raw())] = c
		}
		worth = append(worth, c)
	}
	distinguish(w.results[:looked], signatures)
	w.choose(worth, req)
}

// choose keeps as many signatures as may be verified: those policy asks for,
// then those of the author's domain, then from the top.
func (w *Verification) choose(worth []*check, req Request) {
	limit := w.v.cfg.MaxSignatures
	if len(worth) > limit {
		worth = inOrder(worth, req)
		for _, c := range worth[limit:] {
			w.concludeAll(c, Neutral, because(ErrLimit, "not verified: more than %d signatures", limit))
		}
		worth = worth[:limit]
	}
	w.checks = worth
}

// inOrder puts the signatures that matter first. A stranger chooses how many there
// are and how many domains From names: each is looked at once.
func inOrder(worth []*check, req Request) []*check {
	prefer := make(map[string]bool, len(req.Prefer))
	for _, d := range req.Prefer {
		prefer[message.Domain(d)] = true
	}
	authors := make(map[string]bool, 2*len(req.From.Claimed)) // domains, and their organizational ones
	for _, d := range req.From.Claimed {
		authors[d] = true
		if org := message.Organizational(d); org != "" {
			authors[org] = true
		}
	}
	var ranked [3][]*check
	for _, c := range worth {
		rank := 2
		switch d := c.sig.Domain; {
		case prefer[d]:
			rank = 0
		case authors[d], authors[message.Organizational(d)]:
			rank = 1
		}
		ranked[rank] = append(ranked[rank], c)
	}
	return slices.Concat(ranked[:]...)
}

// unseen is the Result of a field past the number that is looked at.
func unseen(exceeded string) Result {
	r := Result{Status: Neutral, Timestamp: -1, Expiration: -1, BodyLength: -1}
	r.Err = because(ErrLimit, "not looked at: more than %d signatures", maxLooked)
	if exceeded != "" {
		r.Status = PermError
		r.Err = because(ErrLimit, "message is over a limit: %s", printable(exceeded, maxReason))
	}
	return r
}

// describe fills in what a signature says of itself, as far as it can be read.
func describe(sig *dkim.Signature, from message.Originator) Result {
	return Result{
		Domain:           printable(sig.Domain, maxNameLength),
		Selector:         printable(sig.Selector, maxNameLength),
		Algorithm:        printable(sig.Algorithm, 64),
		Canonicalization: sig.HeaderCanon.String() + "/" + sig.BodyCanon.String(),
		Identity:         printable(sig.Identity, 320),
		Headers:          sig.Headers,
		Timestamp:        sig.Timestamp,
		Expiration:       sig.Expiration,
		BodyLength:       sig.BodyLength,
		Aligned:          alignment(sig.Domain, from),
	}
}

// alignment compares d= with the author's domain. With several From fields, or
// several domains in one, nothing is aligned (RFC 7489 section 6.6.1).
func alignment(domain string, from message.Originator) Alignment {
	if from.Fields != 1 || len(from.Claimed) != 1 {
		return AlignNone
	}
	switch author := from.Claimed[0]; {
	case domain == "":
	case domain == author:
		return AlignStrict
	case message.Aligned(domain, author):
		return AlignRelaxed
	}
	return AlignNone
}

// admissible says what is wrong with a signature before its key is known.
func admissible(sig *dkim.Signature, err error) error {
	switch {
	case errors.Is(err, dkim.ErrFromUnsigned): // RFC 6376 section 5.4
		return &fault{kind: ErrFromUnsigned, words: ErrFromUnsigned.Error(), cause: err}
	case errors.Is(err, dkim.ErrDomainMismatch): // RFC 6376 section 6.1.1
		return &fault{kind: ErrDomainMismatch, words: "i= is not within d=", cause: err}
	case errors.Is(err, dkim.ErrAlgorithm): // RFC 8301 section 3.1: rsa-sha1 too
		return &fault{kind: ErrAlgorithm, words: unsupported(sig), cause: err}
	case err != nil:
		return &fault{kind: ErrSyntax, words: ErrSyntax.Error() + ": " + printable(err.Error(), maxReason), cause: err}
	case sig.Algorithm != "rsa-sha256" && sig.Algorithm != "ed25519-sha256":
		return because(ErrAlgorithm, "%s", unsupported(sig))
	}
	// Whoever runs a registry may sign for it, but nobody below it is meant. The
	// list's private section (a hoster's domains) may sign as it likes.
	if suffix, icann := publicsuffix.PublicSuffix(sig.Domain); icann && suffix == sig.Domain {
		return because(ErrPublicSuffix, "d=%s is a public suffix", printable(sig.Domain, maxNameLength))
	}
	return nil
}

func unsupported(sig *dkim.Signature) string {
	return "algorithm " + printable(sig.Algorithm, 64) + " is not supported"
}

const (
	minB = 8
	maxB = 64
)

// distinguish gives each Result the shortest prefix of its b= that no other
// signature of the message shares (RFC 6008 section 4), within bounds.
func distinguish(results []Result, signatures []*dkim.Signature) {
	order := make([]int, 0, len(signatures))
	for i := range signatures {
		order = append(order, i)
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(signatures[a].B, signatures[b].B) })
	previous, before := "", 0 // the distinct b= before this one, and its longest common prefix with its own predecessor
	var group []int
	flush := func(common int) {
		for _, i := range group {
			n := min(max(minB, common+1), maxB)
			results[i].B = printable(previous, n)
		}
		group = group[:0]
	}
	for _, i := range order {
		b := signatures[i].B
		if b != previous {
			common := commonPrefix(previous, b)
			flush(max(before, common))
			previous, before = b, common
		}
		group = append(group, i)
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

// conclude settles one Result.
func (w *Verification) conclude(i int, status Status, err error) {
	w.results[i].Status = status
	w.results[i].Err = err
}

// concludeAll settles the Results of a check, identical fields included.
func (w *Verification) concludeAll(c *check, status Status, err error) {
	c.decided = true
	for _, i := range c.at {
		w.conclude(i, status, err)
	}
}
