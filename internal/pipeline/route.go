package pipeline

import (
	"net/netip"
	"slices"
	"strings"

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
)

// The codes of the reasons whose mail a message is. Those why ours is not signed are the signer's.
const (
	reasonTrusted     = "trusted"
	reasonLocal       = "local"
	reasonNetwork     = "network"
	reasonLogin       = "login"
	reasonDaemonName  = "daemon_name"
	reasonCertificate = "certificate"
	reasonNotOurs     = "not_ours"
	reasonSignedLater = "signed_later"
	reasonAborted     = "aborted"
	reasonFault       = "fault"
	reasonMemory      = "memory"
)

// routeFor is the route of a message for the purpose that the front door has with it.
func (p *Pipeline) routeFor(env *message.Envelope) (route, signer.Reason) {
	r, reason := p.route(env)
	switch {
	case env.Purpose == message.OnlyVerify && r == ours:
		return trusted, signer.Reason{Code: reasonSignedLater, Text: "it is signed when it leaves: " + reason.Text}
	case env.Purpose == message.OnlySign && r != ours:
		return leaving, reason
	}
	return r, reason
}

// route decides whose mail this is, and says why. A client address that cannot be read belongs to nobody.
func (p *Pipeline) route(env *message.Envelope) (route, signer.Reason) {
	client := env.Client
	switch {
	case client.Kind == message.ClientAddress && contains(p.Trusted, client.Addr):
		return trusted, signer.Reason{Code: reasonTrusted, Text: "client " + client.String() + " is in verify.trusted"}
	case client.Kind == message.ClientLocal:
		return ours, signer.Reason{Code: reasonLocal, Text: "submitted on this host"}
	case client.Kind == message.ClientAddress && contains(p.Networks, client.Addr):
		return ours, signer.Reason{Code: reasonNetwork, Text: "client " + client.String() + " is in sign.networks"}
	case p.Authenticated && env.Authenticated():
		return ours, signer.Reason{Code: reasonLogin, Text: "the client logged in"}
	case p.hasTLSClient(env.Certificate):
		return ours, signer.Reason{Code: reasonCertificate, Text: "the client's TLS certificate " + describe(env.Certificate) + " is in sign.tls_clients"}
	case env.DaemonName != "" && slices.Contains(p.DaemonNames, env.DaemonName):
		return ours, signer.Reason{Code: reasonDaemonName, Text: "daemon " + env.DaemonName + " is in sign.daemon_names"}
	}
	text := "client " + client.String() + " is not in sign.networks"
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

// hasTLSClient reports whether a client is ours by its certificate.
func (p *Pipeline) hasTLSClient(c message.Certificate) bool {
	if c.Subject == "" || strings.Contains(c.Subject, "|") { // which would read as an issuer
		return false
	}
	return slices.Contains(p.TLSClients, c.Subject) || slices.Contains(p.TLSClients, c.Subject+"|"+c.Issuer)
}

func describe(c message.Certificate) string {
	return safetext.Quote(c.Subject) + " of " + safetext.Quote(c.Issuer)
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
