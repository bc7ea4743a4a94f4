package pipeline

import (
	"context"
	"slices"
	"strings"

	"dkimd/internal/hosts"
	"dkimd/internal/message"
	"dkimd/internal/safetext"
	"dkimd/signer"
)

// route is whose mail a message is.
type route uint8

const (
	foreign route = iota // verified and judged
	ours                 // signed
	trusted              // verified and recorded, never judged, never signed for
	leaving              // not ours, and on its way out: neither verified again nor signed for
	skipped              // neither signed nor verified, and nothing of it is changed
)

// The codes of the reasons whose mail a message is. Those why ours is not signed are the signer's.
const (
	reasonLeaveAlone  = "leave_alone"
	reasonVerifyOff   = "verify_off"
	reasonTrusted     = "trusted"
	reasonLocal       = "local"
	reasonNetwork     = "network"
	reasonLogin       = "login"
	reasonDaemonName  = "daemon_name"
	reasonCertificate = "certificate"
	reasonNotOurs     = "not_ours"
	reasonSignedLater = "signed_later"
	reasonRecipients  = "not_recipients"
	reasonAborted     = "aborted"
	reasonFault       = "fault"
	reasonMemory      = "memory"
)

// routeFor is the route of a message for the purpose that the front door has with it.
func (p *Pipeline) routeFor(ctx context.Context, env *message.Envelope) (route, signer.Reason) {
	r, reason := p.route(ctx, env)
	switch {
	case r == skipped:
		return r, reason
	case env.Purpose == message.OnlySign && r != ours:
		return leaving, reason
	case env.Purpose == message.OnlyVerify && r == ours:
		r, reason = trusted, signer.Reason{Code: reasonSignedLater, Text: "it is signed when it leaves: " + reason.Text}
	}
	if p.SignOnly && r != ours {
		return skipped, signer.Reason{Code: reasonVerifyOff, Text: "verify.enabled is false: " + reason.Text}
	}
	return r, reason
}

// route decides whose mail this is, and says why. A client address that cannot be read belongs to nobody.
func (p *Pipeline) route(ctx context.Context, env *message.Envelope) (route, signer.Reason) {
	client := env.Client
	var unnamed error
	isIn := func(list *hosts.List) bool {
		in, err := list.Contains(ctx, client)
		if err != nil {
			unnamed = err
		}
		return in
	}
	switch {
	case isIn(p.LeaveAlone):
		return skipped, signer.Reason{Code: reasonLeaveAlone, Text: "client " + client.String() + " is in verify.leave_alone"}
	case isIn(p.Trusted):
		return trusted, signer.Reason{Code: reasonTrusted, Text: "client " + client.String() + " is in verify.trusted"}
	case client.Kind == message.ClientLocal:
		return ours, signer.Reason{Code: reasonLocal, Text: "submitted on this host"}
	case isIn(p.Networks):
		if unnamed != nil && !p.vouched(env) {
			// A relay that is in verify.trusted by name brings strangers' mail: it must not be signed while DNS fails. Nor may mail of
			// ours go out unsigned for that, which can last: sign.on_error says what becomes of what would be signed.
			return ours, signer.Reason{Code: reasonFault, Text: "client " + client.String() + " is in sign.networks, and may be in verify.trusted or leave_alone: " +
				"its name could not be looked up (" + unnamed.Error() + ")"}
		}
		return ours, signer.Reason{Code: reasonNetwork, Text: "client " + client.String() + " is in sign.networks"}
	case p.Authenticated && env.Authenticated():
		return ours, signer.Reason{Code: reasonLogin, Text: "the client logged in"}
	case p.hasTLSClient(env.Certificate):
		return ours, signer.Reason{Code: reasonCertificate, Text: "the client's TLS certificate " + describe(env.Certificate) + " is in sign.tls_clients"}
	case p.hasDaemonName(env.DaemonName):
		return ours, signer.Reason{Code: reasonDaemonName, Text: "daemon " + env.DaemonName + " is in sign.daemon_names"}
	}
	text := "client " + client.String() + " is not in sign.networks"
	if unnamed != nil {
		text += " as far as is known, for its name could not be looked up (" + unnamed.Error() + ")"
	}
	if p.Authenticated {
		text += " and not authenticated"
	}
	if env.Certificate.Subject != "" {
		text += ", its TLS certificate " + describe(env.Certificate) + " is not in sign.tls_clients"
	}
	if env.DaemonName != "" {
		text += ", daemon " + env.DaemonName + " is not in sign.daemon_names"
	}
	return foreign, signer.Reason{Code: reasonNotOurs, Text: text}
}

// vouched reports whether a message is ours whatever address its client has.
func (p *Pipeline) vouched(env *message.Envelope) bool {
	return p.Authenticated && env.Authenticated() || p.hasTLSClient(env.Certificate) || p.hasDaemonName(env.DaemonName)
}

// hasTLSClient reports whether a client is ours by its certificate.
func (p *Pipeline) hasTLSClient(c message.Certificate) bool {
	if c.Subject == "" || strings.Contains(c.Subject, "|") { // which would read as an issuer
		return false
	}
	return slices.Contains(p.TLSClients, c.Subject) || slices.Contains(p.TLSClients, c.Subject+"|"+c.Issuer)
}

// hasDaemonName reports whether mail is ours by the daemon that it came through.
func (p *Pipeline) hasDaemonName(name string) bool {
	return name != "" && slices.Contains(p.DaemonNames, name)
}

func describe(c message.Certificate) string {
	return safetext.Quote(c.Subject) + " of " + safetext.Quote(c.Issuer)
}

// toNobodyElse reports whether all recipients of a message are known, and among those for whom nothing is signed.
func (p *Pipeline) toNobodyElse(env *message.Envelope) bool {
	if p.NotRecipients == nil || len(env.Recipients) == 0 || env.RecipientCount > len(env.Recipients) {
		return false
	}
	return !slices.ContainsFunc(env.Recipients, func(address string) bool { return !p.NotRecipients.Has(address) })
}
