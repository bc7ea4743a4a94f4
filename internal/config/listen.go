package config

import (
	"net"
	"net/netip"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/tomlfile"
)

// maxSocketPath is what fits into a sockaddr_un, less the name beside it under
// which internal/socket makes a socket ready.
const maxSocketPath = 100

// taken are addresses that are not to be had any more, and the key that has them.
type taken struct {
	key       string
	addresses []string
}

// readListen reads where dkimd listens, and brings every form in use into
// the one that internal/socket takes.
func readListen(t *tomlfile.Table, def []string, others ...taken) []string {
	const key = "listen"
	var listen []string
	for i, s := range t.Strings(key, def) {
		address, want, hint := parseListen(s)
		other := slices.IndexFunc(others, func(o taken) bool { return slices.Contains(o.addresses, address) })
		switch {
		case want != "":
			t.FaultItem(key, i, want, hint)
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

// parseListen reads inet:HOST:PORT and unix:/PATH, and the forms OpenDKIM and
// Sendmail have for the same: inet:PORT@HOST and local:/PATH.
func parseListen(s string) (address, want, hint string) {
	scheme, rest, found := strings.Cut(s, ":")
	if !found {
		hint = `write "inet:127.0.0.1:8891" or "unix:/run/dkimd/milter.sock"`
		if filepath.IsAbs(s) {
			hint = `write "unix:` + s + `"`
		}
		return "", "inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH", hint
	}
	switch scheme {
	case "inet", "inet6":
		return parseInet(scheme, rest)
	case "unix", "local":
		switch {
		case !filepath.IsAbs(rest):
			return "", "unix:/PATH", "the path begins with /"
		case len(rest) > maxSocketPath:
			return "", "a path of at most " + strconv.Itoa(maxSocketPath) + " bytes", "the system allows no longer one for a socket"
		case strings.HasSuffix(rest, "/") || strings.ContainsRune(rest, 0):
			return "", "the path of a socket", "name the socket, not its directory"
		}
		return "unix:" + filepath.Clean(rest), "", ""
	}
	hint = `write "inet:127.0.0.1:8891" for a TCP socket`
	if _, _, err := net.SplitHostPort(s); err == nil {
		hint = `write "inet:` + s + `" for a TCP socket`
	}
	return "", "inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH", hint
}

func parseInet(scheme, rest string) (address, want, hint string) {
	want = "inet:HOST:PORT"
	if scheme == "inet6" {
		want = "inet6:[HOST]:PORT"
	}
	host, port, err := net.SplitHostPort(rest)
	if before, after, opendkim := strings.Cut(rest, "@"); opendkim {
		port, host, err = before, strings.Trim(after, "[]"), nil
	}
	if err != nil {
		if _, bad := strconv.ParseUint(rest, 10, 16); bad == nil {
			return "", want, `name the address too: "` + scheme + ":" + net.JoinHostPort(loopback(scheme), rest) + `"`
		}
		return "", want, `write "` + scheme + ":" + net.JoinHostPort(loopback(scheme), "8891") + `"`
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "a port from 0 to 65535", ""
	}
	if host == "*" {
		host = ""
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "": // every address of the host
	case err != nil && !isHostname(host):
		return "", want, "the host is an address or a name"
	case err == nil && scheme == "inet" && !addr.Is4():
		return "", want, `write "inet6:` + net.JoinHostPort(host, port) + `" for an IPv6 address`
	case err == nil && scheme == "inet6" && !addr.Is6():
		return "", want, `write "inet:` + net.JoinHostPort(host, port) + `" for an IPv4 address`
	}
	return scheme + ":" + net.JoinHostPort(host, port), "", ""
}

func loopback(scheme string) string {
	if scheme == "inet6" {
		return "::1"
	}
	return "127.0.0.1"
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
