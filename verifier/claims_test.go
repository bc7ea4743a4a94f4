package verifier_test

import (
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/verifier"
)

func TestClaimsAuthserv(t *testing.T) {
	t.Parallel()
	const yes, no = true, false
	tests := []struct {
		value  string
		claims bool
	}{
		// plain
		{" mx.example.org; dkim=pass", yes},
		{"mx.example.org;dkim=pass", yes},
		{" MX.Example.ORG; dkim=pass", yes},
		{" mx.example.org 1; dkim=pass", yes},
		{" mx.example.org\t1\r\n ; dkim=pass", yes},
		{" mx.example.org.; dkim=pass", yes},
		{" MX.example.org. 1 ; dkim=pass", yes},
		{" mx.example.org; none", yes},
		{" mx.example.org", yes},
		{" mx.example.org;", yes},
		{"\r\n mx.example.org;\r\n dkim=pass", yes},
		{"\n\tmx.example.org;\n\tdkim=pass", yes},
		// quotes
		{` "mx.example.org"; dkim=pass`, yes},
		{` "mx\.example\.org"; dkim=pass`, yes},
		{` "mx.example.org" 1; dkim=pass`, yes},
		{` " mx.example.org "; dkim=pass`, yes},
		{` "mx.example.org; dkim=pass`, yes},
		{` "mx.exa` + "\r\n" + `mple.org"; dkim=pass`, yes},
		{` mx\.example.org; dkim=pass`, yes},
		{` "mx.example.org;"; dkim=pass`, yes},
		// comments
		{" (hello) mx.example.org; dkim=pass", yes},
		{" ()mx.example.org(); dkim=pass", yes},
		{" mx.example.org(x)1(y); dkim=pass", yes},
		{" (a;b) mx.example.org; dkim=pass", yes},
		{` (a\) ; b) mx.example.org; dkim=pass`, yes},
		{" (a(b(c);)d) mx.example.org; dkim=pass", yes},
		{" (a(b) mx.example.org; dkim=pass) foreign.example; dkim=fail", yes}, // for who does not nest
		{" mx(x).example(y).org; dkim=pass", yes},
		{" mx . example . org; dkim=pass", yes},
		{" mx.\r\n example.org; dkim=pass", yes},
		{" (mx.example.org; dkim=pass", yes},
		{" (mx.example.org); dkim=pass", yes},
		{" foreign.example (mx.example.org; dkim=pass", yes}, // cannot be read
		{strings.Repeat("(", 5000) + strings.Repeat(")", 5000) + " mx.example.org; dkim=pass", yes},
		{strings.Repeat("(", 5000) + " mx.example.org; dkim=pass", yes},
		{" \"(\" mx.example.org; dkim=pass", yes},
		// rubbish around it
		{"\x00mx.example.org; dkim=pass", yes},
		{" mx.exam\x00ple.org; dkim=pass", yes},
		{" mx.example.org\x00; dkim=pass", yes},
		{" mx.example.org\x7f; dkim=pass", yes},
		{" \xa0mx.example.org\xa0; dkim=pass", yes},
		{" \u00a0mx.example.org\u200b; dkim=pass", yes},
		{" mx.exam\u00adple.org; dkim=pass", yes},
		{" mx.exam\rple.org; dkim=pass", yes},
		{" ,mx.example.org, ; dkim=pass", yes},
		{" .mx.example.org..; dkim=pass", yes},
		{" <mx.example.org>; dkim=pass", yes},
		{" [mx.example.org]; dkim=pass", yes},
		{" =mx.example.org; dkim=pass", yes},
		{" mx.example.org=1; dkim=pass", yes},
		{" mx.example.org/4XyZ; dkim=pass", yes},
		{" mx.example.org:10024; dkim=pass", yes},
		{" mx.example.org dkim=pass header.d=gmail.com", yes},
		{" 1 mx.example.org; dkim=pass", yes},
		{" xx mx.example.org; dkim=pass", yes},
		{" =?us-ascii?q?mx.example.org?=; dkim=pass", yes},
		// other forms of the name
		{" ｍｘ.example.org; dkim=pass", yes},
		{" mx。example.org; dkim=pass", yes},
		// foreign
		{"", no},
		{" ", no},
		{";", no},
		{"(", no},
		{`"`, no},
		{" mx.example.org.evil.example; dkim=pass", no},
		{" evil.mx.example.org; dkim=pass", no},
		{" not-mx.example.org; dkim=pass", no},
		{" xmx.example.org; dkim=pass", no},
		{" mx.example.orgs; dkim=pass", no},
		{" mx.example.org1; dkim=pass", no},
		{" mx1.example.org; dkim=pass", no},
		{" example.org; dkim=pass", no},
		{" äx.example.org; dkim=pass", no},
		{" mx.example.orgä; dkim=pass", no},
		{" foreign.example; dkim=pass header.d=mx.example.org", no},
		{" foreign.example 1; dkim=pass (mx.example.org)", no},
		{" foreign.example (mx.example.org); dkim=pass", no},
		{" foreign.example dkim=pass header.d=mx.example.org", no},
		{" foreign.example; mx.example.org; dkim=pass", no},
		{" foreign.example/4XyZ; dkim=pass", no},
		{" spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=mx.example.org; dkim=none", no},
		{" mx.google.com;\r\n       dkim=pass header.i=@mx.example.org header.s=s1 header.b=abc;\r\n       spf=pass (google.com: domain of a@mx.example.org designates 192.0.2.1)", no},
	}
	for _, test := range tests {
		if got := verifier.ClaimsAuthserv([]byte(test.value), authserv); got != test.claims {
			t.Errorf("%.80q: got %t; want %t", test.value, got, test.claims)
		}
	}
}

