package spf_test

import (
	"strings"
	"testing"

	"dkimd/internal/spf"
)

// published are the TXT records of names; without one, nobody can tell.
type published map[string][]string

func (p published) world() *world {
	w := &world{records: map[string]string{}}
	for name, records := range p {
		if w.records["TXT "+name] = strings.Join(records, "|"); len(records) == 0 {
			w.records["TXT "+name] = servfail
		}
	}
	return w
}

func TestInspect(t *testing.T) {
	t.Parallel()
	loop := published{"a.example": {"v=spf1 include:b.example -all"}, "b.example": {"v=spf1 include:a.example ?all"}}
	tests := map[string]struct {
		dns     published
		record  bool
		lookups int
		all     string
		flaw    string // a part
		open    bool
	}{
		"none":                       {published{"a.example": {"something else"}}, false, 0, "", "", false},
		"no name":                    {published{}, false, 0, "", "", false},
		"networks ask nothing":       {published{"a.example": {"v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"}}, true, 0, "-", "", false},
		"each term that asks":        {published{"a.example": {"V=SPF1 +a MX/24 ptr exists:%{i}.b.example a:c.example/28 ~ALL"}}, true, 5, "~", "", false},
		"all without a qualifier":    {published{"a.example": {"v=spf1 all"}}, true, 0, "+", "", false},
		"included records count":     {published{"a.example": {"v=spf1 include:b.example -all"}, "b.example": {"v=spf1 a mx ?all"}}, true, 3, "-", "", false},
		"a macro is not followed":    {published{"a.example": {"v=spf1 include:%{d}.b.example -all"}}, true, 1, "-", "", false},
		"a redirect has the all":     {published{"a.example": {"v=spf1 a redirect=b.example"}, "b.example": {"v=spf1 mx ~all"}}, true, 3, "~", "", false},
		"all makes a redirect void":  {published{"a.example": {"v=spf1 -all redirect=b.example"}}, true, 0, "-", "", false},
		"included without a record":  {published{"a.example": {"v=spf1 include:b.example -all"}}, true, 1, "-", "b.example: another record names it", false},
		"redirected without one":     {published{"a.example": {"v=spf1 redirect=b.example"}}, true, 1, "", "b.example: another record names it", false},
		"several":                    {published{"a.example": {"v=spf1 -all", "v=spf1 ~all"}}, false, 0, "", "several records", false},
		"several included":           {published{"a.example": {"v=spf1 include:b.example -all"}, "b.example": {"v=spf1 -all", "v=spf1 ~all"}}, true, 1, "-", "b.example: there are several", false},
		"wrong syntax":               {published{"a.example": {"v=spf1 ip4:192.0.2.300 -all"}}, false, 0, "", "wrong term", false},
		"a loop ends past the limit": {loop, true, spf.MaxLookups + 1, "-", "", false},
		"nobody could tell":          {published{"a.example": {}}, false, 0, "", "", true},
		"nor of the included":        {published{"a.example": {"v=spf1 include:b.example -all"}, "b.example": {}}, true, 1, "", "", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := spf.Inspect(t.Context(), test.dns.world(), "a.example")
			if (err != nil) != test.open || (got.Record != "") != test.record || got.Lookups != test.lookups || got.All != test.all {
				t.Errorf("got %+v, %v; want %+v", got, err, test)
			}
			if !strings.Contains(got.Flaw, test.flaw) || (got.Flaw == "") != (test.flaw == "") {
				t.Errorf("flaw %q, want %q", got.Flaw, test.flaw)
			}
		})
	}
}
