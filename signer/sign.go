package signer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/safetext"
	"dkimd/keys"
)

// Signing is one message being signed. It is used by one goroutine at a time.
type Signing struct {
	signer      *Signer
	bodies      [2]*dkim.BodyHash // by canonicalization; nil: none of the signatories has it
	signatories []*signatory
	// required is how many of the signatories, from the first, must give a signature.
	required int
	folded   []message.Folded
	watch    watch
}

// signatory is a domain that signs this message.
type signatory struct {
	*profile
	headers folder // h=
	hasher  *dkim.HeaderHasher
}

// Signed is what a message gets.
type Signed struct {
	// Fields are values for DKIM-Signature fields, the first to stand on top: folded
	// with CRLF and a space, with a leading space, without a final CRLF.
	Fields     []string
	Signatures []Signature // of each field
	Warnings   []string    // what endangers the signatures, and keys that were left out
	// Folded are fields that were folded before they were signed: they must be replaced in the message.
	Folded []message.Folded
	// LongField and LongBody: there is a line over 998 octets that could not be folded.
	LongField, LongBody bool
}

// Signature names one signature: d=, s= and a=.
type Signature struct{ Domain, Selector, Algorithm string }

// Begin decides who signs a message whose header is complete. The Signing is nil
// if nobody does, and the Reason then says why; otherwise it has no code, and a text only where it is not From
// that says who signs. The header is not needed any more after that.
//
// Begin, Write and Finish are RFC 6376 section 5, in its order. What of section 5.3 is not
// done is what the warnings are about; 5.6, where the fields go, is the front door's.
func (s *Signer) Begin(_ context.Context, env *message.Envelope, h *message.Header, from message.Originator) (*Signing, Reason) {
	if what := h.Exceeded(); what != "" {
		return nil, Reason{Limit, "the header is over the limit of " + what}
	}
	// 5.1 Determine Whether the Email Should Be Signed and by Whom.
	author, reason := s.author(h, from)
	if reason.Code != "" {
		return nil, reason
	}
	main, reason := s.primary(env, h, author)
	if reason.Code != "" {
		return nil, reason
	}
	// 5.2 Select a Private Key and Corresponding Selector Information: those of each domain's profile.
	w := &Signing{signer: s}
	w.signatories, w.required = s.signatories(main)
	if len(w.signatories) == 0 {
		text := "no key for " + safetext.Domain(string(author.Domain)) + ": neither it nor a domain above it that signs for its subdomains has one"
		if s.config.FallbackDomain != "" {
			text += ", nor has " + string(s.config.FallbackDomain) + ", which signs for all others"
		}
		return nil, Reason{NoKey, text}
	}
	// 5.3 Normalize the Message to Prevent Transport Conversions, as far as this front door lets us.
	if env.CanReplaceFields {
		w.folded = h.Fold(w.selects)
	}
	// 5.4 Determine the Header Fields to Sign.
	if err := w.selectFields(h); err != nil {
		return nil, Reason{Limit, err.Error()}
	}
	// 5.5 Compute the Message Hash and Signature: the body comes with Write, the signature with Finish.
	for _, p := range w.signatories {
		if w.bodies[p.bodyCanon] == nil {
			w.bodies[p.bodyCanon] = dkim.NewBodyHash(p.bodyCanon, -1)
		}
	}
	return w, reason
}

// signatories are the domains that sign a message: those that sign for the one in whose name it is sent,
// and those that sign every message. The first required ones must give a signature.
func (s *Signer) signatories(main []*keys.Domain) (list []*signatory, required int) {
	for _, d := range main {
		list = append(list, &signatory{profile: s.profile(d)})
	}
	required = len(list)
	for _, name := range s.config.AlsoDomains {
		for _, d := range s.config.Keys(message.Address{Domain: name}) {
			if !slices.ContainsFunc(list, func(p *signatory) bool { return p.domain.Name == d.Name }) {
				list = append(list, &signatory{profile: s.profile(d)})
			}
		}
	}
	if required == 0 {
		required = len(list)
	}
	return list, required
}

// author is in whose name a message is sent: that of From or, where
// From has several addresses, that of Sender (RFC 5322 section 3.6.2).
func (s *Signer) author(h *message.Header, from message.Originator) (message.Address, Reason) {
	switch {
	case from.Fields > 1:
		return message.Address{}, Reason{MultipleFrom, "the header has " + strconv.Itoa(from.Fields) + " From fields"}
	case from.Fields == 0:
		return message.Address{}, Reason{FromMissing, "the header has no From field"}
	case len(from.Claimed) == 1:
		// Also where the field is not well formed, as in "joe@example.org <joe@example.org>":
		// there is no doubt in whose name our client writes.
		return sender(from, from.Claimed[0]), Reason{}
	case from.Angle != "":
		// A name with an "@" and no quotes: the signature speaks for the address behind it, and for nobody in the name.
		return sender(from, from.Angle), Reason{}
	case !from.Readable:
		return message.Address{}, Reason{FromUnreadable, "the From field is not a well-formed list of addresses" + named(from)}
	}
	senders := h.All("Sender")
	if len(senders) != 1 {
		return message.Address{}, Reason{FromUnreadable, "From has several addresses, so one Sender field has to say who sends, and there are " + strconv.Itoa(len(senders))}
	}
	addresses, ok := message.ReadAddresses(senders[0].Value())
	if !ok || len(addresses) != 1 || addresses[0].Domain == "" {
		return message.Address{}, Reason{FromUnreadable, "From has several addresses, so Sender has to say who sends, and it is not one well-formed address"}
	}
	return addresses[0], Reason{}
}

