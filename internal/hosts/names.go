package hosts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"

	"dkimd/internal/domain"
	"dkimd/internal/resolver"
)

// maxNames is how many names of one client are looked at. A genuine host has one or two.
const maxNames = 10

// families are what is looked up of a host.
func families() [2]resolver.Type { return [2]resolver.Type{resolver.A, resolver.AAAA} }

// host is what is known of a host.
type host struct {
	found [2][]netip.Addr // by DNS, of each family
	local []netip.Addr    // by /etc/hosts
	known knowledge
}

// knowledge says how much is known of a host's addresses.
type knowledge uint8

const (
	unasked knowledge = iota
	complete
	absent  // there are none
	unknown // DNS could not tell
)

func (h host) addresses() []netip.Addr { return slices.Concat(h.found[0], h.found[1], h.local) }

// Refresh looks up the addresses of all hosts in the list. Those of one that DNS cannot tell stay as they are, which
// is reported; one that DNS does not have has none. It is called by one goroutine at a time.
func (l *List) Refresh(ctx context.Context) (all bool) {
	if l == nil {
		return true
	}
	defer l.guard(func() { all = false })
	old := l.state.Load()
	found := make([]host, len(l.config.Entries))
	var lookups sync.WaitGroup
	for i, e := range l.config.Entries {
		if !e.Network.IsValid() && !e.Below {
			lookups.Go(func() { found[i] = l.lookUp(ctx, e.Name, old.hosts[e.Name]) })
		}
	}
	lookups.Wait()
	all = true
	known := map[domain.Name]host{}
	for i, h := range found {
		name := l.config.Entries[i].Name
		if _, twice := known[name]; h.known == unasked || twice {
			continue
		}
		known[name] = h
		all = all && h.known != unknown
		l.report(name, old.hosts[name], h)
	}
	l.state.Store(newState(l.config.Entries, known))
	return all
}

// guard keeps a panic from ending the process.
func (l *List) guard(failed func()) {
	if p := recover(); p != nil {
		l.config.Logger.Error("panic in looking up the hosts of a list", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		failed()
	}
}

// lookUp looks up one host.
func (l *List) lookUp(ctx context.Context, name domain.Name, old host) (h host) {
	defer l.guard(func() { h, h.known = old, unknown })
	h.known = complete
	h.local = hostsFile(ctx, name)
	for i, family := range families() {
		answer, err := l.config.DNS.Lookup(ctx, string(name), family)
		switch {
		case err == nil:
			for _, text := range answer.Records {
				if addr, err := netip.ParseAddr(text); err == nil {
					h.found[i] = append(h.found[i], addr.Unmap())
				}
			}
		case !isAbsent(err):
			h.found[i], h.known = old.found[i], unknown
		}
	}
	if h.known == complete && len(h.addresses()) == 0 {
		h.known = absent
	}
	return h
}

// report tells what has changed for the worse or the better.
func (l *List) report(name domain.Name, old, now host) {
	if old.known == now.known {
		return
	}
	log := l.config.Logger.With("key", l.config.Key, "host", string(name), "addresses", len(now.addresses()))
	switch now.known {
	case unknown:
		log.Warn("addresses of a host could not be looked up: it keeps those it had")
	case absent:
		log.Warn("a host has no address: no client is in the list for it")
	case complete:
		if old.known != unasked {
			log.Info("addresses of a host are known again")
		}
	case unasked:
	}
}

// hostsFile is what /etc/hosts knows of a host.
func hostsFile(ctx context.Context, name domain.Name) []netip.Addr {
	files := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("DNS is asked elsewhere")
	}}
	addresses, err := files.LookupNetIP(ctx, "ip", string(name))
	if err != nil {
		return nil
	}
	for i, addr := range addresses {
		addresses[i] = addr.Unmap().WithZone("")
	}
	return addresses
}

// isAbsent reports whether DNS said that there is nothing.
func isAbsent(err error) bool {
	return errors.Is(err, resolver.ErrNotExist) || errors.Is(err, resolver.ErrNoData)
}

// reverse reports whether a client has a name of its own that is in the list, and none that is excluded.
func (l *List) reverse(ctx context.Context, addr netip.Addr) (bool, error) {
	answer, err := l.config.DNS.Reverse(ctx, addr)
	if err != nil {
		if isAbsent(err) {
			return false, nil
		}
		return false, err
	}
	var names []domain.Name
	for _, text := range answer.Records[:min(len(answer.Records), maxNames)] {
		name, err := domain.ParseLax(text)
		if err != nil {
			continue
		}
		in, listed := l.named(name)
		if listed && !in {
			return false, nil
		}
		if in {
			names = append(names, name)
		}
	}
	for _, name := range names {
		own, wrong := l.leadsBack(ctx, name, addr)
		if own {
			return true, nil
		}
		err = errors.Join(err, wrong)
	}
	return false, err
}

// leadsBack reports whether a name has the address.
func (l *List) leadsBack(ctx context.Context, name domain.Name, addr netip.Addr) (bool, error) {
	family := resolver.AAAA
	if addr.Is4() {
		family = resolver.A
	}
	answer, err := l.config.DNS.Lookup(ctx, string(name), family)
	if err != nil && !isAbsent(err) {
		return false, err
	}
	return slices.Contains(answer.Records, addr.String()), nil
}
