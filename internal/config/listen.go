package config

import (
	"errors"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/fault"
	"dkimd/internal/socket"
	"dkimd/internal/tomlfile"
)

// readListen reads where dkimd listens.
func readListen(t *tomlfile.Table, key string, def []string) []string {
	written := t.Strings(key, def)
	listen := make([]string, 0, len(written))
	for i, s := range written {
		parsed, err := socket.ParseListen(s)
		if f, ok := errors.AsType[fault.Fault](err); ok {
			t.FaultItem(key, i, f.Want, f.Hint)
			continue
		}
		address := parsed.String()
		switch {
		case slices.Contains(listen, address):
			t.FaultItem(key, i, "each address once", "remove one of the two")
		default:
			listen = append(listen, address)
		}
	}
	if len(listen) == 0 && len(written) > 0 {
		return def
	}
	return listen
}

// readControl reads addresses that must be those of unix sockets: whoever connects there may reload.
func readControl(t *tomlfile.Table, key string, def []string) []string {
	listen := readListen(t, key, def)
	for i, s := range t.Strings(key, def) {
		if address, err := socket.ParseListen(s); err == nil && address.Network() != "unix" {
			t.FaultItem(key, i, "unix:/PATH", "an inet socket does not tell who connects, and whoever connects here may reload")
			listen = slices.DeleteFunc(listen, func(l string) bool { return l == address.String() })
		}
	}
	return listen
}

// readGroup wants a group, by name or number, that this host has.
func readGroup(t *tomlfile.Table, key, def string) string {
	name := t.String(key, def)
	if name == "" {
		return ""
	}
	if _, err := strconv.ParseUint(name, 10, 31); err == nil {
		return name
	}
	if _, err := user.LookupGroup(name); err != nil {
		t.Fault(key, "a group of this host", "getent group lists them; the MTA's user must be a member")
		return def
	}
	return name
}

// readPeers wants users or groups that this host has.
func readPeers(t *tomlfile.Table, key string, def []string) []string {
	peers := []string{}
	for i, name := range t.Strings(key, def) {
		if f, ok := errors.AsType[fault.Fault](socket.CheckPeer(name)); ok {
			t.FaultItem(key, i, f.Want, f.Hint)
			continue
		}
		peers = append(peers, name)
	}
	return peers
}

const maxDNSServers = 16

// readServers reads name servers: addresses, each with a port where it is not 53.
func readServers(t *tomlfile.Table, key string, def []string) []string {
	servers := []string{}
	for i, s := range t.Strings(key, def) {
		if i == maxDNSServers {
			t.Fault(key, "at most "+strconv.Itoa(maxDNSServers)+" servers", "")
			break
		}
		if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
			servers = append(servers, addr.String())
			continue
		}
		server, err := netip.ParseAddrPort(s)
		if err != nil || server.Port() == 0 {
			t.FaultItem(key, i, "the address of a name server", `write it like "127.0.0.1", "127.0.0.1:5353" or "[::1]:53"`)
			continue
		}
		servers = append(servers, server.String())
	}
	return servers
}
