package policy

import (
	"slices"
	"strings"
	"testing"

	"dkimd/internal/domain"
)

func TestUpwards(t *testing.T) {
	t.Parallel()
	tests := map[domain.Name][]domain.Name{
		"":        nil,
		"com":     {"com"},
		"a.b.com": {"a.b.com", "b.com", "com"},
		"..com":   {"..com", ".com", "com"},
		"com.":    {"com."},
	}
	for name, want := range tests {
		if got := slices.Collect(upwards(name)); !slices.Equal(got, want) {
			t.Errorf("%q: %q; want %q", name, got, want)
		}
	}
	for range upwards("a.b") {
		break
	}
}

// TestUpwardsIsBounded: a hostile name costs what the longest real one costs.
func TestUpwardsIsBounded(t *testing.T) {
	t.Parallel()
	longest := domain.Name("x." + strings.Repeat("a.", 125) + "b") // 253 octets
	for _, hostile := range []domain.Name{longest, "y." + longest, domain.Name(strings.Repeat("y.", 500_000)) + longest} {
		n, found := 0, false
		for name := range upwards(hostile) {
			n++
			found = found || name == longest
		}
		if n > 128 || !found {
			t.Errorf("%d octets: %d steps, found %v", len(hostile), n, found)
		}
	}
}
