package dmarc_test

import (
	"errors"
	"strings"
	"testing"

	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/resolver"

	"github.com/google/go-cmp/cmp"
)

// world is a zone: TXT records by name, several of one name by "|". A name that is not in it does not exist.
type world map[string]string

// Instead of records.
const (
	exists   = "EXISTS"
	servfail = "SERVFAIL"
	timeout  = "TIMEOUT"
	dangling = "DANGLING"
)

func (w world) lookup(asked *[]string) dmarc.Lookup {
	return func(name string) (resolver.Answer, error) {
		*asked = append(*asked, name)
		switch text, ok := w[name]; {
		case !ok:
			return resolver.Answer{}, resolver.ErrNotExist
		case text == exists:
			return resolver.Answer{}, resolver.ErrNoData
		case text == servfail:
			return resolver.Answer{}, &resolver.Failure{Cause: resolver.ErrServerFailure}
		case text == timeout:
			return resolver.Answer{}, &resolver.Failure{Cause: resolver.ErrTimeout}
		case text == dangling:
			return resolver.Answer{}, &resolver.Dangling{Target: "gone.example", Err: resolver.ErrNotExist}
		default:
			return resolver.Answer{Records: strings.Split(text, "|")}, nil
		}
	}
}

// zone reads "name: record" lines: at _dmarc.name unless a dot stands in front of the name.
func zone(lines ...string) world {
	w := world{}
	for _, line := range lines {
		name, text, _ := strings.Cut(line, ": ")
		if plain, ok := strings.CutPrefix(name, "."); ok {
			w[plain] = text
			continue
		}
		if strings.HasPrefix(text, "p=") || strings.HasPrefix(text, "psd=") {
			text = "v=DMARC1; " + text
		}
		w["_dmarc."+name] = text
	}
	return w
}

