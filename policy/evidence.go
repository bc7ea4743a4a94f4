package policy

import (
	"cmp"
	"slices"

	"dkimd/internal/domain"
	"dkimd/internal/smtpreply"
	"dkimd/verifier"
)

// evidence is what is known of a message when its rules are tried, and what is not.
type evidence struct {
	signatures []signature // those that may count
	unknown    bool        // the key of one of them could not be fetched
	open       bool        // DNS did not say whether one of them is aligned
	report     *verifier.Report
	authors    int // domains of From
	multiple   bool
	signed     bool
	passes     []passing
	gaps       Gap
	doubts     map[*rule]Gap
}

// passing is the domain of a signature that passes, for default replies.
type passing struct{ domain, organization domain.Name }

func newEvidence(c *Case, report *verifier.Report) *evidence {
	e := &evidence{signatures: signaturesOf(report.Results), report: report, authors: len(c.from.Claimed), multiple: c.from.Fields > 1, gaps: c.gaps, doubts: c.doubts}
	e.signed = len(e.signatures) > 0
	for i := range e.signatures {
		if s := &e.signatures[i]; s.status == verifier.Pass {
			e.passes = append(e.passes, passing{s.domain, s.organization})
		}
	}
	if e.multiple {
		// Nothing is aligned, and no signature speaks for an author: it covers one of
		// the From fields, and a mail program may show another (RFC 6376 section 8.15).
		e.signatures = nil
	}
	e.unknown = slices.ContainsFunc(e.signatures, func(s signature) bool { return s.unknown() })

	e.open = slices.ContainsFunc(e.signatures, func(s signature) bool { return s.open })
	return e
}

// ruling is what a file's rules say under one set of assumptions.
type ruling struct {
	rule    *rule // nil: none held, accept
	deferBy string
	tags    []*rule
	unknown Gap
	doubted [Reject + 1]Gap // what the actions hang on of rules that may hold
}

func (r ruling) action() Action {
	switch {
	case r.deferBy != "":
		return TempFail
	case r.rule == nil:
		return Accept
	}
	return r.rule.action
}

// same is the ruling two assumptions agree on; where they do not, the message
// has to come again, because a failed lookup decides nothing. A header field is
// added only where both add it.
func (r ruling) same(other ruling, deferBy string) ruling {
	if by := cmp.Or(r.deferBy, other.deferBy); by != "" || r.action() != other.action() {
		r.rule, r.deferBy = nil, cmp.Or(by, deferBy)
	}
	r.tags, r.unknown = common(r.tags, other.tags), r.unknown|other.unknown
	return r
}

// unless is the ruling where another one with another action may be the right one.
func (r ruling) unless(other ruling, hangsOn Gap) ruling {
	if r.unknown |= other.unknown; r.action() != other.action() {
		r.unknown |= hangsOn
	}
	r.tags = common(r.tags, other.tags)
	return r
}

// settled takes into account what rules would have decided that may hold.
func (r ruling) settled() ruling {
	for action, gap := range r.doubted {
		if Action(action) != r.action() {
			r.unknown |= gap
		}
	}
	return r
}

