package policy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"dkimd/internal/tomlfile"
	"dkimd/policy"
)

func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGuideExamplesLoad: every file of the guide has no faults, and no warnings.
func TestGuideExamplesLoad(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for _, block := range regexp.MustCompile("(?s)```toml\n# (\\S+)\n(.*?)```").FindAllStringSubmatch(guide(t), -1) {
		files[block[1]] = block[2]
	}
	if len(files) < 5 {
		t.Fatalf("%d examples", len(files))
	}
	configuration := files["dkimd.toml"]
	delete(files, "dkimd.toml")
	dir := write(t, files)
	rules, faults := policy.Load(dir, tomlfile.Parse("", []byte(configuration)).Root().Table("lists").Lists())
	for _, line := range []string{texts(dir, faults), texts(dir, rules.Warnings())} {
		if line != "" {
			t.Error(line)
		}
	}
	if got := said(gmail().judge(rules)); got != "accept" {
		t.Errorf("the first file is in monitor mode: %s", got)
	}
}

// TestGuideNamesEveryKey compares the guide with the keys that loading knows.
func TestGuideNamesEveryKey(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"a.example.toml": "zzzzzzzzzzzz = 1\n[[rule]]\naction='accept'\nzzzzzzzzzzzz = 1"})
	_, faults := policy.Load(dir, nil)
	text, keys := guide(t), 0
	for _, fault := range faults {
		for key := range strings.SplitSeq(strings.TrimPrefix(fault.Want, "one of "), ", ") {
			keys++
			if key != "rule" && !strings.Contains(text, "\n| `"+key+"` |") {
				t.Errorf("docs/policy.md has no line for %s", key)
			}
		}
	}
	if keys < 20 {
		t.Errorf("only %d keys", keys)
	}
}

// TestGuideQuotesReplies: the replies in the guide are those that dkimd gives.
func TestGuideQuotesReplies(t *testing.T) {
	t.Parallel()
	text := guide(t)
	for _, want := range []string{unsigned, refused, unaligned} {
		if reply := strings.TrimPrefix(want, "reject by rule 1: "); !strings.Contains(text, "`"+reply+"`") {
			t.Errorf("docs/policy.md does not quote %s", reply)
		}
	}
}