func TestClaimsAuthservOfInternationalNames(t *testing.T) {
	t.Parallel()
	// RFC 8601 sections 2.5 and 5: the authserv-id may be in U-labels.
	ids := []string{"mx.bücher.example", "MX.BÜCHER.example", "mx.xn--bcher-kva.example", "mx.bu\u0308cher.example"}
	for _, id := range ids {
		for _, value := range ids {
			if !verifier.ClaimsAuthserv([]byte(" "+value+"; dkim=pass"), id) {
				t.Errorf("%s is not taken for %s", value, id)
			}
		}
		for _, value := range []string{"mx.bucher.example", "mx.b.example", "bücher.example", "mx.büche.example"} {
			if verifier.ClaimsAuthserv([]byte(" "+value+"; dkim=pass"), id) {
				t.Errorf("%s is taken for %s", value, id)
			}
		}
	}
}

func TestClaimsAuthservOfNothing(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", ";", " ; dkim=pass", "mx.example.org; dkim=pass"} {
		if verifier.ClaimsAuthserv([]byte(value), "") {
			t.Errorf("%q claims to be nobody", value)
		}
	}
}

func TestClaimsAuthservWithADKIMResult(t *testing.T) {
	t.Parallel()
	const yes, no = true, false
	tests := []struct {
		rest   string
		claims bool
	}{
		{"; dkim=pass", yes},
		{"; DKIM=pass", yes},
		{"; dkim = pass", yes},
		{"; dkim/1=pass", yes},
		{"; dkim / 1 = pass", yes},
		{";(x)dkim(y)/(z)1(=)=pass", yes},
		{"; spf=pass; dkim=pass", yes},
		{"; spf=pass smtp.mailfrom=a dkim=pass", yes},
		{";\r\n\tspf=pass;\r\n\tdkim=none", yes},
		{"; dk\x00im=pass", yes},
		{"; \"dkim\"=pass", yes},
		{"; spf=pass (; dkim=pass)", yes}, // for who knows no comments
		{"; spf=pass (; dkim=pass", yes},
		{"; spf=pass (unclosed", yes},
		{"; spf=pass reason=\"unclosed", yes},
		{" dkim=pass", yes},
		{"; what is this", yes},
		{"; =pass", yes},
		{"; spf=pass", no},
		{"; spf=pass smtp.mailfrom=dkim.example", no},
		{"; spf=pass (dkim)", no},
		{"; dkim-adsp=pass", no},
		{"; x-dkim=pass", no},
		{"; none", no},
		{"; none;", no},
		{"", no},
		{" 1; iprev=pass policy.iprev=192.0.2.1; arc=none; dmarc=pass header.from=a.example", no},
	}
	for _, test := range tests {
		if got := verifier.ClaimsAuthserv([]byte(" mx.example.org"+test.rest), authserv, "dkim"); got != test.claims {
			t.Errorf("%q: got %t; want %t", test.rest, got, test.claims)
		}
		// Of several methods one is enough.
		asSPF := strings.NewReplacer("dkim", "spf", "DKIM", "sPf", "dk\x00im", "s\x00pf", "spf", "dkim").Replace(test.rest)
		if got := verifier.ClaimsAuthserv([]byte(" mx.example.org"+asSPF), authserv, "dmarc-x", "spf"); got != test.claims {
			t.Errorf("%q: got %t; want %t", asSPF, got, test.claims)
		}
		if verifier.ClaimsAuthserv([]byte(" foreign.example"+test.rest), authserv, "dkim") {
			t.Errorf("%q: a foreign field claims to be ours", test.rest)
		}
	}
}

func TestClaimsAuthservTakesLinearTime(t *testing.T) {
	t.Parallel()
	const size = 128 << 10
	for _, unit := range []string{"(", ")", "()", "\"", "\\", "a.", " .", ". ", "=", ";", "dkim", "ä", "\u00ad", "a b", "\x00"} {
		value := []byte(strings.Repeat(unit, size/len(unit)))
		took := cputime.Of(func() {
			verifier.ClaimsAuthserv(value, authserv, "dkim")
			verifier.ClaimsAuthserv(append([]byte("mx.example.org;"), value...), authserv, "dkim")
		})
		if took > 3*time.Second {
			t.Errorf("%q: 128 KiB took %s", unit, took)
		}
	}
	var distinct strings.Builder // punycode is slow with many different letters
	for r := rune(0x4e00); distinct.Len() < size; r++ {
		distinct.WriteRune(0x4e00 + (r-0x4e00)%20000)
	}
	if took := cputime.Of(func() { verifier.ClaimsAuthserv([]byte(distinct.String()), authserv, "dkim") }); took > 3*time.Second {
		t.Errorf("128 KiB of letters took %s", took)
	}
}