// stricter is the stricter of two rulings, with the header fields of both.
func (r ruling) stricter(other ruling) ruling {
	tags := r.tags
	for _, tag := range other.tags {
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	unknown := r.unknown | other.unknown
	if other.action() > r.action() {
		r = other
	}
	r.tags, r.unknown = tags, unknown
	return r
}

func common(a, b []*rule) []*rule {
	var both []*rule
	for _, r := range a {
		if slices.Contains(b, r) {
			both = append(both, r)
		}
	}
	return both
}

// judge tries one file's rules on one sender domain, in each way in which it can be what DNS has left open.
func (e *evidence) judge(c *claim) Decision {
	list, left := e.possible(c.file)
	decided := e.given(c, list[0])
	for _, f := range list[1:] {
		switch next := e.given(c, f); left {
		case openNow:
			decided = decided.same(next, rulePolicyLookup)
		case openForever:
			decided = decided.stricter(next)
		case notAsked:
			decided = decided.unless(next, e.gaps&(GapSPF|GapDMARC))
		}
	}
	return e.decision(c, decided)
}

// given tries the rules given what SPF and DMARC say.
func (e *evidence) given(c *claim, f facts) ruling {
	assumptions := e.assumptions(f)
	decided, deferBy := e.try(c, assumptions[0]), ruleKeyLookup
	if !e.unknown {
		deferBy = rulePolicyLookup // all keys are there: alignment is open
	}
	for _, a := range assumptions[1:] {
		decided = decided.same(e.try(c, a), deferBy)
	}
	return decided
}

// assumptions are three where a key could not be fetched, as if its signature had passed, failed, and had
// been one that never can pass; and both where it is not known whether a signature is aligned.
func (e *evidence) assumptions(f facts) []assumption {
	list := []assumption{{keys: verifier.Pass, facts: f}}
	if e.unknown {
		list = append(list, assumption{keys: verifier.Fail, facts: f}, assumption{keys: verifier.PermError, facts: f})
	}
	if e.open {
		for _, a := range list {
			a.aligned = true
			list = append(list, a)
		}
	}
	return list
}

// found is what SPF and DMARC said.
func (e *evidence) found() facts {
	return facts{e.report.DMARC.Result, e.report.DMARC.Policy, e.report.DMARC.Testing, e.report.SPF.Result}
}

// try goes through the rules from the top: the first that holds decides.
func (e *evidence) try(c *claim, a assumption) ruling {
	var decided ruling
	found := e.found()
	for _, r := range c.rules {
		if r.asked != (asked{}) && r.asked.unmet(a.facts, found) != "" {
			continue
		}
		if r.outcomes != 0 {
			if decided.unknown |= e.gaps & GapSignatures; !e.results(r, c, a) {
				continue
			}
		}
		gap := e.doubts[r]
		switch {
		case gap != 0 && !r.isTag:
			decided.doubted[r.action] |= gap
		case gap != 0:
		case !r.isTag:
			decided.rule = r
			return decided.settled()
		default:
			decided.tags = append(decided.tags, r)
		}
	}
	return decided.settled()
}

// results reports whether the signatures that count have a result that the rule
// names. That a key could not be fetched is so whatever is assumed of it.
func (e *evidence) results(r *rule, c *claim, a assumption) bool {
	if r.outcomes&outcome(r.selection.best(e.signatures, c, a)) != 0 {
		return true
	}
	a.keys = verifier.TempError
	return r.outcomes&outcome(verifier.TempError) != 0 && r.selection.best(e.signatures, c, a) == verifier.TempError
}

func (e *evidence) decision(c *claim, decided ruling) Decision {
	d := c.decision(decided.deferBy)
	d.Action, d.Unknown = decided.action(), decided.unknown
	for _, r := range decided.tags {
		d.Tags = append(d.Tags, r.tag)
	}
	switch {
	case decided.deferBy == ruleKeyLookup:
		d.Reply = smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "a DKIM key needed to judge this message could not be looked up, try again later"}
	case decided.deferBy == rulePolicyLookup:
		d.Reply = smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "what DMARC or SPF says of this message could not be looked up, try again later"}
	case decided.rule != nil:
		d.Rule = decided.rule.name
		d.Reply = decided.rule.replyTo(e.circumstances(c))
	}
	return d
}

func (e *evidence) circumstances(c *claim) circumstances {
	told := circumstances{sender: string(c.sender), envelope: c.envelope, multiple: e.multiple, signed: e.signed, passes: len(e.passes) > 0}
	for _, p := range e.passes {
		if !e.multiple && c.sender != "" && (p.domain == c.sender || p.organization != "" && p.organization == c.organization) {
			told.aligned = true
		}
	}
	return told
}
