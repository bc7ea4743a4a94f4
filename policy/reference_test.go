package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dkimd/policy"
	"dkimd/verifier"
)

// plainRule is a rule for the reference: as an operator reads it.
type plainRule struct {
	result, signers []string // nil: no condition; aligned signatures
	published       string
	action          string
}

func (r plainRule) toml() string {
	s := "[[rule]]\naction = \"" + r.action + "\"\n"
	if r.action == "tag" {
		s += "tag = \"X-Tag: " + strings.Join(r.result, "-") + "\"\n"
	}
	if r.result != nil {
		s += fmt.Sprintf("result = [\"%s\"]\n", strings.Join(r.result, "\", \""))
	}
	if r.signers != nil {
		s += fmt.Sprintf("signers = [\"%s\"]\n", strings.Join(r.signers, "\", \""))
	}
	if r.published != "" {
		s += "published = \"" + r.published + "\"\n"
	}
	return s
}

// reference judges as docs/policy.md reads, one sentence after the
// other, with words and complete lists instead of bits: for one author at
// gmail.com and his file in enforce mode. The answer is the action and whether a
// lookup has to be repeated.
func reference(rules []plainRule, fromFields int, results []verifier.Result, published string) string {
	// A signature whose key says t=y and that does not pass is judged as if it were absent.
	results = slices.DeleteFunc(slices.Clone(results), func(r verifier.Result) bool { return r.Testing && r.Status.String() != "pass" })

	// What might be true, given what could not be looked up.
	worlds := [][]verifier.Result{results}
	if fromFields == 1 && slices.ContainsFunc(results, func(r verifier.Result) bool { return r.Status.String() == "temperror" }) {
		worlds = nil
		for _, assumed := range []verifier.Status{verifier.Pass, verifier.Fail, verifier.PermError} {
			world := slices.Clone(results)
			for i := range world {
				if world[i].Status.String() == "temperror" {
					world[i].Status = assumed
				}
			}
			worlds = append(worlds, world)
		}
	}
	policies := []string{published}
	if published == "temperror" {
		policies = []string{"absent", "none", "quarantine", "reject"}
	}
	actions := map[string]bool{}
	for _, world := range worlds {
		for _, p := range policies {
			actions[decide(rules, fromFields, world, p)] = true
		}
	}
	if len(actions) == 1 {
		for action := range actions {
			return action
		}
	}
	return "451"
}

func decide(rules []plainRule, fromFields int, results []verifier.Result, published string) string {
	for _, rule := range rules {
		if rule.published != "" && rule.published != published {
			continue
		}
		if rule.result != nil && !slices.ContainsFunc(rule.result, func(word string) bool {
			best := bestWord(rule, fromFields, results)
			return word == best || word == "invalid" && (best == "permerror" || best == "policy" || best == "neutral")
		}) {
			continue
		}
		if rule.action != "tag" {
			return rule.action
		}
	}
	return "accept"
}

func bestWord(rule plainRule, fromFields int, results []verifier.Result) string {
	var words []string
	for _, r := range results {
		counts := r.Domain == "gmail.com" || strings.HasSuffix(r.Domain, ".gmail.com")
		if rule.signers != nil {
			counts = slices.Contains(rule.signers, r.Domain)
		}
		if counts && fromFields == 1 {
			words = append(words, r.Status.String())
		}
	}
	for _, word := range []string{"pass", "policy", "neutral", "fail", "permerror"} {
		if slices.Contains(words, word) {
			return word
		}
	}
	return "none"
}

// TestJudgeAgreesWithReference goes through every file of up to two rules out of
// a few, and every message of up to two signatures.
func TestJudgeAgreesWithReference(t *testing.T) {
	t.Parallel()
	var signatures []verifier.Result
	for _, domain := range []string{"gmail.com", "mail.gmail.com", "evil.example"} {
		for _, status := range []verifier.Status{pass, fail, expired, neutral, temperror, permerror} {
			signatures = append(signatures, sig(domain, status))
			if status == pass || status == fail {
				signatures = append(signatures, inTest(sig(domain, status)))
			}
		}
	}
	messages := [][]verifier.Result{nil}
	for _, a := range signatures {
		messages = append(messages, []verifier.Result{a})
		for _, b := range signatures {
			messages = append(messages, []verifier.Result{a, b})
		}
	}
	var templates []plainRule
	for _, action := range []string{"accept", "quarantine", "reject", "tempfail", "tag"} {
		templates = append(templates, plainRule{result: []string{"pass"}, action: action},
			plainRule{result: []string{"none", "invalid", "fail"}, signers: []string{"gmail.com"}, action: action})
	}
	templates = append(templates,
		plainRule{action: "discard"},
		plainRule{result: []string{"none"}, action: "reject"},
		plainRule{result: []string{"policy", "permerror"}, action: "reject"},
		plainRule{result: []string{"fail"}, action: "discard"},
		plainRule{result: []string{"pass"}, signers: []string{"evil.example"}, action: "accept"},
		plainRule{published: "reject", action: "reject"},
		plainRule{published: "quarantine", result: []string{"none", "fail"}, action: "quarantine"},
	)
	var files [][]plainRule
	for _, a := range templates {
		files = append(files, []plainRule{a})
		for _, b := range templates {
			files = append(files, []plainRule{a, b})
		}
	}
	judged := 0
	for _, file := range files {
		content, asks := "mode = \"enforce\"\n", false
		var contentSb158 strings.Builder
		for _, rule := range file {
			contentSb158.WriteString(rule.toml())
			asks = asks || rule.published != ""
		}
		content += contentSb158.String()
		rules := load(t, map[string]string{"gmail.com.toml": content})
		policies := []string{"absent"}
		if asks {
			policies = []string{"reject", "temperror"}
		}
		for i, results := range messages {
			fields := 1
			if i%17 == 0 {
				fields = 2
			}
			w := gmail(results...).but(func(m *policy.Message) { m.From.Fields = fields })
			for _, p := range policies {
				judged++
				v := w.publishing(p).judge(rules)
				got := v.Action.String()
				if strings.HasSuffix(v.Rule, "lookup failed)") {
					got = "451"
				}
				if want := reference(file, fields, results, p); got != want {
					t.Fatalf("%s\n%d From, published %s, %v:\ngot %s; want %s", content, fields, p, results, said(v), want)
				}
			}
		}
	}
	if judged < 100_000 {
		t.Errorf("only %d judgements", judged)
	}
}
