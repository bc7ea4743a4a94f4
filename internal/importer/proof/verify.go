package proof

import (
	"context"
	"slices"
	"strings"

	"dkimd/internal/eml"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/keys"
	"dkimd/verifier"
)

// Verifier verifies signatures with keys that no DNS need publish.
type Verifier struct {
	verifier *verifier.Verifier
	// presentOnly leaves out of h= the fields that a message does not have: Exim signs their absence, as the report says.
	presentOnly bool
}

// NewVerifier makes one that knows these records.
func NewVerifier(records []keys.Record) (*Verifier, error) {
	zone := zone{}
	for _, r := range records {
		name := strings.ToLower(r.Name)
		zone[name] = append(zone[name], r.Text)
	}
	v, err := verifier.New(verifier.Config{Resolver: zone, MaxSignatures: 100})
	return &Verifier{verifier: v}, err
}

// zone is a DNS of key records.
type zone map[string][]string

// TXT is verifier.Resolver.
func (z zone) TXT(_ context.Context, name string) (resolver.Answer, error) {
	a, err, _ := z.Cached(name)
	return a, err
}

// Cached is verifier.Resolver.
func (z zone) Cached(name string) (resolver.Answer, error, bool) { //nolint:revive // as the interface has it
	if records := z[strings.ToLower(strings.TrimSuffix(name, "."))]; records != nil {
		return resolver.Answer{Records: records}, nil, true
	}
	return resolver.Answer{}, resolver.ErrNotExist, true
}

// verify are the signatures of a message, top first.
func (v *Verifier) verify(ctx context.Context, raw []byte) []Signature {
	m := eml.Split(raw)
	var header message.Header
	for _, f := range m.Fields {
		header.Add(f.Name(), string(f.Value()))
	}
	verification := v.verifier.Begin(ctx, verifier.Request{Header: &header, From: message.ReadFrom(&header)})
	defer verification.Close()
	_, _ = verification.Write(m.Body)
	all := []Signature{}
	for _, r := range verification.Finish(ctx).Results {
		names := strings.Split(strings.ToLower(strings.Join(r.Headers, ":")), ":")
		if v.presentOnly {
			names = slices.DeleteFunc(names, func(name string) bool {
				return !slices.ContainsFunc(m.Fields, func(f message.Field) bool { return strings.EqualFold(f.Name(), name) })
			})
		}
		slices.Sort(names)
		s := Signature{
			Domain: r.Domain, Selector: r.Selector, Algorithm: r.Algorithm, Canonicalization: r.Canonicalization, Identity: r.Identity,
			Headers: strings.Join(names, ":"), Expires: r.Expiration >= 0, Verifies: r.Status.String(),
		}
		if reason := r.Reason(); reason != "" {
			s.Verifies += " (" + reason + ")"
		}
		all = append(all, s)
	}
	return all
}
