package policy

import (
	"cmp"

	"dkimd/internal/safetext"
	"dkimd/internal/smtpreply"
)

// circumstances are what a default reply tells of a message.
type circumstances struct {
	sender   string // the domain that was judged; from the message: hostile
	envelope bool   // the sender is the one of MAIL FROM
	multiple bool   // more than one From field
	signed   bool   // there is a signature, whatever became of it
	passes   bool   // one of them passes
	aligned  bool   // one that passes is aligned with the sender
}

// replyTo is the reply of a rule to one message. What the rule leaves open is filled in by the codes of
// RFC 7372 section 3.
func (r *rule) replyTo(c circumstances) smtpreply.Reply {
	if r.action != Reject && r.action != TempFail {
		return smtpreply.Reply{}
	}
	mail := "this message"
	if c.sender != "" {
		mail = "this message from " + safetext.Domain(c.sender)
	}
	var (
		code           int
		enhanced, text string
	)
	switch {
	case r.action == TempFail:
		code, enhanced, text = 451, "4.7.5", mail+" is not acceptable for now, try again later"
	case !c.signed:
		code, enhanced, text = 550, "5.7.20", mail+" has no DKIM signature, and local policy asks for one"
	case !c.passes:
		code, enhanced, text = 550, "5.7.20", mail+" has no valid DKIM signature, and local policy asks for one"
	case c.aligned:
		code, enhanced, text = 550, "5.7.21", mail+" has no DKIM signature that local policy accepts"
	case c.multiple:
		code, enhanced, text = 550, "5.7.22", mail+" has several From fields, so no DKIM signature can speak for its author"
	case c.envelope:
		code, enhanced, text = 550, "5.7.22", mail+" has no valid DKIM signature of its sender's domain"
	default:
		code, enhanced, text = 550, "5.7.22", mail+" has no valid DKIM signature of its author's domain"
	}
	return smtpreply.Reply{
		Code:     cmp.Or(r.reply.Code, code),
		Enhanced: cmp.Or(r.reply.Enhanced, enhanced),
		Text:     cmp.Or(r.reply.Text, text),
	}
}
