package verifier_test

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dkimd/internal/resolver"
	"dkimd/verifier"
)

var errServFail = &resolver.Failure{Cause: errors.New("SERVFAIL from 127.0.0.1")}

// in gives a time in seconds, from now on.
func in(d time.Duration) int64 { return now.Add(d).Unix() }

func TestVerify(t *testing.T) {
	t.Parallel()
	const name = "s1._domainkey.example.org"
	tests := map[string]struct {
		breaks func(*world) // changes one thing in a world that verifies
		want   verifier.Status
		reason error
		words  string // part of Reason, where not empty
	}{
		"nothing broken":                       {func(*world) {}, verifier.Pass, nil, ""},
		"simple/simple":                        {func(w *world) { w.first().canon = "simple/simple" }, verifier.Pass, nil, ""},
		"relaxed means relaxed/simple":         {func(w *world) { w.first().canon = "relaxed" }, verifier.Pass, nil, ""},
		"byte by byte":                         {func(w *world) { w.chunk = 1 }, verifier.Pass, nil, ""},
		"no body":                              {func(w *world) { w.body = "" }, verifier.Pass, nil, ""},
		"Ed25519, RFC 8463":                    {useEd25519, verifier.Pass, nil, ""},
		"i= at d=":                             {func(w *world) { w.first().auid = "ann@example.org" }, verifier.Pass, nil, ""},
		"i= below d=":                          {func(w *world) { w.first().auid = "@a.example.org" }, verifier.Pass, nil, ""},
		"d= and i= differ in case, B2":         {func(w *world) { w.first().domain, w.first().auid = "Example.ORG", "@a.eXample.org" }, verifier.Pass, nil, ""},
		"b= within another tag, B1":            {func(w *world) { w.first().extra = " z=a:x=20b=3D; x_b=1b=;" }, verifier.Pass, nil, ""},
		"absent header signed, RFC 6376 5.4.2": {func(w *world) { w.first().headers += ":subject:x-none" }, verifier.Pass, nil, ""},
		"d= in U-labels, RFC 8616 5": {func(w *world) {
			w.first().domain = "b\u00fccher.example"
			w.dns.records["s1._domainkey.xn--bcher-kva.example"] = []string{w.key()}
		}, verifier.Pass, nil, ""},
		"private suffix as d=": {func(w *world) {
			w.first().domain = "blogspot.com"
			w.dns.records["s1._domainkey.blogspot.com"] = []string{w.key()}
		}, verifier.Pass, nil, ""},
		"x= not over":             {func(w *world) { w.first().extra = fmt.Sprintf(" x=%d;", in(time.Hour)) }, verifier.Pass, nil, ""},
		"x= over within the skew": {func(w *world) { w.first().extra = fmt.Sprintf(" x=%d;", in(-4*time.Minute)) }, verifier.Pass, nil, ""},
		"t= 23 h ahead":           {func(w *world) { w.first().extra = fmt.Sprintf(" t=%d;", in(23*time.Hour)) }, verifier.Pass, nil, ""},
		"l= covers all":           {func(w *world) { w.first().length = int64(len(w.body)) }, verifier.Pass, nil, ""},
		"l= honoured": {func(w *world) {
			w.first().length = 5
			w.config.HonourBodyLength = true
			w.tamper = func(w *world) { w.body += "more" }
		}, verifier.Pass, nil, ""},
		"SPF beside the key, B4":        {func(w *world) { w.setKey("v=spf1 -all", w.key(), "x") }, verifier.Pass, nil, ""},
		"revoked key beside a good one": {func(w *world) { w.setKey("v=DKIM1; p=", w.key()) }, verifier.Pass, nil, ""},
		"fourth key verifies": {func(w *world) {
			other := rsaRecord(otherRSAKey())
			w.setKey(other, other, other, w.key())
		}, verifier.Pass, nil, ""},
		"fifth key is not tried": {func(w *world) {
			other := rsaRecord(otherRSAKey())
			w.setKey(other, other, other, other, w.key())
		}, verifier.Fail, verifier.ErrSignature, ""},
		"key with t=s":             {func(w *world) { w.setKey(w.key() + "; t=s") }, verifier.Pass, nil, ""},
		"key for sha256 and email": {func(w *world) { w.setKey(w.key() + "; h=sha1:sha256; s=other:email") }, verifier.Pass, nil, ""},
		"key in PKCS#1 form": {func(w *world) {
			w.setKey("p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)))
		}, verifier.Pass, nil, ""},

		// fail
		"body changed":         {func(w *world) { w.tamper = func(w *world) { w.body += "x" } }, verifier.Fail, verifier.ErrBodyHash, "body hash did not verify"},
		"signed field changed": {func(w *world) { w.tamper = func(w *world) { w.header[1][1] = " Eve <ann@example.org>" } }, verifier.Fail, verifier.ErrSignature, "signature did not verify"},
		"signed field added below": {func(w *world) {
			w.tamper = func(w *world) { w.header = append(w.header, [2]string{"Subject", " another"}) }
		}, verifier.Fail, verifier.ErrSignature, ""},
		"oversigned field added": {func(w *world) {
			w.first().headers += ":subject"
			w.tamper = func(w *world) { w.header = append(w.header, [2]string{"Subject", " another"}) }
		}, verifier.Fail, verifier.ErrSignature, ""},
		"another key":                           {func(w *world) { w.setKey(rsaRecord(otherRSAKey())) }, verifier.Fail, verifier.ErrSignature, ""},
		"Ed25519 by another key":                {func(w *world) { useEd25519(w); w.setKey(ed25519Record(newEd25519())) }, verifier.Fail, verifier.ErrSignature, ""},
		"b= cut short":                          {func(w *world) { w.first().spoil = func(v string) string { return v[:len(v)-8] } }, verifier.Fail, verifier.ErrSignature, ""},
		"l= longer than the body, RFC 6376 3.5": {func(w *world) { w.first().length = 5000 }, verifier.Fail, verifier.ErrBodyHash, "l=5000, but the body has 28 bytes"},
		"broken body and expired": {func(w *world) {
			w.first().extra = fmt.Sprintf(" x=%d;", in(-time.Hour))
			w.tamper = func(w *world) { w.body += "x" }
		}, verifier.Fail, verifier.ErrBodyHash, ""},
		"broken signature and expired": {func(w *world) {
			w.first().extra = fmt.Sprintf(" x=%d;", in(-time.Hour))
			w.setKey(rsaRecord(otherRSAKey()))
		}, verifier.Fail, verifier.ErrSignature, ""},
		"broken signature and future-dated": {func(w *world) {
			w.first().extra = fmt.Sprintf(" t=%d;", in(48*time.Hour))
			w.setKey(rsaRecord(otherRSAKey()))
		}, verifier.Fail, verifier.ErrSignature, ""},
		"broken signature and l=": {func(w *world) {
			w.first().length = 5
			w.setKey(rsaRecord(otherRSAKey()))
		}, verifier.Fail, verifier.ErrSignature, ""},
		"broken signed part under l=": {func(w *world) {
			w.first().length = 5
			w.tamper = func(w *world) { w.body = "J" + w.body[1:] }
		}, verifier.Fail, verifier.ErrBodyHash, ""},

		// policy
		"expired":           {func(w *world) { w.first().extra = fmt.Sprintf(" x=%d;", in(-6*time.Minute)) }, verifier.Policy, verifier.ErrExpired, "expired 2026-06-01T11:54:00Z"},
		"dated 25 h ahead":  {func(w *world) { w.first().extra = fmt.Sprintf(" t=%d;", in(25*time.Hour)) }, verifier.Policy, verifier.ErrFuture, "dated in the future: 2026-06-02T13:00:00Z"},
		"dated for ever":    {func(w *world) { w.first().extra = " t=999999999999;" }, verifier.Policy, verifier.ErrFuture, "@999999999999"},
		"l= leaves content": {func(w *world) { w.first().length = 5 }, verifier.Policy, verifier.ErrPartialBody, "l= leaves 23 bytes unsigned"},
		"l=0":               {func(w *world) { w.first().length = 0 }, verifier.Policy, verifier.ErrPartialBody, ""},
		"content behind l= only": {func(w *world) {
			w.first().length = int64(len(w.body))
			w.tamper = func(w *world) { w.body += "buy!\r\n" }
		}, verifier.Policy, verifier.ErrPartialBody, "l= leaves 6 bytes unsigned"},

		// temperror
		"key server fails, RFC 8601 2.7.1":   {func(w *world) { w.dns.fail(name, errServFail) }, verifier.TempError, verifier.ErrKeyUnavailable, "key server failed: SERVFAIL from 127.0.0.1"},
		"resolver gives an error of no kind": {func(w *world) { w.dns.fail(name, errors.New("odd")) }, verifier.TempError, verifier.ErrKeyUnavailable, "key server failed: odd"},
		"key server fails and body broken": {func(w *world) {
			w.dns.fail(name, errServFail)
			w.tamper = func(w *world) { w.body += "x" }
		}, verifier.TempError, verifier.ErrKeyUnavailable, ""},

		// permerror
		"no key, explained": {func(w *world) {
			w.dns.fail(name, &resolver.Explained{Words: "Blocked: by\x1b policy", Err: resolver.ErrNotExist})
		}, verifier.PermError, verifier.ErrKeyAbsent, "no key at s1._domainkey.example.org (NXDOMAIN; Blocked: by? policy)"},
		"no data, explained": {func(w *world) {
			w.dns.fail(name, &resolver.Explained{Words: "Filtered", Err: resolver.ErrNoData})
		}, verifier.PermError, verifier.ErrKeyAbsent, "no key at s1._domainkey.example.org (no TXT record; Filtered)"},
		"DNSSEC bogus": {func(w *world) {
			w.dns.fail(name, &resolver.Failure{Cause: &resolver.Explained{Words: "DNSSEC Bogus", Err: resolver.ErrServerFailure}})
		}, verifier.TempError, verifier.ErrKeyUnavailable, "key server failed: SERVFAIL (DNSSEC Bogus)"},
		"no key":        {func(w *world) { delete(w.dns.records, name) }, verifier.PermError, verifier.ErrKeyAbsent, "no key at s1._domainkey.example.org (NXDOMAIN)"},
		"no TXT record": {func(w *world) { w.setKey() }, verifier.PermError, verifier.ErrKeyAbsent, "(no TXT record)"},
		"name too long": {func(w *world) {
			w.first().domain = strings.Repeat("a234567890.", 20) + "example.org"
			w.first().selector = strings.Repeat("s234567890.", 5) + "s"
		}, verifier.PermError, verifier.ErrSyntax, ""},
		"key revoked, RFC 6376 3.6.1":       {func(w *world) { w.setKey("v=DKIM1; p=") }, verifier.PermError, verifier.ErrKeyRevoked, "key revoked"},
		"revocation tells more than junk":   {func(w *world) { w.setKey("v=spf1 -all", "v=DKIM1; p=", "p=!") }, verifier.PermError, verifier.ErrKeyRevoked, ""},
		"only SPF at the name":              {func(w *world) { w.setKey("v=spf1 -all") }, verifier.PermError, verifier.ErrKeySyntax, ""},
		"p= is no key":                      {func(w *world) { w.setKey("v=DKIM1; p=AAAA") }, verifier.PermError, verifier.ErrKeySyntax, ""},
		"key record over 4096 bytes":        {func(w *world) { w.setKey(w.key() + "; n=" + strings.Repeat("x", 4096)) }, verifier.PermError, verifier.ErrKeySyntax, ""},
		"key of another type":               {func(w *world) { w.setKey(ed25519Record(ed25519Key())) }, verifier.PermError, verifier.ErrKeyMismatch, "key is ed25519, signature rsa"},
		"key of unknown type":               {func(w *world) { w.setKey("v=DKIM1; k=dsa; p=AAAA") }, verifier.PermError, verifier.ErrKeyMismatch, ""},
		"key for sha1 only, RFC 6376 3.6.1": {func(w *world) { w.setKey(w.key() + "; h=sha1") }, verifier.PermError, verifier.ErrKeyMismatch, ""},
		"key for another service":           {func(w *world) { w.setKey(w.key() + "; s=tlsrpt") }, verifier.PermError, verifier.ErrKeyMismatch, ""},
		"subdomain i= under t=s, 3.6.1": {func(w *world) {
			w.setKey(w.key() + "; t=y:s")
			w.first().auid = "@a.example.org"
		}, verifier.PermError, verifier.ErrDomainMismatch, "t=s"},
		"RSA key too small, RFC 8301 3.2": {func(w *world) { w.config.MinRSABits = 3072 }, verifier.PermError, verifier.ErrKeySize, "RSA key of 2048 bits; want 3072 to 4096"},
		"RSA key too large":               {func(w *world) { w.config.MaxRSABits = 1024 }, verifier.PermError, verifier.ErrKeySize, ""},
		"RSA key of 512 bits":             {func(w *world) { w.setKey("v=DKIM1; p=" + rsa512) }, verifier.PermError, verifier.ErrKeySize, ""},
		"rsa-sha1, RFC 8301 3.1":          {func(w *world) { w.first().algorithm = "rsa-sha1" }, verifier.PermError, verifier.ErrAlgorithm, "algorithm rsa-sha1 is not supported"},
		"unknown algorithm":               {func(w *world) { w.first().algorithm = "rsa-md5" }, verifier.PermError, verifier.ErrAlgorithm, ""},
		"public suffix as d=": {func(w *world) {
			w.first().domain = "co.uk"
			w.dns.records["s1._domainkey.co.uk"] = []string{w.key()}
		}, verifier.PermError, verifier.ErrPublicSuffix, "d=co.uk is a public suffix"},
		"top-level domain as d=, dot behind, B9": {func(w *world) {
			w.first().domain = "org."
			w.dns.records["s1._domainkey.org"] = []string{w.key()}
		}, verifier.PermError, nil, ""},
		"no-break space in d=, B9":      {func(w *world) { w.first().domain = "exam\u00a0ple.org" }, verifier.PermError, nil, ""},
		"i= outside d=":                 {func(w *world) { w.first().auid = "ann@example.com" }, verifier.PermError, verifier.ErrDomainMismatch, ""},
		"i= beside d=":                  {func(w *world) { w.first().auid = "@evilexample.org" }, verifier.PermError, verifier.ErrDomainMismatch, ""},
		"i= without @, B3":              {func(w *world) { w.first().auid = "a.example.org" }, verifier.PermError, nil, ""},
		"From not signed, RFC 6376 5.4": {func(w *world) { w.first().headers = "to:subject" }, verifier.PermError, verifier.ErrFromUnsigned, "the From field is not signed"},
		"version 2":                     {spoil("v=1", "v=2"), verifier.PermError, verifier.ErrSyntax, ""},
		"no version":                    {spoil("v=1;", ""), verifier.PermError, verifier.ErrSyntax, ""},
		"no d=":                         {spoil("d=example.org;", ""), verifier.PermError, verifier.ErrSyntax, ""},
		"no s=":                         {spoil("s=s1;", ""), verifier.PermError, verifier.ErrSyntax, ""},
		"duplicate tag":                 {spoil("d=example.org;", "d=example.org; d=example.org;"), verifier.PermError, verifier.ErrSyntax, ""},
		"rubbish":                       {spoil("v=1", "\x00;;;"), verifier.PermError, verifier.ErrSyntax, ""},
		"x= before t=, RFC 6376 3.5":    {func(w *world) { w.first().extra = " t=1700000000; x=1600000000;" }, verifier.PermError, verifier.ErrSyntax, ""},
		"field over 64 KiB":             {func(w *world) { w.first().extra = " z=" + strings.Repeat("x", 64<<10) + ";" }, verifier.PermError, verifier.ErrSyntax, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			test.breaks(w)
			r := w.one(t)
			if r.Status != test.want {
				t.Errorf("got %s (%s); want %s", r.Status, r.Reason(), test.want)
			}
			if test.reason != nil && !errors.Is(r.Err, test.reason) {
				t.Errorf("got error %v; want %v", r.Err, test.reason)
			}
			if !strings.Contains(r.Reason(), test.words) {
				t.Errorf("got reason %q; want %q", r.Reason(), test.words)
			}
			if (r.Status == verifier.Pass) != (r.Err == nil) || (r.Err == nil) != (r.Reason() == "") {
				t.Errorf("got %s with error %v", r.Status, r.Err)
			}
		})
	}
}

