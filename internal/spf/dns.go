package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"dkimd/internal/resolver"
)

// DNS looks up records; *resolver.Resolver is one.
type DNS interface {
	Lookup(ctx context.Context, name string, rrtype resolver.Type) (resolver.Answer, error)
	Reverse(ctx context.Context, addr netip.Addr) (resolver.Answer, error)
}

// CachedDNS is a DNS that keeps what it looked up.
type CachedDNS interface {
	DNS
	// LookupCached is Lookup without I/O; the last result is false when a query is needed.
	LookupCached(name string, rrtype resolver.Type) (resolver.Answer, error, bool)
}

// adapter makes a DNS what the library asks. It belongs to one check.
type adapter struct {
	*Checker
	client     netip.Addr
	cachedOnly bool
	missed     bool   // cachedOnly: something that the cache does not know was needed
	flaw       string // what is wrong with the last record that cannot be read
	failure    string // why a lookup failed
}

// explained is an error as the library tells absence from failure: it looks for this type alone.
func (a *adapter) explained(name string, err error) error {
	if errors.Is(err, resolver.ErrNotExist) || errors.Is(err, resolver.ErrNoData) {
		return &net.DNSError{Err: err.Error(), Name: name, IsNotFound: true}
	}
	a.failure = name + ": " + err.Error()
	return &net.DNSError{Err: err.Error(), Name: name, IsTemporary: true}
}

func (a *adapter) lookup(ctx context.Context, name string, rrtype resolver.Type) ([]string, error) {
	answer, err := a.ask(ctx, name, rrtype)
	if err != nil {
		return nil, a.explained(name, err)
	}
	return answer.Records, nil
}

func (a *adapter) ask(ctx context.Context, name string, rrtype resolver.Type) (resolver.Answer, error) {
	if !a.cachedOnly {
		return a.dns.Lookup(ctx, name, rrtype)
	}
	answer, err, known := a.dns.LookupCached(name, rrtype)
	if !known {
		a.missed, err = true, resolver.ErrTemporary // ends the check
	}
	return answer, err
}

// LookupTXT returns the SPF records of a name, as far as they matter to the client. In the place of one that breaks the
// syntax there is one that the library cannot read either: it evaluates until a mechanism matches, and would not see what
// is wrong behind it (RFC 7208 section 4.6).
func (a *adapter) LookupTXT(ctx context.Context, name string) ([]string, error) {
	records, err := a.lookup(ctx, name, resolver.TXT)
	var found []string
	for _, text := range records {
		if !isRecord(text) {
			continue
		}
		r := a.read(text)
		if r.flaw != "" {
			a.flaw = "record of " + name + ": " + r.flaw
		}
		found = append(found, r.about(a.client))
	}
	return found, err
}

// LookupMX returns mail exchangers.
func (a *adapter) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	records, err := a.lookup(ctx, name, resolver.MX)
	var found []*net.MX
	for _, record := range records {
		preference, host, _ := strings.Cut(record, " ")
		number, _ := strconv.ParseUint(preference, 10, 16)
		found = append(found, &net.MX{Host: host, Pref: uint16(number)})
	}
	return found, err
}

// LookupIPAddr returns the addresses that may matter: those of the client's family, and of IPv4 as "exists" is about
// these whatever the client has (RFC 7208 section 5.7).
func (a *adapter) LookupIPAddr(ctx context.Context, host string) (found []net.IPAddr, err error) {
	var missing error
	types := []resolver.Type{resolver.AAAA, resolver.A}
	if a.client.Is4() {
		types = types[1:]
	}
	for _, rrtype := range types {
		records, err := a.lookup(ctx, host, rrtype)
		if dnsErr, ok := errors.AsType[*net.DNSError](err); ok && !dnsErr.IsNotFound {
			return nil, err
		}
		missing = err
		for _, record := range records {
			found = append(found, net.IPAddr{IP: net.ParseIP(record)})
		}
	}
	if len(found) == 0 {
		return nil, missing
	}
	return found, nil
}

// LookupAddr returns the names of the client.
func (a *adapter) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if a.cachedOnly { // hardly any record asks for them (RFC 7208 section 5.5)
		a.missed = true
		return nil, nil
	}
	answer, err := a.dns.Reverse(ctx, a.client)
	if err != nil {
		return nil, a.explained(addr, err)
	}
	return answer.Records, nil
}