// The worked examples by the number that they have in the project's notes on RFC 9989, which agree with its own in
// sections 4.10, 5.1.8 and B.4.
func TestExamples(t *testing.T) {
	t.Parallel()
	const b = "b.c.d.e.f.g.example.com"
	tests := map[string]struct {
		zone   world
		author domain.Name
		asked  string // for the policy, without _dmarc.
		at     domain.Name
		passes string // identifiers: "d= of one" aligned, "!d=" not aligned, "?d=" left open
		org    domain.Name
		result dmarc.Result // where none is aligned
		policy dmarc.Policy
	}{
		"E1":   {zone("example.com: p=reject"), "example.com", "example.com", "example.com", "mail.example.com", "example.com", dmarc.Fail, dmarc.PolicyReject},
		"E1 s": {zone("example.com: p=reject; adkim=s"), "example.com", "example.com", "example.com", "example.com !mail.example.com", "example.com", dmarc.Fail, dmarc.PolicyReject},
		"E2":   {zone("example.com: p=reject; sp=quarantine; np=reject", ".news.example.com: EXISTS"), "news.example.com", "news.example.com example.com @news.example.com", "example.com", "bounce.example.com", "example.com", dmarc.Fail, dmarc.PolicyQuarantine},
		"E3":   {zone("example.com: p=none; sp=quarantine; np=reject"), "nx.example.com", "nx.example.com example.com @nx.example.com", "example.com", "", "example.com", dmarc.Fail, dmarc.PolicyReject},
		"E4":   {zone("b.example.com: p=reject", "example.com: p=quarantine"), "a.b.example.com", "a.b.example.com b.example.com example.com", "example.com", "x.example.com", "example.com", dmarc.Fail, dmarc.PolicyQuarantine},
		"E5":   {zone("mail.example.com: p=reject; psd=n", "example.com: p=none"), "a.mail.example.com", "a.mail.example.com mail.example.com", "mail.example.com", "mail.example.com !example.com z.mail.example.com", "mail.example.com", dmarc.Fail, dmarc.PolicyReject},
		"E6": {
			zone("gov.example: p=reject; sp=none; np=reject; psd=y", ".agency.gov.example: EXISTS"), "agency.gov.example", "agency.gov.example gov.example @agency.gov.example", "gov.example",
			"mail.agency.gov.example !gov.example !other.gov.example", "agency.gov.example", dmarc.Fail, dmarc.PolicyNone,
		},
		"E6n":  {zone("gov.example: p=reject; sp=none; np=reject; psd=y"), "noagency.gov.example", "noagency.gov.example gov.example @noagency.gov.example", "gov.example", "", "noagency.gov.example", dmarc.Fail, dmarc.PolicyReject},
		"E7":   {zone("gov.example: p=reject; psd=y", "agency.gov.example: p=none"), "www.agency.gov.example", "www.agency.gov.example agency.gov.example gov.example", "agency.gov.example", "", "agency.gov.example", dmarc.Fail, dmarc.PolicyNone},
		"E8":   {zone("gov.example: p=reject; psd=y", "mail.agency.gov.example: p=quarantine"), "a.mail.agency.gov.example", "a.mail.agency.gov.example mail.agency.gov.example agency.gov.example gov.example", "gov.example", "", "agency.gov.example", dmarc.Fail, dmarc.PolicyReject},
		"E9":   {zone("bank.example: p=none; psd=y", "giant.bank.example: p=reject"), "giant.bank.example", "giant.bank.example", "giant.bank.example", "mail.giant.bank.example !mail.mega.bank.example !bank.example", "giant.bank.example", dmarc.Fail, dmarc.PolicyReject},
		"E10":  {zone("bank.example: p=reject; psd=y"), "bank.example", "bank.example", "bank.example", "!mail.bank.example", "bank.example", dmarc.Fail, dmarc.PolicyReject},
		"E11":  {zone(b+": p=reject; psd=n", "example.com: p=none"), "mail.a.b.c.d.e.f.g.example.com", "mail.a.b.c.d.e.f.g.example.com c.d.e.f.g.example.com d.e.f.g.example.com e.f.g.example.com f.g.example.com g.example.com example.com", "example.com", "", "example.com", dmarc.Fail, dmarc.PolicyNone},
		"E12":  {zone("example.com: p=reject"), "a.b.c.d.e.f.example.com", "a.b.c.d.e.f.example.com b.c.d.e.f.example.com c.d.e.f.example.com d.e.f.example.com e.f.example.com f.example.com example.com", "example.com", "", "example.com", dmarc.Fail, dmarc.PolicyReject},
		"E12b": {zone("example.com: p=reject"), "a.b.c.d.e.f.g.example.com", "a.b.c.d.e.f.g.example.com c.d.e.f.g.example.com d.e.f.g.example.com e.f.g.example.com f.g.example.com g.example.com example.com", "example.com", "", "example.com", dmarc.Fail, dmarc.PolicyReject},
		"E13": {
			zone("example.com: p=reject", "signing.example.com: p=none"), "a.b.c.d.e.f.g.h.i.j.k.example.com",
			"a.b.c.d.e.f.g.h.i.j.k.example.com g.h.i.j.k.example.com h.i.j.k.example.com i.j.k.example.com j.k.example.com k.example.com example.com", "example.com",
			"example.com signing.example.com", "example.com", dmarc.Fail, dmarc.PolicyReject,
		},
		"E14": {zone("example.com: v=DMARC1; p=reject|v=DMARC1; p=none"), "example.com", "example.com com", "", "", "example.com", dmarc.None, dmarc.PolicyAbsent},
		"E15": {zone("a.example.com: v=DMARC1; p=reject|v=DMARC1; p=none", "example.com: p=quarantine"), "a.example.com", "a.example.com example.com", "example.com", "", "example.com", dmarc.Fail, dmarc.PolicyQuarantine},
		// The public suffix list has a veto: by the letter of the RFC evil.org is aligned with good.org.
		"E16":       {zone("org: p=none"), "good.org", "good.org org", "org", "!evil.org mail.good.org", "good.org", dmarc.Fail, dmarc.PolicyNone},
		"E16 psd=n": {zone("co.uk: p=none; psd=n", "uk: p=none"), "good.co.uk", "good.co.uk co.uk", "co.uk", "!evil.co.uk mail.good.co.uk", "good.co.uk", dmarc.Fail, dmarc.PolicyNone},
		"E16 uk":    {zone("uk: p=none; psd=y"), "good.co.uk", "good.co.uk co.uk uk", "uk", "!evil.co.uk !co.uk mail.good.co.uk", "good.co.uk", dmarc.Fail, dmarc.PolicyNone},
		"E16 uk sp": {zone("uk: p=none", "good.co.uk: p=reject"), "a.b.good.co.uk", "a.b.good.co.uk b.good.co.uk good.co.uk", "good.co.uk", "!evil.co.uk good.co.uk", "good.co.uk", dmarc.Fail, dmarc.PolicyReject},
		"E16 ck":    {zone("ck: p=none"), "good.co.ck", "good.co.ck co.ck ck", "ck", "!evil.co.ck mail.good.co.ck", "good.co.ck", dmarc.Fail, dmarc.PolicyNone},
		"E16 !ck":   {zone("www.ck: p=reject", "ck: SERVFAIL"), "x.www.ck", "x.www.ck www.ck", "www.ck", "www.ck !evil.ck", "www.ck", dmarc.Fail, dmarc.PolicyReject},
		"E16 !jp":   {zone("jp: p=none"), "x.city.kawasaki.jp", "x.city.kawasaki.jp city.kawasaki.jp kawasaki.jp jp", "jp", "city.kawasaki.jp !kawasaki.jp", "city.kawasaki.jp", dmarc.Fail, dmarc.PolicyNone},
		"E16 *.ck":  {zone("ck: p=none"), "good.ck", "good.ck ck", "ck", "!evil.ck", "good.ck", dmarc.Fail, dmarc.PolicyNone},
		"E17":       {zone("org: p=none", "good.org: p=reject; psd=n"), "good.org", "good.org", "good.org", "!evil.org", "good.org", dmarc.Fail, dmarc.PolicyReject},
		"E18":       {zone("host.example: p=reject; psd=y", "t1.host.example: p=quarantine"), "t1.host.example", "t1.host.example", "t1.host.example", "!t2.host.example x.t1.host.example", "t1.host.example", dmarc.Fail, dmarc.PolicyQuarantine},
		"E19":       {zone("example.com: p=reject", "b.example.com: SERVFAIL"), "a.b.example.com", "a.b.example.com b.example.com", "", "?a.b.example.com ?example.com", "", dmarc.TempError, dmarc.PolicyAbsent},
		"E20":       {zone("example.com: p=reject", "com: TIMEOUT"), "example.com", "example.com", "example.com", "example.com mail.example.com", "example.com", dmarc.Fail, dmarc.PolicyReject},
		"E21":       {zone("example.com: p=reject; t=y"), "example.com", "example.com", "example.com", "!example.org", "", dmarc.Fail, dmarc.PolicyQuarantine},
		"E22":       {zone("example.com: p=reject; sp=quarantine; t=y"), "s.example.com", "s.example.com example.com", "example.com", "", "example.com", dmarc.Fail, dmarc.PolicyNone},
		"E23":       {zone("example.com: p=rejct; rua=mailto:a@b.example"), "example.com", "example.com", "example.com", "", "", dmarc.Fail, dmarc.PolicyNone},
		"E24":       {zone("sub.example.com: p=rejct", "example.com: p=reject"), "sub.example.com", "sub.example.com", "sub.example.com", "", "", dmarc.PermError, dmarc.PolicyAbsent},
		"E25":       {zone("example: p=none; psd=y"), "foo.example", "foo.example example", "example", "!example", "foo.example", dmarc.Fail, dmarc.PolicyNone},
		"E26":       {zone("example.com: p=reject", "lists.example.com: p=none; psd=n"), "example.com", "example.com", "example.com", "!lists.example.com", "example.com", dmarc.Fail, dmarc.PolicyReject},
		"E27":       {zone("example.com: v=DMARC1;p=reject"), "example.com", "example.com", "example.com", "", "", dmarc.Fail, dmarc.PolicyReject},
		"E28":       {zone("x.example.com: v=spf1 -all", "example.com: p=reject"), "x.example.com", "x.example.com example.com", "example.com", "", "example.com", dmarc.Fail, dmarc.PolicyReject},

		"a single label asks once":                        {zone("localhost: p=reject"), "localhost", "localhost", "localhost", "", "", dmarc.Fail, dmarc.PolicyReject},
		"NXDOMAIN of _dmarc.x says nothing of x, 3.2.13":  {zone("example.com: p=none; sp=quarantine; np=reject", ".x.example.com: v=spf1 -all"), "x.example.com", "x.example.com example.com @x.example.com", "example.com", "", "example.com", dmarc.Fail, dmarc.PolicyQuarantine},
		"an alias of nothing exists, 3.2.13":              {zone("example.com: p=none; sp=quarantine; np=reject", ".x.example.com: DANGLING"), "x.example.com", "x.example.com example.com @x.example.com", "example.com", "", "example.com", dmarc.Fail, dmarc.PolicyQuarantine},
		"np that changes nothing is not asked for":        {zone("example.com: p=none; sp=reject; np=reject"), "x.example.com", "x.example.com example.com", "example.com", "", "example.com", dmarc.Fail, dmarc.PolicyReject},
		"whether the domain exists is not known":          {zone("example.com: p=none; np=reject", ".x.example.com: SERVFAIL"), "x.example.com", "x.example.com example.com @x.example.com", "example.com", "x.example.com", "example.com", dmarc.TempError, dmarc.PolicyAbsent},
		"the suffix itself, psd=y":                        {zone("example: p=reject; psd=y"), "example", "example", "example", "!foo.example", "example", dmarc.Fail, dmarc.PolicyReject},
		"a domain that DNS cannot hold":                   {zone("example.com: p=none; np=reject"), "a..example.com", "example.com", "example.com", "example.com !a..a.example.com", "example.com", dmarc.Fail, dmarc.PolicyReject},
		"a label that is too long":                        {zone("example.com: p=reject; sp=none"), domain.Name(strings.Repeat("a", 64)) + ".example.com", "example.com", "example.com", "example.com", "example.com", dmarc.Fail, dmarc.PolicyNone},
		"a name of dots":                                  {zone("com: p=none"), "..", "", "", "", "..", dmarc.None, dmarc.PolicyAbsent},
		"an identifier that DNS cannot hold":              {zone("example.com: p=reject"), "example.com", "example.com", "example.com", "!a..example.com", "", dmarc.Fail, dmarc.PolicyReject},
		"p absent with reports, 4.10.1":                   {zone("example.com: psd=u; rua=mailto:a@example.com"), "example.com", "example.com", "example.com", "", "", dmarc.Fail, dmarc.PolicyNone},
		"p absent without reports, 4.10.1":                {zone("example.com: psd=u"), "example.com", "example.com", "example.com", "", "", dmarc.PermError, dmarc.PolicyAbsent},
		"a suffix without p, 4.10.1":                      {zone("gov.example: psd=y"), "agency.gov.example", "agency.gov.example gov.example", "gov.example", "", "agency.gov.example", dmarc.PermError, dmarc.PolicyAbsent},
		"several records at all names":                    {zone("a.example: v=DMARC1|v=DMARC1", "example: v=DMARC1|v=DMARC1"), "a.example", "a.example example", "", "", "a.example", dmarc.None, dmarc.PolicyAbsent},
		"sp has no effect where the record is, 4.7":       {zone("a.example.com: p=none; sp=reject; np=reject"), "a.example.com", "a.example.com", "a.example.com", "", "", dmarc.Fail, dmarc.PolicyNone},
		"an organization's record takes all of a suffix'": {zone("gov.example: p=reject; np=reject; psd=y", "agency.gov.example: p=quarantine"), "x.agency.gov.example", "x.agency.gov.example agency.gov.example gov.example", "agency.gov.example", "", "agency.gov.example", dmarc.Fail, dmarc.PolicyQuarantine},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			d := dmarc.Discover(test.zone.lookup(&asked), test.author, nil)
			if got := names(asked); got != test.asked {
				t.Errorf("asked %q; want %q", got, test.asked)
			}
			v := d.Judge(nil, dmarc.SPFAsked)
			if v.Result != test.result || v.Policy != test.policy || v.At != test.at || v.Author != test.author {
				t.Errorf("got %s %s at %q; want %s %s at %q", v.Result, v.Policy, v.At, test.result, test.policy, test.at)
			}
			if (v.Reason != "") != (v.Result == dmarc.TempError || v.Result == dmarc.PermError) {
				t.Errorf("%s because of %q", v.Result, v.Reason)
			}
			for id := range strings.FieldsSeq(test.passes) {
				want := dmarc.Pass
				switch id[0] {
				case '!':
					want, id = test.result, id[1:]
				case '?':
					want, id = dmarc.TempError, id[1:]
				}
				d := dmarc.Discover(test.zone.lookup(&asked), test.author, []domain.Name{domain.Name(id)})
				v := d.Judge([]dmarc.Identifier{{Domain: domain.Name(id)}}, dmarc.SPFAsked)
				if v.Result != want || (v.Result == dmarc.Pass) != (v.AlignedBy.Domain == domain.Name(id)) {
					t.Errorf("%s: got %+v; want %s", id, v, want)
				}
				if want != dmarc.TempError && v.Org != "" && v.Org != test.org {
					t.Errorf("%s: organizational domain %q; want %q", id, v.Org, test.org)
				}
			}
		})
	}
}