func useEd25519(w *world) {
	w.first().key = ed25519Key()
	w.first().algorithm = "ed25519-sha256"
	w.setKey(ed25519Record(ed25519Key()))
}

func spoil(from, to string) func(*world) {
	return func(w *world) {
		w.first().spoil = func(value string) string { return strings.Replace(value, from, to, 1) }
	}
}

func TestVerifyDescribesTheSignature(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.dns.auth = true
	w.setKey(w.key() + "; t=y")
	s := w.first()
	s.domain, s.auid, s.canon = "Mail.example.org", "ann@mail.example.org", "simple/relaxed"
	s.extra = fmt.Sprintf(" t=%d; x=%d;", in(-time.Hour), in(time.Hour))
	s.length = int64(len(w.body))
	w.dns.records["s1._domainkey.mail.example.org"] = []string{w.key()}
	r := w.one(t)
	_, b, _ := strings.Cut(w.fields[0], " b=")
	switch {
	case r.Status != verifier.Pass,
		r.Domain != "mail.example.org", r.Selector != "s1", r.Algorithm != "rsa-sha256",
		r.Canonicalization != "simple/relaxed", r.Identity != "ann@mail.example.org", r.B != b[:8],
		strings.Join(r.Headers, ":") != "from:to:subject", r.KeyBits != 2048, !r.Testing,
		r.Timestamp != in(-time.Hour), r.Expiration != in(time.Hour), r.BodyLength != int64(len(w.body)),
		r.Aligned != verifier.AlignRelaxed, !r.Authenticated:
		t.Errorf("got %+v", r)
	}
}

