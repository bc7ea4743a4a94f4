// Package policy decides what becomes of a message whose signatures have been
// verified: it loads one rules file per sender domain, and judges a
// verifier.Report by the files that claim the message. It does no I/O after
// loading, verifies nothing and looks nothing up. Whose mail is not judged at
// all (our own, trusted clients) is the pipeline's decision.
//
// It keeps RFC 6376 section 3.6.1 (t=y), uses the alignment of RFC 7489
// section 3.1 and answers with the codes of RFC 7372. docs/policy.md is the
// operator's guide.
package policy

import (
	"maps"
	"slices"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/message"
	"dkimd/internal/smtpreply"
)

// Rules is every rules file of a directory, compiled. It never changes after
// Load, so any number of goroutines may use it. A nil *Rules has no files.
type Rules struct {
	files         map[domain.Name]*file
	recipients    map[domain.Name]*file // of for/
	fallback      *file                 // _default.toml; nil: there is none
	defaultBroken bool
	stops         bool // a file in enforce mode can keep a message from its recipients
	warnings      fault.Faults
	tests         []string // files of test cases
	kept          map[domain.Name]fault.Kept
}

// Message is what the rules see of a message beside its signatures.
type Message struct {
	From                message.Originator
	Sender              string // MAIL FROM without angle brackets; empty: the null sender
	Client              message.Client
	Recipients          []string
	RecipientsTruncated bool // there are more than Recipients holds
	List                bool // a List-Id field is there (RFC 2919)
	// Misleading is the domain of others that a name in From shows, if any: message.Misleading. Nil: no name does.
	Misleading func() domain.Name
	Gaps       Gap // what is not known of a message that is read from its record
}

func (m *Message) misleading() domain.Name {
	if m.Misleading == nil {
		return ""
	}
	return m.Misleading()
}

// Len is the number of domains that have a file of their own.
func (r *Rules) Len() int {
	if r == nil {
		return 0
	}
	return len(r.files) + len(r.recipients)
}

// Files is the number of rules files in use, _default.toml among them.
func (r *Rules) Files() int {
	if r == nil || r.fallback == nil {
		return r.Len()
	}
	return r.Len() + 1
}

// Empty reports that there are no rules at all, not even _default.toml.
func (r *Rules) Empty() bool { return r.Len() == 0 && (r == nil || r.fallback == nil) }

// DefaultBroken reports that _default.toml, or the whole directory, cannot be
// used: dkimd must not start with it.
func (r *Rules) DefaultBroken() bool { return r != nil && r.defaultBroken }

// Kept are the domains whose rules are those of before a reload, by name; see Reload.
func (r *Rules) Kept() []fault.Kept {
	if r == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(r.kept), func(a, b fault.Kept) int { return strings.Compare(a.Domain, b.Domain) })
}

// Needs reports whether some file has SPF or DMARC asked, as NeedsSPF and NeedsDMARC do for a message.
func (r *Rules) Needs() (spf, dmarc bool) {
	for _, files := range []map[domain.Name]*file{r.files, r.recipients, {"": r.fallback}} {
		for _, f := range files {
			if f != nil {
				spf, dmarc = spf || f.asksSPF || f.asksDMARC, dmarc || f.asksDMARC || f.aligned
			}
		}
	}
	return spf, dmarc
}

// Enforced are the domains of files in enforce mode, as Has takes them.
func (r *Rules) Enforced() []domain.Name {
	if r == nil {
		return nil
	}
	var names []domain.Name
	for _, files := range []map[domain.Name]*file{r.files, r.recipients} {
		for _, f := range files {
			if f.mode == modeEnforce && !f.broken {
				names = append(names, f.key())
			}
		}
	}
	return names
}

// Enforces reports whether a file, by its name, is in enforce mode and can stop mail.
func (r *Rules) Enforces(name string) bool {
	if r == nil {
		return false
	}
	enforces := func(f *file) bool { return f != nil && f.name == name && f.mode == modeEnforce && f.stops && !f.broken }
	for _, files := range []map[domain.Name]*file{r.files, r.recipients} {
		for _, f := range files {
			if enforces(f) {
				return true
			}
		}
	}
	return enforces(r.fallback)
}

// Has reports whether a domain has a file of its own; that for mail to it is "for/example.net".
func (r *Rules) Has(name domain.Name) bool {
	if r == nil {
		return false
	}
	if recipient, ok := strings.CutPrefix(string(name), recipientDirectory); ok {
		return r.recipients[domain.Name(recipient)] != nil
	}
	return r.files[name] != nil
}

