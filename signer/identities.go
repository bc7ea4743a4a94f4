package signer

import (
	"bytes"
	"slices"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/safetext"
	"dkimd/keys"
)

// Identity is what of a message says who signs it.
type Identity string

// The identities.
const (
	ByFrom     Identity = "from"
	BySender   Identity = "sender"
	ByListID   Identity = "list-id"
	ByEnvelope Identity = "envelope"
	ByLogin    Identity = "auth"
)

// Identities are all of them.
func Identities() []Identity { return []Identity{ByFrom, BySender, ByListID, ByEnvelope, ByLogin} }

// String is the identity as a record names it.
func (i Identity) String() string {
	switch i {
	case ByFrom:
		return "From"
	case BySender:
		return "Sender"
	case ByListID:
		return "List-Id"
	case ByEnvelope:
		return "MAIL FROM"
	case ByLogin:
		return "login"
	}
	return string(i)
}

// of is the address that the identity has in a message from an author; without a domain where it has none.
func (i Identity) of(env *message.Envelope, h *message.Header, author message.Address) message.Address {
	switch i {
	case ByFrom:
		return author
	case BySender:
		if fields := h.All("Sender"); len(fields) == 1 {
			if addresses, ok := message.ReadAddresses(fields[0].Value()); ok && len(addresses) == 1 {
				return addresses[0]
			}
		}
	case ByListID:
		if fields := h.All("List-Id"); len(fields) == 1 {
			return listAddress(fields[0].Value())
		}
	case ByEnvelope:
		return split(env.Sender)
	case ByLogin:
		return split(env.AuthUser)
	}
	return message.Address{}
}

// listAddress reads a List-Id field (RFC 2919 section 2): "A list" <announce.lists.example.org> is announce@lists.example.org.
func listAddress(value []byte) message.Address {
	open := bytes.LastIndexByte(value, '<')
	id, rest, closed := bytes.Cut(value[open+1:], []byte(">"))
	if open < 0 || !closed || len(bytes.TrimSpace(rest)) > 0 {
		return message.Address{}
	}
	label, namespace, _ := strings.Cut(string(id), ".")
	name, err := domain.ParseLax(namespace)
	if err != nil {
		return message.Address{}
	}
	return message.Address{Local: label, Domain: name}
}

func split(address string) message.Address {
	return message.Address{Local: address[:max(strings.LastIndexByte(address, '@'), 0)], Domain: message.DomainOf(address)}
}

// primary are the domains that sign for the first identity that has any, or for want of them
// the fallback. The code of the reason is that this login must not use them; without one its text says by
// which identity other than From they sign.
func (s *Signer) primary(env *message.Envelope, h *message.Header, author message.Address) ([]*keys.Domain, Reason) {
	for n, by := range s.config.IdentityFrom {
		sender := by.of(env, h, author)
		if sender.Domain == "" {
			continue
		}
		found := s.config.Keys(sender)
		if len(found) == 0 {
			continue
		}
		if reason := s.refusal(env, sender.Domain, found); reason.Code != "" || by == ByFrom {
			return found, reason
		}
		text := "signed as " + safetext.Domain(string(found[0].Name)) + " by " + by.String()
		if slices.Contains(s.config.IdentityFrom[:n], ByFrom) {
			text += ": From has no key"
		}
		return found, Reason{Text: text}
	}
	var found []*keys.Domain
	if s.config.FallbackDomain != "" {
		found = s.config.Keys(message.Address{Domain: s.config.FallbackDomain})
	}
	return found, s.refusal(env, author.Domain, found)
}

// refusal is why a login may not send as a domain for which others sign.
func (s *Signer) refusal(env *message.Envelope, name domain.Name, found []*keys.Domain) Reason {
	if s.config.UserMatch != MatchDomain || !env.Authenticated() || message.DomainOf(env.AuthUser) == name {
		return Reason{}
	}
	if known := func(d *keys.Domain) bool { return !d.Unread() }; len(found) > 0 && !slices.ContainsFunc(found, known) {
		return Reason{} // nobody knows their lists of users, and they have no keys: on_error decides
	}
	lists := func(d *keys.Domain) bool { return slices.Contains(d.Options.Users, env.AuthUser) }
	if env.AuthUser != "" && slices.ContainsFunc(found, lists) {
		return Reason{}
	}
	return Reason{UserMismatch, "the login " + safetext.Quote(env.AuthUser) + " may not send as " + safetext.Domain(string(name)) +
		": its domain is another, and no list of users has it"}
}
