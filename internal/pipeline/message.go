package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/smtpreply"
	"dkimd/internal/spf"
	"dkimd/policy"
	"dkimd/signer"
	"dkimd/verifier"
)

// maxRemovals is how many forged Authentication-Results fields are removed. A message
// with more is refused: removing them costs Postfix the square of their number (measured:
// 4 s for 8000), and none may stay.
const maxRemovals = 1000

var errMemory = errors.New("no memory is left for this message")

const (
	authResultsName = "Authentication-Results"
	signatureName   = "DKIM-Signature"
)

// Message is one message on its way. Its methods are called in order by one
// goroutine: Header, EndOfHeader, Body, then Finish or Abort. None of them panics:
// a fault of ours is remembered, and Finish answers as the rules say.
type Message struct {
	p       *Pipeline
	env     *message.Envelope
	started time.Time
	ended   time.Time // the end of the body; zero: it has not come

	names   []string // under which results are ours; the first is our authserv-id
	header  message.Header
	authRes int   // Authentication-Results fields so far
	remove  []int // those among them that claim our name, ascending
	forged  bool  // there are more of those than can be removed

	began        bool // there is a header: DATA has begun
	done         bool // the record is written
	judged       bool // EndOfHeader came as far as the sender's rules
	route        route
	reason       signer.Reason
	from         message.Originator
	misleading   *domain.Name // nil: nobody looked
	asked        bool         // whether a rule did
	signing      *signer.Signing
	verification *verifier.Verification
	spf          *verifier.SPF
	rules        *policy.Case
	bytes        int64 // of the body
	fault        error
	unseen       string // why the body as it came is not known
}

// Begin starts a message at MAIL. The envelope may be completed until EndOfHeader.
func (p *Pipeline) Begin(env *message.Envelope) *Message {
	m := &Message{p: p, env: env, started: p.Now(), header: message.Header{Held: env.Held}}
	// Most mail of clients that did not log in is checked, and its lookups need not wait for the header. Whose mail it is may take
	// lookups of its own, and is known then.
	known := p.Networks.Has(env.Client) || p.Trusted.Has(env.Client) || p.LeaveAlone.Has(env.Client) ||
		p.hasTLSClient(env.Certificate) || p.hasDaemonName(env.DaemonName)
	if p.SPF && !p.SignOnly && env.Purpose != message.OnlySign && !env.Authenticated() && !known {
		m.beginSPF(nil)
	}
	return m
}

// beginSPF checks the sender's domain, where there is a client to check it for (RFC 7208 section 2.5).
func (m *Message) beginSPF(header *message.Header) {
	if m.spf == nil && m.env.Client.Kind == message.ClientAddress {
		m.spf = m.p.Verifier.BeginSPF(spf.Request{Client: m.env.Client.Addr, HELO: m.env.Helo, Sender: m.env.Sender}, header)
	}
}

// ourNames are the names under which results are ours.
func (m *Message) ourNames() []string {
	switch {
	case m.names != nil:
	case m.p.Hostname != "":
		m.names = []string{m.p.Hostname}
	default:
		if mta := domain.Fold(m.env.MTA); mta != "" {
			m.names = append(m.names, string(mta))
		}
		for _, name := range m.p.HostNames {
			if !slices.Contains(m.names, name) {
				m.names = append(m.names, name)
			}
		}
	}
	return m.names
}

// claims reports whether results say that they are ours.
func (m *Message) claims(value string) bool {
	claims := func(name string) bool { return verifier.ClaimsAuthserv([]byte(value), name, m.p.stripped...) }
	return slices.ContainsFunc(m.ourNames(), claims) || slices.ContainsFunc(m.p.StripAlso, claims)
}

// Header takes one field; the value has whatever white space followed the colon.
func (m *Message) Header(name, value string) {
	defer m.guard("header")
	m.began = true
	m.header.Add(name, value)
	if m.env.Purpose != message.OnlySign && strings.EqualFold(strings.TrimRight(name, " \t"), authResultsName) {
		m.authRes++
		if !m.forged && m.claims(value) {
			m.remove = append(m.remove, m.authRes)
			m.forged = len(m.remove) > maxRemovals
		}
	}
}

