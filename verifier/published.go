package verifier

import (
	"context"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/resolver"

	"github.com/emersion/go-msgauth/dmarc"
)

// discovery finds the DMARC policy of the author's domain (RFC 7489 section 6.6.3).
type discovery struct {
	task
	ask       Resolver
	domain    domain.Name // the From domain
	org       domain.Name // its organizational domain; empty: itself or none
	published Published
}

// discover prepares a discovery; nil where From has not exactly one domain.
func (v *Verifier) discover(from message.Originator) *discovery {
	if len(from.Claimed) != 1 {
		return nil
	}
	d := &discovery{ask: v.cfg.Resolver, domain: from.Claimed[0], published: PublishedTempError}
	if org := d.domain.Organizational(); org != d.domain {
		d.org = org
	}
	return d
}

// fromCache reports whether the policy is found without a query.
func (d *discovery) fromCache() (known bool) {
	known = true
	found := d.search(func(name string) (resolver.Answer, error) {
		answer, err, ok := d.ask.Cached(name)
		if !ok {
			known = false
			return resolver.Answer{}, resolver.ErrTemporary // ends the search
		}
		return answer, err
	})
	d.published = found
	return known
}

func (d *discovery) fromDNS(ctx context.Context) {
	d.published = PublishedTempError // stands if TXT panics
	d.published = d.search(func(name string) (resolver.Answer, error) { return d.ask.TXT(ctx, name) })
}

// search asks at the From domain and, if there is no record, at its
// organizational domain.
func (d *discovery) search(txt func(name string) (resolver.Answer, error)) Published {
	for _, at := range []domain.Name{d.domain, d.org} {
		name := "_dmarc." + at
		if !at.Lookable() || !name.Lookable() {
			continue
		}
		answer, err := txt(string(name))
		switch {
		case absent(err):
			continue
		case err != nil:
			return PublishedTempError
		}
		switch records := policyRecords(answer.Records); len(records) {
		case 0:
			continue
		case 1:
			return policyOf(records[0], at != d.domain)
		default:
			return PublishedAbsent // RFC 7489 section 6.6.3 step 5: several records count as none
		}
	}
	return PublishedAbsent
}

// policyRecords are the records that begin with v=DMARC1 (RFC 7489 section 6.6.3 step 2).
func policyRecords(records []string) []string {
	var found []string
	for _, txt := range records {
		first, _, _ := strings.Cut(txt, ";")
		name, value, _ := strings.Cut(first, "=")
		if strings.TrimSpace(name) == "v" && strings.TrimSpace(value) == "DMARC1" {
			found = append(found, txt)
		}
	}
	return found
}

// policyOf reads one record. Faults outside v=, p= and sp= change nothing (RFC
// 7489 section 6.3), but go-msgauth's parser refuses a record for them, and for
// p=Reject: it gets only the tags that matter here, in lower case.
func policyOf(txt string, inherited bool) Published {
	tags := map[string]string{}
	for part := range strings.SplitSeq(txt, ";") {
		name, value, _ := strings.Cut(part, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := tags[name]; !twice {
			tags[name] = strings.TrimSpace(value)
		}
	}
	clean := "v=DMARC1; p=" + strings.ToLower(tags["p"])
	if sp, ok := tags["sp"]; ok {
		clean += "; sp=" + strings.ToLower(sp)
	}
	record, err := dmarc.Parse(clean)
	if err != nil {
		// RFC 7489 section 6.6.3 step 6: no valid policy, but somebody wants reports.
		if strings.Contains(tags["rua"], ":") {
			return PublishedNone
		}
		return PublishedAbsent
	}
	policy := record.Policy
	if inherited && record.SubdomainPolicy != "" {
		policy = record.SubdomainPolicy
	}
	switch policy {
	case dmarc.PolicyQuarantine:
		return PublishedQuarantine
	case dmarc.PolicyReject:
		return PublishedReject
	case dmarc.PolicyNone:
	}
	return PublishedNone
}
