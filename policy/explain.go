package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"dkimd/verifier"
)

// Explanation is how one file came to its decision on one sender domain. The names of its JSON, and those of
// a Verdict, are documented in docs/commands.md.
type Explanation struct {
	Decision Decision `json:"decision"`
	Envelope bool     `json:"envelope"` // the domain was found only in MAIL FROM
	Tried    []Tried  `json:"tried"`    // the rules from the top, up to the one that decided
}

// Tried is one rule and whether it held.
type Tried struct {
	Name   string `json:"name"`
	Action string `json:"action"`
	Holds  bool   `json:"holds"`
	Why    string `json:"why,omitempty"` // the condition that failed, or what a name shows; with a lookup that failed, what depends on it
}

// Explain judges a message like Select and Judge, and says how it came to that.
func (r *Rules) Explain(m Message, report *verifier.Report) ([]Explanation, Verdict) {
	c := r.Select(m)
	w := newEvidence(c, report)
	var list []Explanation
	for i := range c.claims {
		claim := &c.claims[i]
		e := Explanation{Decision: w.judge(claim), Envelope: claim.envelope, Tried: []Tried{}}
		for _, rule := range claim.file.rules {
			tried := w.tried(rule, claim, &m)
			e.Tried = append(e.Tried, tried)
			if tried.Holds && !rule.isTag {
				break
			}
		}
		list = append(list, e)
	}
	return list, c.Judge(report)
}

// Enforced is the verdict as if every file that judged were in enforce mode.
func (v Verdict) Enforced() Verdict {
	if len(v.Decisions) == 0 {
		return v
	}
	decisions := make([]Decision, 0, len(v.Decisions))
	for _, d := range v.Decisions {
		d.Mode = modeEnforce
		decisions = append(decisions, d)
	}
	return combine(decisions)
}

// tried tests a rule under everything that is assumed where something is not known.
func (e *evidence) tried(r *rule, c *claim, m *Message) Tried {
	t := Tried{Name: r.name, Action: r.action.String()}
	if r.isTag {
		t.Action = "tag"
	}
	if t.Why = r.closed(m); t.Why != "" {
		return t
	}
	list, _ := e.possible(c.file)
	holds, cases := 0, []string{}
	for _, f := range list {
		for _, a := range e.assumptions(f) {
			why := e.fails(r, c, a)
			if why == "" {
				holds++
				why = "it holds"
			}
			if text := e.assumed(a, len(list) > 1) + why; !slices.Contains(cases, text) {
				cases = append(cases, text)
			}
		}
	}
	if t.Holds = holds == len(list)*len(e.assumptions(facts{})); !t.Holds {
		t.Why = strings.Join(cases, "; ")
	} else if r.from&misleading != 0 && r.from&authorOf(m.From) == 0 {
		t.Why = "a name in From shows " + string(m.misleading())
	}
	return t
}

// closed says which condition on the message does not hold; open says whether one does not.
func (r *rule) closed(m *Message) string {
	switch {
	case r.clients != nil && !within(r.clients, m.Client):
		return "clients: " + m.Client.String() + " is in none of these networks"
	case r.notClients != nil && within(r.notClients, m.Client):
		return "not_clients: " + m.Client.String() + " is in one of these networks"
	case r.recipients != nil && !r.everyRecipient(m):
		return "recipients: " + r.otherRecipient(m)
	case r.anyRecipient != nil && !r.oneRecipient(m):
		return "any_recipient: none of the recipients is one of these"
	case r.list == yes && !m.List:
		return "list: there is no List-Id"
	case r.list == no && m.List:
		return "list: there is a List-Id"
	case r.from != 0 && !r.author(m):
		return "from: " + r.soundFrom(m)
	}
	return ""
}

// soundFrom says what is not wrong with From.
func (r *rule) soundFrom(m *Message) string {
	if r.from == missing {
		return "it is there, and can be read"
	}
	if r.from == misleading {
		return "no name in it shows a domain of others"
	}
	return fmt.Sprintf("there is %d From field", m.From.Fields)
}

func (r *rule) otherRecipient(m *Message) string {
	for _, recipient := range m.Recipients {
		if !r.recipients.Has(recipient) {
			return recipient + " is not one of these"
		}
	}
	return "not all recipients are known"
}

// assumed says what is assumed.
func (e *evidence) assumed(a assumption, open bool) string {
	var parts []string
	if e.unknown {
		parts = append(parts, "temperror were "+a.keys.String())
	}
	if e.open {
		parts = append(parts, "alignment were "+map[bool]string{true: "relaxed", false: "none"}[a.aligned])
	}
	if open {
		parts = append(parts, "dmarc were "+cmp.Or(a.dmarc.String(), "unknown")+", the published policy "+a.policy()+", spf "+cmp.Or(a.spf.String(), "unknown"))
	}
	if parts == nil {
		return ""
	}
	return "as if " + strings.Join(parts, ", ") + ": "
}

// fails says which condition on signatures, SPF and DMARC does not hold.
func (e *evidence) fails(r *rule, c *claim, a assumption) string {
	if why := r.asked.unmet(a.facts, e.found()); why != "" {
		return why
	}
	if r.outcomes == 0 || e.results(r, c, a) {
		return ""
	}
	best := r.selection.best(e.signatures, c, a)
	return "result: got " + best.String() + "; want " + r.outcomes.String() + e.counted(r, c, a)
}

// counted says which signatures the result comes from.
func (e *evidence) counted(r *rule, c *claim, a assumption) string {
	var counted, left []string
	for i := range e.signatures {
		s := &e.signatures[i]
		text := string(s.domain) + " " + s.status.String()
		if why := r.selection.leavesOut(s, c, a); why != "" {
			left = append(left, text+" does not count: "+why)
		} else {
			counted = append(counted, text+" counts")
		}
	}
	if len(counted)+len(left) == 0 {
		if e.multiple && e.signed {
			return " (with several From fields no signature counts)"
		}
		return " (there is no signature that counts)"
	}
	return " (" + strings.Join(append(counted, left...), ", ") + ")"
}

// leavesOut says why a signature does not count; it follows counts.
func (sel *selection) leavesOut(s *signature, c *claim, a assumption) string {
	switch {
	case sel.counts(s, c, a):
		return ""
	case sel.aligned != verifier.AlignNone && s.alignment(c, a) < sel.aligned:
		return "it is not aligned with " + string(c.sender)
	case sel.signers != nil && !sel.signers.has(s.domain):
		return "it is not one of signers"
	case sel.notSigners != nil && sel.notSigners.has(s.domain):
		return "it is one of not_signers"
	case !s.unknown() && !sel.testing.allows(s.testing):
		return "testing"
	case sel.duplicates == yes && !s.duplicates:
		return "it leaves no duplicate field unsigned"
	case sel.duplicates == no && s.duplicates:
		return "it leaves a duplicate field unsigned"
	case sel.bits > 0 && s.bits < sel.bits && strings.HasPrefix(s.algorithm, "rsa-"):
		return fmt.Sprintf("its key has %d bits", s.bits)
	}
	return "its algorithm is " + s.algorithm
}

// String is the results of the set, as rules name them.
func (o outcomes) String() string {
	var words []string
	for _, s := range []verifier.Status{verifier.None, verifier.Pass, verifier.Fail, verifier.Policy, verifier.Neutral, verifier.TempError, verifier.PermError} {
		if o&outcome(s) != 0 {
			words = append(words, s.String())
		}
	}
	return strings.Join(words, ", ")
}
