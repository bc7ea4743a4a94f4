package verifier

import (
	"context"
	"errors"
	"testing"

	"dkimd/internal/message"
	"dkimd/internal/resolver"
)

// noKeys has cached that every name fails in the same way.
type noKeys struct{ err error }

//nolint:revive // the order is that of Resolver
func (n noKeys) Cached(string) (resolver.Answer, error, bool) { return resolver.Answer{}, n.err, true }

func (n noKeys) TXT(context.Context, string) (resolver.Answer, error) {
	return resolver.Answer{}, errors.New("asked though it is cached")
}

func TestBodyIsNotHashedForNothing(t *testing.T) {
	t.Parallel()
	const good = " v=1; a=rsa-sha256; d=example.org; s=s1; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA"
	tests := map[string]struct {
		fields   []string
		err      error
		exceeded string
		want     error
	}{
		"no signature":     {nil, nil, "", nil},
		"unreadable":       {[]string{" v=2"}, nil, "", ErrSyntax},
		"no key":           {[]string{good, good + "AAAA"}, resolver.ErrNotExist, "", ErrKeyAbsent},
		"key server fails": {[]string{good}, resolver.ErrTemporary, "", ErrKeyUnavailable},
		"over a limit":     {[]string{good}, nil, "header bytes", ErrLimit},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := New(Config{Resolver: noKeys{test.err}})
			if err != nil {
				t.Fatal(err)
			}
			h := &message.Header{}
			for _, f := range test.fields {
				h.Add("DKIM-Signature", f)
			}
			w := v.Begin(t.Context(), Request{Header: h, From: message.ReadFrom(h), Exceeded: test.exceeded})
			if len(w.bodies) != 0 {
				t.Errorf("the body is hashed %d times", len(w.bodies))
			}
			for _, r := range w.Finish(t.Context()).Results {
				if !errors.Is(r.Err, test.want) {
					t.Errorf("got %v; want %v", r.Err, test.want)
				}
			}
		})
	}
}
