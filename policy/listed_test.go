package policy_test

import (
	"fmt"
	"testing"

	"dkimd/policy"

	"github.com/google/go-cmp/cmp"
)

// Every rule that can decide is listed as the decision it makes.
func TestRulesAreListed(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{
		"_default.toml":      "[[rule]]\naction = \"reject\"\n",
		"b.example.toml":     enforced("[[rule]]\nname = \"mark\"\naction = \"tag\"\ntag = \"X-A: b\"\n[[rule]]\nname = \"last\"\naction = \"discard\"\n"),
		"for/c.example.toml": "[[rule]]\nresult = [\"fail\"]\naction = \"quarantine\"\n",
	})
	var got []string
	for _, d := range rules.Listed(3) {
		got = append(got, fmt.Sprintf("%s %s %s %s", d.File, d.Mode, d.Rule, d.Action))
	}
	want := []string{
		"_default.toml monitor rule 1 reject", "b.example.toml enforce last discard", "for/c.example.toml monitor rule 1 quarantine",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if rules.Listed(2) != nil || (*policy.Rules)(nil).Listed(9) != nil {
		t.Error("more files than were asked for")
	}
}
