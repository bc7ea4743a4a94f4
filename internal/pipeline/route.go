package pipeline

import (
	"net/netip"
	"slices"

	"dkimd/internal/message"
)

// route is whose mail a message is.
type route uint8

const (
	foreign route = iota // verified and judged
	ours                 // signed
	trusted              // verified and recorded, never judged, never signed for
	leaving              // not ours, and on its way out: neither verified again nor signed for
)

// routeFor is the route of a message for the purpose that the front door has with it.
func (p *Pipeline) routeFor(env *message.Envelope) (r route, why string) {
	r, why = p.route(env)
	switch {
	case env.Purpose == message.OnlyVerify && r == ours:
		return trusted, "ours: it is signed when it leaves"
	case env.Purpose == message.OnlySign && r != ours:
		return leaving, why
	}
	return r, why
}

// route decides whose mail this is, and says why where it is not ours. A
// client address that cannot be read belongs to nobody.
func (p *Pipeline) route(env *message.Envelope) (r route, why string) {
	client := env.Client
	switch {
	case client.Kind == message.ClientAddress && contains(p.Trusted, client.Addr):
		return trusted, "client " + client.String() + " is in verify.trusted"
	case client.Kind == message.ClientLocal:
		return ours, ""
	case client.Kind == message.ClientAddress && contains(p.Networks, client.Addr):
		return ours, ""
	case p.Authenticated && env.Authenticated():
		return ours, ""
	case env.DaemonName != "" && slices.Contains(p.DaemonNames, env.DaemonName):
		return ours, ""
	}
	why = "not ours: client " + client.String() + " is not in sign.networks"
	if p.Authenticated {
		why += " and not authenticated"
	}
	if env.DaemonName != "" {
		why += ", daemon " + env.DaemonName + " is not in sign.daemon_names"
	}
	return foreign, why
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
