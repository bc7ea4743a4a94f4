package policy

import (
	"slices"

	"dkimd/internal/smtpreply"
)

// Verdict is what all files that judge a message come to together.
type Verdict struct {
	Action Action          `json:"action"`
	Reply  smtpreply.Reply `json:"reply"` // of Reject and TempFail
	// File and Rule name what decided, among the files in enforce mode; both
	// are empty when none judged, Rule when no rule of the file held.
	File      string     `json:"file"`
	Rule      string     `json:"rule"`
	Decisions []Decision `json:"-"`              // one for each file and sender domain, in the order of the senders
	Tags      []Tag      `json:"tags,omitempty"` // header fields to add, each once
	Unknown   Gap        `json:"-"`              // what would have to be known for another verdict; 0: this is it
}

// Decision is what one file said of one sender domain, also in monitor mode.
// Rule is empty when no rule held, and in parentheses when none of the file's
// rules but dkimd itself decided: "(key lookup failed)".
type Decision struct {
	Sender string          `json:"sender"`
	File   string          `json:"file"`
	Rule   string          `json:"rule"`
	Mode   string          `json:"mode"`
	Action Action          `json:"action"` // what the rule said; in monitor mode the message is accepted all the same
	Reply  smtpreply.Reply `json:"reply"`
	Tags   []Tag           `json:"tags,omitempty"` // what the file's tag rules said
	// Unknown is what would have to be known for another action.
	Unknown Gap `json:"-"`
}

// Rules that no file contains, as Decision.Rule names them.
const (
	ruleKeyLookup    = "(key lookup failed)"
	rulePolicyLookup = "(policy lookup failed)"
	ruleFault        = "(internal fault)"
	ruleTooMany      = "(too many sender domains)"
	ruleBroken       = "(rules file broken)"
)

// combine makes the verdict of all decisions: of the files in enforce mode the
// strictest holds, the first among equals.
func combine(decisions []Decision) Verdict {
	v := Verdict{Decisions: decisions}
	first, refused := true, false
	for _, d := range decisions {
		if d.Mode != modeEnforce {
			continue
		}
		v.Unknown |= d.Unknown
		refused = refused || d.Unknown == 0 && d.Action == Reject
		if first || d.Action > v.Action {
			v.Action, v.Reply, v.File, v.Rule = d.Action, d.Reply, d.File, d.Rule
			first = false
		}
		for _, tag := range d.Tags {
			v.tag(tag)
		}
	}
	if refused { // whatever else there may be
		v.Unknown = 0
	}
	return v
}

// tag adds a header field unless another file asks for the same.
func (v *Verdict) tag(tag Tag) {
	if !slices.Contains(v.Tags, tag) {
		v.Tags = append(v.Tags, tag)
	}
}