// sender is the first address of From in a domain; without a local part where none can be read.
func sender(from message.Originator, name domain.Name) message.Address {
	for _, a := range from.Addresses {
		if a.Domain == name {
			return a
		}
	}
	return message.Address{Domain: name}
}

// named lists the first addresses of a From field.
func named(from message.Originator) string {
	const most = 3
	var list []string
	for _, a := range from.Addresses[:min(len(from.Addresses), most)] {
		list = append(list, safetext.Clip(safetext.Printable(a.Local+"@"+string(a.Domain)), 100))
	}
	switch {
	case len(list) == 0:
		return ""
	case len(from.Addresses) > most:
		list = append(list, "and others")
	}
	return "; it has " + strings.Join(list, ", ")
}

// selects reports whether any of the domains signs a field.
func (w *Signing) selects(f message.Field) bool {
	return slices.ContainsFunc(w.signatories, func(p *signatory) bool { return p.selection != nil && p.selection.selects(f) })
}

// selectFields computes what the header adds to the signatures, once for
// domains that sign the same fields in the same way.
func (w *Signing) selectFields(h *message.Header) error {
	for i, p := range w.signatories {
		if same := slices.IndexFunc(w.signatories[:i], func(q *signatory) bool { return q.selection == p.selection && q.headerCanon == p.headerCanon }); same >= 0 {
			p.headers, p.hasher = w.signatories[same].headers, w.signatories[same].hasher
			continue
		}
		names, err := p.selection.names(h, w.watch.field)
		if err != nil {
			return err
		}
		p.headers = headersTag(names)
		p.hasher = dkim.NewHeaderHasher(h, names, p.headerCanon)
	}
	return nil
}

// Write takes a chunk of the body. It never fails.
func (w *Signing) Write(p []byte) (int, error) {
	w.watch.body(p)
	for _, body := range w.bodies {
		if body != nil {
			_, _ = body.Write(p)
		}
	}
	return len(p), nil
}

// Finish signs. A key that cannot sign is left out and named in Warnings; the
// error wraps ErrKeyUnusable when none is left of the domain in whose name the
// message is sent, or it is that of ctx. It is called once.
func (w *Signing) Finish(ctx context.Context) (Signed, error) {
	var signed Signed
	var bodyHashes [len(w.bodies)][32]byte
	for canon, body := range w.bodies {
		if body != nil {
			bodyHashes[canon] = body.Sum()
		}
	}
	now := w.signer.now()
	made := false
	var first error
	for i, p := range w.signatories {
		before := len(signed.Fields)
		err := w.signAs(ctx, p, now, bodyHashes[p.bodyCanon], &signed)
		if err != nil && ctx.Err() != nil {
			return Signed{}, fmt.Errorf("sign: %w", context.Cause(ctx))
		}
		if first == nil {
			first = err
		}
		if i < w.required {
			made = made || len(signed.Fields) > before
		}
		if i == w.required-1 && !made {
			return Signed{Warnings: signed.Warnings}, fmt.Errorf("sign as %s: %w: %w", w.signatories[0].domain.Name, ErrKeyUnusable, first)
		}
	}
	signed.Warnings = append(signed.Warnings, w.watch.warnings()...)
	signed.Folded = w.folded
	signed.LongField, signed.LongBody = w.watch.longField, w.watch.longBody()
	return signed, nil
}

// signAs adds the signatures of one domain. The error is that of its last key that failed.
func (w *Signing) signAs(ctx context.Context, p *signatory, now time.Time, bodyHash [32]byte, signed *Signed) error {
	if p.err != nil {
		signed.Warnings = append(signed.Warnings, "domain "+string(p.domain.Name)+" cannot sign: "+p.err.Error())
		return p.err
	}
	timestamp, expiration := now.Unix(), int64(0)
	if p.expiry > 0 {
		expiration = timestamp + int64(p.expiry/time.Second)
	}
	var last error
	before := len(signed.Fields)
	for _, withheld := range []bool{false, true} {
		if withheld && len(signed.Fields) > before {
			break // else even a key that DNS does not serve is better than none: DNS may have it again
		}
		for _, t := range p.templates {
			if w.signer.withheld(t) != withheld {
				continue
			}
			algorithm, field, err := w.sign(ctx, t, p, timestamp, expiration, bodyHash)
			if err != nil {
				last = err
				signed.Warnings = append(signed.Warnings, "key "+t.domain+"/"+t.selector+" was left out: "+err.Error())
				continue
			}
			signed.Fields = append(signed.Fields, field)
			signed.Signatures = append(signed.Signatures, Signature{t.domain, t.selector, algorithm})
		}
	}
	return last
}

func (s *Signer) withheld(t *template) bool {
	return s.config.Withheld != nil && s.config.Withheld(t.key.Domain, t.selector)
}

func (w *Signing) sign(ctx context.Context, t *template, p *signatory, timestamp, expiration int64, bodyHash [32]byte) (algorithm, field string, err error) {
	private, err := t.key.Load(ctx)
	if err != nil {
		return "", "", err
	}
	switch private.Type {
	case keys.RSA:
		algorithm = dkim.RSASHA256
	case keys.Ed25519:
		algorithm = dkim.Ed25519SHA256
	default:
		return "", "", errors.New("unknown type of key")
	}
	f := t.unsigned(algorithm, timestamp, expiration, p.headers, bodyHash)
	digest := p.hasher.Sum(message.NewField(dkim.SignatureField, string(f.text)))
	signature, err := private.Sign(ctx, digest)
	if err != nil {
		if ctx.Err() == nil {
			w.signer.log.Error("signing with private key failed", "domain", t.domain, "selector", t.selector, "error", err.Error())
		}
		return "", "", err
	}
	t.key.NoteSigned(time.Unix(timestamp, 0))
	return algorithm, f.signed(signature), nil
}