// EndOfHeader routes the message and begins to sign or to verify it.
func (m *Message) EndOfHeader(ctx context.Context) {
	defer m.guard("end of header")
	m.began = true
	m.from = message.ReadFrom(&m.header)
	if m.route, m.reason = m.p.routeFor(ctx, m.env); m.route != foreign {
		m.spf.Close()
		m.spf = nil
	}
	if m.route == skipped {
		m.remove, m.forged = nil, false
		return
	}
	// What signer or verifier keep of a header can be as large: folded fields, parsed signatures.
	if !m.env.Held.Take(m.header.Bytes()) {
		return // Finish defers it
	}
	switch m.route {
	case ours:
		if m.p.toNobodyElse(m.env) {
			m.reason = signer.Reason{Code: reasonRecipients, Text: "all recipients are in sign.not_recipients"}
			return
		}
		var reason signer.Reason
		switch m.signing, reason = m.p.Signer.Begin(ctx, m.env, &m.header, m.from); {
		case m.signing == nil:
			m.reason = reason
		case m.reason.Code == reasonFault: // it is not known whether the message is ours
			m.signing = nil
			m.Fault(errors.New(m.reason.Text))
		case reason.Text != "":
			m.reason.Text += "; " + reason.Text
		}
		return
	case leaving, skipped:
		return
	case foreign, trusted:
	}
	request := verifier.Request{Header: &m.header, From: m.from, Exceeded: m.exceeded()}
	if m.route == foreign {
		m.rules = m.p.Rules.Select(m.question())
		m.judged = true
		m.readShortNames()
		request.Prefer = m.rules.Signers()
		request.DMARC = m.p.SPF || m.rules.NeedsDMARC()
		if m.p.SPF || m.rules.NeedsSPF() {
			m.beginSPF(&m.header)
		}
		request.SPF = m.spf
		request.DMARCOnlyRecorded, request.SPFOnlyRecorded = !m.rules.NeedsDMARC(), !m.rules.NeedsSPF()
	}
	m.verification = m.p.Verifier.Begin(ctx, request)
}

// question is what rules ask of the message beside its signatures. Recorded reads it from the record.
func (m *Message) question() policy.Message {
	return policy.Message{
		From:                m.from,
		Sender:              m.env.Sender,
		Client:              m.env.Client,
		Recipients:          m.env.Recipients,
		RecipientsTruncated: m.env.RecipientCount > len(m.env.Recipients),
		List:                m.isList(),
		Misleading: func() domain.Name {
			m.asked = true
			return m.readNames()
		},
	}
}

// usualFrom is up to how many octets of From its names are read for the record alone: what a flood shows is costly to read.
const usualFrom = 998

func (m *Message) readShortNames() {
	size := 0
	for _, f := range m.header.All("From") {
		size += len(f.Value())
	}
	if size <= usualFrom {
		m.readNames()
	}
}

// readNames is what a name in From shows.
func (m *Message) readNames() domain.Name {
	if m.misleading == nil {
		name := message.Misleading(&m.header, m.from)
		m.misleading = &name
	}
	return *m.misleading
}

func (m *Message) isList() bool { return len(m.header.All("List-Id")) > 0 }

// exceeded names a message limit that was passed, or is empty.
func (m *Message) exceeded() string {
	if m.forged {
		return "forged Authentication-Results fields"
	}
	return m.header.Exceeded()
}

// Body takes the next bytes of the body and keeps none of them.
func (m *Message) Body(p []byte) {
	defer m.guard("body")
	m.bytes += int64(len(p))
	switch {
	case m.signing != nil:
		_, _ = m.signing.Write(p)
	case m.verification != nil:
		_, _ = m.verification.Write(p)
	}
}

// Finish ends the message: its signatures or its report, the verdict, the record.
func (m *Message) Finish(ctx context.Context) (out Outcome) {
	if m.done {
		return Outcome{Action: policy.Accept}
	}
	defer m.spf.Close()
	m.ended = m.p.Now()
	rec := record{}
	if m.env.Held.Exceeded() {
		m.deferForMemory(&out, &rec)
	} else if !m.finish(ctx, &out, &rec) {
		out, rec = Outcome{}, record{}
		m.answerFault(&out, &rec)
	}
	m.restrict(&out)
	if gone, ok := errors.AsType[GoneError](context.Cause(ctx)); ok {
		m.reason, rec.aborted = signer.Reason{Code: reasonAborted, Text: gone.Error()}, true
		if _, cut := errors.AsType[GoneError](rec.err); cut {
			rec.err = nil // signing ended because the MTA left, which is not our fault
		}
	}
	m.write(&out, &rec)
	return out
}

// restrict makes of an outcome what the MTA can carry out: what it cannot stops the message.
func (m *Message) restrict(out *Outcome) {
	stop := func(action policy.Action, reply smtpreply.Reply) {
		out.Action, out.Quarantine, out.Reply = action, "", reply
	}
	if out.Action == policy.Quarantine && m.env.CannotQuarantine {
		stop(policy.TempFail, smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "This message should be held for review, which is not possible here, please try again later"})
	}
	goesOn := func() bool { return out.Action == policy.Accept || out.Action == policy.Quarantine }
	if m.forged && goesOn() {
		stop(policy.Reject, smtpreply.Reply{Code: 550, Enhanced: "5.7.1", Text: "This message has too many Authentication-Results fields that claim to be from here"})
	}
	// RFC 8601 section 5: a field that claims our name must not reach those who trust it.
	if len(m.remove) > 0 && m.env.CannotRemove && !m.p.KeepForged && goesOn() {
		stop(policy.TempFail, smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "This message has Authentication-Results fields that claim to be from here and cannot be removed, please try again later"})
	}
	if !goesOn() {
		out.Add, out.Replace = nil, nil
		return
	}
	if !m.env.CannotRemove {
		slices.Reverse(m.remove)
		out.RemoveAuthRes = m.remove
	}
}

