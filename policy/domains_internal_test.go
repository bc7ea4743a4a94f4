package policy

import (
	"slices"
	"strings"
	"testing"
)

func TestUpwards(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"":        nil,
		"com":     {"com"},
		"a.b.com": {"a.b.com", "b.com", "com"},
		"..com":   {"..com", ".com", "com"},
		"com.":    {"com."},
	}
	for domain, want := range tests {
		if got := slices.Collect(upwards(domain)); !slices.Equal(got, want) {
			t.Errorf("%q: %q; want %q", domain, got, want)
		}
	}
	for range upwards("a.b") {
		break
	}
}

// TestUpwardsIsBounded: a hostile name costs what the longest real one costs.
func TestUpwardsIsBounded(t *testing.T) {
	t.Parallel()
	longest := "x." + strings.Repeat("a.", 125) + "b" // 253 octets
	for _, domain := range []string{longest, "y." + longest, strings.Repeat("y.", 500_000) + longest} {
		n, found := 0, false
		for name := range upwards(domain) {
			n++
			found = found || name == longest
		}
		if n > 128 || !found {
			t.Errorf("%d octets: %d steps, found %v", len(domain), n, found)
		}
	}
}
