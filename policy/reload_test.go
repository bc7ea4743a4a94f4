package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/policy"
)

// A file that broke leaves its domain as it was, reload after reload; what else
// changed is taken. It ends when the file is mended, or taken away.
func TestReloadKeepsTheRulesOfABrokenFile(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"a.example.toml": "mode = \"enforce\"\n[[rule]]\naction = \"reject\"\n",
		"b.example.toml": "[[rule]]\naction = \"accept\"\n",
		"s.example.toml": "mod",
	})
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rules, faults := policy.Load(dir, nil)
	if len(faults) != 1 || rules.Len() != 3 || len(rules.Kept()) != 0 {
		t.Fatalf("%v; %d files", faults, rules.Len())
	}
	put("a.example.toml", "mode = \"enforced\"\n")
	put("A.example.toml", "mod") // a second one beside it
	put("b.example.toml", "mode = \"enforce\"\n[[rule]]\naction = \"reject\"\n")
	put("new.example.toml", "mod")
	var since string
	for range 3 {
		rules, faults = policy.Reload(dir, nil, rules)
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), "s.example.toml") {
			t.Errorf("faults of files that were broken before: %v", faults)
		}
		kept := rules.Kept()
		if len(kept) != 2 || kept[0].Domain != "a.example" || kept[1].Domain != "new.example" || len(kept[0].Faults) != 2 || len(kept[1].Faults) != 1 {
			t.Fatalf("kept %v", kept)
		}
		if since == "" {
			since = kept[0].Since.String()
		}
		if kept[0].Since.String() != since {
			t.Error("it is forgotten since when")
		}
		if len(rules.Enforced()) != 2 || !rules.Has("a.example") || rules.Has("new.example") {
			t.Errorf("in force: %v, %d files", rules.Enforced(), rules.Len())
		}
	}
	for _, name := range []string{"A.example.toml", "new.example.toml"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	put("a.example.toml", "[[rule]]\naction = \"accept\"\n")
	rules, _ = policy.Reload(dir, nil, rules)
	if len(rules.Kept()) != 0 || len(rules.Enforced()) != 1 {
		t.Errorf("mended: kept %v, in force %v", rules.Kept(), rules.Enforced())
	}
	put("b.example.toml", "mod")
	rules, _ = policy.Reload(dir, nil, rules)
	if err := os.Remove(filepath.Join(dir, "b.example.toml")); err != nil {
		t.Fatal(err)
	}
	if rules, _ = policy.Reload(dir, nil, rules); rules.Has("b.example") || len(rules.Kept()) != 0 {
		t.Error("rules that were taken away are kept")
	}
}
