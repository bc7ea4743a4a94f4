// Package signer decides with which keys a message is signed and writes the
// DKIM-Signature fields for it (RFC 6376 section 5, RFC 8301, RFC 8463).
// Whether a message is ours to sign is not decided here, and neither is what
// happens to one that could not be signed.
package signer

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/keys"
)

// UserMatch says as which domains a login may send.
type UserMatch uint8

// The values of UserMatch.
const (
	MatchAny    UserMatch = iota // any domain
	MatchDomain                  // its own domain, or where a domain.toml lists it
)

// Config says how messages are signed. Only Keys is required.
type Config struct {
	// Keys finds who signs for a sender: see keys.Store.Lookup. It is asked for each message, and no message
	// waits for another's domain in it; what it returns must not change.
	Keys func(message.Address) []*keys.Domain
	// Withheld says of a key that it is to sign only where no other key of the domain does. Nil: no key is withheld.
	Withheld func(name domain.Name, selector string) bool
	// HeaderCanon and BodyCanon are the c= of every signature (RFC 6376 section 3.4).
	HeaderCanon, BodyCanon dkim.Canonicalization
	// Headers are the fields that are signed as often as they occur, in the order
	// of h=. A name may end in *: fields that begin so, but none that is
	// changed on the way (RFC 6376 section 5.4). From is always signed. Nil: DefaultHeaders.
	Headers []string
	// Oversign are fields that are named once more than they occur, so that none
	// can be added (RFC 6376 section 8.15), whether Headers has them or not; those
	// that are added on the way where they are missing only where they occur. Nil: DefaultOversign.
	Oversign []string
	// Expiry is x= minus t= (RFC 6376 section 3.5), in whole seconds. 0: no x=.
	Expiry time.Duration
	// IdentityFrom says who signs: the first of these that has a domain with keys. A message of which From does not
	// name one author is not signed, whatever they say. Nil: From.
	IdentityFrom []Identity
	// FallbackDomain signs what no other directory signs for. Empty: nothing.
	FallbackDomain domain.Name
	// AlsoDomains sign every message, too.
	AlsoDomains []domain.Name
	UserMatch   UserMatch
	// Now is the clock for t=. Nil: time.Now.
	Now func() time.Time
	// Logger hears of private keys that fail to sign. Nil: silent.
	Logger *slog.Logger
}

// DefaultHeaders are the fields signed where present (RFC 6376 section 5.4.1, and RFC 9477
// for those that begin with CFBL).
func DefaultHeaders() []string {
	return []string{
		"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "Sender", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition",
		"CFBL-Address", "CFBL-Feedback-ID", "Resent-*", "List-*",
	}
}

// DefaultOversign are the fields of which there is at most one, and that say what a reader sees or
// what his mail program does.
func DefaultOversign() []string {
	return []string{
		"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "Sender", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition",
		"List-Unsubscribe", "List-Unsubscribe-Post",
	}
}

// Signer signs messages. Its methods may be called from any goroutine.
type Signer struct {
	config   Config
	headers  *selection
	now      func() time.Time
	log      *slog.Logger
	profiles sync.Map // *keys.Domain -> *profile, made when a domain first signs
}

// New makes a Signer. The error joins all that is wrong with the Config; each part
// names its field.
func New(c Config) (*Signer, error) {
	s := &Signer{config: c, now: c.Now, log: c.Logger}
	var faults []error
	if c.Keys == nil {
		faults = append(faults, errors.New("signer: Keys is required"))
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if c.IdentityFrom == nil {
		s.config.IdentityFrom = []Identity{ByFrom}
	}
	if c.Headers == nil {
		c.Headers = DefaultHeaders()
	}
	if c.Oversign == nil {
		c.Oversign = DefaultOversign()
	}
	s.config.Headers, s.config.Oversign = c.Headers, c.Oversign
	var err error
	if s.headers, err = newSelection(c.Headers, c.Oversign); err != nil {
		faults = append(faults, fmt.Errorf("signer: Headers and Oversign: %w", err))
	}
	if c.Expiry < 0 || c.Expiry > 0 && c.Expiry < time.Second {
		faults = append(faults, fmt.Errorf("signer: Expiry is %v; want 0, or a second at least", c.Expiry))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return s, nil
}

// profile is the profile of a domain, made once and kept.
func (s *Signer) profile(d *keys.Domain) *profile {
	if d.Transient {
		return s.newProfile(d)
	}
	if p, ok := s.profiles.Load(d); ok {
		return p.(*profile)
	}
	p, _ := s.profiles.LoadOrStore(d, s.newProfile(d))
	return p.(*profile)
}

// profile is all about a domain's signatures that does not depend on the message.
type profile struct {
	domain    *keys.Domain
	selection *selection
	expiry    time.Duration
	// headerCanon and bodyCanon are c=.
	headerCanon, bodyCanon dkim.Canonicalization
	templates              []*template
	err                    error // nothing of this can sign
}

func (s *Signer) newProfile(d *keys.Domain) *profile {
	o := d.Options
	p := &profile{domain: d, selection: s.headers, expiry: s.config.Expiry, headerCanon: s.config.HeaderCanon, bodyCanon: s.config.BodyCanon}
	if o.Expiry != nil {
		p.expiry = *o.Expiry
	}
	if o.HeaderCanon != nil && o.BodyCanon != nil {
		p.headerCanon, p.bodyCanon = *o.HeaderCanon, *o.BodyCanon
	}
	if o.Headers != nil || o.Oversign != nil {
		if p.selection, p.err = s.selectionOf(o); p.err != nil {
			return p
		}
	}
	for _, key := range d.Keys {
		p.templates = append(p.templates, &template{
			key: key, domain: string(d.Name), selector: key.Selector, identity: identityTag(o.Identity),
			canon: p.headerCanon.String() + "/" + p.bodyCanon.String(),
		})
	}
	if len(p.templates) == 0 {
		p.err = errors.New("no key signs for it")
		if faults := d.Faults(); len(faults) > 0 {
			p.err = faults.Err()
		}
	}
	return p
}

// selectionOf is the selection of a domain with lists of its own. What its headers leave out is not oversigned either,
// unless its own oversign names it.
func (s *Signer) selectionOf(o keys.Options) (*selection, error) {
	inherited := keys.AdjustNames(s.config.Oversign, o.Oversign)
	named := slices.DeleteFunc(slices.Clone(inherited), func(name string) bool { return slices.Contains(s.config.Oversign, name) })
	selection, err := newSelection(keys.AdjustNames(s.config.Headers, o.Headers), named)
	if err == nil {
		selection.oversignSelected(inherited)
	}
	return selection, err
}

// identityTag is i= as it stands in the field: its local part is encoded (RFC 6376 section 3.5).
func identityTag(identity string) string {
	at := strings.LastIndexByte(identity, '@')
	if at < 0 {
		return ""
	}
	return dkim.EncodeQuotedPrintable(identity[:at]) + identity[at:]
}
