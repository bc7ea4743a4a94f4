package config

import (
	"net/netip"
	"slices"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/hosts"
	"dkimd/internal/tomlfile"
	"dkimd/verifier"
)

const wantHost = "an address, a network in CIDR form or the name of a host"

// docHosts says what stands in a list of clients.
const docHosts = "addresses, networks in CIDR form, names of hosts, \".example.com\" for the hosts below it, and \"@/PATH\" " +
	"for a file with one of these a line, such as OpenDKIM's TrustedHosts. ! in front excludes: the most precise of the addresses " +
	"decides, and of the names, an exclusion where two are equal; a client is out where either says so. The addresses of hosts " +
	"are looked up at the start and every 5 minutes, in DNS and /etc/hosts; while DNS fails they stay as they are. A client is " +
	"below a domain if its reverse name is, and leads back to its address."

// loopback is this host as a client.
func loopback() []hosts.Entry {
	return []hosts.Entry{{Network: netip.MustParsePrefix("127.0.0.0/8")}, {Network: netip.MustParsePrefix("::1/128")}}
}

// clients is a list of clients.
func clients(at *[]hosts.Entry, def ...hosts.Entry) value {
	return field[[]hosts.Entry]{at, append([]hosts.Entry{}, def...), "list of clients", readHosts, func(list []hosts.Entry) any {
		texts := make([]string, len(list))
		for i, e := range list {
			texts[i] = e.String()
		}
		return texts
	}}
}

func readHosts(t *tomlfile.Table, key string, def []hosts.Entry) []hosts.Entry {
	entries := t.Entries(key)
	if !t.Has(key) {
		return slices.Clone(def)
	}
	list := make([]hosts.Entry, 0, len(entries))
	for i, text := range entries {
		if path, isFile := strings.CutPrefix(text, "@/"); isFile {
			list = append(list, readHostsFile(t.Lines(key, i, "/"+path))...)
			continue
		}
		e, hint := parseHost(text)
		if hint != "" {
			t.FaultItem(key, i, wantHost, hint)
			continue
		}
		list = append(list, e)
	}
	return list
}

// readHostsFile reads a file as OpenDKIM does, but for lines without which the list would hold more, or other, clients
// than somebody may believe.
func readHostsFile(lines []tomlfile.Line) []hosts.Entry {
	list := make([]hosts.Entry, 0, len(lines))
	for _, line := range lines {
		words := strings.Fields(line.Text)
		e, hint := parseHost(words[0])
		switch {
		case hint != "" && e.Network.IsValid() && !e.Not:
			line.Caution("a network", hint+"; the line counts for nothing, in OpenDKIM too")
			continue
		case hint != "":
			line.Fault(wantHost, hint)
			continue
		case len(words) > 1:
			line.Caution("one entry a line", "only the first word counts")
		}
		list = append(list, e)
	}
	return list
}

// parseHost reads an entry. A hint says what is wrong with it; where it is a network that begins with an address in it,
// there is a Network.
func parseHost(text string) (e hosts.Entry, hint string) {
	text, e.Not = strings.CutPrefix(text, "!")
	if network := unbracket(text); isNetwork(network) {
		e.Network, hint = tomlfile.ParsePrefix(network)
		return e, hint
	}
	for _, below := range []string{"*.", "."} {
		if name, ok := strings.CutPrefix(text, below); ok {
			text, e.Below = name, true
			break
		}
	}
	var err error
	if e.Name, err = domain.Parse(text); err != nil {
		return e, err.Error()
	}
	if e.Below && !e.Not && e.Name.IsPublicSuffix() {
		return e, "anybody can have a name below it"
	}
	return e, ""
}

// unbracket takes the brackets off an address that has them, as in [192.0.2.1]/24.
func unbracket(text string) string {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		address, rest, closed := strings.Cut(inner, "]")
		if closed {
			return address + rest
		}
	}
	return text
}

// relays are clients by address, each perhaps with its authserv-id.
func relays(at *[]verifier.Relay) value {
	return field[[]verifier.Relay]{at, []verifier.Relay{}, "list", readRelays, func(list []verifier.Relay) any {
		texts := make([]string, len(list))
		for i, r := range list {
			texts[i] = hosts.Entry{Network: r.Network}.String()
			if r.AuthservID != "" {
				texts[i] += "|" + r.AuthservID
			}
		}
		return texts
	}}
}

// readRelays wants networks: whose word counts is no matter of DNS.
func readRelays(t *tomlfile.Table, key string, _ []verifier.Relay) []verifier.Relay {
	list := []verifier.Relay{}
	for i, text := range t.Strings(key, nil) {
		network, id, named := strings.Cut(text, "|")
		prefix, hint := tomlfile.ParsePrefix(network)
		name, err := domain.ParseHost(id)
		switch {
		case hint != "":
			t.FaultItem(key, i, wantRelay, hint)
		case named && err != nil:
			t.FaultItem(key, i, wantRelay, "the authserv-id: "+err.Error())
		case prefix.Bits() == 0:
			t.FaultItem(key, i, wantRelay, "anybody could say that his own mail passes")
		default:
			list = append(list, verifier.Relay{Network: prefix, AuthservID: string(name)})
		}
	}
	return list
}

const wantRelay = "an address or network of a relay, or ADDRESS|AUTHSERV-ID"
