package spf_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	library "blitiri.com.ar/go/spf"
)

// whole gives the library all of a record, at each name, and hosts without an address.
type whole string

func (w whole) LookupTXT(context.Context, string) ([]string, error)          { return []string{string(w)}, nil }
func (whole) LookupMX(context.Context, string) ([]*net.MX, error)            { return nil, absent }
func (whole) LookupIPAddr(context.Context, string) ([]net.IPAddr, error)     { return nil, absent }
func (whole) LookupAddr(context.Context, string) (names []string, err error) { return nil, absent }

var absent = &net.DNSError{IsNotFound: true}

// What is left out of a record for a client changes nothing: the library says the same of the whole.
func FuzzWholeRecord(f *testing.F) {
	networks := []string{
		"ip4:192.0.2.1", "ip4:192.0.2.0/24", "IP4:0.0.0.0/0", "ip6:2001:db8::/32", "ip6:::/0", "ip6:::ffff:192.0.2.1", "ip6:::ffff:192.0.2.0/120",
		"ip6:::ffff:192.0.2.0/95", "ip6:2001:db8::1/128", "ip4:192.0.2.0/32", "ip4:192.0.2.1/0", "ip6:::ffff:0:0/96", "ip6:::ffff:192.0.2.9/97",
	}
	for _, client := range []string{"192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "::", "::fffe:0:0"} {
		for _, network := range networks {
			f.Add("v=spf1 -"+network+" ~all", client)
			f.Add("v=spf1 redirect=a.org a:b.org ?"+network+" foo=bar exp=a.org -ip4:192.0.2.1 all a:c.org", client)
		}
	}
	f.Add("v=spf1 -ALL ip4:192.0.2.1", "192.0.2.1")
	f.Add("v=spf1 redirect=a.org", "192.0.2.1")
	f.Fuzz(func(t *testing.T, text, client string) {
		addr, err := netip.ParseAddr(client)
		if err != nil || strings.Contains(text, "%") {
			return
		}
		w := &world{everywhere: text}
		addr = addr.WithZone("")
		got := check(t, w, addr.String(), "mx.example", "a@e.org")
		if strings.HasPrefix(got.Reason, "record of ") || got.Result.String() == "none" {
			return
		}
		want, why := library.CheckHostWithSender(addr.Unmap().AsSlice(), "mx.example", "a@e.org", library.WithResolver(whole(text)))
		if got.Result.String() != string(want) || why != nil && !strings.HasPrefix(why.Error(), got.Reason) {
			t.Errorf("%q: got %+v; the library says %s, %v of the whole", text, got, want, why)
		}
	})
}