func TestVerifyLeavesAbsentTagsAbsent(t *testing.T) {
	t.Parallel()
	r := newWorld().one(t)
	if r.Timestamp != -1 || r.Expiration != -1 || r.BodyLength != -1 || r.Testing || r.Authenticated {
		t.Errorf("got %+v", r)
	}
	if r.Identity != "@example.org" {
		t.Errorf("got i=%q; want @example.org (RFC 6376 section 3.5)", r.Identity)
	}
}

func TestVerifyReportsTestingForRevokedKeys(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.setKey("v=DKIM1; t=y; p=")
	if r := w.one(t); r.Status != verifier.PermError || !r.Testing {
		t.Errorf("got %s, testing %t; want permerror of a testing key", r.Status, r.Testing)
	}
}

func TestVerifyAlignment(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		from   []string
		domain string
		want   verifier.Alignment
	}{
		"the same":                 {[]string{" ann@example.org"}, "example.org", verifier.AlignStrict},
		"the same in another case": {[]string{" ann@EXAMPLE.org"}, "example.ORG", verifier.AlignStrict},
		"below":                    {[]string{" ann@a.example.org"}, "example.org", verifier.AlignRelaxed},
		"beside":                   {[]string{" ann@a.example.org"}, "b.example.org", verifier.AlignRelaxed},
		"foreign":                  {[]string{" ann@example.com"}, "example.org", verifier.AlignNone},
		"under one suffix":         {[]string{" ann@a.co.uk"}, "b.co.uk", verifier.AlignNone},
		"two From fields":          {[]string{" ann@example.org", " ann@example.org"}, "example.org", verifier.AlignNone},
		"two domains":              {[]string{" ann@example.org, bob@example.com"}, "example.org", verifier.AlignNone},
		"two authors of one":       {[]string{" ann@example.org, bob@example.org"}, "example.org", verifier.AlignStrict},
		"no From":                  {nil, "example.org", verifier.AlignNone},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.header = w.header[1:]
			for _, from := range test.from {
				w.header = append(w.header, [2]string{"From", from})
			}
			w.first().domain = test.domain
			if r := w.one(t); r.Aligned != test.want {
				t.Errorf("got %s; want %s", r.Aligned, test.want)
			}
		})
	}
}

