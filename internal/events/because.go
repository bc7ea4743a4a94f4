package events

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Verdicts are what Event.Verdict may be.
func Verdicts() []string {
	return []string{"accept", "quarantine", "discard", "tempfail", "reject", ModeAborted}
}

// Brief is what became of the message in a few words.
func (e *Event) Brief() string {
	var parts []string
	switch e.Mode {
	case ModeSign:
		for i := range e.Signed {
			parts = append(parts, "signed "+e.Signed[i].Domain+"/"+e.Signed[i].Selector)
		}
	case ModeVerify, ModeTrusted:
		for i := range e.Signatures {
			parts = append(parts, e.Signatures[i].Domain+" "+e.Signatures[i].Result)
		}
		if len(parts) == 0 {
			parts = append(parts, "no signature")
		}
		if e.DMARC.Result != "" {
			parts = append(parts, "dmarc "+e.DMARC.Result)
		}
	default:
		parts = append(parts, e.Mode+": "+cmp.Or(e.ReasonCode, e.Reason))
	}
	if rule := e.rule(); rule != nil && rule.Rule != "" {
		parts = append(parts, fmt.Sprintf("rule %q", rule.Rule))
	}
	if e.Error != "" {
		parts = append(parts, "ERROR")
	}
	return strings.Join(parts, "; ")
}

// Because is a sentence that says why the message came out as it did and, where that is not as its sender wished, what would have
// helped.
func (e *Event) Because() string {
	switch {
	case e.Error != "":
		return fmt.Sprintf("dkimd itself failed (%s), and the message got the answer for this case: %s.", e.Error, e.Verdict)
	case e.Mode == ModeSign && len(e.Signed) > 0:
		return fmt.Sprintf("Signed for %s: %s.", e.Signed[0].Domain, cmp.Or(e.Reason, "it is ours"))
	case e.Mode == ModeUnsigned:
		return fmt.Sprintf("Not signed: %s%s.", e.Reason, e.wouldSign())
	case e.Mode == ModeAborted:
		return fmt.Sprintf("The mail server left before the end: %s.", e.Reason)
	case e.Mode == ModeSkipped:
		return fmt.Sprintf("Neither signed nor checked: %s.", e.Reason)
	case e.Mode == ModeTrusted:
		return fmt.Sprintf("Checked and not judged, because %s: %s.", e.Reason, e.evidence())
	}
	return e.judged()
}

// wouldSign says what it takes to have mail signed that was not.
func (e *Event) wouldSign() string {
	switch e.ReasonCode {
	case "no_key":
		return "; dkimd key generate " + cmp.Or(e.Author(), "DOMAIN") + " makes one"
	case "key_unusable":
		return "; dkimd check says what is wrong with it"
	case "user_mismatch":
		return "; [sign] says who may send as whom"
	case "multiple_from", "from_missing", "from_unreadable":
		return "; the program that wrote it has to write one From with one address"
	case "not_recipients":
		return ", which means that it need not be"
	case "not_ours":
		return "; a client in sign.networks, or one that logs in, would be ours"
	}
	return ""
}

// judged is Because for mail of others.
func (e *Event) judged() string {
	did, ok := map[string]string{"accept": "Accepted", "quarantine": "Held back", "discard": "Discarded", "tempfail": "Deferred", "reject": "Refused"}[e.Verdict]
	if !ok {
		did = e.Verdict
	}
	rule := e.rule()
	switch {
	case rule == nil && e.Verdict == "accept":
		return fmt.Sprintf("%s: no rules judged it; %s.", did, e.evidence())
	case rule == nil:
		return fmt.Sprintf("%s, and not by a rule: %s.", did, cmp.Or(strings.Join(e.Warnings, ", "), e.evidence()))
	case rule.Rule == "":
		return fmt.Sprintf("%s: no rule of %s holds; %s.", did, rule.File, e.evidence())
	case e.Verdict == "accept":
		return fmt.Sprintf("%s by rule %q of %s: %s.", did, rule.Rule, rule.File, e.evidence())
	}
	return fmt.Sprintf("%s by rule %q of %s: %s; %s.", did, rule.Rule, rule.File, e.evidence(), e.wouldPass())
}

// evidence is what is known of who sent the message.
func (e *Event) evidence() string {
	var parts []string
	for i := range e.Signatures {
		s := &e.Signatures[i]
		text := "the signature of " + s.Domain + " is " + s.Result
		if s.Reason != "" {
			text += " (" + s.Reason + ")"
		} else if s.Result == "pass" && s.Aligned == "none" {
			text += ", and not of From"
		}
		parts = append(parts, text)
	}
	if parts == nil {
		parts = append(parts, "it has no signature")
	}
	if e.SPF.Result != "" {
		parts = append(parts, "SPF is "+e.SPF.Result)
	}
	if e.DMARC.Result != "" {
		parts = append(parts, "DMARC is "+e.DMARC.Result)
	}
	return strings.Join(parts, ", ")
}

// wouldPass says what would have helped the message.
func (e *Event) wouldPass() string {
	has := func(result string) bool {
		return slices.ContainsFunc(e.Signatures, func(s Signature) bool { return s.Result == result })
	}
	author := cmp.Or(e.Author(), "its author's domain")
	switch {
	case e.DMARC.Result == "temperror" || e.SPF.Result == "temperror" || has("temperror"):
		return "it may pass when DNS answers, and the client tries again"
	case len(e.Signatures) == 0:
		return "a signature of " + author + " that passes would have helped"
	case slices.ContainsFunc(e.Signatures, func(s Signature) bool { return s.Result == "fail" && s.Aligned != "none" }):
		return "it would have passed unchanged: whoever changed it on its way has to sign it, or be named in the rules"
	case has("pass"):
		return "a signature of " + author + " itself would have helped, if the rule asks for one; dkimd policy explain tells"
	}
	return "a signature of " + author + " without that fault would have helped"
}