// finish is the way of a message in which nothing goes wrong on our side.
func (m *Message) finish(ctx context.Context, out *Outcome, rec *record) (ok bool) {
	defer m.guard("end of message")
	switch {
	case m.fault != nil:
		return false
	case m.signing != nil:
		m.sign(ctx, out, rec)
	case m.verification != nil:
		m.verify(ctx, out, rec)
	case m.route == leaving, m.route == skipped:
	case m.route != ours || !m.began:
		m.Fault(errors.New("end of message without a header"))
	}
	return m.fault == nil
}

func (m *Message) sign(ctx context.Context, out *Outcome, rec *record) {
	signed, err := m.signing.Finish(ctx)
	if err != nil {
		rec.err = err
		m.reason = signer.Reason{Code: signer.KeyUnusable, Text: err.Error()}
		m.failSigning(out)
		return
	}
	out.Replace = signed.Folded
	rec.signed = signed.Signatures
	rec.longField, rec.longBody = signed.LongField, signed.LongBody
	rec.warnings = signed.Warnings
	for _, value := range signed.Fields {
		out.Add = append(out.Add, Addition{Name: signatureName, Value: value})
	}
}

func (m *Message) verify(ctx context.Context, out *Outcome, rec *record) {
	rec.report = m.verification.Finish(ctx)
	unseen := m.unseen != "" && withoutBody(rec.report, m.unseen)
	if m.rules != nil {
		if unseen {
			rec.verdict = m.rules.Fault()
		} else {
			rec.verdict = m.rules.Judge(rec.report)
		}
		out.Action, out.Reply = rec.verdict.Action, rec.verdict.Reply
		if out.Action == policy.Quarantine {
			out.Quarantine = "dkimd: " + rec.verdict.Rule
		}
	}
	for _, value := range verifier.AuthenticationResults(m.ourNames()[0], rec.report) {
		out.Add = append(out.Add, Addition{Name: authResultsName, Value: " " + value})
	}
	for _, tag := range rec.verdict.Tags {
		out.Add = append(out.Add, Addition{Name: tag.Name, Value: " " + tag.Value})
	}
}

// answerFault answers when the fault is ours: it never opens the door for mail
// that a rule could have stopped.
func (m *Message) answerFault(out *Outcome, rec *record) {
	defer func() {
		if v := recover(); v != nil {
			m.p.Logger.Error("panic while answering for a fault", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			out.Action, out.Reply = policy.TempFail, smtpreply.InternalFault()
		}
	}()
	rec.err = m.fault
	if m.route == ours && m.reason.Code != reasonFault || m.reason.Code == "" {
		m.reason = signer.Reason{Code: reasonFault, Text: "dkimd itself failed: see error"}
	}
	switch {
	case m.route == ours && m.began:
		m.failSigning(out)
	case m.route == trusted, m.route == leaving, m.route == skipped:
	case m.judged:
		rec.verdict = m.rules.Fault()
		out.Action, out.Reply = rec.verdict.Action, rec.verdict.Reply
	default:
		rec.verdict = m.p.Rules.FaultUnknown()
		out.Action, out.Reply = rec.verdict.Action, rec.verdict.Reply
	}
	if m.verification != nil {
		m.verification.Close()
	}
}

// deferForMemory answers where the message is not known in full, because all of them together hold too
// much. That passes, so it is deferred, whatever the configuration says of faults.
func (m *Message) deferForMemory(out *Outcome, rec *record) {
	rec.err = errMemory
	m.reason = signer.Reason{Code: reasonMemory, Text: "the messages under way hold as much as the memory setting allows"}
	out.Action = policy.TempFail
	out.Reply = smtpreply.Reply{Code: 451, Enhanced: "4.3.2", Text: "Too much mail is being received here at the moment, please try again later"}
	if limit, due := m.env.Held.Deferred(); due {
		m.p.Logger.Warn("memory for messages is used up: mail is deferred", "bytes", limit, "queue_id", m.env.QueueID)
	}
	if m.verification != nil {
		m.verification.Close()
	}
}

func (m *Message) failSigning(out *Outcome) {
	if !m.p.SendUnsigned {
		out.Action = policy.TempFail
		out.Reply = smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "This message could not be signed, please try again later"}
	}
}

// Fault tells the message of a fault of ours that the front door noticed.
func (m *Message) Fault(err error) {
	if m.fault == nil {
		m.fault = err
	}
}

// Abort ends a message that the MTA gave up. It may be called at any time, and
// records something only where the message itself had begun.
func (m *Message) Abort(reason string) {
	defer m.guard("abort")
	m.spf.Close()
	if m.verification != nil {
		m.verification.Close()
	}
	if m.done || !m.began {
		m.done = true
		return
	}
	m.reason = signer.Reason{Code: reasonAborted, Text: reason}
	m.write(&Outcome{}, &record{aborted: true, err: m.fault})
}

// guard turns a panic in one step into a fault of this message alone.
func (m *Message) guard(step string) {
	if v := recover(); v != nil {
		m.p.Logger.Error("panic while handling a message", "step", step, "queue_id", m.env.QueueID,
			"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		m.Fault(fmt.Errorf("panic at %s: %v", step, v))
	}
}
