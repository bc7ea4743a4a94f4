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

// reserved are addresses that another key has already.
type reserved struct {
	key       string
	addresses []string
}

// readListen reads where dkimd listens.
func readListen(t *tomlfile.Table, def []string, others ...reserved) []string {
	const key = "listen"
	var listen []string
	for i, s := range t.Strings(key, def) {
		parsed, err := socket.ParseListen(s)
		if f, ok := errors.AsType[fault.Fault](err); ok {
			t.FaultItem(key, i, f.Want, f.Hint)
			continue
		}
		address := parsed.String()
		other := slices.IndexFunc(others, func(o reserved) bool { return slices.Contains(o.addresses, address) })
		switch {
		case slices.Contains(listen, address):
			t.FaultItem(key, i, "each address once", "remove one of the two")
		case other >= 0:
			t.FaultItem(key, i, "an address that "+others[other].key+" does not have", "another protocol is spoken there; give each its own")
		default:
			listen = append(listen, address)
		}
	}
	if len(listen) == 0 {
		if t.Has(key) && len(t.Strings(key, nil)) == 0 {
			t.Fault(key, "at least one address", `write ["inet:127.0.0.1:8891"]`)
		}
		return def
	}
	return listen
}

// readGroup wants a group, by name or number, that this host has.
func readGroup(t *tomlfile.Table) string {
	const key = "socket_group"
	name := t.String(key, "")
	if name == "" {
		return ""
	}
	if _, err := strconv.ParseUint(name, 10, 31); err == nil {
		return name
	}
	if _, err := user.LookupGroup(name); err != nil {
		t.Fault(key, "a group of this host", "getent group lists them; the MTA's user must be a member")
		return ""
	}
	return name
}

// readServers reads name servers: addresses, each with a port where it is not 53.
func readServers(t *tomlfile.Table) []string {
	const key = "servers"
	servers := []string{}
	for i, s := range t.Strings(key, nil) {
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
