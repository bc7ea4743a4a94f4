package resolver

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	dnsPort = 53
	// retreat is how long a server that did not answer, where another did, is asked last.
	retreat = 30 * time.Second
	// relearn is how long it is remembered how a server has to be asked.
	relearn = 10 * time.Minute
	// maxResolvConf bounds what is read of the file.
	maxResolvConf = 1 << 20
)

// server is one of the servers asked.
type server struct {
	address string // "127.0.0.1:53", canonical
	local   bool   // on this host: nobody else can answer
	silent  memory // it did not answer where another did, and is asked last
	plain   memory // it answers queries without EDNS0 only
	extends memory // it has answered with EDNS0
	folds   memory // it does not keep the case of names
}

// memory is something that is known of a server for a while.
type memory struct{ until atomic.Int64 } // on the cache's clock

func (m *memory) note(now, span time.Duration) { m.until.Store(int64(now + span)) }
func (m *memory) forget()                      { m.until.Store(0) }
func (m *memory) noted(now time.Duration) bool { return m.until.Load() > int64(now) }

// learn remembers how a server had to be asked for an answer. Where it is about the
// case of names, TCP has proved it, or there is no TCP.
func (s *server) learn(now time.Duration, how manner, rep reply, folded bool) {
	switch {
	case rep.extended:
		s.extends.note(now, relearn)
	case rep.without && !s.extends.noted(now), !how.edns && !s.plain.noted(now):
		s.plain.note(now, relearn)
	}
	if folded && (rep.folded || !how.mixed) {
		s.folds.note(now, relearn)
	}
}

// ResolvConfError says why resolv.conf, asked because the configuration names no
// server, gives none.
type ResolvConfError struct{ Err error }

func (e *ResolvConfError) Error() string { return "servers: " + e.Err.Error() }

func (e *ResolvConfError) Unwrap() error { return e.Err }

// readServers makes the list from the configuration or, where that names none,
// from resolv.conf.
func readServers(config Config, logger *slog.Logger) ([]*server, error) {
	var servers []*server
	var faults []error
	for _, text := range config.Servers {
		address, ok := parseServer(text)
		if !ok {
			faults = append(faults, fmt.Errorf("servers: got %q; want an IP address, with or without port", text))
			continue
		}
		servers = appendServer(servers, address)
	}
	if len(config.Servers) > 0 {
		return servers, errors.Join(faults...)
	}
	path := config.ResolvConf
	if path == "" {
		path = defaultResolvConf
	}
	data, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &ResolvConfError{err}
	}
	unusable := 0
	for line := range strings.SplitSeq(data, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		address, ok := parseServer(fields[1])
		if !ok {
			unusable++
			logger.Warn("nameserver line without an IP address ignored", slog.String("path", path), slog.String("server", fields[1]))
			continue
		}
		servers = appendServer(servers, address)
	}
	if len(servers) == 0 && unusable > 0 {
		return nil, &ResolvConfError{fmt.Errorf("%s has no nameserver line with an IP address", path)}
	}
	if len(servers) == 0 {
		// resolv.conf(5): without a nameserver line the server is on this host.
		servers = append(servers, newServer("127.0.0.1:53"), newServer("[::1]:53"))
	}
	return servers, nil
}

func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Size() > maxResolvConf {
		return "", fmt.Errorf("%s has %d octets, more than %d", path, info.Size(), maxResolvConf)
	}
	data, err := os.ReadFile(path) //nolint:gosec // the administrator names the file
	return string(data), err
}

func appendServer(servers []*server, address string) []*server {
	if slices.ContainsFunc(servers, func(s *server) bool { return s.address == address }) {
		return servers
	}
	return append(servers, newServer(address))
}

func newServer(address string) *server {
	at, _ := netip.ParseAddrPort(address)
	return &server{address: address, local: at.Addr().IsLoopback()}
}

// parseServer takes an address in any form, with or without port, and returns
// it with port. Names are not taken: we'd need DNS to look them up.
func parseServer(text string) (address string, ok bool) {
	bare := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		bare = text[1 : len(text)-1]
	}
	if ip, err := netip.ParseAddr(bare); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), dnsPort).String(), true
	}
	both, err := netip.ParseAddrPort(text)
	if err != nil || both.Port() == 0 {
		return "", false
	}
	return netip.AddrPortFrom(both.Addr().Unmap(), both.Port()).String(), true
}

func sameServers(a, b []*server) bool {
	return slices.EqualFunc(a, b, func(a, b *server) bool { return a.address == b.address })
}

// order is the list of servers, those that did not answer lately last.
func (r *Resolver) order() []*server {
	now := r.cache.now()
	order := make([]*server, 0, len(r.servers))
	var silent []*server
	for _, s := range r.servers {
		if s.silent.noted(now) {
			silent = append(silent, s)
		} else {
			order = append(order, s)
		}
	}
	return append(order, silent...)
}
