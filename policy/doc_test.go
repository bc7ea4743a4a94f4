package policy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/internal/tomlfile"
	"dkimd/policy"
	"dkimd/verifier"
)

func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// guideFiles are the files of the guide, and the lists in its dkimd.toml.
func guideFiles(t *testing.T) (dir string, lists *tomlfile.Lists) {
	t.Helper()
	files := map[string]string{}
	for _, block := range regexp.MustCompile("(?s)```toml\n# (\\S+)\n(.*?)```").FindAllStringSubmatch(guide(t), -1) {
		files[block[1]] = block[2]
	}
	if len(files) < 8 {
		t.Fatalf("%d examples", len(files))
	}
	configuration := files["dkimd.toml"]
	delete(files, "dkimd.toml")
	return write(t, files), tomlfile.Parse("", []byte(configuration)).Root().Table("lists").Lists()
}

// TestGuideExamplesLoad: every file of the guide has no faults, and no warnings.
func TestGuideExamplesLoad(t *testing.T) {
	t.Parallel()
	dir, lists := guideFiles(t)
	rules, faults := policy.Load(dir, lists)
	for _, line := range []string{texts(dir, faults), texts(dir, rules.Warnings())} {
		if line != "" {
			t.Error(line)
		}
	}
	if got := said(gmail().judge(rules)); got != "accept" {
		t.Errorf("the first file is in monitor mode: %s", got)
	}
}

// TestGuideHasTheCasesOfHosters: what the guide says of its files for recipients is so.
func TestGuideHasTheCasesOfHosters(t *testing.T) {
	t.Parallel()
	dir, shared := guideFiles(t)
	rules, _ := policy.Load(dir, shared)
	if unused := shared.Unused(); unused != nil {
		t.Error(unused)
	}
	forged := func(recipients ...string) world {
		return world{
			msg:       policy.Message{From: from("a@example.org"), Client: message.NewClient("", "203.0.113.9"), Recipients: recipients},
			published: "absent",
		}
	}
	service := forged("x@strict.example")
	service.results = []verifier.Result{sig("a.news.example", pass)}
	signed := forged("x@strict.example")
	signed.msg.From = from("a@sender.example")
	signed.results = []verifier.Result{sig("sender.example", pass)}
	other := forged("x@strict.example", "y@elsewhere.example")
	other.msg.From = from("a@sender.example")
	tests := map[string]struct {
		msg  world
		file string // that stops it; empty: none
	}{
		"stricter, unsigned":                {signedBy(signed), "for/strict.example.toml"},
		"stricter, signed":                  {signed, ""},
		"stricter, also for others":         {other, ""},
		"rules for all":                     {forged("x@elsewhere.example"), "example.org.toml"},
		"stricter, and the rules for all":   {service, "example.org.toml"},
		"none of it":                        {forged("x@open.example"), ""},
		"none of it, but also for somebody": {forged("x@open.example", "y@elsewhere.example"), "example.org.toml"},
	}
	for name, tt := range tests {
		v := tt.msg.judge(rules)
		if stopped := v.Action != policy.Accept; stopped != (tt.file != "") || stopped && v.File != tt.file {
			t.Errorf("%s: %s, %s", name, said(v), v.File)
		}
	}
	service.msg.From = from("a@sender.example")
	forwarded := signedBy(signed)
	forwarded.msg.Client = message.NewClient("", "192.0.2.1")
	for _, w := range []world{service, forwarded} {
		if got := w.judge(rules); got.Action != policy.Accept || got.File != "for/strict.example.toml" {
			t.Errorf("from a forwarder or service of the lists: %s", said(got))
		}
	}
}

// signedBy is the message with these signatures alone.
func signedBy(w world, results ...verifier.Result) world {
	w.results = results
	return w
}

// TestGuideNamesEveryKey compares the guide with the keys that loading knows.
func TestGuideNamesEveryKey(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"a.example.toml": "zzzzzzzzzzzz = 1\n[[rule]]\naction='accept'\nzzzzzzzzzzzz = 1", "for/a.example.toml": "zzzzzzzzzzzz = 1",
	})
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
