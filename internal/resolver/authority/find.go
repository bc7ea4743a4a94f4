package authority

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/miekg/dns"
)

// errNoRoute says that this host has no way to an address: mostly IPv6, where it has IPv4 only.
var errNoRoute = errors.New("no route to it from this host")

// servers are the zone of a name and all addresses of its name servers.
func (c Config) servers(ctx context.Context, name string, named []string) (zone string, all []server, err error) {
	zone, own, err := c.cut(ctx, name)
	if err != nil {
		return "", nil, err
	}
	if len(named) > 0 {
		for _, address := range named {
			all = append(all, server{address: c.withPort(address)})
		}
		return zone, all, nil
	}
	hosts, glue, err := c.delegation(ctx, zone)
	if err != nil {
		return zone, nil, err
	}
	for _, host := range own { // resolvers that have asked the zone go by what it says itself
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	for _, host := range hosts[:min(len(hosts), maxServers)] {
		addresses := glue[host]
		if len(addresses) == 0 {
			if addresses, err = c.addresses(ctx, host); err != nil {
				return zone, nil, fmt.Errorf("name server %s: %w", bare(host), err)
			}
		}
		for _, address := range addresses {
			all = append(all, server{bare(host), c.withPort(address)})
		}
	}
	return zone, all, nil
}

// delegation are the name servers of a zone as its parent has them.
func (c Config) delegation(ctx context.Context, zone string) (hosts []string, glue map[string][]string, err error) {
	_, above, _ := strings.Cut(zone, ".")
	_, parents, err := c.cut(ctx, dns.Fqdn(above))
	if err != nil {
		return nil, nil, fmt.Errorf("zone above %s: %w", bare(zone), err)
	}
	for _, parent := range parents {
		addresses, failed := c.addresses(ctx, parent)
		if err = failed; err != nil {
			continue
		}
		for _, address := range addresses {
			m, failed := c.exchange(ctx, "udp", c.withPort(address), query(zone, dns.TypeNS))
			if err = failed; err != nil {
				continue
			}
			glue = map[string][]string{}
			for _, rr := range slices.Concat(m.Answer, m.Ns, m.Extra) {
				switch rr := rr.(type) {
				case *dns.NS:
					if dns.CanonicalName(rr.Hdr.Name) == zone {
						hosts = append(hosts, dns.CanonicalName(rr.Ns))
					}
				case *dns.A:
					glue[dns.CanonicalName(rr.Hdr.Name)] = append(glue[dns.CanonicalName(rr.Hdr.Name)], rr.A.String())
				case *dns.AAAA:
					glue[dns.CanonicalName(rr.Hdr.Name)] = append(glue[dns.CanonicalName(rr.Hdr.Name)], rr.AAAA.String())
				}
			}
			if len(hosts) > 0 {
				return hosts, glue, nil
			}
			err = fmt.Errorf("%s has no delegation of it", bare(parent))
		}
	}
	return nil, nil, fmt.Errorf("delegation of %s: %w", bare(zone), err)
}

// cut is the zone that a name is in, with the name servers that it has itself.
func (c Config) cut(ctx context.Context, name string) (zone string, hosts []string, err error) {
	for zone = dns.CanonicalName(name); ; {
		m, err := c.recurse(ctx, zone, dns.TypeNS)
		if err != nil {
			return "", nil, fmt.Errorf("look up the name servers of %s: %w", bare(zone), err)
		}
		for _, rr := range m.Answer {
			if ns, ok := rr.(*dns.NS); ok && dns.CanonicalName(ns.Hdr.Name) == zone {
				hosts = append(hosts, dns.CanonicalName(ns.Ns))
			}
		}
		if len(hosts) > 0 {
			return zone, hosts, nil
		}
		if zone == "." {
			return "", nil, errors.New("no zone has it")
		}
		_, above, _ := strings.Cut(zone, ".")
		zone = dns.Fqdn(above)
	}
}

// alias is the target of the CNAME record at a name; empty: there is none.
func (c Config) alias(ctx context.Context, name string) (string, error) {
	m, err := c.recurse(ctx, name, dns.TypeCNAME)
	if err != nil {
		return "", fmt.Errorf("look up %s: %w", bare(name), err)
	}
	return aliasOf(m, name), nil
}

// addresses are those of a host.
func (c Config) addresses(ctx context.Context, host string) (all []string, err error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m, err := c.recurse(ctx, host, kind)
		if err != nil {
			return nil, fmt.Errorf("look up its address: %w", err)
		}
		for _, rr := range m.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				all = append(all, rr.A.String())
			case *dns.AAAA:
				all = append(all, rr.AAAA.String())
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it has no address")
	}
	return all, nil
}

// Primary are the addresses of the server that a zone's SOA record names as its primary.
func (c Config) Primary(ctx context.Context, zone string) (all []string, err error) {
	m, err := c.recurse(ctx, zone, dns.TypeSOA)
	if err != nil {
		return nil, fmt.Errorf("look up the primary of %s: %w", zone, err)
	}
	for _, rr := range m.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			addresses, err := c.addresses(ctx, soa.Ns)
			if err != nil {
				return nil, fmt.Errorf("primary %s of %s: %w", bare(soa.Ns), zone, err)
			}
			for _, a := range addresses {
				all = append(all, c.withPort(a))
			}
			return all, nil
		}
	}
	return nil, fmt.Errorf("%s has no SOA record", zone)
}

// recurse asks the recursive servers in turn.
func (c Config) recurse(ctx context.Context, name string, kind uint16) (m *dns.Msg, err error) {
	err = errors.New("no recursive server")
	for _, address := range c.Recursive {
		q := query(name, kind)
		q.RecursionDesired = true
		if m, err = c.exchange(ctx, "udp", address, q); err != nil {
			continue
		}
		if m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError {
			return m, nil
		}
		err = errors.New(dns.RcodeToString[m.Rcode])
	}
	return nil, err
}

// exchange asks one server. What is cut off over UDP is asked for over TCP where the caller does not ask for both.
func (c Config) exchange(ctx context.Context, network, address string, q *dns.Msg) (m *dns.Msg, err error) {
	for range tries {
		if m, err = c.once(ctx, network, address, q); err == nil && m.Truncated && q.RecursionDesired {
			m, err = c.once(ctx, "tcp", address, q)
		}
		if err == nil || ctx.Err() != nil || network == "tcp" {
			break
		}
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok && (errno == syscall.ENETUNREACH || errno == syscall.EADDRNOTAVAIL || errno == syscall.EAFNOSUPPORT) {
		return nil, errNoRoute
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return nil, errors.New("no answer over " + strings.ToUpper(network))
	}
	return m, err
}

func (c Config) once(ctx context.Context, network, address string, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is left to be written
	client := dns.Client{Net: network, Timeout: tryTime}
	m, _, err := client.ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: conn, UDPSize: 1232})
	if err == nil && !sameQuestion(m, q) {
		err = errors.New("answers another question")
	}
	return m, err
}

func sameQuestion(m, q *dns.Msg) bool {
	return len(m.Question) == 1 && m.Question[0].Qtype == q.Question[0].Qtype && strings.EqualFold(m.Question[0].Name, q.Question[0].Name)
}

// withPort is an address with the port of name servers, if it has none.
func (c Config) withPort(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil && host != "" {
		return address
	}
	port := c.Port
	if port == "" {
		port = "53"
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}
