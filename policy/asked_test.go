package policy_test

import (
	"strings"
	"testing"

	"dkimd/policy"
)

// said tells what rules make of a sample.
func judged(t *testing.T, rules *policy.Rules, s policy.Sample) string {
	t.Helper()
	if s.From == nil {
		s.From = []string{"joe@a.example"}
	}
	m, report, err := s.Message()
	if err != nil {
		t.Fatal(err)
	}
	return said(rules.Select(m).Judge(report))
}

func TestConditionsOnSPFAndDMARC(t *testing.T) {
	t.Parallel()
	const open = dmarcError
	passes := []string{"a.example pass"}
	tests := map[string]struct {
		condition string
		sample    policy.Sample
		want      string // "" where the rule does not hold
	}{
		"fail":                               {`dmarc = "fail"`, policy.Sample{Published: "reject"}, "quarantine by rule 1"},
		"fail, and it passes":                {`dmarc = "fail"`, policy.Sample{Published: "reject", Signatures: passes}, ""},
		"fail, and there is no policy":       {`dmarc = "fail"`, policy.Sample{}, ""},
		"pass or none":                       {`dmarc = ["pass", "none"]`, policy.Sample{}, "quarantine by rule 1"},
		"permerror":                          {`dmarc = "permerror"`, policy.Sample{DMARC: "permerror"}, "quarantine by rule 1"},
		"several authors may fail":           {`dmarc = "fail"`, policy.Sample{From: []string{"joe@a.example", "joe@b.example"}}, "quarantine by rule 1"},
		"several authors, what each asks":    {"dmarc = 'fail'\npublished = 'reject'", policy.Sample{From: []string{"joe@a.example", "joe@b.example"}}, "quarantine by rule 1"},
		"several authors do not pass":        {`dmarc = "pass"`, policy.Sample{From: []string{"joe@a.example", "joe@b.example"}}, ""},
		"several From fields may fail":       {"dmarc = 'fail'\npublished = 'reject'", policy.Sample{FromFields: 2, DMARC: "permerror", Published: "reject"}, "quarantine by rule 1"},
		"several authors are a permerror":    {`dmarc = "permerror"`, policy.Sample{From: []string{"joe@a.example", "joe@b.example"}}, "quarantine by rule 1"},
		"not pass":                           {`not_dmarc = "pass"`, policy.Sample{Published: "none"}, "quarantine by rule 1"},
		"not pass, and it passes":            {`not_dmarc = "pass"`, policy.Sample{Published: "none", Signatures: passes}, ""},
		"not pass, none":                     {`not_dmarc = ["pass", "none"]`, policy.Sample{}, ""},
		"SPF":                                {`spf = ["fail", "softfail"]`, policy.Sample{SPF: "softfail"}, "quarantine by rule 1"},
		"SPF, another":                       {`spf = ["fail", "softfail"]`, policy.Sample{SPF: "neutral"}, ""},
		"fail and published":                 {"dmarc = \"fail\"\npublished = \"reject\"", policy.Sample{Published: "reject"}, "quarantine by rule 1"},
		"fail and published, another":        {"dmarc = \"fail\"\npublished = \"reject\"", policy.Sample{Published: "quarantine"}, ""},
		"a tested policy":                    {`published_testing = true`, policy.Sample{Published: "none", Testing: true}, "quarantine by rule 1"},
		"a policy that is not tested":        {`published_testing = true`, policy.Sample{Published: "none"}, ""},
		"DNS left DMARC open":                {`dmarc = "fail"`, policy.Sample{Published: "temperror"}, open},
		"DNS left open whether it passes":    {`dmarc = "fail"`, policy.Sample{Published: "reject", DMARC: "temperror"}, open},
		"and it does not matter":             {`dmarc = ["pass", "fail"]`, policy.Sample{Published: "reject", DMARC: "temperror"}, "quarantine by rule 1"},
		"and it does not matter, policy":     {"dmarc = [\"pass\", \"fail\"]\npublished = \"none\"", policy.Sample{Published: "reject", DMARC: "temperror"}, ""},
		"and it does not matter, nothing is": {`dmarc = ["pass", "fail", "none", "permerror"]`, policy.Sample{Published: "temperror"}, "quarantine by rule 1"},
		"the policy is open":                 {`published = "reject"`, policy.Sample{Published: "temperror"}, open},
		"whether it is tested is open":       {`published_testing = true`, policy.Sample{Published: "temperror"}, open},
		"DNS left SPF open":                  {`spf = "pass"`, policy.Sample{SPF: "temperror"}, open},
		"SPF is open, and no rule asks":      {`dmarc = "fail"`, policy.Sample{SPF: "temperror", Published: "reject"}, "quarantine by rule 1"},
		"SPF is open, and does not matter":   {`spf = ["none", "neutral", "pass", "fail", "softfail", "permerror"]`, policy.Sample{SPF: "temperror"}, "quarantine by rule 1"},
	}
	for name, test := range tests {
		rules := load(t, map[string]string{"_default.toml": enforced("[[rule]]\n" + test.condition + "\naction = \"quarantine\"\n")})
		want := test.want
		if want == "" {
			want = "accept"
		}
		if got := judged(t, rules, test.sample); got != want {
			t.Errorf("%s: got %s; want %s", name, got, want)
		}
	}
}

