package metrics

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A page elsewhere may have its name lead to this host, and read what is here with the browser of somebody who sees it
// (DNS rebinding). The browser then calls this host by that name, and a request from this host itself has no reason to.
// Without any name ask health checks that speak HTTP/1.0, as haproxy's, and no browser.

// known is next for those who call this host by one of its names. On other addresses than loopback whoever may read at
// all need not know them, as Prometheus does not.
func (c *ServerConfig) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if loopback, _ := asker(r); loopback && !c.isCalled(r.Host) {
			say(w, http.StatusMisdirectedRequest, calledOtherwise)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guarded is the page for those who may see it: it shows who writes to whom.
func (c *ServerConfig) guarded(page http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch loopback, unix := asker(r); {
		case !loopback && !unix && !c.PageEverywhere:
			say(w, http.StatusForbidden, "this page is given on unix sockets and loopback only: put a web server with a password in front of it, or set page = \"everywhere\" in [metrics]\n")
		case !unix && !c.isCalled(r.Host):
			say(w, http.StatusMisdirectedRequest, calledOtherwise)
		default:
			page.ServeHTTP(w, r)
		}
	})
}

const calledOtherwise = "this host is not called that: use its address, localhost, or the hostname of dkimd.toml\n"

// asker says through what a request came.
func asker(r *http.Request) (loopback, unix bool) {
	switch at := r.Context().Value(http.LocalAddrContextKey).(type) {
	case *net.UnixAddr:
		return false, true
	case *net.TCPAddr:
		return at.IP.IsLoopback(), false
	}
	return false, false
}

// isCalled reports whether the Host of a request is one of this host.
func (c *ServerConfig) isCalled(host string) bool {
	if host == "" {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "localhost" {
		return true
	}
	return host != "" && slices.ContainsFunc(c.Hosts, func(name string) bool { return strings.EqualFold(name, host) })
}
