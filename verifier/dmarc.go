package verifier

import (
	"context"

	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/internal/spf"
)

// discovery is what DNS says about the author's domain.
type discovery struct {
	task
	ask         Resolver
	author      domain.Name
	identifiers []domain.Name
	found       *dmarc.Discovery
	several     bool // From fields
}

// discover prepares a discovery; nil where there is not exactly one author domain, or may be another (RFC 9989 section 4.4).
func (v *Verifier) discover(req Request, tried []*signature) *discovery {
	if len(req.From.Claimed) != 1 || req.From.Incomplete {
		return nil
	}
	d := &discovery{ask: v.cfg.Resolver, author: req.From.Claimed[0]}
	if req.From.Fields != 1 {
		d.several = true // nothing is aligned
		return d
	}
	d.identifiers = make([]domain.Name, 0, 1+len(tried))
	if req.SPF != nil {
		d.identifiers = append(d.identifiers, req.SPF.domain)
	}
	for _, s := range tried {
		d.identifiers = append(d.identifiers, s.Domain)
	}
	return d
}

func (d *discovery) with(lookup dmarc.Lookup) {
	d.found = dmarc.Discover(lookup, d.author, d.identifiers)
}

// fromCache reports whether nothing has to be asked.
func (d *discovery) fromCache() bool {
	known := true
	d.with(func(name string) (answer resolver.Answer, err error) {
		if known {
			answer, err, known = d.ask.Cached(name)
		}
		if !known {
			return resolver.Answer{}, resolver.ErrTemporary // ends the search
		}
		return answer, err
	})
	return known
}

func (d *discovery) fromDNS(ctx context.Context) {
	d.with(func(name string) (resolver.Answer, error) {
		if err := ctx.Err(); err != nil {
			return resolver.Answer{}, &resolver.Failure{Cause: err} // whatever the resolver makes of it
		}
		return d.ask.TXT(ctx, name)
	})
}

// answer is what there is in time, or that nobody could tell.
func (d *discovery) answer(answered bool) *dmarc.Discovery {
	if !answered || d.panicked {
		d = &discovery{author: d.author, identifiers: d.identifiers}
		d.with(func(string) (resolver.Answer, error) {
			return resolver.Answer{}, &resolver.Failure{Cause: resolver.ErrTimeout}
		})
	}
	return d.found
}

// SPF is a check that runs beside the message, from MAIL on.
type SPF struct {
	task
	cancel  context.CancelFunc // nil: it was answered at once
	expired <-chan struct{}
	domain  domain.Name // that may be aligned; empty: none
	late    spf.Outcome // where there is no answer
	outcome spf.Outcome
}

// BeginSPF checks the sender's domain until Close. Where every answer is cached no goroutine is started. Of a relay whose
// word counts (Config.SPFRelays) it reads that in the header, and is nil without one.
func (v *Verifier) BeginSPF(req spf.Request, header *message.Header) *SPF {
	if relays := v.relaysOf(req.Client); relays != nil {
		if header == nil {
			return nil
		}
		return told(relays, header, req)
	}
	s := new(SPF)
	s.domain, s.late.HELO = req.Identity()
	s.late.Result, s.late.Domain, s.late.Reason = spf.TempError, s.domain, "no answer in time"
	s.outcome = s.late // stands if it panics
	if v.guard(&s.task, func() (ok bool) { s.outcome, ok = v.spf.CheckCached(req); return ok }) {
		return s
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.expired = ctx.Done()
	v.run(&s.task, func() bool {
		s.outcome = s.late // stands if it panics
		s.outcome = v.spf.Check(ctx, req)
		return true
	})
	return s
}

// Close ends the check.
func (s *SPF) Close() {
	if s != nil && s.cancel != nil {
		s.cancel()
	}
}

// result waits for what SPF says.
func (s *SPF) result(ctx context.Context) (spf.Outcome, bool) {
	if !s.wait(ctx, s.expired) {
		return s.late, false
	}
	return s.outcome, true
}

// relate fills in how the signatures are aligned, and what DMARC says.
func (r *Report) relate(d *dmarc.Discovery, several bool) {
	r.discovery, r.several = d, several
	for i := range r.Results {
		result := &r.Results[i]
		var err error
		result.Aligned, err = d.Alignment(domain.Name(result.Domain))
		result.AlignmentOpen = err != nil
	}
	r.Rejudge()
}

// Rejudge has DMARC judge again, after Results have changed.
func (r *Report) Rejudge() {
	if r.discovery == nil {
		return
	}
	identifiers := make([]dmarc.Identifier, 0, 1+min(len(r.Results), maxLooked))
	for i := range r.Results {
		if result := &r.Results[i]; result.Status == Pass || result.Status == TempError {
			identifiers = append(identifiers, dmarc.Identifier{Method: dmarc.DKIM, Domain: domain.Name(result.Domain), Open: result.Status == TempError})
		}
	}
	if result := r.SPF.Result; result == spf.Pass || result == spf.TempError {
		identifiers = append(identifiers, dmarc.Identifier{Method: dmarc.SPF, Domain: r.SPF.Domain, Open: result == spf.TempError})
	}
	r.DMARC = r.discovery.Judge(identifiers, dmarc.SPFState(r.SPF.Result != spf.Unasked))
	if r.several && r.DMARC.Result != dmarc.TempError {
		r.DMARC.Result, r.DMARC.Reason = dmarc.PermError, "there are several From fields"
	}
}

// Walk tells what DNS was asked for DMARC, in order.
func (r *Report) Walk() []dmarc.Step {
	if r.discovery == nil {
		return nil
	}
	return r.discovery.Steps()
}
