package socket

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
)

const (
	// maxPath is what fits into a sockaddr_un: 108 bytes with its final NUL (unix(7)).
	maxPath = 107
	// maxListenPath leaves room for the name under which a socket is staged.
	maxListenPath = maxPath - len(stagingSuffix)

	wantTCP     = `write "inet:127.0.0.1:8891" for a TCP socket`
	wantAddress = "inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH"
)

// Address is where to listen or to connect. Addresses can be compared with ==, and
// ParseListen and ParseDial read an Address's String as the same Address.
type Address struct{ network, address string }

// Network is unix, tcp4, tcp6, or tcp for a host name whose family was not given.
func (a Address) Network() string { return a.network }

// Address is a path or HOST:PORT, as net.Dial takes it.
func (a Address) Address() string { return a.address }

// String is unix:/PATH, inet:HOST:PORT, inet6:[HOST]:PORT, or HOST:PORT for a host name whose family was not given.
func (a Address) String() string {
	switch a.network {
	case "unix":
		return "unix:" + a.address
	case "tcp4":
		return "inet:" + a.address
	case "tcp6":
		return "inet6:" + a.address
	}
	return a.address
}

// Dial connects.
func (a Address) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, a.network, a.address)
}

// ParseListen reads an address to listen on: inet:HOST:PORT, inet6:[HOST]:PORT, unix:/PATH, or in the
// forms of OpenDKIM and Sendmail inet:PORT@HOST and local:/PATH. Without a host, or with *, it is every
// address of this host. The error is a fault.Fault with what is wanted and a hint.
func ParseListen(s string) (Address, error) {
	a, bare, err := parse(s)
	switch {
	case err != nil:
		return Address{}, err
	case bare && a.network == "unix":
		return Address{}, refuse(wantAddress, "write "+strconv.Quote(a.String()))
	case bare && a.network == "tcp":
		return Address{}, refuse(wantAddress, "write "+strconv.Quote("inet:"+a.address)+" for a TCP socket")
	case bare:
		return Address{}, refuse(wantAddress, "write "+strconv.Quote(a.String())+" for a TCP socket")
	case a.network == "unix" && !filepath.IsAbs(a.address):
		return Address{}, refuse("unix:/PATH", "the path begins with /")
	case a.network == "unix" && len(a.address) > maxListenPath:
		return Address{}, refuse("a path of at most "+strconv.Itoa(maxListenPath)+" bytes",
			"the system allows "+strconv.Itoa(maxPath)+", of which dkimd needs "+strconv.Itoa(len(stagingSuffix))+" while it makes the socket")
	}
	return a, nil
}

// ParseDial reads an address to connect to: what ParseListen reads, and also a path
// and HOST:PORT without a scheme. A relative path is one below the working directory.
func ParseDial(s string) (Address, error) {
	a, _, err := parse(s)
	if err == nil && a.network == "unix" && len(a.address) > maxPath {
		return Address{}, refuse("a path of at most "+strconv.Itoa(maxPath)+" bytes", "the system allows no longer one for a socket")
	}
	return a, err
}

// parse reads every form of an address. bare says that its scheme was left out.
func parse(s string) (a Address, bare bool, err error) {
	if filepath.IsAbs(s) {
		a, err = parsePath(s)
		return a, true, err
	}
	scheme, rest, found := strings.Cut(s, ":")
	scheme = strings.ToLower(scheme) // as libmilter reads it
	switch {
	case !found:
		return Address{}, false, refuse(wantAddress, `write "inet:127.0.0.1:8891" or "unix:/run/dkimd/milter.sock"`)
	case scheme == "unix" || scheme == "local":
		a, err = parsePath(rest)
		return a, false, err
	case scheme == "inet" || scheme == "inet6":
		a, err = parseInet(scheme, rest)
		return a, false, err
	}
	host, _, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, false, refuse(wantAddress, wantTCP)
	}
	scheme = "inet"
	addr, notIP := netip.ParseAddr(host)
	if notIP == nil && !addr.Is4() {
		scheme = "inet6"
	}
	if a, err = parseInet(scheme, s); err != nil || notIP == nil {
		return a, true, err
	}
	name, _, _ := strings.Cut(a.address, ":")
	if slices.Contains([]string{"unix", "local", "inet", "inet6", "tcp"}, name) { // a scheme, ours or of other programs, however it was written
		return Address{}, false, refuse(wantAddress, wantTCP)
	}
	a.network = "tcp"
	return a, true, nil
}

func parsePath(path string) (Address, error) {
	clean := filepath.Clean(path) // "." for an empty path
	if clean == "." || clean == "/" || strings.HasSuffix(path, "/") || strings.ContainsRune(path, 0) {
		return Address{}, refuse("the path of a socket", "name the socket, not its directory")
	}
	return Address{"unix", clean}, nil
}

// parseInet reads what stands behind inet: and inet6:.
func parseInet(scheme, rest string) (Address, error) {
	network, want, loopback := "tcp4", "inet:HOST:PORT", "127.0.0.1"
	if scheme == "inet6" {
		network, want, loopback = "tcp6", "inet6:[HOST]:PORT", "::1"
	}
	host, port, err := net.SplitHostPort(rest)
	if before, after, opendkim := strings.Cut(rest, "@"); opendkim {
		port, host, err = before, strings.Trim(after, "[]"), nil
	}
	if err != nil {
		if isPort(rest) {
			return Address{}, refuse(want, `name the address too: "`+scheme+":"+net.JoinHostPort(loopback, rest)+`"`)
		}
		return Address{}, refuse(want, `write "`+scheme+":"+net.JoinHostPort(loopback, "8891")+`"`)
	}
	if !isPort(port) {
		return Address{}, refuse("a port from 0 to 65535", "")
	}
	if host == "*" {
		host = ""
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "": // every address of the host
	case err != nil:
		name, notName := domain.ParseHost(host)
		if notName != nil {
			return Address{}, refuse(want, "the host is an address or a name")
		}
		host = string(name)
	case scheme == "inet" && !addr.Is4():
		return Address{}, refuse(want, `write "inet6:`+net.JoinHostPort(host, port)+`" for an IPv6 address`)
	case scheme == "inet6" && !addr.Is6():
		return Address{}, refuse(want, `write "inet:`+net.JoinHostPort(host, port)+`" for an IPv4 address`)
	}
	return Address{network, net.JoinHostPort(host, port)}, nil
}

// IsUnix reports whether an Address's String is that of a unix socket.
func IsUnix(address string) bool { return strings.HasPrefix(address, "unix:") }

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func refuse(want, hint string) error { return fault.Fault{Want: want, Hint: hint} }
