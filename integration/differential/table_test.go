//go:build integration

package differential_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestEveryDivergenceIsExplained: docs/divergences.md has a row for each class
// that the table here recognises, naming those who differ, and no others.
func TestEveryDivergenceIsExplained(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/divergences.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n# Where other verifiers judge otherwise\n")
	if !ok {
		t.Fatal("docs/divergences.md has lost its section on other verifiers")
	}
	rows := map[string][]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, " | ")
		if name, found := strings.CutPrefix(cells[0], "| "); found && name != "class" && len(cells) == 4 {
			rows[name] = strings.Split(cells[1], ", ")
		}
	}
	known := map[string][]string{}
	for _, d := range divergences {
		known[d.name] = append(known[d.name], strings.Split(d.peers, ", ")...)
	}
	for name, peers := range known {
		slices.Sort(peers)
		slices.Sort(rows[name])
		if got := slices.Compact(peers); !slices.Equal(got, rows[name]) {
			t.Errorf("%q: the tests know %q, docs/divergences.md says %q", name, got, rows[name])
		}
	}
	for name := range rows {
		if known[name] == nil {
			t.Errorf("docs/divergences.md has %q, which no test recognises", name)
		}
	}
}