// Warnings is what works but is likely not what the operator wants.
func (r *Rules) Warnings() []fault.Fault {
	if r == nil {
		return nil
	}
	return slices.Clone(r.warnings)
}

// find is the nearest file that claims a domain: its own, or that of the nearest
// parent with subdomains = true. A file that does not claim this kind of sender
// hides none above it.
func (r *Rules) find(sender domain.Name, where identity) *file {
	for name := range upwards(sender) {
		if f := r.files[name]; f != nil && f.claims&where != 0 && (f.subdomains || len(name) == len(sender)) {
			return f
		}
	}
	return nil
}

// forRecipients is the file of the one recipient domain that a message is for. Mail that is for others too has none: the MTA
// takes one answer for all, and a customer's rules must not decide on the mail of another (ADR 19). With recipients that are
// not known it may have one.
func (r *Rules) forRecipients(m *Message) (*file, Gap) {
	if len(r.recipients) == 0 || m.RecipientsTruncated {
		return nil, 0
	}
	var all *file
	for i, recipient := range m.Recipients {
		f := r.findRecipient(message.DomainOf(recipient))
		if f == nil || i > 0 && f != all {
			return nil, 0
		}
		all = f
	}
	if m.Gaps&GapRecipients != 0 {
		return nil, GapRecipients
	}
	return all, 0
}

// of is the files of a kind, by domain.
func (r *Rules) of(k kind) map[domain.Name]*file {
	if k == ofRecipient {
		return r.recipients
	}
	return r.files
}

func (r *Rules) findRecipient(host domain.Name) *file {
	for name := range upwards(host) {
		if f := r.recipients[name]; f != nil && (f.subdomains || len(name) == len(host)) {
			return f
		}
	}
	return nil
}

// Select finds the files that judge a message: that of its recipients' domain, each sender domain's own, and
// _default.toml for each From domain that no file claims, or for a From without
// any; beside it then the files of the domains in Sender. The result is never nil, and keeps no part of m but its strings.
func (r *Rules) Select(m Message) *Case {
	c := &Case{from: m.From}
	if r == nil {
		return c
	}
	f, gap := r.forRecipients(&m)
	if c.gaps = m.Gaps; !r.Empty() {
		c.unknown = gap | m.Gaps&(GapAuthors|GapSignatures)
	}
	if f != nil {
		for _, author := range m.From.Claimed {
			c.add(f, author, false, &m)
		}
		if len(m.From.Claimed) == 0 {
			c.add(f, "", false, &m)
		}
		if f.alone && f.mode == modeEnforce {
			c.unread = m.From.Incomplete && f.stops
			return c
		}
	}
	r.selectSenders(c, m)
	return c
}

// selectSenders finds the files of senders, and _default.toml.
func (r *Rules) selectSenders(c *Case, m Message) {
	c.unread = m.From.Incomplete && r.stops
	for _, author := range m.From.Claimed {
		switch f := r.find(author, fromHeader); {
		case f != nil:
			c.add(f, author, false, &m)
		case r.fallback != nil:
			// Also beside a domain that has a file: else a forger would only have to
			// name one whose rules accept, as MAIL FROM or as another author.
			c.add(r.fallback, author, false, &m)
		}
	}
	for _, sender := range m.From.Instead {
		if f := r.find(sender, fromHeader); f != nil {
			c.add(f, sender, false, &m)
		}
	}
	judgeEnvelope := func(sender domain.Name) {
		if f := r.find(sender, envelope); f != nil && !c.has(f, sender) {
			c.add(f, sender, true, &m)
		}
	}
	if sender := message.DomainOf(m.Sender); strings.Count(m.Sender, "@") < 2 && (sender == "" || sender.Lookable()) {
		judgeEnvelope(sender)
	} else {
		for _, sender := range message.SenderDomains(m.Sender) {
			judgeEnvelope(sender)
		}
	}
	if r.fallback != nil && len(m.From.Claimed) == 0 {
		c.add(r.fallback, "", false, &m)
	}
}

// FaultUnknown is the verdict on an internal fault while the sender is not known
// yet: tempfail if any file could have stopped the message, else accept.
func (r *Rules) FaultUnknown() Verdict {
	if r == nil || !r.stops {
		return Verdict{}
	}
	return Verdict{Action: TempFail, Reply: smtpreply.InternalFault(), Rule: ruleFault}
}
