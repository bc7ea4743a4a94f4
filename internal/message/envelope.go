// Package message holds what the front doors hand to the pipeline: the SMTP
// envelope, and the header as an ordered list of raw fields (RFC 5322
// section 2.2). It reads addresses and domains out of them. It judges nothing.
package message

import (
	"net/netip"
	"strings"
)

// Front names the front door a message came through.
type Front string

// The front doors.
const (
	Milter      Front = "milter"
	Exim        Front = "exim"
	CommandLine Front = "command"
)

// Purpose is what a front door wants to know of a message.
type Purpose uint8

// A milter sees a message once, and it is signed or verified then. Exim shows a
// message when it comes, and again each time it leaves.
const (
	SignOrVerify Purpose = iota
	// OnlyVerify: the message comes in. Mail of ours is not judged; it is signed when it leaves.
	OnlyVerify
	// OnlySign: the message leaves. Mail that is not ours was verified when it
	// came; the results it carries by now are our own.
	OnlySign
)

// MaxRecipients is how many recipients an envelope keeps; the rest are only counted.
const MaxRecipients = 10000

// ClientKind tells how much the MTA said of the connecting client.
type ClientKind uint8

// What an MTA can say of a client. A client without any address is a local
// submission; an address that is there but cannot be read belongs to nobody.
const (
	ClientUnreadable ClientKind = iota
	ClientLocal
	ClientAddress
)

// Client is the host that handed the message to the MTA.
type Client struct {
	Kind ClientKind
	Addr netip.Addr // valid only with ClientAddress; IPv4-mapped addresses are unmapped
	Name string     // reverse DNS name as the MTA gives it, may be empty
}

// NewClient reads an address as an MTA writes it, with or without Sendmail's
// "IPv6:" prefix and with or without a zone. The empty string is no address: ClientLocal.
func NewClient(name, address string) Client {
	if address == "" {
		return Client{Kind: ClientLocal, Name: name}
	}
	if len(address) > 5 && strings.EqualFold(address[:5], "IPv6:") {
		address = address[5:]
	}
	addr, err := netip.ParseAddr(strings.Trim(address, "[]"))
	if err != nil {
		return Client{Kind: ClientUnreadable, Name: name}
	}
	return Client{Kind: ClientAddress, Addr: addr.WithZone("").Unmap(), Name: name}
}

// String is the address, "local" or "unreadable".
func (c Client) String() string {
	switch c.Kind {
	case ClientAddress:
		return c.Addr.String()
	case ClientLocal:
		return "local"
	case ClientUnreadable:
	}
	return "unreadable"
}

// Certificate names the TLS certificate of a client by common names, its own and its issuer's.
type Certificate struct{ Subject, Issuer string }

// Envelope is what the SMTP dialogue (RFC 5321) told about one message.
type Envelope struct {
	Front      Front
	Purpose    Purpose
	QueueID    string
	MTA        string // what the MTA calls itself: macro j
	Client     Client
	Helo       string
	AuthType   string // macro {auth_type}; empty: not authenticated
	AuthUser   string // macro {auth_authen}
	DaemonName string // macro {daemon_name}
	// Certificate is the client's TLS certificate, if the MTA has verified it; otherwise it has no names.
	Certificate Certificate
	Sender      string // MAIL FROM without its angle brackets; empty: the null sender
	Recipients  []string
	// RecipientCount counts every recipient, also those past MaxRecipients.
	RecipientCount int
	// Held is where the message takes its memory; nil: without a bound. The front door releases it.
	Held *Held
	// CannotQuarantine is set when the MTA did not offer to hold mail back.
	CannotQuarantine bool
	// CanReplaceFields is set when the front door can replace header fields of the message.
	CanReplaceFields bool
	// CannotRemove is set when the MTA did not offer to remove header fields.
	CannotRemove bool
}

// AddRecipient appends one RCPT TO address, given without its angle brackets.
func (e *Envelope) AddRecipient(address string) {
	e.RecipientCount++
	const stringSize = 16
	if len(e.Recipients) < MaxRecipients && e.Held.Take(len(address)+stringSize) {
		e.Recipients = append(e.Recipients, address)
	}
}

// Authenticated reports whether the client logged in (RFC 4954).
func (e *Envelope) Authenticated() bool { return e.AuthType != "" || e.AuthUser != "" }
