package pipeline

import (
	"errors"
	"slices"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/internal/safetext"
	"dkimd/policy"
	"dkimd/signer"
	"dkimd/verifier"
)

// record is what the steps of a message leave for its one record.
type record struct {
	signed              []signer.Signature
	report              *verifier.Report
	verdict             policy.Verdict
	warnings            []string
	longField, longBody bool
	err                 error
	aborted             bool
}

// maxFrom bounds the addresses of From that a record names.
const maxFrom = 10

// maxStep bounds a line of Walk.
const maxStep = 500

// write leaves the one record of the message.
func (m *Message) write(out *Outcome, rec *record) {
	m.done = true
	now := m.p.Now()
	e := &events.Event{
		Time:       now,
		ID:         m.env.QueueID,
		Front:      string(m.env.Front),
		Mode:       m.mode(rec),
		ReasonCode: m.reason.Code,
		Reason:     m.reason.Text,
		Client:     m.env.Client.String(),
		Helo:       m.env.Helo,
		Auth:       m.env.AuthUser,
		Sender:     m.env.Sender,
		Originator: m.originator(),
		RcptTo:     m.env.Recipients,
		Recipients: m.env.RecipientCount,
		List:       m.isList(),
		Bytes:      int64(m.header.Bytes()) + m.bytes,
		Stripped:   len(out.RemoveAuthRes),
		Verdict:    out.Action.String(),
		Total:      now.Sub(m.started),
		Warnings:   rec.warnings,
		LongField:  rec.longField,
		LongBody:   rec.longBody,
	}
	if !m.ended.IsZero() {
		e.Finish = now.Sub(m.ended)
	}
	if ids := m.header.All("Message-ID"); len(ids) > 0 {
		e.MessageID = strings.TrimSpace(string(ids[0].Value()))
	}
	for _, a := range m.from.Addresses[:min(len(m.from.Addresses), maxFrom)] {
		e.From = append(e.From, a.Local+"@"+string(a.Domain))
	}
	for _, s := range rec.signed {
		e.Signed = append(e.Signed, events.Signed{Domain: s.Domain, Selector: s.Selector, Algorithm: s.Algorithm})
	}
	m.tell(e, rec.report)
	for _, d := range rec.verdict.Decisions {
		e.Policy = append(e.Policy, events.Decision{
			File: d.File, Rule: d.Rule, Mode: d.Mode, Action: d.Action.String(), Reply: d.Reply.String(),
		})
	}
	if limit := m.exceeded(); limit != "" {
		e.Warnings = append(e.Warnings, "over the limit of "+limit)
	}
	if m.asked && *m.misleading != "" {
		e.Warnings = append(e.Warnings, "a name in From shows "+string(*m.misleading))
	}
	switch {
	case rec.err != nil:
		e.Error = rec.err.Error()
	case rec.report != nil && rec.report.LookupPanic:
		e.Error = "panic in a lookup"
	}
	if rec.aborted {
		e.Verdict = events.ModeAborted
	}
	m.p.Events.Write(e)
}

func (m *Message) originator() events.Originator {
	from := m.from
	o := events.Originator{Domains: texts(from.Claimed), Sender: texts(from.Instead)}
	if m.misleading != nil {
		o.Shows = string(*m.misleading)
	}
	for _, fault := range []struct {
		is   bool
		word string
	}{
		{from.Fields == 0, events.FromMissing},
		{from.Fields > 0 && !from.Readable, events.FromUnreadable},
		{from.Fields > 1, events.FromMultiple},
		{from.Incomplete, events.FromIncomplete},
		{m.judged && m.misleading == nil, events.FromUnread},
	} {
		if fault.is {
			o.Faults = append(o.Faults, fault.word)
		}
	}
	return o
}

func texts(names []domain.Name) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = string(name)
	}
	return list
}

