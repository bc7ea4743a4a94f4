// Package hosts decides whether a client is in a list of the configuration: by its address, or by its
// name. It reads no configuration.
//
// The names of hosts are looked up in the background, see Refresh. A message waits for DNS only where its list has
// a domain (".example.com"), no network holds its client, and its client may be below that domain.
package hosts

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
)

// Entry is one entry of a list: a network, a host, or the hosts below a domain.
type Entry struct {
	Not     bool         // what it names is not in the list
	Network netip.Prefix // masked, IPv4 unmapped; invalid: there is a Name
	Name    domain.Name
	Below   bool // the hosts below Name, and not Name itself
}

// String is the entry as it is configured.
func (e Entry) String() string {
	s := e.name()
	switch {
	case e.Network.IsSingleIP():
		s = e.Network.Addr().String()
	case e.Network.IsValid():
		s = e.Network.String()
	}
	if e.Not {
		return "!" + s
	}
	return s
}

// name begins with a dot where it stands for the hosts below it.
func (e Entry) name() string {
	if e.Below {
		return "." + string(e.Name)
	}
	return string(e.Name)
}

// DNS looks up the addresses of a name, and the names of an address. It is a resolver.Resolver.
type DNS interface {
	Lookup(ctx context.Context, name string, rrtype resolver.Type) (resolver.Answer, error)
	Reverse(ctx context.Context, addr netip.Addr) (resolver.Answer, error)
}

// Config is what a List is made of.
type Config struct {
	Key     string // of dkimd.toml, for the log
	Entries []Entry
	DNS     DNS
	Logger  *slog.Logger // hears of hosts whose addresses are not known; nil: silent
	// Previous is the list before a reload, or nil: hosts have the addresses they had in it.
	Previous *List
}

// List is a list of clients. Nil is an empty one. It is safe for concurrent use.
type List struct {
	config Config
	names  map[string]bool // of the entries: whether they are in the list
	asks   bool            // a domain is, so the name of a client matters that the MTA does not tell
	state  atomic.Pointer[state]
}

// New makes a list. The addresses of its hosts are known after Refresh.
func New(c Config) *List {
	l := &List{config: c, names: map[string]bool{}}
	if l.config.Logger == nil {
		l.config.Logger = slog.New(slog.DiscardHandler)
	}
	known := map[domain.Name]host{}
	for _, e := range c.Entries {
		if e.Network.IsValid() {
			continue
		}
		in, twice := l.names[e.name()]
		l.names[e.name()] = !e.Not && (in || !twice)
		l.asks = l.asks || e.Below && !e.Not
		if c.Previous != nil && !e.Below {
			known[e.Name] = c.Previous.state.Load().hosts[e.Name]
		}
	}
	l.state.Store(newState(c.Entries, known))
	return l
}

// Contains reports whether a client is in the list. One without a readable address is in none. The error is that
// DNS could not tell its name, or whether that name is its own: then it is not in the list for it.
//
// Of entries that name the address the most precise one decides, and an exclusion where two are equal; so it is with
// names. That is how OpenDKIM reads its lists, but for one thing: where one of address and name is excluded, the
// other does not matter.
func (l *List) Contains(ctx context.Context, c message.Client) (bool, error) {
	if l == nil || c.Kind != message.ClientAddress {
		return false, nil
	}
	in, found := l.state.Load().find(c.Addr)
	if found && !in || len(l.names) == 0 {
		return in, nil
	}
	// What the MTA calls the client counts against it at once. For it, only if the name leads back to the
	// address: not every MTA has made sure of that.
	if name, err := domain.ParseLax(c.Name); err == nil && name != "unknown" {
		byName, listed := l.named(name)
		switch {
		case listed && !byName:
			return false, nil
		case in || !listed:
			return in, nil
		}
		return l.leadsBack(ctx, name, c.Addr)
	}
	if of := l.state.Load().unknown; of != "" && !in {
		return false, fmt.Errorf("the addresses of %s are not known yet", of)
	}
	if in || !l.asks {
		return in, nil
	}
	return l.reverse(ctx, c.Addr)
}

// Has is Contains by address alone: it asks nobody.
func (l *List) Has(c message.Client) bool {
	if l == nil || c.Kind != message.ClientAddress {
		return false
	}
	in, _ := l.state.Load().find(c.Addr)
	return in
}

// named is what the most precise entry says of a name.
func (l *List) named(name domain.Name) (in, listed bool) {
	for rest := string(name); ; {
		if in, listed = l.names[rest]; listed {
			return in, true
		}
		dot := strings.IndexByte(rest[1:], '.')
		if dot < 0 {
			return false, false
		}
		rest = rest[1+dot:]
	}
}

// state is what is known of the addresses in a list. It does not change.
type state struct {
	in      map[netip.Prefix]bool
	lengths [2][]int // of the prefixes for IPv4 and for IPv6, the longest first
	hosts   map[domain.Name]host
	unknown domain.Name // a host in the list that may have any address, as far as is known
}

func newState(entries []Entry, known map[domain.Name]host) *state {
	s := &state{in: map[netip.Prefix]bool{}, hosts: known}
	for _, e := range entries {
		if e.Network.IsValid() {
			s.add(e.Network, !e.Not)
		} else if !e.Below {
			h := known[e.Name]
			for _, addr := range h.addresses() {
				s.add(netip.PrefixFrom(addr, addr.BitLen()), !e.Not)
			}
			if !e.Not && len(h.addresses()) == 0 && (h.known == unasked || h.known == unknown) {
				s.unknown = e.Name
			}
		}
	}
	for _, lengths := range s.lengths {
		slices.Sort(lengths)
		slices.Reverse(lengths)
	}
	return s
}

func (s *state) add(p netip.Prefix, in bool) {
	before, twice := s.in[p]
	s.in[p] = in && (before || !twice)
	lengths := s.of(p.Addr())
	if !slices.Contains(*lengths, p.Bits()) {
		*lengths = append(*lengths, p.Bits())
	}
}

func (s *state) of(addr netip.Addr) *[]int {
	if addr.Is4() {
		return &s.lengths[0]
	}
	return &s.lengths[1]
}

// find is what the most precise prefix says of an address. It takes a step for each length that occurs, however many
// prefixes there are.
func (s *state) find(addr netip.Addr) (in, found bool) {
	for _, bits := range *s.of(addr) {
		if p, err := addr.Prefix(bits); err == nil {
			if in, found = s.in[p]; found {
				return in, true
			}
		}
	}
	return false, false
}
