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
	published  []verifier.Published
	// retry: what is published could not be fetched and may be, later. Otherwise
	// nobody can tell: there are several authors, or a limit forbade the lookup.
	retry    bool
	multiple bool
	signed   bool
	passes   []passing
}

// passing is the domain of a signature that passes, for default replies.
type passing struct{ domain, organization domain.Name }

func newEvidence(c *Case, report *verifier.Report) *evidence {
	e := &evidence{signatures: signaturesOf(report.Results), multiple: c.from.Fields > 1}
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

	e.published = []verifier.Published{report.Published}
	switch report.Published {
	case verifier.PublishedTempError:
		e.published, e.retry = everyPolicy(), true
	case verifier.PublishedUnasked:
		e.published = everyPolicy()
		if len(c.from.Claimed) == 0 {
			e.published = e.published[:1] // no author, so nothing is published for one
		}
	case verifier.PublishedAbsent, verifier.PublishedNone, verifier.PublishedQuarantine, verifier.PublishedReject:
	}
	return e
}

func everyPolicy() []verifier.Published {
	return []verifier.Published{verifier.PublishedAbsent, verifier.PublishedNone, verifier.PublishedQuarantine, verifier.PublishedReject}
}

// ruling is what a file's rules say under one set of assumptions.
type ruling struct {
	rule    *rule // nil: none held, accept
	deferBy string
	tags    []*rule
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
	r.tags = common(r.tags, other.tags)
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
	if other.action() > r.action() {
		r = other
	}
	r.tags = tags
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

// judge tries one file's rules on one sender domain.
func (e *evidence) judge(c *claim) Decision {
	published := e.published
	if !c.file.published {
		published = published[:1]
	}
	decided := e.underPolicy(c, published[0])
	for _, p := range published[1:] {
		next := e.underPolicy(c, p)
		if e.retry {
			decided = decided.same(next, rulePolicyLookup)
		} else {
			decided = decided.stricter(next)
		}
	}
	return e.decision(c, decided)
}

// underPolicy tries the rules given the published policy: three times where a
// key could not be fetched, as if its signature had passed, failed, and had
// been one that never can pass.
func (e *evidence) underPolicy(c *claim, p verifier.Published) ruling {
	decided := e.try(c, verifier.Pass, p)
	if e.unknown {
		for _, assumed := range [...]verifier.Status{verifier.Fail, verifier.PermError} {
			decided = decided.same(e.try(c, assumed, p), ruleKeyLookup)
		}
	}
	return decided
}

// try goes through the rules from the top: the first that holds decides.
func (e *evidence) try(c *claim, assumed verifier.Status, p verifier.Published) ruling {
	var decided ruling
	for _, r := range c.rules {
		if r.published != 0 && r.published&policyBit(p) == 0 {
			continue
		}
		if r.outcomes != 0 && !e.results(r, c, assumed) {
			continue
		}
		if !r.isTag {
			decided.rule = r
			break
		}
		decided.tags = append(decided.tags, r)
	}
	return decided
}

// results reports whether the signatures that count have a result that the rule
// names. That a key could not be fetched is so whatever is assumed of it.
func (e *evidence) results(r *rule, c *claim, assumed verifier.Status) bool {
	if r.outcomes&outcome(r.selection.best(e.signatures, c, assumed)) != 0 {
		return true
	}
	return r.outcomes&outcome(verifier.TempError) != 0 && r.selection.best(e.signatures, c, verifier.TempError) == verifier.TempError
}

func (e *evidence) decision(c *claim, decided ruling) Decision {
	d := c.decision(decided.deferBy)
	d.Action = decided.action()
	for _, r := range decided.tags {
		d.Tags = append(d.Tags, r.tag)
	}
	switch {
	case decided.deferBy == ruleKeyLookup:
		d.Reply = smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "a DKIM key needed to judge this message could not be looked up, try again later"}
	case decided.deferBy == rulePolicyLookup:
		d.Reply = smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "the DMARC policy needed to judge this message could not be looked up, try again later"}
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