// names are those asked for without _dmarc, or with @ where they had none.
func names(asked []string) string {
	var out []string
	for _, name := range asked {
		if rest, ok := strings.CutPrefix(name, "_dmarc."); ok {
			out = append(out, rest)
		} else {
			out = append(out, "@"+name)
		}
	}
	return strings.Join(out, " ")
}

func TestRecords(t *testing.T) {
	t.Parallel()
	const none = "no record" // of DMARC
	long := strings.Repeat("x", 4096-len("v=DMARC1; p=reject; x="))
	tests := map[string]string{ // record to "policy published at the domain", with t for testing
		"v=DMARC1; p=reject":                              "reject",
		"v=DMARC1;p=reject;":                              "reject",
		"v=DMARC1 ; p = reject ; ":                        "reject",
		"v\t= DMARC1\t;\tp=\treject":                      "reject",
		"V=DMARC1; P=Reject":                              "reject",
		"v=DMARC1; p=QUARANTINE":                          "quarantine",
		"v=DMARC1; adkim=s; p=reject":                     "reject",
		"v=DMARC1; x=1; pct=0; rf=afrf; ri=1; p=reject":   "reject",
		"v=DMARC1; p=reject; pct=0":                       "reject",
		"v=DMARC1;; p=reject":                             "reject",
		"v=DMARC1; nonsense; p=reject":                    "reject",
		"v=DMARC1; n=\xff; p=reject":                      "reject",
		"v=DMARC1; p=reject; t=y":                         "quarantine t",
		"v=DMARC1; p=quarantine; t=Y":                     "none t",
		"v=DMARC1; p=none; t=y":                           "none t",
		"v=DMARC1; p=reject; t=n":                         "reject",
		"v=DMARC1; p=reject; t=x":                         "reject",
		"v=DMARC1; p=reject; t=y; t=y":                    "reject",
		"v=DMARC1; p=reject; psd=x; fo=q; aspf=z":         "reject",
		"v=DMARC1; p=reject; rua=":                        "reject",
		"v=DMARC1; p=reject; x=" + long:                   "reject",
		"v=DMARC1; p=reject; x=x" + long:                  "",
		"v=DMARC1":                                        "",
		"v=DMARC1;":                                       "",
		"v=DMARC1; p=":                                    "",
		"v=DMARC1; p=reject; p=reject":                    "",
		"v=DMARC1; p=rejected":                            "",
		"v=DMARC1; p=re ject":                             "",
		"v=DMARC1; p=reject; sp=x":                        "",
		"v=DMARC1; p=reject; np=x":                        "",
		"v=DMARC1; p=reject; np=":                         "",
		"v=DMARC1; p=reject; sp=x; rua=mailto:a@b":        "none",
		"v=DMARC1; rua=mailto:a@b!10m":                    "none",
		"v=DMARC1; rua=nobody, https://b/":                "none",
		"v=DMARC1; rua=mailto:":                           "",
		"v=DMARC1; rua=:a@b":                              "",
		"v=DMARC1; rua=1a:b":                              "",
		"v=DMARC1; rua=a@b":                               "",
		"v=DMARC1; rua=mailto:a@b c":                      "",
		"v=DMARC1; ruf=mailto:a@b":                        "",
		" v=DMARC1; p=reject":                             none,
		"v=dmarc1; p=reject":                              none,
		"v=DMARC1.; p=reject":                             none,
		"v=DMARC1 p=reject":                               none,
		"v=DMARC1:p=reject":                               none,
		"v=DMARC11; p=reject":                             none,
		"v=DMARC2; p=reject":                              none,
		"x=1; v=DMARC1; p=reject":                         none,
		"DMARC1; p=reject":                                none,
		"vv=DMARC1; p=reject":                             none,
		"v=spf1 -all":                                     none,
		"":                                                none,
		"v=spf1 -all|v=DMARC1; p=reject|v=DKIM1; p=":      "reject",
		"v=DMARC1; p=reject|v=DMARC1":                     none,
		"v=DMARC1; p=reject|v=DMARC1; p=none|v=DMARC1":    none,
		"v=DMARC1; p=reject|v=DMARC1x; p=none| v=DMARC1;": "reject",
	}
	for text, want := range tests {
		var asked []string
		v := dmarc.Discover(zone("example: "+text).lookup(&asked), "example", nil).Judge(nil, dmarc.SPFAsked)
		got := v.Policy.String()
		if v.Testing {
			got += " t"
		}
		if v.Result == dmarc.None {
			got = none
		}
		if got != want || (got == "") != (v.Result == dmarc.PermError) {
			t.Errorf("%.80q: got %q (%s); want %q", text, got, v.Result, want)
		}
	}
}

