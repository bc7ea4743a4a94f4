package advice

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"dkimd/internal/resolver"
	"dkimd/internal/spf"
)

// maxNames is how many names of an address are asked for their addresses.
const maxNames = 10

// Reverse is what DNS says of the names of a client.
type Reverse struct {
	Client netip.Addr // not valid: no client is known
	Name   string     // one that has the address in turn; empty: there is none
	Names  []string   // all there are
	Err    error      // DNS could not tell
}

// LookReverse looks for a name of an address that has this address (RFC 1912 section 2.1).
func LookReverse(ctx context.Context, dns spf.DNS, client netip.Addr) Reverse {
	r := Reverse{Client: client}
	if !client.IsValid() {
		return r
	}
	answer, err := dns.Reverse(ctx, client)
	if r.Names = answer.Records; openly(err) {
		r.Err = err
		return r
	}
	rrtype := resolver.AAAA
	if client.Is4() {
		rrtype = resolver.A
	}
	for _, name := range r.Names[:min(len(r.Names), maxNames)] {
		back, err := dns.Lookup(ctx, name, rrtype)
		if slices.Contains(back.Records, client.String()) {
			return Reverse{Client: client, Name: name, Names: r.Names}
		}
		if openly(err) {
			r.Err = err
		}
	}
	return r
}

// openly reports whether an error of DNS leaves the answer open.
func openly(err error) bool {
	return err != nil && !errors.Is(err, resolver.ErrNotExist) && !errors.Is(err, resolver.ErrNoData)
}

func (r Reverse) opinion() opinion {
	switch {
	case !r.Client.IsValid():
		return opinion{Unknown, "the client's address is not known", ""}
	case r.Name != "":
		return opinion{Met, r.Client.String() + " is " + r.Name, ""}
	case r.Err != nil:
		return opinion{Unknown, "DNS could not tell: " + r.Err.Error(), ""}
	case len(r.Names) == 0:
		return opinion{Unmet, r.Client.String() + " has no name", "have the owner of the address (often the hosting company) give it the name of the mail server (PTR record)"}
	}
	return opinion{Unmet, r.Client.String() + " is called " + r.Names[0] + ", which does not have that address", "give " + r.Names[0] + " an address record with " + r.Client.String() + ", or the address the name that has it"}
}
