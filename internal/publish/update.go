package publish

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/resolver/authority"

	"github.com/miekg/dns"
)

const (
	updateTime = 10 * time.Second
	tsigFudge  = 300 // seconds that clocks may differ, RFC 8945 section 10
)

// Update changes records by dynamic update (RFC 2136), signed with TSIG (RFC 8945).
type Update struct {
	// Server takes updates, "address:port". Empty: the primary.
	Server string
	// Primary finds it for a zone.
	Primary func(ctx context.Context, zone string) ([]string, error)
	// Key, Algorithm (hmac-sha256 or hmac-sha512) and Secret (base64) are those of TSIG. Without a key updates are not signed.
	Key, Algorithm, Secret string
}

func (u *Update) String() string {
	if u.Server == "" {
		return "by update at the zone's primary"
	}
	return "by update at " + u.Server
}

// Apply is Method.
func (u *Update) Apply(ctx context.Context, c Change) error {
	servers := []string{u.Server}
	if u.Server == "" {
		var err error
		if servers, err = u.Primary(ctx, c.Zone); err != nil {
			return fmt.Errorf("%w: %w", ErrLater, err)
		}
	}
	var err error
	for _, server := range servers {
		if err = u.apply(ctx, server, c); !errors.Is(err, ErrLater) {
			return err
		}
	}
	return err
}

func (u *Update) apply(ctx context.Context, server string, c Change) error {
	m := new(dns.Msg).SetUpdate(dns.Fqdn(c.Zone))
	there, err := u.there(ctx, server, c.Name)
	if err != nil {
		return err
	}
	// A record of the same key is ours already, however it is written: it may have a note for people in it.
	if c.New == "" && len(there) == 0 || len(there) == 1 && (joined(there[0]) == c.New || dkim.SameKey(joined(there[0]), c.New)) {
		return nil
	}
	// Prerequisites hold for the zone's own records: a wildcard does not count (RFC 2136 section 3.2).
	header := dns.RR_Header{Name: dns.Fqdn(c.Name), Rrtype: dns.TypeTXT, Class: dns.ClassINET}
	if c.Old == "" {
		m.RRsetNotUsed([]dns.RR{&dns.TXT{Hdr: header}, &dns.CNAME{Hdr: dns.RR_Header{Name: header.Name, Rrtype: dns.TypeCNAME}}})
	} else {
		if len(there) != 1 || joined(there[0]) != c.Old {
			return taken(there)
		}
		was := dns.Copy(there[0])
		was.Header().Ttl = 0
		m.Used([]dns.RR{was})
		m.Remove([]dns.RR{dns.Copy(there[0])})
	}
	if c.New != "" {
		texts := pieces(c.New)
		for i, s := range texts {
			texts[i] = strings.ReplaceAll(s, `\`, `\\`)
		}
		header.Ttl = uint32(c.TTL.Seconds())
		m.Insert([]dns.RR{&dns.TXT{Hdr: header, Txt: texts}})
	}
	answer, err := u.exchange(ctx, server, m)
	if err != nil {
		return err
	}
	switch answer.Rcode {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeYXRrset, dns.RcodeNXRrset:
		return taken(there)
	case dns.RcodeServerFailure:
		return fmt.Errorf("update at %s: %w: SERVFAIL", server, ErrLater)
	}
	return fmt.Errorf("update of %s at %s: %s", c.Zone, server, meaning(answer.Rcode))
}

// meaning is a refusal in words.
func meaning(rcode int) string {
	switch rcode {
	case dns.RcodeNotAuth:
		return "NOTAUTH: the server has no such zone, does not know the key or its secret, or does not let it change the name"
	case dns.RcodeRefused:
		return "REFUSED: it does not let this key change the name"
	case dns.RcodeNotZone:
		return "NOTZONE: the name is not in the zone"
	case dns.RcodeNotImplemented:
		return "NOTIMP: it takes no updates"
	}
	return dns.RcodeToString[rcode]
}

func taken(there []dns.RR) error {
	if len(there) == 0 {
		return fmt.Errorf("%w, or it has just changed", ErrTaken)
	}
	text := joined(there[0])
	return fmt.Errorf("%w: %q", ErrTaken, text[:min(len(text), 100)])
}

// there are the TXT records that the server has at a name.
func (u *Update) there(ctx context.Context, server, name string) (all []dns.RR, err error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT)
	q.RecursionDesired = false
	m, err := u.exchange(ctx, server, q)
	if err != nil {
		return nil, err
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("ask %s for %s: %s", server, name, meaning(m.Rcode))
	}
	for _, rr := range m.Answer {
		if _, ok := rr.(*dns.TXT); ok && dns.CanonicalName(rr.Header().Name) == dns.CanonicalName(name) {
			all = append(all, rr)
		}
	}
	return all, nil
}

// exchange asks over TCP: updates may be large, and TCP makes forging harder.
func (u *Update) exchange(ctx context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	client := dns.Client{Net: "tcp", Timeout: updateTime}
	if u.Key != "" {
		name := dns.CanonicalName(u.Key)
		m.SetTsig(name, dns.Fqdn(u.Algorithm), tsigFudge, time.Now().Unix())
		client.TsigSecret = map[string]string{name: u.Secret}
	}
	answer, _, err := client.ExchangeContext(ctx, m, server)
	var timeout net.Error
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, dns.ErrTime):
		return nil, fmt.Errorf("ask %s: its clock and ours differ by more than %d s (TSIG)", server, tsigFudge)
	case errors.Is(err, dns.ErrAuth), errors.Is(err, dns.ErrSig), errors.Is(err, dns.ErrKey), errors.Is(err, dns.ErrSecret), errors.Is(err, dns.ErrKeyAlg), errors.Is(err, dns.ErrNoSig):
		if answer != nil && answer.Rcode != dns.RcodeSuccess {
			return answer, nil // its error says more
		}
		return nil, fmt.Errorf("ask %s: TSIG: %w", server, err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, fmt.Errorf("ask %s: %w: no answer in %s", server, ErrLater, updateTime)
	}
	return nil, fmt.Errorf("ask %s: %w: %w", server, ErrLater, err)
}

// joined is the text of a TXT record.
func joined(rr dns.RR) string {
	if t, ok := rr.(*dns.TXT); ok {
		return authority.Text(t)
	}
	return ""
}
