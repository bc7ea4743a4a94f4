package resolver

import (
	"net/netip"
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

// order is the list of servers, those that did not answer lately last.
func (r *Resolver) order() []*server {
	now := r.cache.now()
	order := make([]*server, 0, 4)
	var silent []*server
	for _, s := range r.list.Load().servers {
		if s.silent.noted(now) {
			silent = append(silent, s)
		} else {
			order = append(order, s)
		}
	}
	return append(order, silent...)
}
