package policy_test

import (
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/dmarc"
	"dkimd/internal/message"
	"dkimd/policy"
)

const explainedRules = `
[[rule]]
name = "clients"
clients = ["192.0.2.0/24"]
not_clients = ["192.0.2.9"]
action = "accept"
[[rule]]
name = "mark"
result = ["fail"]
action = "tag"
tag = "X: y"
[[rule]]
name = "recipients"
recipients = ["@mine.example"]
list = true
action = "quarantine"
[[rule]]
name = "no list"
not_list = true
from = "multiple"
action = "discard"
[[rule]]
name = "doubled"
result = ["pass"]
duplicates = true
action = "quarantine"
[[rule]]
name = "strong"
result = ["pass"]
signers = ["gmail.com", "*.esp.example"]
not_signers = ["bad.esp.example"]
min_key_bits = 2048
algorithms = ["rsa-sha256"]
testing = false
duplicates = false
action = "accept"
[[rule]]
name = "published"
published = "reject"
not_result = ["pass"]
action = "reject"
[[rule]]
name = "aligned"
not_result = ["pass"]
action = "quarantine"
[[rule]]
name = "missing"
from = "missing"
action = "tempfail"
`

// What Explain says and what Judge does cannot differ: the rule that decides is
// the first that is said to hold, and each one before it has a reason.
func TestExplainAgreesWithJudge(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{"gmail.com.toml": "sender = 'either'\n" + enforced(explainedRules), "_default.toml": enforced(explainedRules)})
	signatures := [][]string{
		nil,
		{"gmail.com pass"},
		{"gmail.com pass 1024"},
		{"gmail.com pass ed25519-sha256"},
		{"gmail.com pass testing"},
		{"gmail.com pass duplicates"},
		{"esp.example pass duplicates"},
		{"a.esp.example pass"},
		{"bad.esp.example pass", "gmail.com fail"},
		{"mail.gmail.com pass", "esp.example permerror"},
		{"gmail.com temperror"},
		{"other.example pass", "gmail.com neutral"},
	}
	decided := map[string]int{}
	for _, client := range []string{"", "192.0.2.1", "192.0.2.9", "203.0.113.9"} {
		for _, from := range [][]string{nil, {"a@gmail.com"}, {"a@gmail.com", "b@other.example"}} {
			for _, fields := range []int{0, 2} {
				for _, list := range []bool{true, false} {
					for _, published := range []string{"absent", "reject", "temperror"} {
						for _, sigs := range signatures {
							s := policy.Sample{
								From: from, FromFields: fields, Sender: "x@gmail.com", Client: client, Recipients: []string{"me@mine.example"},
								List: list, Published: published, Signatures: sigs,
							}
							agrees(t, rules, s, decided)
						}
					}
				}
			}
		}
	}
	for _, name := range []string{"clients", "recipients", "no list", "doubled", "strong", "published", "aligned", "missing", "", "(key lookup failed)", "(policy lookup failed)"} {
		if decided[name] == 0 {
			t.Errorf("%q never decided: %v", name, decided)
		}
	}
}

func agrees(t *testing.T, rules *policy.Rules, s policy.Sample, decided map[string]int) {
	t.Helper()
	m, report, err := s.Message()
	if err != nil {
		t.Fatal(err)
	}
	list, verdict := rules.Explain(m, report)
	if want := rules.Select(m).Judge(report); said(want) != said(verdict) || len(list) != len(want.Decisions) {
		t.Fatalf("%+v: %s; want %s", s, said(verdict), said(want))
	}
	for i, e := range list {
		want := verdict.Decisions[i]
		if e.Decision.Rule != want.Rule || e.Decision.Action != want.Action {
			t.Errorf("%+v: %+v; want %+v", s, e.Decision, want)
		}
		decided[want.Rule]++
		held := ""
		for j, tried := range e.Tried {
			if (tried.Why == "") != tried.Holds {
				t.Errorf("%+v: %+v", s, tried)
			}
			if tried.Holds && tried.Action != "tag" {
				if held = tried.Name; j != len(e.Tried)-1 {
					t.Errorf("%+v: %q is not the last", s, held)
				}
			}
		}
		if !strings.HasPrefix(want.Rule, "(") && held != want.Rule {
			// Where nobody can tell what is published, the strictest counts.
			if s.Published != "temperror" && len(m.From.Claimed) < 2 {
				t.Errorf("%+v: %q decided, and %q is said to hold: %+v", s, want.Rule, held, e.Tried)
			}
		}
	}
}

func TestSampleFaults(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]policy.Sample{
		"from: got":       {From: []string{"gmail.com"}},
		"client: got":     {Client: "x"},
		"published: got":  {Published: "x"},
		"the domain":      {Signatures: []string{"pass"}},
		"is not a domain": {Signatures: []string{"a..b pass"}},
		"the result is":   {Signatures: []string{"a.b none"}},
		"is no algorithm": {Signatures: []string{"a.b pass 99999999"}},
	} {
		if _, _, err := s.Message(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %s", s, err, want)
		}
	}
	m, report, err := policy.Sample{From: []string{"a@gmail.com"}, Client: "192.0.2.1", Signatures: []string{"gmail.com fail ed25519-sha256 testing"}}.Message()
	if err != nil || m.Client.Kind != message.ClientAddress || m.From.Fields != 1 || !report.Results[0].Testing ||
		report.Results[0].KeyBits != 256 || report.DMARC.Result != dmarc.None {
		t.Errorf("%+v %+v %v", m, report, err)
	}
}

// Test cases are no rules, whatever is wrong in them; a domain below .test may have rules.
func TestCasesAreNoRules(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"gmail.com.toml":           enforced("[[rule]]\nnot_result = ['pass']\naction = 'reject'"),
		"gmail.com.test.toml":      "[[case]]\naction = 'reject'\n[[case]]\nsignatures = ['gmail.com pass']\naction = 'accept'",
		"broken.example.test.toml": "[[case]]\naction = ",
		"both.example.test.toml":   "[[case]]\naction = 'accept'\n[[rule]]\naction = 'reject'",
		"lab.test.toml":            enforced("# [[case]]\n[[rule]]\naction = 'discard'"),
		"_default.test.toml":       "[[case]]\nfrom = []\nsender = ''\naction = 'accept'",
	})
	rules, faults := policy.Load(dir, nil)
	if len(faults) > 0 || rules.Len() != 2 || len(rules.Tests()) != 4 {
		t.Fatalf("%d rules files, tests %v, %v", rules.Len(), rules.Tests(), faults)
	}
	for name, want := range map[string]string{
		"gmail.com.test.toml": "", "_default.test.toml": "",
		"both.example.test.toml":   "rule",
		"broken.example.test.toml": "broken.example.test.toml:2",
	} {
		_, faults := rules.RunTest(filepath.Join(dir, name))
		if got := texts(dir, faults); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %q", name, got, want)
		}
	}
	m, report, err := policy.Sample{From: []string{"joe@lab.test"}}.Message()
	if err != nil {
		t.Fatal(err)
	}
	if v := rules.Select(m).Judge(report); v.Action != policy.Discard {
		t.Errorf("lab.test: %s", said(v))
	}
}