// Nothing is decided past a name about which nobody could tell (RFC 9989 section 4.10.1), wherever it is on the way.
func TestErrorsAtEachStepOfAWalk(t *testing.T) {
	t.Parallel()
	const author, identifier = "a.b.c.example.com", "x.y.example.com"
	records := zone("example.com: p=none; np=reject")
	steps := strings.Fields("a.b.c.example.com b.c.example.com c.example.com example.com com")
	for _, at := range append(steps, "x.y.example.com", "y.example.com", "@"+author) {
		for _, how := range []string{servfail, timeout, exists, ""} {
			w := world{"_dmarc.example.com": records["_dmarc.example.com"]}
			name, plain := strings.CutPrefix(at, "@")
			if !plain {
				name = "_dmarc." + at
			}
			delete(w, name)
			if how != "" {
				w[name] = how
			}
			var asked []string
			d := dmarc.Discover(w.lookup(&asked), author, []domain.Name{identifier})
			passed := d.Judge([]dmarc.Identifier{{Domain: identifier}}, dmarc.SPFAsked)
			failed := d.Judge(nil, dmarc.SPFAsked)
			broken := how == servfail || how == timeout
			switch {
			case at == "example.com" && !broken:
				if passed.Result != dmarc.None {
					t.Errorf("%s %q: got %+v", at, how, passed)
				}
			case at == "@"+author: // which only matters for what is to be done
				if passed.Result != dmarc.Pass || (failed.Result == dmarc.TempError) != broken {
					t.Errorf("%s %q: got %+v and %+v", at, how, passed, failed)
				}
			case at == identifier || at == "y.example.com":
				if (passed.Result == dmarc.TempError) != broken || failed.Result != dmarc.Fail {
					t.Errorf("%s %q: got %+v and %+v", at, how, passed, failed)
				}
			case broken && at != "com": // which is not asked
				if passed.Result != dmarc.TempError || failed.Result != dmarc.TempError || passed.Policy != dmarc.PolicyAbsent {
					t.Errorf("%s %q: got %+v and %+v", at, how, passed, failed)
				}
				if got := names(asked); !strings.HasSuffix(got, at) {
					t.Errorf("%s %q: climbed past it: %s", at, how, got)
				}
			default:
				if passed.Result != dmarc.Pass || failed.Result != dmarc.Fail {
					t.Errorf("%s %q: got %+v and %+v", at, how, passed, failed)
				}
			}
		}
	}
}

