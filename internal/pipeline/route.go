package pipeline

import (
	"net/netip"
	"slices"

	"dkimd/internal/message"
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
	case env.DaemonName != "" && slices.Contains(p.DaemonNames, env.DaemonName):
		return ours, signer.Reason{Code: reasonDaemonName, Text: "daemon " + env.DaemonName + " is in sign.daemon_names"}
	}
	text := "client " + client.String() + " is not in sign.networks"
	if p.Authenticated {
		text += " and not authenticated"
	}
	if env.DaemonName != "" {
		text += ", daemon " + env.DaemonName + " is not in sign.daemon_names"
	}
	return foreign, signer.Reason{Code: reasonNotOurs, Text: text}
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