func TestVerifyWithoutSignatures(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.sign = nil
	if report := w.verify(t); len(report.Results) != 0 || policyIn(report) != "unasked" {
		t.Errorf("got %+v; want nothing", report)
	}
}

func TestNewNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := verifier.New(verifier.Config{MaxSignatures: 101, MinRSABits: 512, MaxRSABits: 256, ClockSkew: -1, Timeout: -1})
	for _, want := range []string{"Resolver", "MaxSignatures", "MinRSABits", "MaxRSABits", "ClockSkew", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %s in it", err, want)
		}
	}
}

func TestNewWorksWithDefaults(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.config = verifier.Config{Resolver: w.dns}
	if r := w.one(t); r.Status != verifier.Pass {
		t.Errorf("got %s (%s); want pass", r.Status, r.Reason())
	}
}

func TestStatusWords(t *testing.T) {
	t.Parallel()
	// RFC 8601 section 2.7.1.
	words := []string{"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"}
	for i, want := range words {
		text, err := verifier.Status(i).MarshalText()
		if string(text) != want || err != nil {
			t.Errorf("status %d: got %q, %v; want %q", i, text, err, want)
		}
	}
}

// rsa512 is a key that crypto/rsa will not make.
const rsa512 = "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALdsgZYPfkXoivyH8hRZmKWF47XYjRgoo+gqYcvELe4oRhg9UTImBgSJ8OQ5BUPq3QsJgbg22Jwj4MvF+il4RHsCAwEAAQ=="
