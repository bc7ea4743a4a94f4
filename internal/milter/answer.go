package milter

import (
	"cmp"
	"slices"
	"strings"

	gomilter "github.com/emersion/go-milter"

	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/safetext"
	"dkimd/internal/smtpreply"
	"dkimd/policy"
)

const (
	authResults = "Authentication-Results"

	// maxReason bounds the reason of a quarantine, which ends up in one line.
	maxReason = 400
)

func (g grant) canQuarantine() bool { return g.actions&gomilter.OptQuarantine != 0 }
func (g grant) canAdd() bool        { return g.actions&gomilter.OptAddHeader != 0 }
func (g grant) canChange() bool     { return g.actions&gomilter.OptChangeHeader != 0 }

// answer turns an outcome into modifications and the answer at end of message.
// Only mail that goes on is modified.
func (s *session) answer(m *gomilter.Modifier, o pipeline.Outcome) gomilter.Response {
	switch o.Action {
	case policy.Accept:
		s.edit(m, o)
		return gomilter.RespContinue
	case policy.Quarantine:
		if !s.grant.canQuarantine() {
			break // the pipeline knows that, and asks for something else
		}
		s.edit(m, o)
		// The last one before the answer: MTAs end their reading of edits here.
		_ = m.Quarantine(cmp.Or(safetext.ASCII(o.Quarantine[:min(len(o.Quarantine), maxReason)]), "held by dkimd"))
		return gomilter.RespContinue
	case policy.Discard:
		return gomilter.RespDiscard
	case policy.TempFail:
		return s.reply(o.Reply, smtpreply.Transient)
	case policy.Reject:
		return s.reply(o.Reply, smtpreply.Permanent)
	}
	return s.reply(smtpreply.Reply{}, smtpreply.Transient)
}

// edit replaces fields that were folded, removes forged results, then inserts the new fields.
//
// Postfix renumbers the fields of a name after each removal and Sendmail does
// not; from the highest index down both mean the same field. Indices count the fields of
// the message as it was received, which is why removals come first.
//
// Index 0 is above everything in both MTAs, also above the Received field of
// this MTA, which filters do not see; index 1 would be below it. So the field that
// is to be topmost is inserted last.
func (s *session) edit(m *gomilter.Modifier, o pipeline.Outcome) {
	if s.grant.canChange() {
		for _, f := range o.Replace {
			_ = m.ChangeHeader(f.Index, f.Name, s.fieldValue(f.Value))
		}
		for _, index := range o.RemoveAuthRes {
			_ = m.ChangeHeader(index, authResults, "") // an empty value removes
		}
	}
	if !s.grant.canAdd() {
		return
	}
	for _, add := range slices.Backward(o.Add) {
		if !message.IsFieldName(add.Name) {
			s.logger().Error("a field with an impossible name was not added", "field", add.Name)
			continue
		}
		_ = m.InsertHeader(0, add.Name, s.fieldValue(add.Value))
	}
}

// fieldValue is a field's value as the wire wants it: bare LF at folds (MTAs make CRLF of them, and CR CRLF
// of a CRLF), and its leading space only where the MTA does not put it there.
func (s *session) fieldValue(value string) string {
	value = strings.TrimRight(safetext.FieldValue(value), " \t\n")
	if s.grant.protocol&gomilter.OptHeaderLeadingSpace == 0 {
		return strings.TrimPrefix(value, " ")
	}
	if !strings.HasPrefix(value, " ") && !strings.HasPrefix(value, "\t") {
		value = " " + value
	}
	return value
}

// reply is the answer that rejects or defers.
func (s *session) reply(r smtpreply.Reply, class smtpreply.Class) gomilter.Response {
	r, err := r.For(class)
	if err != nil {
		s.logger().Error("an SMTP reply that the MTA would not take was replaced", "error", err.Error())
	}
	// Sendmail takes the text as a format, so every MTA undoubles '%'.
	return gomilter.NewResponseStr(byte(gomilter.ActReplyCode), strings.ReplaceAll(r.String(), "%", "%%"))
}