// With tempfail a rule may name what is open, so that such mail always comes again.
func TestTempfailMayNameTemperror(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{"_default.toml": enforced("[[rule]]\ndmarc = [\"fail\", \"temperror\"]\naction = \"tempfail\"\n[[rule]]\nspf = \"temperror\"\naction = \"tempfail\"\n")})
	for want, s := range map[string]policy.Sample{
		"tempfail by rule 1": {Published: "temperror"},
		"tempfail by rule 2": {SPF: "temperror"},
		"accept":             {Published: "reject", Signatures: []string{"a.example pass"}},
	} {
		if got := judged(t, rules, s); !strings.HasPrefix(got, want) {
			t.Errorf("%+v: got %s; want %s", s, got, want)
		}
	}
}

// Where DNS did not say whether a signature that passes is aligned, both are tried.
func TestAlignmentThatIsNotKnownDecidesNothing(t *testing.T) {
	t.Parallel()
	m, report, err := policy.Sample{From: []string{"joe@a.example"}, Signatures: []string{"m.a.example pass"}}.Message()
	if err != nil {
		t.Fatal(err)
	}
	report.Results[0].Aligned, report.Results[0].AlignmentOpen = 0, true
	for rule, want := range map[string]string{
		"not_result = 'pass'\naction = 'reject'":                        "tempfail by (policy lookup failed)",
		"not_result = 'pass'\naligned = 'strict'\naction = 'reject'":    "reject by rule 1",
		"result = 'pass'\naligned = 'any'\naction = 'quarantine'":       "quarantine by rule 1",
		"not_result = 'pass'\nsigners = '*.a.example'\naction='reject'": "accept",
	} {
		rules := load(t, map[string]string{"a.example.toml": enforced("[[rule]]\n" + rule + "\n")})
		if got := said(rules.Select(m).Judge(report)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s; want %s", rule, got, want)
		}
	}
}

// RFC 9989 section 7.4: what a domain publishes is no reason to reject, without any other.
func TestRejectingByDMARCAloneIsWarnedOf(t *testing.T) {
	t.Parallel()
	for rule, warned := range map[string]bool{
		"dmarc = 'fail'\npublished = 'reject'\naction = 'reject'":                      true,
		"dmarc = 'fail'\naction = 'discard'":                                           true,
		"published = ['reject', 'quarantine']\nnot_result = 'pass'\naction = 'reject'": true,
		"dmarc = 'fail'\npublished = 'reject'\nnot_list = true\naction = 'reject'":     false,
		"dmarc = 'fail'\nspf = 'fail'\naction = 'reject'":                              true, // forwarders break it
		"not_dmarc = ['pass', 'none', 'permerror']\naction = 'reject'":                 true,
		"not_dmarc = 'pass'\naction = 'reject'":                                        true,
		"dmarc = 'fail'\nlist = true\naction = 'reject'":                               true,
		"dmarc = 'fail'\nrecipients = '@b.example'\naction = 'reject'":                 true,
		"dmarc = 'permerror'\naction = 'reject'":                                       false,
		"dmarc = 'fail'\nlist = false\naction = 'reject'":                              false,
		"dmarc = 'fail'\nnot_clients = '192.0.2.0/24'\naction = 'reject'":              false,
		"dmarc = 'fail'\nclients = '192.0.2.0/24'\naction = 'reject'":                  false,
		"dmarc = 'fail'\nfrom = 'misleading'\naction = 'reject'":                       false,
		"dmarc = 'fail'\naction = 'tag'\ntag = 'X-A: b'":                               false,
		// What a rule above it lets past.
		"list = true\naction = 'quarantine'\n[[rule]]\ndmarc = 'fail'\naction = 'reject'":                        false,
		"clients = '192.0.2.0/24'\naction = 'accept'\n[[rule]]\ndmarc = 'fail'\naction = 'reject'":               false,
		"result = 'pass'\nsigners = 'b.example'\naction = 'accept'\n[[rule]]\ndmarc = 'fail'\naction = 'reject'": false,
		"list = true\naction = 'reject'\n[[rule]]\ndmarc = 'fail'\naction = 'reject'":                            true,
		"result = 'pass'\naction = 'accept'\n[[rule]]\ndmarc = 'fail'\naction = 'reject'":                        true,
		"list = true\naction = 'tag'\ntag = 'X-A: b'\n[[rule]]\ndmarc = 'fail'\naction = 'reject'":               true,
		"dmarc = 'fail'\naction = 'reject'\n[[rule]]\nclients = '192.0.2.0/24'\naction = 'accept'":               true,
		"dmarc = 'fail'\nresult = 'none'\nsigners = 'b.example'\naction = 'reject'":                              false,
		"dmarc = 'fail'\npublished = 'reject'\naction = 'quarantine'":                                            false,
		"dmarc = ['fail', 'none']\naction = 'reject'":                                                            true,
	} {
		rules := load(t, map[string]string{"_default.toml": enforced("[[rule]]\n" + rule + "\n")})
		if got := strings.Contains(texts("", rules.Warnings()), "RFC 9989 section 7.4"); got != warned {
			t.Errorf("%q: warned %t; want %t", rule, got, warned)
		}
	}
}