func TestIdentifiers(t *testing.T) {
	t.Parallel()
	id := func(method dmarc.Method, name domain.Name, open bool) dmarc.Identifier {
		return dmarc.Identifier{Method: method, Domain: name, Open: open}
	}
	tests := map[string]struct {
		record string
		ids    []dmarc.Identifier
		spf    dmarc.SPFState
		want   dmarc.Result
	}{
		"SPF aligned":                                    {"p=reject", []dmarc.Identifier{id(dmarc.SPF, "m.example.com", false)}, dmarc.SPFAsked, dmarc.Pass},
		"aspf=s":                                         {"p=reject; aspf=s", []dmarc.Identifier{id(dmarc.SPF, "m.example.com", false)}, dmarc.SPFAsked, dmarc.Fail},
		"aspf=s is not for DKIM":                         {"p=reject; aspf=s", []dmarc.Identifier{id(dmarc.DKIM, "m.example.com", false)}, dmarc.SPFAsked, dmarc.Pass},
		"adkim=s is not for SPF":                         {"p=reject; adkim=s", []dmarc.Identifier{id(dmarc.SPF, "m.example.com", false)}, dmarc.SPFAsked, dmarc.Pass},
		"SPF unaligned, DKIM open and aligned":           {"p=reject", []dmarc.Identifier{id(dmarc.SPF, "example.org", false), id(dmarc.DKIM, "example.com", true)}, dmarc.SPFAsked, dmarc.TempError},
		"DKIM open and not aligned":                      {"p=reject", []dmarc.Identifier{id(dmarc.DKIM, "example.org", true)}, dmarc.SPFAsked, dmarc.Fail},
		"SPF open, DKIM aligned":                         {"p=reject", []dmarc.Identifier{id(dmarc.SPF, "example.com", true), id(dmarc.DKIM, "example.com", false)}, dmarc.SPFAsked, dmarc.Pass},
		"SPF open and aligned":                           {"p=reject", []dmarc.Identifier{id(dmarc.SPF, "m.example.com", true)}, dmarc.SPFAsked, dmarc.TempError},
		"SPF open, aspf=s":                               {"p=reject; aspf=s", []dmarc.Identifier{id(dmarc.SPF, "m.example.com", true)}, dmarc.SPFAsked, dmarc.Fail},
		"no SPF: nobody knows":                           {"p=reject", []dmarc.Identifier{id(dmarc.DKIM, "example.org", false)}, dmarc.SPFUnasked, dmarc.Unknown},
		"no SPF, DKIM aligned":                           {"p=reject", []dmarc.Identifier{id(dmarc.DKIM, "example.com", false)}, dmarc.SPFUnasked, dmarc.Pass},
		"no SPF, no record":                              {"", nil, dmarc.SPFUnasked, dmarc.None},
		"a pass without a policy of use is no pass":      {"p=x", []dmarc.Identifier{id(dmarc.DKIM, "example.com", false)}, dmarc.SPFAsked, dmarc.PermError},
		"a null sender's HELO is the SPF domain, 3.2.4":  {"p=reject", []dmarc.Identifier{id(dmarc.SPF, "mx.example.com", false)}, dmarc.SPFAsked, dmarc.Pass},
		"several that pass: the first that is aligned":   {"p=reject", []dmarc.Identifier{id(dmarc.DKIM, "example.org", false), id(dmarc.DKIM, "m.example.com", false)}, dmarc.SPFAsked, dmarc.Pass},
		"an identifier that is empty, as of a bad field": {"p=reject", []dmarc.Identifier{id(dmarc.DKIM, "", false)}, dmarc.SPFAsked, dmarc.Fail},
	}
	for name, test := range tests {
		var asked []string
		w := world{}
		if test.record != "" {
			w = zone("example.com: " + test.record)
		}
		var domains []domain.Name
		for _, i := range test.ids {
			domains = append(domains, i.Domain)
		}
		if v := dmarc.Discover(w.lookup(&asked), "example.com", domains).Judge(test.ids, test.spf); v.Result != test.want {
			t.Errorf("%s: got %+v; want %s", name, v, test.want)
		}
	}
}

