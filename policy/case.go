package policy

import (
	"slices"
	"strconv"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/smtpreply"
	"dkimd/verifier"
)

// maxClaims is how many sender domains of one message are judged. Nobody writes
// mail in the name of that many; a forger can, and each costs a judgement.
const maxClaims = 64

// Case is one message and the files that judge it. It is read-only after Select.
type Case struct {
	from   message.Originator
	claims []claim
	excess []claim // the first claim past maxClaims, and the first whose file can stop mail in enforce mode
	// unread: From holds more than is read of it, and there are files that could stop the message for that.
	unread bool

	gaps    Gap
	doubts  map[*rule]Gap // rules whose conditions on the message may hold or not
	unknown Gap           // which files judge it, or what they judge
}

func (c *Case) add(f *file, sender domain.Name, onlyEnvelope bool, m *Message) {
	added := claim{file: f, sender: sender, envelope: onlyEnvelope}
	added.author = m.From.Fields == 1 && len(m.From.Claimed) == 1 && m.From.Claimed[0] == sender
	if len(c.claims) >= maxClaims {
		if c.excess == nil || f.stops && f.mode == modeEnforce && len(c.excess) == 1 {
			c.excess = append(c.excess, added)
		}
		return
	}
	if sender.Lookable() {
		added.organization = sender.Organizational()
	}
	for i := range c.claims {
		// The same file for another domain: its conditions on the message are tested already.
		if c.claims[i].file == f {
			added.rules = c.claims[i].rules
			break
		}
	}
	if added.rules == nil {
		added.rules = f.open(m)
		if m.Gaps != 0 {
			c.doubtful(added.rules, m)
		}
	}
	c.claims = append(c.claims, added)
}

func (c *Case) has(f *file, sender domain.Name) bool {
	for i := range c.claims {
		if c.claims[i].file == f && c.claims[i].sender == sender {
			return true
		}
	}
	return false
}

// Signers are the domains whose signatures the rules ask for, each once: the
// verifier looks at those first when there are more than it verifies. A signer
// written *.example.com is not among them.
func (c *Case) Signers() []domain.Name {
	var list []domain.Name
	for i := range c.claims {
		for _, signer := range c.claims[i].file.signers {
			if !slices.Contains(list, signer) {
				list = append(list, signer)
			}
		}
		if sender := c.claims[i].sender; c.claims[i].file.aligned && sender != "" && !slices.Contains(list, sender) {
			list = append(list, sender)
		}
	}
	return list
}

// NeedsDMARC reports whether a rule asks for what DMARC says, or for signatures that are aligned.
func (c *Case) NeedsDMARC() bool {
	return slices.ContainsFunc(c.claims, func(c claim) bool { return c.file.asksDMARC || c.file.aligned })
}

// NeedsSPF reports whether a rule asks for what SPF says, or for what DMARC does, which hangs on it.
func (c *Case) NeedsSPF() bool {
	return slices.ContainsFunc(c.claims, func(c claim) bool { return c.file.asksDMARC || c.file.asksSPF })
}

// Judge tries the rules on what the verifier found. A nil report is a fault of ours.
func (c *Case) Judge(report *verifier.Report) Verdict {
	if report == nil {
		return c.Fault()
	}
	if len(c.claims) == 0 && !c.unread {
		return Verdict{Unknown: c.unknown}
	}
	w := newEvidence(c, report)
	decisions := make([]Decision, 0, len(c.claims)+len(c.excess)+1)
	for i := range c.claims {
		decisions = append(decisions, w.judge(&c.claims[i]))
	}
	for i := range c.excess {
		d := c.excess[i].decision(ruleTooMany)
		if c.excess[i].file.stops {
			// No retry can fix that: RFC 5321 section 4.2.1 wants a 5yz reply.
			d.Action = Reject
			d.Reply = smtpreply.Reply{Code: 550, Enhanced: "5.7.1", Text: "this message names more than " + strconv.Itoa(maxClaims) + " sender domains"}
		}
		decisions = append(decisions, d)
	}
	if c.unread {
		reply := smtpreply.Reply{Code: 550, Enhanced: "5.7.1", Text: "this message has more in From than anybody needs"}
		decisions = append(decisions, Decision{Rule: ruleTooMany, Mode: modeEnforce, Action: Reject, Reply: reply})
	}
	if c.unknown != 0 {
		decisions = append(decisions, Decision{Mode: modeEnforce, Unknown: c.unknown})
	}
	return combine(decisions)
}

// Fault is the verdict when dkimd itself is at fault: a file that could stop the
// message defers it, because a fault of ours must not let it in.
func (c *Case) Fault() Verdict {
	decisions := make([]Decision, 0, len(c.claims)+len(c.excess))
	for _, list := range [][]claim{c.claims, c.excess} {
		for i := range list {
			d := list[i].decision(ruleFault)
			if list[i].file.stops {
				d.Action, d.Reply = TempFail, smtpreply.InternalFault()
			}
			decisions = append(decisions, d)
		}
	}
	if c.unread {
		decisions = append(decisions, Decision{Rule: ruleFault, Mode: modeEnforce, Action: TempFail, Reply: smtpreply.InternalFault()})
	}
	return combine(decisions)
}

// claim is one file judging one sender domain of a message.
type claim struct {
	file         *file
	rules        []*rule     // those whose conditions on the message hold
	sender       domain.Name // empty: From has no domain
	organization domain.Name
	envelope     bool // found only in MAIL FROM
	author       bool // it is the one author domain of From
}

// decision is one of the claim's file, accepting so far.
func (c *claim) decision(rule string) Decision {
	return Decision{Sender: string(c.sender), File: c.file.name, Rule: rule, Mode: c.file.mode}
}
