package events

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dkimd/internal/terminal"
)

// Detail is one line of what a record says in full. All text in it is that of the record, as it is.
type Detail struct {
	Name, Text string
	Result     string // what came of a signature, and why
	Reason     string
}

// Details are all that a record says beside its time, queue id, mode and verdict, for people.
func (e *Event) Details() []Detail {
	var list []Detail
	row := func(name, text string) {
		if text != "" {
			list = append(list, Detail{Name: name, Text: text})
		}
	}
	row("message-id", e.MessageID)
	row("client", joined(e.Client, named("helo", e.Helo), named("login", e.Auth), named("through", e.Front)))
	row("mail from", "<"+e.Sender+">")
	row("from", strings.Join(e.From, ", "))
	row("size", joined(terminal.Plural(int(e.Bytes), "byte"), terminal.Plural(e.Recipients, "recipient")))
	row("why", e.Why())
	for _, s := range e.Signed {
		row("signed", joined("d="+s.Domain, "s="+s.Selector, "a="+s.Algorithm))
	}
	for i := range e.Signatures {
		list = append(list, e.Signatures[i].detail())
	}
	if len(e.Signatures) == 0 && (e.Mode == ModeVerify || e.Mode == ModeTrusted) {
		row("signature", "none")
	}
	row("spf", joined(e.SPF.Result, e.SPF.Domain, e.SPF.Why()))
	row("dmarc", joined(e.DMARC.Result, e.DMARC.Domain, e.DMARC.Why()))
	if e.Stripped > 0 {
		row("stripped", terminal.Plural(e.Stripped, "Authentication-Results field")+" in our name")
	}
	for i := range e.Policy {
		d := &e.Policy[i]
		text := fmt.Sprintf("%s (%s): %s", d.File, d.Mode, d.Action)
		if d.Rule != "" {
			text += fmt.Sprintf(" by rule %q", d.Rule)
		}
		row("rules", joined(text, d.Reply))
	}
	for _, w := range e.Warnings {
		row("warning", w)
	}
	row("ERROR", e.Error)
	row("time", fmt.Sprintf("%s, of it at most %s for DNS", e.Total.Round(100*time.Microsecond), e.DNS.Round(100*time.Microsecond)))
	return list
}

func (s *Signature) detail() Detail {
	text := joined("d="+s.Domain, "s="+s.Selector, "a="+s.Algorithm, "c="+s.Canonicalization)
	if s.KeyBits > 0 {
		text += fmt.Sprintf(", key of %d bits", s.KeyBits)
	}
	if s.Testing {
		text += ", test mode (t=y)"
	}
	if len(s.Duplicates) > 0 {
		text += ", duplicate fields unsigned: " + strings.Join(s.Duplicates, ", ")
	}
	return Detail{Name: "signature", Text: text + ", aligned " + s.Aligned, Result: s.Result, Reason: s.Reason}
}

func named(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func joined(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}
