package exim

import (
	"strings"

	"dkimd/internal/pipeline"
	"dkimd/internal/smtpreply"
	"dkimd/policy"
)

const (
	replyOK    = "DKIMD/1 OK "
	replyDefer = "DKIMD/1 DEFER\n"

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
	results  string // Authentication-Results, LF at its folds
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
	room := maxTags
	for _, add := range o.Add {
		value := strings.Trim(oneField(add.Value), " \t\n")
		switch {
		case strings.EqualFold(add.Name, authResults):
			a.results = shorten(value)
		case !isFieldName(add.Name):
			a.refused = append(a.refused, add.Name)
		default:
			value = strings.ReplaceAll(value, "\n", "")
			if room -= len(add.Name) + len(value) + 10; room >= 0 {
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
	if a.results != "" {
		lines = append(lines, "AR: "+a.results)
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

// oneField makes sure that a value is one field: LF at its folds, and no line that
// could be taken for a field of its own.
func oneField(value string) string {
	var b strings.Builder
	b.Grow(len(value))
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == 0 || c == '\r':
		case c != '\n':
			b.WriteByte(c)
		case i+1 < len(value) && (value[i+1] == ' ' || value[i+1] == '\t'):
			b.WriteByte('\n')
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// shorten cuts results between two of them, and keeps those that passed.
func shorten(results string) string {
	if len(results) <= maxResults {
		return results
	}
	entries := strings.Split(results, ";")
	kept := make([]bool, len(entries))
	room := maxResults - len(entries[0])
	for _, passes := range []bool{true, false} {
		for i, entry := range entries[1:] {
			if strings.Contains(entry, "dkim=pass") != passes {
				continue
			}
			if room -= len(entry) + 1; room < 0 {
				break
			}
			kept[i+1] = true
		}
	}
	kept[0] = true // the authserv-id
	var short []string
	for i, entry := range entries {
		if kept[i] {
			short = append(short, entry)
		}
	}
	return strings.Join(short, ";")
}

// isFieldName follows RFC 5322 section 3.6.8.
func isFieldName(name string) bool {
	return name != "" && len(name) <= 100 && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' })
}
