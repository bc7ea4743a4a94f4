package exim

import (
	"slices"
	"strings"

	"dkimd/internal/message"
	"dkimd/internal/pipeline"
	"dkimd/internal/safetext"
	"dkimd/internal/smtpreply"
	"dkimd/policy"
)

const (
	authResults = "Authentication-Results"

	// maxResults keeps the answer under 16 KB: a report of twice that kills
	// Exim's process.
	maxResults = 12 << 10
	maxTags    = 2 << 10
)

// answer is an outcome in the words of packaging/exim's ACL.
type answer struct {
	action   string
	reply    smtpreply.Reply
	badReply error // why reply is not the one of the outcome
	forged   bool
	tags     []pipeline.Addition
	results  []string // Authentication-Results, LF at the folds of each; the first to stand on top
	refused  []string
}

func answerOf(o pipeline.Outcome) answer {
	a := answer{}
	switch o.Action {
	case policy.Accept:
		a.action = "accept"
	case policy.Quarantine:
		a.action = "quarantine"
	case policy.Discard:
		a.action = "discard"
	case policy.TempFail:
		a.action = "defer"
		a.reply, a.badReply = o.Reply.For(smtpreply.Transient)
	case policy.Reject:
		a.action = "reject"
		a.reply, a.badReply = o.Reply.For(smtpreply.Permanent)
	default:
		a.action = "defer"
		a.reply, a.badReply = smtpreply.Reply{}.For(smtpreply.Transient)
	}
	if o.Action != policy.Accept && o.Action != policy.Quarantine {
		return a
	}
	a.forged = len(o.RemoveAuthRes) > 0
	tags, results := maxTags, maxResults // octets left
	for _, add := range o.Add {
		value := strings.Trim(safetext.FieldValue(add.Value), " \t\n")
		switch {
		case strings.EqualFold(add.Name, authResults):
			// The verifier has the best results in the first fields.
			if results -= len(value) + 10; results >= 0 {
				a.results = append(a.results, value)
			}
		case !isFieldName(add.Name):
			a.refused = append(a.refused, add.Name)
		default:
			value = strings.ReplaceAll(value, "\n", "")
			if tags -= len(add.Name) + len(value) + 10; tags >= 0 {
				a.tags = append(a.tags, pipeline.Addition{Name: add.Name, Value: value})
			}
		}
	}
	return a
}

// report is the answer to CHECK and VERIFY. Both make the same text of Exim's:
// "spam =" drops the CRs and puts a space behind every LF. The line Id comes
// last and tells that all is there, and which message it is about.
func report(req *request, a answer) string {
	lines := []string{"Action: " + a.action}
	if reply := a.reply.String(); reply != "" {
		lines = append(lines, "Reply: "+reply)
	}
	if a.forged {
		lines = append(lines, "Forged-AR: yes")
	}
	for _, tag := range a.tags {
		lines = append(lines, "Tag: "+tag.Name+": "+tag.Value)
	}
	for _, results := range slices.Backward(a.results) { // Exim puts each on top of those before
		lines = append(lines, "AR: "+results)
	}
	lines = append(lines, "Id: "+req.env.QueueID)
	text := strings.Join(lines, "\n")
	if req.dialect == dialectVerify {
		return strings.ReplaceAll(text, "\n", "\n ")
	}
	metric := "Metric: default; False; 0 / 10 / 10\r\n"
	if a.action == "reject" {
		metric = "Metric: default; True; 20 / 10 / 10\r\n"
	}
	return "RSPAMD/1.3 0 EX_OK\r\n" + metric + strings.ReplaceAll(text, "\n", "\r\n") + "\r\n"
}

// isFieldName reports whether a field of that name can be added: rules files are read with the same limit.
func isFieldName(name string) bool {
	return message.IsFieldName(name) && len(name) <= message.MaxFieldName
}