// While a registry's DNS fails, mail of those below it is not open that have a record of their own; a record further down
// may belong to the same organization as others, or not.
func TestFailureOfASuffix(t *testing.T) {
	t.Parallel()
	for author, results := range map[domain.Name]map[domain.Name]dmarc.Result{
		"example.com":      {"other.com": dmarc.Fail, "com": dmarc.Fail, "mail.example.com": dmarc.Pass, "example.com": dmarc.Pass},
		"news.example.com": {"other.com": dmarc.Fail, "mail.example.com": dmarc.TempError, "example.com": dmarc.TempError, "news.example.com": dmarc.Pass},
	} {
		for id, want := range results {
			var asked []string
			d := dmarc.Discover(zone(string(author)+": p=reject", "com: SERVFAIL").lookup(&asked), author, []domain.Name{id})
			if v := d.Judge([]dmarc.Identifier{{Domain: id}}, dmarc.SPFAsked); v.Result != want {
				t.Errorf("%s, %s: got %+v; want %s", author, id, v, want)
			}
		}
	}
}

// Mail costs few questions: one where the names are equal, three from a subdomain, and a bounded number whatever the signatures are.
func TestQuestionsAreFew(t *testing.T) {
	t.Parallel()
	w := zone("example.com: p=reject", "example.co.uk: p=reject")
	for _, test := range []struct {
		author domain.Name
		ids    string
		want   string
	}{
		{"example.com", "example.com", "example.com"},
		{"example.com", "example.com example.org mail.example.net", "example.com"},
		{"mail.example.com", "example.com", "mail.example.com example.com"},
		{"mail.example.com", "mail.example.com example.com", "mail.example.com example.com"},
		{"example.com", "other.com", "example.com"},
		{"example.co.uk", "other.co.uk co.uk", "example.co.uk"},
		{"a.example.com", "other.com", "a.example.com example.com"}, // for the policy
		{"example.com", "a.example.com a.example.com b.example.com", "example.com a.example.com b.example.com"},
		{"example.com", "1.example.com 2.example.com 3.example.com 4.example.com 5.example.com 6.example.com example.com", "example.com 1.example.com 2.example.com 3.example.com 4.example.com 5.example.com"},
	} {
		var asked []string
		var ids []domain.Name
		for id := range strings.FieldsSeq(test.ids) {
			ids = append(ids, domain.Name(id))
		}
		d := dmarc.Discover(w.lookup(&asked), test.author, ids)
		if got := names(asked); got != test.want {
			t.Errorf("%s, %s: asked %q; want %q", test.author, test.ids, got, test.want)
		}
		if test.author == ids[len(ids)-1] {
			if a, err := d.Alignment(test.author); a != dmarc.AlignStrict || err != nil {
				t.Errorf("%s: %s, %v past the limit of walks", test.author, a, err)
			}
		}
	}
}

// The steps tell what was asked for, why, and what came.
func TestSteps(t *testing.T) {
	t.Parallel()
	var asked []string
	w := zone("example.com: SERVFAIL", "a.example.com: v=spf1 -all", "b.a.example.com: v=DMARC1|v=DMARC1", "c.b.a.example.com: p=none; np=reject")
	d := dmarc.Discover(w.lookup(&asked), "d.c.b.a.example.com", nil)
	var got []string
	for _, s := range d.Steps() {
		line := s.Name + ": " + s.Text
		if s.Err != nil {
			line += s.Err.Error()
		}
		got = append(got, line)
	}
	want := []string{
		"_dmarc.d.c.b.a.example.com: no record: name does not exist",
		"_dmarc.c.b.a.example.com: v=DMARC1; p=none; np=reject",
		"_dmarc.b.a.example.com: several records, of which none counts",
		"_dmarc.a.example.com: no record among those of TXT",
		"_dmarc.example.com: temporary DNS failure: SERVFAIL",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v := d.Judge(nil, dmarc.SPFAsked); !strings.Contains(v.Reason, "SERVFAIL") || !errors.Is(d.Steps()[4].Err, resolver.ErrServerFailure) {
		t.Errorf("reason %q", v.Reason)
	}
}
