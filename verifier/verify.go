package verifier

import (
	"context"
	"errors"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/message"
)

// closeGrace is how long Close waits for lookups that it has cancelled.
const closeGrace = time.Second

// recordPatience is how long after its end a message waits for what goes only into its record.
const recordPatience = 5 * time.Second

// Request is one message up to the end of its header.
type Request struct {
	Header *message.Header // read only during Begin
	From   message.Originator
	// Prefer are the d= domains that policy asks for: verified before all others.
	Prefer []domain.Name
	// DMARC asks for what DMARC says, and for alignment by RFC 9989.
	DMARC bool
	SPF   *SPF // nil: not checked
	// No rule asks for these, so the message does not wait for them longer than recordPatience.
	DMARCOnlyRecorded, SPFOnlyRecorded bool
	// Exceeded names the limit the message went past: every signature is then
	// permerror, and no key is looked up.
	Exceeded string
}

// Verification is one message being verified: Begin, any number of Write, then
// Finish; Close at any time. Only Close may run beside the others.
type Verification struct {
	v                                  *Verifier
	results                            []Result
	signatures                         []*signature // the fields that are looked at, top first
	bodies                             []body
	lookups                            []*lookup
	dmarc                              *discovery
	asked                              bool // for DMARC
	spf                                *SPF
	dmarcOnlyRecorded, spfOnlyRecorded bool
	report                             *Report

	started []*task         // those with a goroutine
	expired <-chan struct{} // closed when lookups must have ended; nil: none was started
	cancel  context.CancelFunc
}

// signature is one DKIM-Signature field on its way to its Result.
type signature struct {
	*dkim.Signature
	result  *Result
	first   *signature // the same field further up, whose Result this one shares; nil: none
	invalid error      // what section 6.1.1 has against it
	skipped error      // why it is not verified though it might

	lookup     *lookup
	keys       []*key // of the lookup, once read
	keyErr     error  // why there are none
	headerHash [32]byte
	body       *dkim.BodyHash
}

// body is one way of hashing the body; signatures share it.
type body struct {
	canon dkim.Canonicalization
	limit int64
	hash  *dkim.BodyHash
}

// verify is RFC 6376 section 6.1 for one signature, in the order of that section. It is called when
// all it needs is there: Begin has read the fields, asked for the keys and hashed the header,
// Write the body, and Finish has waited for the keys.
func (w *Verification) verify(s *signature) (Status, error) {
	// 6.1.1 Validate the Signature Header Field. What cannot be read will never verify.
	if s.invalid != nil {
		return PermError, s.invalid
	}
	// 6.1: a verifier may limit how many signatures it tries.
	if s.skipped != nil {
		return Neutral, s.skipped
	}
	// 6.1.2 Get the Public Key. Without an answer a retry may help; without a usable key it never will.
	err := w.readKeys(s)
	switch {
	case errors.Is(err, ErrKeyUnavailable):
		return TempError, err
	case err != nil:
		return PermError, err
	}
	// 6.1.3 Compute the Verification: first the body hash, then the signature over the header.
	if err := s.brokenBody(); err != nil {
		return Fail, err
	}
	key := s.verifiedBy()
	if key == nil {
		return Fail, because(ErrSignature, "signature did not verify")
	}
	s.describeKey(key.KeyRecord)
	// 3.5 and 8.2: only of a signature that holds do its dates and l= mean anything.
	if err := w.unacceptable(s); err != nil {
		return Policy, err
	}
	return Pass, nil
}

// Begin reads the signatures and starts their key lookups. Where every answer
// is cached no goroutine is started. The lookups end when ctx does.
func (v *Verifier) Begin(ctx context.Context, req Request) *Verification {
	w := &Verification{v: v}
	w.collect(req)
	tried := w.choose(req)
	for _, s := range tried {
		s.lookup = w.lookupFor(keyName(s.Signature))
	}
	w.spf, w.spfOnlyRecorded, w.dmarcOnlyRecorded = req.SPF, req.SPFOnlyRecorded, req.DMARCOnlyRecorded
	if req.DMARC {
		w.asked = true
		w.dmarc = v.discover(req, tried)
	}
	w.startLookups(ctx)
	for _, s := range tried {
		// If the cache knows already that there is no key, hashing would be wasted.
		if s.lookup.cached() && w.readKeys(s) != nil {
			continue
		}
		s.headerHash = s.HeaderHash(req.Header) // while the lookups run
		s.body = w.bodyFor(s.Signature)
	}
	return w
}

// bodyFor shares one hash among signatures with the same canonicalization and l=.
// There are at most Config.MaxSignatures of them.
func (w *Verification) bodyFor(sig *dkim.Signature) *dkim.BodyHash {
	for _, b := range w.bodies {
		if b.canon == sig.BodyCanon && b.limit == sig.BodyLength {
			return b.hash
		}
	}
	b := body{canon: sig.BodyCanon, limit: sig.BodyLength, hash: dkim.NewBodyHash(sig.BodyCanon, sig.BodyLength)}
	w.bodies = append(w.bodies, b)
	return b.hash
}

// Write takes the next bytes of the body, in chunks of any size. It keeps none
// of them and never fails.
func (w *Verification) Write(p []byte) (int, error) {
	if w.report == nil {
		for _, b := range w.bodies {
			_, _ = b.hash.Write(p) // a BodyHash never fails
		}
	}
	return len(p), nil
}

// Finish ends the body, waits for the lookups until their deadline or until ctx
// ends, and reports. What is missing then is temperror. A second call returns
// the same report.
func (w *Verification) Finish(ctx context.Context) *Report {
	if w.report != nil {
		return w.report
	}
	report := &Report{Results: w.results}
	ended := time.Now()
	for _, l := range w.lookups {
		w.account(report, &l.task, l.wait(ctx, w.expired))
	}
	for _, s := range w.signatures {
		if s.first != nil {
			*s.result = *s.first.result
			continue
		}
		s.result.Status, s.result.Err = w.verify(s)
	}
	if w.spf != nil {
		patient, cancel := w.spf.patience(ctx, w.spfOnlyRecorded, ended)
		defer cancel()
		var answered bool
		report.SPF, answered = w.spf.result(patient)
		w.account(report, &w.spf.task, answered)
	}
	if w.dmarc != nil {
		patient, cancel := w.dmarc.patience(ctx, w.dmarcOnlyRecorded, ended)
		defer cancel()
		answered := w.dmarc.wait(patient, w.expired)
		w.account(report, &w.dmarc.task, answered)
		report.relate(w.dmarc.answer(answered), w.dmarc.several)
	} else if w.asked {
		report.DMARC = dmarc.Verdict{Result: dmarc.PermError, Reason: "From has not exactly one domain"}
	}
	w.report = report
	w.Close()
	return report
}

// account adds what a lookup cost to the report.
func (w *Verification) account(report *Report, t *task, answered bool) {
	report.DNS = max(report.DNS, t.waited())
	report.LookupPanic = report.LookupPanic || (answered && t.panicked)
}

// Close cancels lookups that are under way and waits for them to go, though not
// for longer than a second: a resolver that ignores its context holds up nobody.
func (w *Verification) Close() {
	w.spf.Close()
	if w.cancel == nil {
		return
	}
	w.cancel()
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	for _, t := range w.started {
		select {
		case <-t.done:
		case <-grace.C:
			w.v.cfg.Logger.Warn("DNS lookups still running after cancellation", "timeout", closeGrace)
			return
		}
	}
}
