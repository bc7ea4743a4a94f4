// Package authority asks the servers that are authoritative for a name what they
// say about its TXT record, each for itself, over UDP and TCP. It finds them from the parent's side of
// the zone, after aliases (CNAME records), through recursive servers. It tells what each
// said and judges nothing; nothing is kept.
package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	tryTime    = 2 * time.Second // for one query; UDP has tries of them
	tries      = 2
	maxAliases = 8
	maxServers = 16 // of one zone; RFC 1912 section 2.8 thinks seven too many
)

// Config says how servers are reached.
type Config struct {
	// Recursive are servers that find out for us where zones are: "address:port".
	Recursive []string
	// Port of authoritative servers; empty: 53.
	Port string
	// Dial opens "udp" and "tcp" connections; nil: as net.Dialer does. For tests.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Said is what one server says about a name.
type Said struct {
	Server string // its name and address
	Name   string // what it was asked for, without a dot at its end
	Texts  []string
	TTL    time.Duration // of the texts
	// Negative is how long caches remember that there is no record (RFC 2308 section 5).
	Negative time.Duration
	// Wildcard: it has no record at the name itself, the texts are those of a wildcard (RFC 4592).
	Wildcard bool
	Err      error // it said nothing of use
}

// View is what is known about a name.
type View struct {
	Name string // at which the record has to be: the end of aliases
	Zone string // that it is in
	Said []Said // of each server, and of those on the way that do not have the alias
	Err  error  // the servers were not found
}

// Place follows the aliases of a name to its end, and says in which zone that is: with what caches remember.
func (c Config) Place(ctx context.Context, name string) (target, zone string, err error) {
	target = dns.CanonicalName(name)
	for range maxAliases {
		next, err := c.alias(ctx, target)
		if err != nil {
			return "", "", err
		}
		if next == "" {
			zone, _, err = c.cut(ctx, target)
			return bare(target), bare(zone), err
		}
		target = next
	}
	return "", "", fmt.Errorf("%s: a chain of more than %d aliases", bare(name), maxAliases)
}

// Look asks all servers for the TXT record of a name: those named, as "address" or "address:port", or those that the parent's zone
// and the zone itself have as its name servers.
func (c Config) Look(ctx context.Context, name string, named []string) View {
	v := View{Name: dns.CanonicalName(name)}
	for range maxAliases {
		zone, servers, err := c.servers(ctx, v.Name, named)
		if v.Zone = bare(zone); err != nil {
			v.Err = fmt.Errorf("find the servers of %s: %w", bare(v.Name), err)
			v.Name = bare(v.Name)
			return v
		}
		said, alias := c.askAll(ctx, zone, v.Name, servers)
		v.Said = append(v.Said, said...)
		if alias == "" {
			v.Name = bare(v.Name)
			return v
		}
		v.Name = alias
	}
	v.Err = fmt.Errorf("%s: a chain of more than %d aliases", bare(name), maxAliases)
	return v
}

// Ask asks a recursive server, "address" or "address:port", for the TXT record of a name.
func (c Config) Ask(ctx context.Context, address, name string) Said {
	said := Said{Server: address, Name: bare(name)}
	c.Recursive = []string{c.withPort(address)}
	m, err := c.recurse(ctx, name, dns.TypeTXT)
	if said.Err = err; err != nil {
		return said
	}
	for _, rr := range m.Answer {
		texts, ttl := textsOf(m, rr.Header().Name) // also those at the end of aliases
		if len(texts) > 0 {
			said.Texts, said.TTL = texts, ttl
		}
	}
	return said
}

// server is one address of a name server.
type server struct{ name, address string }

func (s server) String() string {
	if s.name == "" {
		return s.address
	}
	return s.name + " (" + s.address + ")"
}

// askAll asks each server at once. The alias is what those that have one agree on; then only the others are in said.
func (c Config) askAll(ctx context.Context, zone, name string, servers []server) (said []Said, alias string) {
	said = make([]Said, len(servers))
	aliases := make([]string, len(servers))
	var asking sync.WaitGroup
	for i, s := range servers {
		asking.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					said[i].Err = fmt.Errorf("panic: %v", p)
				}
			}()
			said[i], aliases[i] = c.ask(ctx, s, zone, name)
		})
	}
	asking.Wait()
	for _, a := range aliases {
		if a != "" {
			alias = a
		}
	}
	var told []Said
	for i, one := range said {
		// An address of the other kind of IP is no server of ours to ask, if its server has another.
		if errors.Is(one.Err, errNoRoute) && reached(said, one) || alias != "" && aliases[i] == alias {
			continue
		}
		if alias != "" && one.Err == nil {
			one.Err = fmt.Errorf("does not have the alias of %s to %s", bare(name), bare(alias))
		}
		told = append(told, one)
	}
	return told, alias
}

