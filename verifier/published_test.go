package verifier_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"dkimd/verifier"
)

func TestPublishedPolicy(t *testing.T) {
	t.Parallel()
	const own, org = "_dmarc.a.example.org", "_dmarc.example.org"
	type zone map[string][]string
	tests := map[string]struct {
		zone zone
		want verifier.Published
	}{
		"none":                      {zone{own: {"v=DMARC1; p=none"}}, verifier.PublishedNone},
		"quarantine":                {zone{own: {"v=DMARC1; p=quarantine"}}, verifier.PublishedQuarantine},
		"reject":                    {zone{own: {"v=DMARC1; p=reject"}}, verifier.PublishedReject},
		"no record":                 {zone{}, verifier.PublishedAbsent},
		"no TXT record":             {zone{own: {}, org: {}}, verifier.PublishedAbsent},
		"of the organization":       {zone{org: {"v=DMARC1; p=reject"}}, verifier.PublishedReject},
		"of the organization, sp=":  {zone{org: {"v=DMARC1; p=reject; sp=none"}}, verifier.PublishedNone},
		"sp= of the domain itself":  {zone{own: {"v=DMARC1; p=reject; sp=none"}}, verifier.PublishedReject},
		"the domain's comes first":  {zone{own: {"v=DMARC1; p=none"}, org: {"v=DMARC1; p=reject"}}, verifier.PublishedNone},
		"SPF there, so go on":       {zone{own: {"v=spf1 -all"}, org: {"v=DMARC1; p=reject"}}, verifier.PublishedReject},
		"SPF beside it":             {zone{own: {"v=spf1 -all", "v=DMARC1; p=reject"}}, verifier.PublishedReject},
		"two records, 6.6.3 step 5": {zone{own: {"v=DMARC1; p=reject", "v=DMARC1; p=none"}, org: {"v=DMARC1; p=reject"}}, verifier.PublishedAbsent},
		"white space":               {zone{own: {" v = DMARC1 ;p = reject "}}, verifier.PublishedReject},
		"p=Reject, B18":             {zone{own: {"v=DMARC1; P=Reject"}}, verifier.PublishedReject},
		"rf=iodef, B18":             {zone{own: {"v=DMARC1; p=reject; rf=iodef; ri=x; pct=many; fo=?; adkim=z"}}, verifier.PublishedReject},
		"rubbish behind":            {zone{own: {"v=DMARC1; p=reject; foo;;"}}, verifier.PublishedReject},
		"no p=, B18":                {zone{own: {"v=DMARC1"}}, verifier.PublishedAbsent},
		"no p= but rua=, step 6":    {zone{own: {"v=DMARC1; rua=mailto:d@example.org"}}, verifier.PublishedNone},
		"bad p= but rua=":           {zone{own: {"v=DMARC1; p=maybe; rua=mailto:d@example.org"}}, verifier.PublishedNone},
		"bad sp=":                   {zone{org: {"v=DMARC1; p=reject; sp=maybe"}}, verifier.PublishedAbsent},
		"another version":           {zone{own: {"v=DMARC2; p=reject"}}, verifier.PublishedAbsent},
		"version in lower case":     {zone{own: {"v=dmarc1; p=reject"}}, verifier.PublishedAbsent},
		"version not first":         {zone{own: {"p=reject; v=DMARC1"}}, verifier.PublishedAbsent},
		"only p=":                   {zone{own: {"p=reject"}}, verifier.PublishedAbsent},
	}
	for name, test := range tests {
		for _, slow := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld()
				w.header[0][1] = " ann@A.example.org"
				w.dns.slow = slow
				maps.Copy(w.dns.records, test.zone)
				w.request.Published = true
				if got := w.verify(t).Published; got != test.want {
					t.Errorf("got %s; want %s", got, test.want)
				}
			})
		}
	}
}

func TestPublishedPolicyOfWhom(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		from  []string
		want  verifier.Published
		asked []string
	}{
		"one domain":             {[]string{" a@example.org"}, verifier.PublishedReject, []string{"_dmarc.example.org"}},
		"one domain twice":       {[]string{" a@example.org, b@example.org"}, verifier.PublishedReject, []string{"_dmarc.example.org"}},
		"one domain, two fields": {[]string{" a@example.org", " b@example.org"}, verifier.PublishedReject, []string{"_dmarc.example.org"}},
		"badly written":          {[]string{" a@example.org <a@example.org>"}, verifier.PublishedReject, []string{"_dmarc.example.org"}},
		"two domains":            {[]string{" a@example.org, b@example.com"}, verifier.PublishedUnasked, nil},
		"no From":                {nil, verifier.PublishedUnasked, nil},
		"a public suffix":        {[]string{" a@org"}, verifier.PublishedAbsent, []string{"_dmarc.org"}},
		"no DNS name":            {[]string{" a@[192.0.2.1]"}, verifier.PublishedAbsent, nil},
		"too long":               {[]string{" a@" + strings.Repeat("a234567890.", 24) + "example.org"}, verifier.PublishedReject, []string{"_dmarc.example.org"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.sign = nil
			w.header = nil
			for _, from := range test.from {
				w.header = append(w.header, [2]string{"From", from})
			}
			w.dns.slow = true
			w.dns.records["_dmarc.example.org"] = []string{"v=DMARC1; p=reject"}
			w.request.Published = true
			if got := w.verify(t).Published; got != test.want {
				t.Errorf("got %s; want %s", got, test.want)
			}
			if got := w.dns.names(); !slices.Equal(got, test.asked) {
				t.Errorf("asked for %v; want %v", got, test.asked)
			}
		})
	}
}

func TestPublishedPolicyIsNotAskedForUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.dns.records["_dmarc.example.org"] = []string{"v=DMARC1; p=reject"}
	if got := w.verify(t).Published; got != verifier.PublishedUnasked {
		t.Errorf("got %s; want unasked", got)
	}
}

func TestPublishedPolicyThatCannotBeFetched(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"_dmarc.a.example.org", "_dmarc.example.org"} {
		for _, slow := range []bool{false, true} {
			w := newWorld()
			w.header[0][1] = " ann@a.example.org"
			w.request.Published = true
			w.dns.slow = slow
			w.dns.fail(name, errServFail)
			if got := w.verify(t).Published; got != verifier.PublishedTempError {
				t.Errorf("%s fails: got %s; want temperror", name, got)
			}
		}
	}
}
