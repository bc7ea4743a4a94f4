package keys_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"dkimd/internal/resolver"
	"dkimd/keys"
)

// zone is a keys.Lookup: what DNS holds.
type zone struct {
	mu      sync.Mutex
	records map[string][]string
	failure error
	asked   int
}

func (z *zone) TXT(_ context.Context, name string) (resolver.Answer, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	if z.failure != nil {
		return resolver.Answer{}, z.failure
	}
	texts, ok := z.records[name]
	if !ok {
		return resolver.Answer{}, fmt.Errorf("%s: %w", name, resolver.ErrNotExist)
	}
	return resolver.Answer{Records: texts, Authenticated: true}, nil
}

// served is where the record of the key in most tests is.
const served = "s1._domainkey.example.org"

func serving(texts ...string) *zone {
	return &zone{records: map[string][]string{served: texts}}
}

var errServer = errors.New("SERVFAIL from 127.0.0.1:53")

var _ keys.Lookup = (*resolver.Resolver)(nil)
