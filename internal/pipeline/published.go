package pipeline

import (
	"fmt"

	"dkimd/internal/dmarc"
	"dkimd/internal/spf"
	"dkimd/policy"
	"dkimd/verifier"
)

// Published is a DMARC policy that a domain might publish.
type Published struct{ word dmarc.Policy }

// NewPublished reads none, quarantine or reject.
func NewPublished(word string) (*Published, error) {
	if p := recordedPolicy(word); p != dmarc.PolicyAbsent {
		return &Published{p}, nil
	}
	return nil, fmt.Errorf("%q is no policy", word)
}

func (p *Published) String() string { return p.word.String() }

// Assume makes the report of a recorded message what it would be if its author domain published the policy, in relaxed
// alignment. Where that has another result than it has, nothing is looked up: signatures and SPF are as they were.
func (p *Published) Assume(m *policy.Message, report *verifier.Report) {
	if report == nil || m.From.Fields != 1 || len(m.From.Claimed) != 1 || m.From.Incomplete {
		return // no policy applies
	}
	author, d := m.From.Claimed[0], &report.DMARC
	d.Author, d.Policy, d.Published, d.Testing = author, p.word, p.word, false
	m.Gaps &^= policy.GapDMARC
	if d.Result == dmarc.Pass {
		return
	}
	open := false
	d.Result = dmarc.Fail
	judge := func(passes, mayPass bool) {
		if passes {
			d.Result = dmarc.Pass
		}
		open = open || mayPass
	}
	for i := range report.Results {
		r := &report.Results[i]
		aligned := r.Aligned != verifier.AlignNone
		judge(r.Status == verifier.Pass && aligned, (aligned || r.AlignmentOpen) && (r.Status == verifier.TempError || r.Status == verifier.Pass))
	}
	aligned := report.SPF.Domain == author || report.SPF.Domain.Aligned(author)
	judge(aligned && report.SPF.Result == spf.Pass, aligned && report.SPF.Result == spf.TempError)
	switch {
	case d.Result == dmarc.Pass:
	case m.Gaps&policy.GapSPF != 0:
		d.Result = dmarc.Unknown
	case open:
		d.Result = dmarc.TempError
	}
}

// Disposition is what a receiver does that follows the policy, given what Assume made of the report.
func (p *Published) Disposition(report *verifier.Report) (policy.Action, policy.Gap) {
	switch {
	case report == nil:
		return policy.Accept, policy.GapSignatures
	case p.word == dmarc.PolicyNone:
		return policy.Accept, 0
	case report.DMARC.Result == dmarc.Unknown:
		return policy.Accept, policy.GapSPF
	case report.DMARC.Result == dmarc.TempError:
		return policy.Accept, policy.GapDMARC
	case report.DMARC.Result == dmarc.Fail && p.word == dmarc.PolicyQuarantine:
		return policy.Quarantine, 0
	case report.DMARC.Result == dmarc.Fail:
		return policy.Reject, 0
	}
	return policy.Accept, 0
}
