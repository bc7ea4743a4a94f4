package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"dkimd/internal/advice"
	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/internal/spf"
	"dkimd/keys"

	"github.com/spf13/cobra"
)

// senderQuery says which domain is looked at, and what of it cannot be found in the configuration.
type senderQuery struct {
	domain             string
	selectors, clients []string
}

// senderChecked is the answer of check --sender.
type senderChecked struct {
	Domain  domain.Name      `json:"domain"`
	Demands []advice.Finding `json:"demands"`
	Todo    []string         `json:"todo"` // names of the demands that are not met, worst first
	found
}

// maxLastRecords is how much of the log counts as its last records.
const maxLastRecords = 64 << 20

func (s *senderChecked) check(cmd *cobra.Command, q senderQuery) error {
	name, err := domain.Parse(q.domain)
	if err != nil {
		return usageError(fmt.Errorf("--sender: got %q; want a domain: %w", q.domain, err), helpOf(cmd))
	}
	s.Domain = name
	d := &advice.Domain{Name: name}
	var clients []netip.Addr
	for _, text := range q.clients {
		c := message.NewClient("", text)
		if c.Kind != message.ClientAddress {
			return usageError(fmt.Errorf("--client: got %q; want an IP address", text), helpOf(cmd))
		}
		clients = append(clients, c.Addr)
	}
	c, err := load(cmd)
	if err != nil {
		return err
	}
	dns, err := daemon.OpenResolver(c)
	if err != nil {
		return err
	}
	defer dns.Close() //nolint:errcheck // only a cache is lost
	ctx := cmd.Context()
	s.askDNS(ctx, dns, d, clients)
	if err := s.askKeys(ctx, c, dns, d, q.selectors); err != nil {
		return err
	}
	d.Log = lastRecords(ctx, c, name)
	s.Demands = d.Findings()
	for _, f := range advice.Todo(s.Demands) {
		s.Todo = append(s.Todo, f.Name)
	}
	if advice.Fails(s.Demands) {
		return errQuiet
	}
	return nil
}

// askDNS looks up what DNS says of the domain itself.
func (s *senderChecked) askDNS(ctx context.Context, dns *resolver.Resolver, d *advice.Domain, clients []netip.Addr) {
	d.SPF, d.SPFErr = spf.Inspect(ctx, dns, d.Name)
	found := dmarc.Discover(func(name string) (resolver.Answer, error) { return dns.TXT(ctx, name) }, d.Name, nil)
	d.DMARC = found.Judge(nil, dmarc.SPFAsked)
	answer, err := dns.Lookup(ctx, string(d.Name), resolver.MX)
	if d.MX = answer.Records; !errors.Is(err, resolver.ErrNotExist) && !errors.Is(err, resolver.ErrNoData) {
		d.MXErr = err
	}
	for _, addr := range clients {
		d.Clients = append(d.Clients, advice.LookReverse(ctx, dns, addr))
	}
}

// askKeys compares the keys that sign with DNS; selectors name keys of other signers.
func (s *senderChecked) askKeys(ctx context.Context, c *config.Config, dns *resolver.Resolver, d *advice.Domain, selectors []string) error {
	own, err := keys.FindAll(daemon.KeySources(c), string(d.Name))
	if err != nil && !errors.Is(err, keys.ErrNoKeys) {
		return userError{err, ""}
	}
	for _, one := range own {
		for _, r := range keys.CheckDomain(ctx, dns, one, "") {
			if r.Key.Pending() {
				continue
			}
			k := advice.LookKey(ctx, dns, r.Key.Selector, d.Name)
			if !r.Serves() {
				k.Problem, k.Open = r.Words(), r.State == keys.Unreachable
			}
			d.Keys = append(d.Keys, k)
		}
	}
	for _, selector := range selectors {
		if !slices.ContainsFunc(d.Keys, func(k advice.Key) bool { return k.Selector == selector }) {
			d.Keys = append(d.Keys, advice.LookKey(ctx, dns, selector, d.Name))
		}
	}
	return nil
}

// lastRecords is what the end of the log says of mail from a domain.
func lastRecords(ctx context.Context, c *config.Config, name domain.Name) advice.Log {
	source, err := configuredLog(ctx, c, time.Time{})
	if err != nil {
		return advice.Log{Missing: err.Error()}
	}
	l := advice.Log{Reasons: map[string]int{}}
	for e := range source.Last(maxLastRecords) {
		if l.Since.IsZero() || e.Time.Before(l.Since) {
			l.Since = e.Time
		}
		signed := e.Mode == events.ModeSign
		if domain.Name(e.Author()) != name || e.IsProbe() || !signed && e.Mode != events.ModeUnsigned {
			continue
		}
		l.Mail++
		if !signed {
			l.Reasons[e.ReasonCode]++
			continue
		}
		l.Signed++
		if slices.ContainsFunc(e.Signed, func(s events.Signed) bool { return domain.Name(s.Domain).Aligned(name) }) {
			l.Aligned++
		}
	}
	if l.Since.IsZero() && len(source.faults) > 0 {
		l.Missing = source.faults[0].Error()
	}
	return l
}

func (s *senderChecked) print(std stdio) error {
	printFindings(std.out, s.Demands)
	return nil
}
