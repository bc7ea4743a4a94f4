package verifier

import (
	"context"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
)

// closeGrace is how long Close waits for lookups that it has cancelled.
const closeGrace = time.Second

// Request is one message up to the end of its header.
type Request struct {
	Header *message.Header // read only during Begin
	From   message.Originator
	// Prefer are the d= domains that policy asks for: verified before all others.
	Prefer []string
	// Published asks for the DMARC policy of the From domain.
	Published bool
	// Exceeded names the limit the message went past: every signature is then
	// permerror, and no key is looked up.
	Exceeded string
}

// Verification is one message being verified: Begin, any number of Write, then
// Finish; Close at any time. Only Close may run beside the others.
type Verification struct {
	v       *Verifier
	results []Result
	checks  []*check
	bodies  []body
	lookups []*lookup
	dmarc   *discovery
	report  *Report

	started []*task         // those with a goroutine
	expired <-chan struct{} // closed when lookups must have ended; nil: none was started
	cancel  context.CancelFunc
}

// check is one signature that is worth verifying.
type check struct {
	sig        *dkim.Signature
	at         []int // its places in Results: more than one where fields are identical
	lookup     *lookup
	headerHash [32]byte
	body       *dkim.BodyHash
	keys       []*key // usable keys, once the lookup is judged
	decided    bool
}

// body is one way of hashing the body; signatures share it.
type body struct {
	canon dkim.Canonicalization
	limit int64
	hash  *dkim.BodyHash
}

// Begin reads the signatures and starts their key lookups. Where every answer
// is cached no goroutine is started. The lookups end when ctx does.
func (v *Verifier) Begin(ctx context.Context, req Request) *Verification {
	w := &Verification{v: v}
	w.collect(req)
	for _, c := range w.checks {
		c.lookup = w.lookupFor(keyName(c.sig))
	}
	if req.Published {
		w.dmarc = v.discover(req.From)
	}
	w.startLookups(ctx)
	// What is cached and decides already is not worth hashing the body for. The
	// header is hashed now, while the lookups run.
	for _, c := range w.checks {
		if c.lookup.done == nil {
			w.judgeKey(c, true)
		}
		if !c.decided {
			c.headerHash = c.sig.HeaderHash(req.Header)
			c.body = w.bodyFor(c.sig)
		}
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
	report := &Report{}
	for _, l := range w.lookups {
		w.account(report, &l.task, l.wait(ctx, w.expired))
	}
	for _, c := range w.checks {
		if !c.decided {
			w.judgeKey(c, c.lookup.answered)
		}
		if !c.decided {
			w.judgeHashes(c)
		}
	}
	if w.dmarc != nil {
		report.Published = PublishedTempError
		answered := w.dmarc.wait(ctx, w.expired)
		w.account(report, &w.dmarc.task, answered)
		if answered {
			report.Published = w.dmarc.published
		}
	}
	report.Results = w.results
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
			w.v.cfg.Logger.Warn("lookups do not end though cancelled", "timeout", closeGrace)
			return
		}
	}
}
