package pipeline

import (
	"net/netip"
	"slices"
	"strings"

	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/internal/spf"
	"dkimd/policy"
	"dkimd/verifier"
)

// Recorded is what rules ask of a message, read from its record: what question and the verifier said. A nil report is one
// that a fault kept from being judged by. What the record does not tell is in Gaps.
func Recorded(e *events.Event) (policy.Message, *verifier.Report) {
	m := policy.Message{
		Sender: e.Sender, Recipients: e.RcptTo, List: e.List,
		From:       recordedFrom(e),
		Client:     recordedClient(e.Client),
		Misleading: func() domain.Name { return domain.Name(e.Originator.Shows) },
	}
	report := &verifier.Report{Results: make([]verifier.Result, len(e.Signatures))}
	unseen := false
	for i := range e.Signatures {
		report.Results[i] = recordedResult(&e.Signatures[i])
		unseen = unseen || strings.HasPrefix(e.Signatures[i].Reason, bodyNotSeen)
	}
	report.SPF = spf.Outcome{Domain: domain.Name(e.SPF.Domain)}
	report.SPF.Result, _ = spf.Parse(e.SPF.Result)
	report.DMARC = recordedDMARC(e, m.From)
	m.Gaps = gaps(e, m)
	if unseen {
		report = nil
	}
	return m, report
}

func recordedFrom(e *events.Event) message.Originator {
	is := func(fault string) bool { return slices.Contains(e.Originator.Faults, fault) }
	o := message.Originator{Fields: 1, Incomplete: is(events.FromIncomplete)}
	switch {
	case is(events.FromMissing):
		o.Fields = 0
	case is(events.FromMultiple):
		o.Fields = 2
	}
	o.Readable = o.Fields > 0 && !is(events.FromUnreadable)
	o.Claimed, o.Instead = names(e.Originator.Domains), names(e.Originator.Sender)
	if e.Originator.Domains == nil { // an older record
		for _, address := range e.From {
			if name := message.DomainOf(address); !slices.Contains(o.Claimed, name) {
				o.Claimed = append(o.Claimed, name)
			}
		}
	}
	return o
}

func names(texts []string) []domain.Name {
	list := make([]domain.Name, len(texts))
	for i, text := range texts {
		list[i] = domain.Name(text)
	}
	return list
}

// recordedClient reads what Client.String writes.
func recordedClient(text string) message.Client {
	if addr, err := netip.ParseAddr(text); err == nil {
		return message.Client{Kind: message.ClientAddress, Addr: addr}
	}
	if text == (message.Client{Kind: message.ClientLocal}).String() {
		return message.Client{Kind: message.ClientLocal}
	}
	return message.Client{Kind: message.ClientUnreadable}
}

func recordedResult(s *events.Signature) verifier.Result {
	r := verifier.Result{
		Domain: s.Domain, Selector: s.Selector, Algorithm: s.Algorithm, Canonicalization: s.Canonicalization, Duplicates: s.Duplicates,
		KeyBits: s.KeyBits, Testing: s.Testing, AlignmentOpen: s.AlignedOpen, Authenticated: s.DNSSEC,
	}
	for status := verifier.Pass; status <= verifier.PermError; status++ {
		if status.String() == s.Result {
			r.Status = status
		}
	}
	for aligned := verifier.AlignNone; aligned <= verifier.AlignStrict; aligned++ {
		if aligned.String() == s.Aligned {
			r.Aligned = aligned
		}
	}
	return r
}

func recordedDMARC(e *events.Event, from message.Originator) dmarc.Verdict {
	v := dmarc.Verdict{Testing: e.DMARC.Testing, At: domain.Name(e.DMARC.Domain), Org: domain.Name(e.DMARC.Org), Reason: e.DMARC.Reason}
	v.Result, _ = dmarc.Parse(e.DMARC.Result)
	v.Policy, v.Published = recordedPolicy(e.DMARC.Policy), recordedPolicy(e.DMARC.Published)
	if len(from.Claimed) == 1 && !from.Incomplete { // else it was not asked for
		v.Author = from.Claimed[0]
	}
	return v
}

func recordedPolicy(word string) dmarc.Policy {
	for p := dmarc.PolicyNone; p <= dmarc.PolicyReject; p++ {
		if p.String() == word {
			return p
		}
	}
	return dmarc.PolicyAbsent
}

// gaps is what the record does not tell.
func gaps(e *events.Event, m policy.Message) (g policy.Gap) {
	cut := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(s string) bool { return len(s) > events.MaxValue })
	}
	if len(e.RcptTo) < e.Recipients || cut(e.RcptTo...) {
		g |= policy.GapRecipients
	}
	switch {
	case e.Originator.Domains == nil:
		g |= policy.GapList | policy.GapFrom | policy.GapNames
		if len(e.From) == 0 || len(e.From) >= maxFrom {
			g |= policy.GapAuthors
		}
		if len(e.From) > 1 { // of several fields perhaps, and then no signature counts
			g |= policy.GapSignatures
		}
	case slices.Contains(e.Originator.Faults, events.FromUnread):
		g |= policy.GapNames
	}
	if cut(e.Sender) || cut(e.Originator.Domains...) || cut(e.Originator.Sender...) {
		g |= policy.GapAuthors
	}
	if e.SPF.Result == "" && m.Client.Kind == message.ClientAddress {
		g |= policy.GapSPF
	}
	if e.DMARC.Result == "" && e.DMARC.Policy == "" {
		g |= policy.GapDMARC
	}
	if e.Error != "" { // nothing came of the signatures, or not what would
		g |= policy.GapSignatures
	}
	for _, lost := range e.LeftOut() {
		switch lost {
		case "domains", "sender":
			g |= policy.GapAuthors
		case "signatures", "":
			g |= policy.GapSignatures
		}
	}
	return g
}