// reached reports whether this host has a way to another address of a server.
func reached(all []Said, silent Said) bool {
	name, _, _ := strings.Cut(silent.Server, " ")
	return slices.ContainsFunc(all, func(s Said) bool { return !errors.Is(s.Err, errNoRoute) && strings.HasPrefix(s.Server, name+" ") })
}

// ask asks one server over UDP and TCP: both have to say the same.
func (c Config) ask(ctx context.Context, s server, zone, name string) (said Said, alias string) {
	said = Said{Server: s.String(), Name: bare(name)}
	first, err := c.authoritative(ctx, "udp", s, name, dns.TypeTXT)
	var second *dns.Msg
	if err == nil {
		second, err = c.authoritative(ctx, "tcp", s, name, dns.TypeTXT)
	}
	if err != nil {
		said.Err = err
		return said, ""
	}
	if alias = aliasOf(second, name); alias != "" {
		if udp := aliasOf(first, name); udp != alias {
			said.Err = errors.New("says something else over UDP than over TCP")
		}
		return said, alias
	}
	said.Texts, said.TTL = textsOf(second, name)
	if texts, _ := textsOf(first, name); !first.Truncated && !slices.Equal(sorted(texts), sorted(said.Texts)) {
		said.Err = errors.New("says something else over UDP than over TCP")
		return said, ""
	}
	soa, err := c.authoritative(ctx, "udp", s, zone, dns.TypeSOA)
	if err != nil {
		said.Err = fmt.Errorf("SOA of %s: %w", bare(zone), err)
		return said, ""
	}
	said.Negative = max(negative(soa), negative(second))
	if len(said.Texts) > 0 {
		said.Wildcard = c.wildcard(ctx, s, name, said.Texts)
	}
	return said, ""
}

// wildcard reports whether the neighbour of a name, which nobody has, has the same record.
func (c Config) wildcard(ctx context.Context, s server, name string, texts []string) bool {
	_, above, _ := strings.Cut(name, ".")
	neighbour := "dkimd-" + strings.ToLower(rand.Text()) + "." + above
	m, err := c.authoritative(ctx, "udp", s, neighbour, dns.TypeTXT)
	if err == nil && m.Truncated {
		m, err = c.authoritative(ctx, "tcp", s, neighbour, dns.TypeTXT)
	}
	if err != nil {
		return false
	}
	others, _ := textsOf(m, neighbour)
	return slices.Equal(sorted(others), sorted(texts))
}

// authoritative asks a server for what it knows itself.
func (c Config) authoritative(ctx context.Context, network string, s server, name string, kind uint16) (*dns.Msg, error) {
	m, err := c.exchange(ctx, network, s.address, query(name, kind))
	switch {
	case err != nil:
		return nil, err
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return nil, errors.New(dns.RcodeToString[m.Rcode])
	case !m.Authoritative:
		return nil, errors.New("is not authoritative for " + bare(name))
	}
	return m, nil
}

func query(name string, kind uint16) *dns.Msg {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	m.RecursionDesired = false
	m.SetEdns0(1232, false)
	return m
}

func aliasOf(m *dns.Msg, name string) string {
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.CNAME); ok && dns.CanonicalName(a.Hdr.Name) == name {
			return dns.CanonicalName(a.Target)
		}
	}
	return ""
}

// textsOf are the TXT records of a name, each the concatenation of its strings (RFC 6376 section 3.6.2.2).
func textsOf(m *dns.Msg, name string) (texts []string, ttl time.Duration) {
	for _, rr := range m.Answer {
		if t, ok := rr.(*dns.TXT); ok && dns.CanonicalName(t.Hdr.Name) == dns.CanonicalName(name) {
			texts = append(texts, Text(t))
			ttl = max(ttl, seconds(t.Hdr.Ttl))
		}
	}
	return texts, ttl
}

// Text is a TXT record in one piece.
func Text(t *dns.TXT) string { return unescape(strings.Join(t.Txt, "")) }

// unescape undoes what miekg/dns makes of octets that are special in zone files.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && s[i+1] >= '0' && s[i+1] <= '2':
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// negative is for how long the SOA record of an answer lets absences be remembered (RFC 2308 section 5).
func negative(m *dns.Msg) time.Duration {
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		if soa, ok := rr.(*dns.SOA); ok {
			return seconds(min(soa.Minttl, soa.Hdr.Ttl))
		}
	}
	return 0
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

func bare(name string) string { return strings.TrimSuffix(name, ".") }

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
