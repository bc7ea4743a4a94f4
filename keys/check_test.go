package keys_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"dkimd/internal/dkim"
	"dkimd/internal/resolver"
	"dkimd/keys"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	ours := "v=DKIM1; k=ed25519; p=" + rfc8463Public
	other := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	rsaText := must(keys.NewRecord("example.org", "s1", rsaKey().Public())).Text
	weakKey := must(rsa.GenerateKey(rand.Reader, 1024))
	weakText := must(keys.NewRecord("example.org", "s1", weakKey.Public())).Text
	tests := map[string]struct {
		key    string // content of the file; empty: the key of RFC 8463
		zone   *zone
		state  keys.State
		serves bool
		words  string // Words, wholly
	}{
		"published":               {"", serving(ours), keys.Published, true, "DNS serves this key"},
		"an RSA key":              {rsaPEM(), serving(rsaText), keys.Published, true, "DNS serves this key"},
		"an RSA key without SPKI": {rsaPEM(), serving("p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey))), keys.Published, true, "DNS serves this key"},
		"strict":                  {"", serving(ours + "; t=s"), keys.Published, true, "DNS serves this key"},
		"testing": {
			"", serving(ours + "; t=y"), keys.Testing, true,
			"DNS serves this key with t=y: verifiers treat the mail as if it were unsigned (RFC 6376 section 3.6.1); remove t=y once mail verifies",
		},
		"weak": {
			pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(weakKey)), serving(weakText), keys.Weak, true,
			"DNS serves this key, but it is an RSA key of 1024 bits, and some receivers ignore those below 2048 (RFC 8301 section 3.2): generate a new one",
		},
		"absent": {
			"", &zone{}, keys.Absent, false,
			"DNS has no TXT record at s1._domainkey.example.org; publish it, and give resolvers that have remembered its absence some minutes",
		},
		"no data": {
			"", &zone{failure: resolver.ErrNoData}, keys.Absent, false,
			"DNS has no TXT record at s1._domainkey.example.org; publish it, and give resolvers that have remembered its absence some minutes",
		},
		"another key": {
			"", serving(other), keys.Different, false,
			`DNS serves another key at s1._domainkey.example.org: "v=DKIM1; k=ed25519; p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="; publish this key's record, or sign with the key that belongs to the published one`,
		},
		"a key of another type": {
			rsaPEM(), serving(ours), keys.Different, false,
			`DNS serves another key at s1._domainkey.example.org: "` + ours + `"; publish this key's record, or sign with the key that belongs to the published one`,
		},
		"revoked": {
			"", serving("v=DKIM1; p="), keys.Revoked, false,
			"DNS says at s1._domainkey.example.org that the key is revoked (empty p=); generate a key with a new selector",
		},
		"several, with ours": {
			"", serving(other, ours), keys.Several, false,
			"DNS has 2 TXT records at s1._domainkey.example.org, and one of them is this key's; leave only that one: verifiers take any of them (RFC 6376 section 3.6.2.2)",
		},
		"several, without ours": {
			"", serving(other, "v=spf1 -all", "junk"), keys.Several, false,
			"DNS has 3 TXT records at s1._domainkey.example.org, and none of them is this key's; publish this key's record alone: verifiers take any of them (RFC 6376 section 3.6.2.2)",
		},
		"two halves": {
			"", serving(ours[:40], ours[40:]), keys.Several, false,
			"DNS has 2 TXT records at s1._domainkey.example.org, and together they are this key's: it was cut into records; publish one record of several strings",
		},
		"three parts, in another order": {
			"", serving(ours[50:], ours[:30], ours[30:50]), keys.Several, false,
			"DNS has 3 TXT records at s1._domainkey.example.org, and together they are this key's: it was cut into records; publish one record of several strings",
		},
		"half of it twice": {
			"", serving(ours[:40], ours[:40]), keys.Several, false,
			"DNS has 2 TXT records at s1._domainkey.example.org, and none of them is this key's; publish this key's record alone: verifiers take any of them (RFC 6376 section 3.6.2.2)",
		},
		"an alias without a target": {
			"", &zone{failure: &resolver.Dangling{Target: "k1.esp.example", Err: resolver.ErrNoData}}, keys.Absent, false,
			"s1._domainkey.example.org is an alias (CNAME) of k1.esp.example, which has no TXT record; publish it there, or put the TXT record in the place of the CNAME: the two cannot stand side by side",
		},
		"the domain twice": {
			"", &zone{records: map[string][]string{served + ".example.org": {ours}}}, keys.Absent, false,
			"DNS has no TXT record at s1._domainkey.example.org, and has this key's at s1._domainkey.example.org.example.org: the panel has added example.org once more; enter s1._domainkey as the name",
		},
		"without _domainkey": {
			"", &zone{records: map[string][]string{"s1.example.org": {"v=spf1 -all", ours}}}, keys.Absent, false,
			"DNS has no TXT record at s1._domainkey.example.org, and has this key's at s1.example.org: _domainkey is missing in the name",
		},
		"another key elsewhere": {
			"", &zone{records: map[string][]string{"s1.example.org": {other}}}, keys.Absent, false,
			"DNS has no TXT record at s1._domainkey.example.org; publish it, and give resolvers that have remembered its absence some minutes",
		},
		"no key record": {
			"", serving("v=spf1 -all\n\x1b[2J"), keys.Invalid, false,
			`DNS serves something at s1._domainkey.example.org that verifiers cannot use: it is an SPF record, whose place is the domain itself: "v=spf1 -all\n\x1b[2J"`,
		},
		"a key for something else": {
			"", serving(ours + "; s=tlsrpt"), keys.Invalid, false,
			`DNS serves something at s1._domainkey.example.org that verifiers cannot use: s=tlsrpt (octet 69) is not for email; it is no selector: leave s= out: "` + ours + `; s=tlsrpt"`,
		},
		"a long answer": {
			"", serving(ours + "; n=" + strings.Repeat("x", 5000)), keys.Invalid, false,
			`DNS serves something at s1._domainkey.example.org that verifiers cannot use: too long: "` + (ours + "; n=" + strings.Repeat("x", 5000))[:200] + `..."`,
		},
		"DNS fails": {
			"", &zone{failure: fmt.Errorf("%w: %w", resolver.ErrTemporary, errServer)}, keys.Unreachable, false,
			"DNS could not be asked for s1._domainkey.example.org: temporary DNS failure: SERVFAIL from 127.0.0.1:53",
		},
		"no records without error": {
			"", &zone{records: map[string][]string{served: nil}}, keys.Absent, false,
			"DNS has no TXT record at s1._domainkey.example.org; publish it, and give resolvers that have remembered its absence some minutes",
		},
		"a broken key": {"junk", serving(ours), keys.Unusable, false, "DIR/example.org/s1.pem: got no PEM block; want one RSA or Ed25519 private key as PEM (hint: move it away; dkimd key generate example.org makes a new key)"},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			content := test.key
			if content == "" {
				content = rfc8463PEM
			}
			for file, role := range map[string]string{"s1.pem": "signs", "s1.pem.new": "not yet active"} {
				path := w.write("example.org/"+file, content)
				d, err := keys.Find(keys.Config{Directory: w.dir}, "example.org")
				w.check(err)
				k := append(d.Keys, d.Pending...)[len(d.Keys)+len(d.Pending)-1]
				if k.Path != path {
					t.Fatalf("checked %s, not %s", k.Path, path)
				}
				r := keys.Check(within(t), test.zone, k)
				if r.Seek(within(t), test.zone); r.Serves() && test.zone.asked > 2 {
					t.Error("it is sought though it is there")
				}
				want := strings.ReplaceAll(test.words, "DIR/example.org/s1.pem", path)
				if r.State != test.state || r.Serves() != test.serves || r.Words() != want {
					t.Errorf("%s: %v, serves %v:\n%s\nwant %v, %v:\n%s", file, r.State, r.Serves(), r.Words(), test.state, test.serves, want)
				}
				if got := r.String(); got != "example.org/s1 ("+role+"): "+test.state.String()+": "+want {
					t.Errorf("String: %s", got)
				}
				if got := r.Record.Name; got != served {
					t.Errorf("record at %s", got)
				}
				if test.state != keys.Unusable && r.Record.Text == "" {
					t.Error("no record to publish")
				}
				if test.state == keys.Unusable && test.zone.asked > 0 {
					t.Error("DNS is asked for a key that cannot be used")
				}
				w.check(removeAll(w.path("example.org")))
			}
		})
	}
}

func TestCheckDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem", rfc8463PEM)
	w.write("example.org/s2.pem.new", rsaPEM())
	w.write("example.org/domain.toml", "identity = \"@lists.example.org\"")
	d, err := keys.Find(keys.Config{Directory: w.dir}, "example.org")
	w.check(err)
	z := serving("v=DKIM1; k=ed25519; t=s; p=" + rfc8463Public)
	results := keys.CheckDomain(within(t), z, d, "")
	if len(results) != 2 || results[1].State != keys.Absent || results[0].State != keys.Invalid ||
		!strings.Contains(results[0].Words(), "it says t=s, and the identity @lists.example.org of domain.toml is not in example.org itself") {
		t.Errorf("%v", results)
	}
	if results := keys.CheckDomain(within(t), z, d, "s2"); len(results) != 1 || results[0].Key.Selector != "s2" {
		t.Errorf("with a selector: %v", results)
	}
	w.write("example.org/domain.toml", "identity = \"news@example.org\"")
	d, err = keys.Find(keys.Config{Directory: w.dir}, "example.org")
	w.check(err)
	if results := keys.CheckDomain(within(t), z, d, "s1"); !results[0].Serves() || !results[0].Strict {
		t.Errorf("an identity in the domain itself, t=s: %v", results)
	}
}

func TestStatesHaveNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for s := keys.Unusable; s <= keys.Unreachable; s++ {
		if name := s.String(); seen[name] || strings.ContainsAny(name, " 0123456789") {
			t.Errorf("state %d is called %q", s, name)
		} else {
			seen[name] = true
		}
	}
	if got := keys.State(99).String(); got != "state 99" {
		t.Error(got)
	}
}

// The record in zone-file form is what a name server reads.
func TestRecord(t *testing.T) {
	t.Parallel()
	for count, public := range map[int]crypto.PublicKey{
		1: seedKey().Public(),
		2: rsaKey().Public(),
		3: fakeRSA(4096).Public(),
	} {
		r, err := keys.NewRecord("example.org", "s1", public)
		if err != nil {
			t.Fatal(err)
		}
		rr, err := dns.NewRR(r.String())
		if err != nil {
			t.Fatalf("%s: %v", r, err)
		}
		txt, ok := rr.(*dns.TXT)
		if !ok || txt.Hdr.Name != "s1._domainkey.example.org." || strings.Join(txt.Txt, "") != r.Text || len(txt.Txt) != count {
			t.Errorf("record %s is read as %v", r, rr)
		}
		for i, s := range txt.Txt {
			if len(s) > 255 || len(s) < 255 && i < len(txt.Txt)-1 {
				t.Errorf("string %d has %d bytes", i, len(s))
			}
		}
		record, err := dkim.ParseKeyRecord(r.Text)
		if err != nil || !record.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(public) {
			t.Errorf("%s does not hold the key: %v", r, err)
		}
		if !strings.HasPrefix(r.Text, "v=DKIM1; ") { // RFC 6376 section 3.6.1
			t.Errorf("%s does not begin with its version", r)
		}
	}
}

func TestNewRecordRefusesOtherKeys(t *testing.T) {
	t.Parallel()
	if _, err := keys.NewRecord("example.org", "s1", ecKey().Public()); err == nil ||
		err.Error() != "record of s1._domainkey.example.org: a key of type *ecdsa.PublicKey does not sign mail" {
		t.Errorf("%v", err)
	}
	r, err := keys.NewRecord("example.org", "s1", seedKey().Public().(ed25519.PublicKey))
	if err != nil || r.String() != `s1._domainkey.example.org. IN TXT ( "v=DKIM1; k=ed25519; p=`+rfc8463Public+`" )` {
		t.Errorf("%v %v", r, err)
	}
}
