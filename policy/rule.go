package policy

import (
	"net/netip"
	"slices"

	"dkimd/internal/message"
	"dkimd/internal/smtpreply"
)

// rule is one [[rule]], compiled. It holds when all its conditions do.
type rule struct {
	name   string
	action Action
	isTag  bool // adds tag and goes on with the next rule
	tag    Tag
	reply  smtpreply.Reply // what is empty in it is filled in per message

	// Conditions on the message, the same for every sender and outcome.
	clients, notClients []netip.Prefix
	recipients          *Recipients // every one of the message's is in it
	anyRecipient        *Recipients // one of them is
	list                ternary
	from                author

	// Conditions on the signatures and on what the sender publishes.
	selection selection
	outcomes  outcomes // 0: whatever the outcome
	asked     asked
}

// author is a set of what may be wrong with From.
type author uint8

const (
	missing    author = 1 << iota // no From, or one that cannot be read
	multiple                      // more than one From field (RFC 5322 section 3.6 allows one)
	misleading                    // a name in From shows a domain of others
)

// stops reports whether the rule can keep a message from its recipients.
func (r *rule) stops() bool { return !r.isTag && r.action != Accept }

// unconditional reports whether the rule holds for every message.
func (r *rule) unconditional() bool { return r.plain() && r.outcomes == 0 && r.asked == (asked{}) }

// plain reports whether the rule has no condition on the message.
func (r *rule) plain() bool {
	return r.clients == nil && r.notClients == nil && r.recipients == nil && r.anyRecipient == nil && r.list == either && r.from == 0
}

// open tests the conditions on the message. What is not known does not keep it from holding: doubt tells.
func (r *rule) open(m *Message) bool {
	switch {
	case r.clients != nil && !within(r.clients, m.Client),
		r.notClients != nil && within(r.notClients, m.Client),
		r.recipients != nil && !r.everyRecipient(m),
		r.anyRecipient != nil && !r.oneRecipient(m),
		m.Gaps&GapList == 0 && !r.list.allows(m.List),
		r.from != 0 && !r.author(m) && r.doubt(m)&(GapFrom|GapNames) == 0:
		return false
	}
	return true
}

// everyRecipient: no recipient at all is not every recipient. Those that were
// past the envelope's limit are unknown; they do not help a message past a rule
// that stops it, nor to one that does not.
func (r *rule) everyRecipient(m *Message) bool {
	if len(m.Recipients) == 0 && m.Gaps&GapRecipients == 0 || m.RecipientsTruncated && !r.stops() {
		return false
	}
	for _, recipient := range m.Recipients {
		if !r.recipients.Has(recipient) {
			return false
		}
	}
	return true
}

// oneRecipient: the unknown ones past the envelope's limit may be among them where the rule stops mail.
func (r *rule) oneRecipient(m *Message) bool {
	return slices.ContainsFunc(m.Recipients, r.anyRecipient.Has) || m.RecipientsTruncated && r.stops() || m.Gaps&GapRecipients != 0
}

// within: a client without a readable address is in no network.
func within(networks []netip.Prefix, c message.Client) bool {
	if c.Kind != message.ClientAddress {
		return false
	}
	for _, network := range networks {
		if network.Contains(c.Addr) {
			return true
		}
	}
	return false
}

// author tests the conditions on From. What its names show is read only where a rule asks for it.
func (r *rule) author(m *Message) bool {
	return r.from&authorOf(m.From) != 0 || r.from&misleading != 0 && m.misleading() != ""
}

func authorOf(o message.Originator) author {
	var a author
	if o.Fields == 0 || !o.Readable {
		a |= missing
	}
	if o.Fields > 1 {
		a |= multiple
	}
	return a
}