func (m *Message) mode(rec *record) string {
	switch {
	case rec.aborted:
		return events.ModeAborted
	case m.route == trusted:
		return events.ModeTrusted
	case m.route == foreign:
		return events.ModeVerify
	case m.route == skipped:
		return events.ModeSkipped
	case len(rec.signed) > 0:
		return events.ModeSign
	}
	return events.ModeUnsigned
}

// tell records what the verifier found; nothing where nobody asked it.
func (m *Message) tell(e *events.Event, report *verifier.Report) {
	if report == nil {
		return
	}
	e.DNS = report.DNS
	e.SPF, e.DMARC = Policies(report)
	if m.env.Front == message.CommandLine {
		e.Walk = Walk(report)
	}
	e.Signatures = Signatures(report)
}

// Signatures is what a report says of each signature.
func Signatures(report *verifier.Report) (list []events.Signature) {
	for _, r := range report.Results {
		list = append(list, signature(r))
	}
	return list
}

// Walk tells what DNS was asked for DMARC, a line each.
func Walk(report *verifier.Report) []string {
	lines := []string{}
	for _, s := range report.Walk() {
		line := s.For + " of " + string(s.Of) + ": " + s.Name + ": " + s.Text
		if s.Err != nil {
			line += s.Err.Error()
		}
		lines = append(lines, safetext.ASCII(line[:min(len(line), maxStep)]))
	}
	return lines
}

// Policies is what a report says of SPF and DMARC.
func Policies(report *verifier.Report) (events.SPF, events.DMARC) {
	o, v := report.SPF, report.DMARC
	e := events.DMARC{
		Result: v.Result.String(), Policy: v.Policy.String(), Published: v.Published.String(), Domain: string(v.At), Org: string(v.Org), Testing: v.Testing, Reason: safetext.ASCII(v.Reason),
	}
	if v.Result == dmarc.Pass {
		e.AlignedBy = v.AlignedBy.Method.String() + " " + string(v.AlignedBy.Domain)
	}
	return events.SPF{Result: o.Result.String(), Domain: string(o.Domain), Reason: o.Reason}, e
}

func signature(r verifier.Result) events.Signature {
	return events.Signature{
		Domain:           r.Domain,
		Selector:         r.Selector,
		Algorithm:        r.Algorithm,
		Canonicalization: r.Canonicalization,
		Result:           r.Status.String(),
		Reason:           r.Reason(),
		KeyBits:          r.KeyBits,
		SignatureBits:    r.Bits,
		Testing:          r.Testing,
		DNSSEC:           r.Authenticated,
		Duplicates:       r.Duplicates,
		Aligned:          r.Aligned.String(),
		AlignedOpen:      r.AlignmentOpen,
		Code:             code(r),
		Identity:         r.Identity,
		Timestamp:        r.Timestamp,
		Expiration:       r.Expiration,
		BodyLength:       r.BodyLength,
	}
}

// code is the closest word that Exim's log has for a result.
func code(r verifier.Result) events.Code {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(r.Err, t) })
	}
	switch {
	case r.Err == nil:
		return events.CodeNone
	case is(verifier.ErrBodyHash):
		return events.CodeBodyHash
	case is(verifier.ErrSignature):
		return events.CodeSignature
	case is(verifier.ErrKeyAbsent, verifier.ErrKeyUnavailable):
		return events.CodeKeyUnavailable
	case is(verifier.ErrKeySize):
		return events.CodeKeySize
	case is(dkim.ErrKeyTooLong): // it is a verifier.ErrKeySyntax, too
		return events.CodeKeyTooLong
	case is(verifier.ErrKeySyntax, verifier.ErrKeyRevoked, verifier.ErrKeyMismatch):
		return events.CodeKeySyntax
	case is(dkim.ErrVersion):
		return events.CodeVersion
	case is(verifier.ErrSyntax, verifier.ErrAlgorithm, verifier.ErrDomainMismatch, verifier.ErrFromUnsigned, verifier.ErrPublicSuffix):
		return events.CodeTags
	case is(verifier.ErrLimit):
		return events.CodeSkipped
	}
	return events.CodeNone
}
