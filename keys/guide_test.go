package keys_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"dkimd/keys"
)

// The guide names every state, its example of domain.toml is a good one, and the
// faults it explains are faults that TestFaults has seen.
func TestGuide(t *testing.T) {
	t.Parallel()
	guide := string(must(os.ReadFile("../docs/keys.md")))
	for s := keys.Unusable; s <= keys.Unreachable; s++ {
		if !strings.Contains(guide, "\n| `"+s.String()+"` |") {
			t.Errorf("the guide does not explain state %s", s)
		}
	}
	_, rest, _ := strings.Cut(guide, "```toml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("no example of domain.toml")
	}
	w := newWorld(t)
	w.write("example.org/s20261123.pem", rfc8463PEM)
	w.write("example.org/domain.toml", example)
	s, faults := w.open()
	if len(faults) != 0 {
		t.Error(faults.Err())
	}
	o := lookup(s, "example.org").Options
	if !o.Subdomains || o.Identity == "" || o.Expiry == nil || o.Headers == nil || o.Selectors == nil || o.Users == nil {
		t.Errorf("the example leaves an option out: %+v", o)
	}
	source := string(must(os.ReadFile("fault_test.go"))) + string(must(os.ReadFile("store_test.go"))) + string(must(os.ReadFile("key_internal_test.go")))
	_, table, _ := strings.Cut(guide, "| the fault says |")
	table, _, _ = strings.Cut(table, "\n## ")
	checked := 0
	for row := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			checked++
			known := strings.Replace(quoted[1], "owner 1001", "owner 4711", 1)
			if !strings.Contains(source, "got "+known) && !strings.Contains(known, "socket") {
				t.Errorf("the guide explains %q, which no test has seen", quoted[1])
			}
		}
	}
	if checked < 25 {
		t.Errorf("only %d faults found in the guide", checked)
	}
}
