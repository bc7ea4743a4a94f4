package verifier_test

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"strings"
)

const keyUnreadable = "key record cannot be read: "

// keyed is a plain message with these strings as the record of its key.
func keyed(name string, want []wantResult, texts ...string) making {
	return making{name: "key-" + name, sign: plainStamp(), zone: record(texts...), want: want}
}

// zoned is a plain message with these lines in DNS.
func zoned(name string, want []wantResult, lines ...string) making {
	return making{name: "dns-" + name, sign: plainStamp(), zone: lines, want: want}
}

func ofBits(bits int) func(*wantResult) { return func(r *wantResult) { r.KeyBits = bits } }

func onTrial(r *wantResult) { r.Testing = true }

func ofEd25519(r *wantResult) { r.Alg, r.Selector, r.KeyBits = "ed25519-sha256", "ed", 256 }

func changed(list []wantResult, change func(*wantResult)) []wantResult {
	change(&list[0])
	return list
}

// bigKey is the SubjectPublicKeyInfo of an RSA key of that many bits, which nobody has the private part of.
func bigKey(bits uint) string {
	n := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), bits-1), big.NewInt(1))
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n, E: 65537})
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// madeKeys: key records and DNS, RFC 6376 sections 3.6.1, 3.6.2.2 and 6.1.2, RFC 8301, RFC 8463.
func madeKeys() []making {
	good := testRecord("rsa2048")
	p := published(testKey("rsa2048"))
	public, _ := testKey("rsa2048").Public().(*rsa.PublicKey)
	edPublic, _ := testKey("ed25519").Public().(ed25519.PublicKey)
	edInfo, err := x509.MarshalPKIXPublicKey(edPublic)
	if err != nil {
		panic(err)
	}
	ed := func(name, text string, want []wantResult) making {
		return making{name: "key-" + name, sign: []*stamp{{key: "ed25519", selector: "ed"}}, zone: []string{txtLine("ed._domainkey.example.org", text)}, want: want}
	}
	spread := func(by string) string { return "v=DKIM1; p=" + p[:10] + by + p[10:200] + by + p[200:] }
	twice := permanent(keyUnreadable + "syntax error: tag occurs more than once: p=")
	noTag := func(n string) []wantResult {
		return permanent(keyUnreadable + "syntax error: tag " + n + " has no =")
	}
	alias := func(from, to string) string { return from + ". 300 IN CNAME " + to + "." }
	padded := func(n int) string {
		head, tail := "v=DKIM1; k=rsa; n=", "; p="+p
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	filler := func(s string) string { return "v=spf1 " + strings.Repeat("include:"+s+".example.net ", 60) + "-all" }
	sized := func(key string, bits int) making {
		return making{
			name: "key-of-" + key, sign: one(func(s *stamp) { s.key = key }), zone: []string{txtLine(madeKeyName, testRecord(key))},
			want: changed(passes(), ofBits(bits)),
		}
	}
	return []making{
		keyed("p-alone", passes(), "p=@"),
		keyed("no-version", passes(), "k=rsa; p=@"),
		keyed("no-type", passes(), "v=DKIM1; p=@"),
		keyed("final-semicolon", passes(), "v=DKIM1;k=rsa;p=@;"),
		keyed("version-not-first", permanent("the TXT record is not a DKIM key"), "k=rsa; v=DKIM1; p=@"),
		keyed("version-2", permanent("the TXT record is not a DKIM key"), "v=DKIM2; p=@"),
		keyed("version-in-lower-case", permanent("the TXT record is not a DKIM key"), "v=dkim1; p=@"),
		keyed("version-with-space", passes(), " v = DKIM1 ; p = @ "),
		keyed("tags-in-capitals", permanent(keyUnreadable+"syntax error: p= is missing"), "V=DKIM1; P=@"),
		keyed("many-strings", passes(), "v=DKIM1", "; k=r", "sa; p", "=@", ";"),
		keyed("space-in-p", passes(), spread(" ")),
		keyed("tab-in-p", passes(), spread("\t")),
		keyed("line-ends-in-p", passes(), spread("\r\n ")),
		keyed("quoted", permanent(keyUnreadable+"syntax error: tag 1 has no valid name"), `"v=DKIM1; k=rsa; p=@"`),
		keyed("quotes-in-p", permanent(keyUnreadable+"syntax error: p= is not base64"), `v=DKIM1; k=rsa; p="@"`),
		keyed("backslashes", permanent(""), `v=DKIM1\; k=rsa\; p=@`),
		keyed("no-semicolons", permanent("the TXT record is not a DKIM key"), "v=DKIM1 k=rsa p=@"),
		keyed("two-semicolons", noTag("2"), "v=DKIM1;; p=@"),
		keyed("word-behind", noTag("4"), "v=DKIM1; k=rsa; p=@; foo"),
		keyed("empty", noTag("1"), ""),
		keyed("of-spf", permanent("the TXT record is not a DKIM key"), "v=spf1 -all"),
		keyed("p-twice", twice, "v=DKIM1; p=@; p="+p),
		keyed("p-missing", permanent(keyUnreadable+"syntax error: p= is missing"), "v=DKIM1; k=rsa"),
		keyed("p-is-space", permanent("key revoked"), "v=DKIM1; k=rsa; p= "),
		keyed("p-garbage", permanent(keyUnreadable+"syntax error: p= is not base64"), "v=DKIM1; p=@*"),
		keyed("p-cut", permanent(""), "v=DKIM1; p="+p[:200]),
		keyed("p-of-something-else", permanent(keyUnreadable+"public key cannot be used: not an RSA key"), "v=DKIM1; p=AAAAAAAA"),
		keyed("p-and-more", permanent(keyUnreadable+"public key cannot be used: not an RSA key"), "v=DKIM1; p=@"+p),
		keyed("p-bare", passes(), "v=DKIM1; p="+base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(public))),
		keyed("type-in-capitals", passes(), "v=DKIM1; k=RSA; p=@"),
		keyed("type-unknown", permanent("unknown key type"), "v=DKIM1; k=dsa; p=@"),
		keyed("type-empty", permanent("unknown key type"), "v=DKIM1; k=; p=@"),
		keyed("type-other-than-p", permanent(keyUnreadable+"public key cannot be used: not an Ed25519 key"), "v=DKIM1; k=ed25519; p=@"),
		keyed("hash-list", passes(), "v=DKIM1; h=sha1 : sha256; p=@"),
		keyed("hash-in-capitals", passes(), "v=DKIM1; h=SHA256; p=@"),
		keyed("hash-unknown", permanent("key does not allow SHA-256"), "v=DKIM1; h=sha512; p=@"),
		keyed("hash-empty", permanent("key does not allow SHA-256"), "v=DKIM1; h=; p=@"),
		keyed("service-any", passes(), "v=DKIM1; s=*; p=@"),
		keyed("service-list", passes(), "v=DKIM1; s=other:email; p=@"),
		keyed("service-empty", permanent("key is not for email"), "v=DKIM1; s=; p=@"),
		keyed("flags-unknown", passes(), "v=DKIM1; t=foo:bar; p=@"),
		keyed("flags-empty", passes(), "v=DKIM1; t=; p=@"),
		keyed("flag-testing", changed(passes(), onTrial), "v=DKIM1; t=y; p=@"),
		{name: "key-flag-testing-broken", sign: plainStamp(), tamper: behind("x\r\n"), zone: record("v=DKIM1; t= s : y ; p=@"), want: changed(fails(), onTrial)},
		{name: "key-flag-strict-same", sign: one(func(s *stamp) { s.tags = " i=ann@Example.ORG;" }), zone: record("v=DKIM1; t=s; p=@"), want: passes()},
		{
			name: "key-flag-strict-and-testing-below", sign: one(func(s *stamp) { s.tags = " i=@a.example.org;" }), zone: record("v=DKIM1; t= y : s ; p=@"),
			want: permanent("i= is below d=, and the key forbids that (t=s)", ofBits(2048), onTrial),
		},
		keyed("note", passes(), "v=DKIM1; n=b=20p=3Dx; p=@"),
		keyed("note-in-utf-8", passes(), "v=DKIM1; n=\xc3\xa4; p=@"),
		keyed("note-in-latin-1", permanent(""), "v=DKIM1; n=\xe4; p=@"),
		keyed("granularity", passes(), "v=DKIM1; g=joe; p=@"),
		keyed("unknown-tags", passes(), "v=DKIM1; xyz=1; a=b=c; p=@"),
		keyed("of-another", fails(), testRecord("other")),
		keyed("of-4096-bytes", passes(), padded(4096)),
		keyed("of-4097-bytes", permanent(""), padded(4097)),
		keyed("of-60-kilobytes", permanent(""), padded(60000)),
		keyed("of-512-bits", permanent("RSA key of 512 bits; want 1024 to 4096", ofBits(512)), "v=DKIM1; p="+bigKey(512)),
		keyed("of-1023-bits", permanent("RSA key of 1023 bits; want 1024 to 4096", ofBits(1023)), "v=DKIM1; p="+bigKey(1023)),
		keyed("of-4097-bits", permanent("RSA key of 4097 bits; want 1024 to 4096", ofBits(4097)), "v=DKIM1; p="+bigKey(4097)),
		keyed("of-16384-bits", permanent("RSA key of 16384 bits; want 1024 to 4096", ofBits(16384)), "v=DKIM1; p="+bigKey(16384)),
		sized("rsa1024", 1024), sized("rsa4096", 4096),

		ed("ed25519", testRecord("ed25519"), changed(plain(), ofEd25519)),
		ed("ed25519-in-capitals", strings.Replace(testRecord("ed25519"), "ed25519", "ED25519", 1), changed(plain(), ofEd25519)),
		ed("ed25519-with-info", "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(edInfo), changed(plain(), ofEd25519)),
		ed("ed25519-short", "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(edPublic[:31]), changed(permanent(""), func(r *wantResult) { ofEd25519(r); r.KeyBits = 0 })),
		ed("ed25519-as-rsa", good, changed(permanent("key is rsa, signature ed25519"), func(r *wantResult) { ofEd25519(r); r.KeyBits = 2048 })),

		zoned("several-keys", passes(), txtLine(madeKeyName, testRecord("other")), txtLine(madeKeyName, good)),
		zoned("several-keys-none-good", fails(), txtLine(madeKeyName, testRecord("other")), txtLine(madeKeyName, "v=spf1 -all")),
		// Over UDP such an answer comes cut (TC): it is asked for over TCP.
		zoned("truncated", passes(), txtLine(madeKeyName, filler("a")), txtLine(madeKeyName, filler("b")), txtLine(madeKeyName, filler("c")), txtLine(madeKeyName, good)),
		zoned("truncated-without-key", permanent("the TXT record is not a DKIM key"), txtLine(madeKeyName, filler("a")), txtLine(madeKeyName, filler("b"))),
		zoned("several-no-key", permanent("the TXT record is not a DKIM key"), txtLine(madeKeyName, "v=spf1 -all"), txtLine(madeKeyName, "v=DMARC1; p=none")),
		zoned("wildcard", passes(), "*.example.org. 300 IN TXT \"v=spf1 -all\"", txtLine(madeKeyName, good)),
		zoned("chain-of-aliases", passes(), alias(madeKeyName, "a.example.net"), alias("a.example.net", "b.example.net"), alias("b.example.net", "c.example.com"), txtLine("c.example.com", good)),
		zoned("alias-of-nothing", permanent("no key at s1._domainkey.example.org (NXDOMAIN)"), alias(madeKeyName, "a.example.net")),
		zoned("alias-without-text", permanent("no key at s1._domainkey.example.org (no TXT record)"), alias(madeKeyName, "a.example.net"), "a.example.net. 300 IN A 192.0.2.1"),
		zoned("loop-of-aliases", temporary(""), alias(madeKeyName, "a.example.net"), alias("a.example.net", madeKeyName)),
		zoned("timeout", temporary(""), "; TIMEOUT "+madeKeyName),
		zoned("empty-non-terminal", permanent("no key at s1._domainkey.example.org (no TXT record)"), "x."+madeKeyName+". 300 IN TXT \"x\""),
		zoned("key-without-domainkey", permanent("no key at s1._domainkey.example.org (NXDOMAIN)"), txtLine("s1.example.org", good)),
		zoned("name-in-capitals", passes(), strings.Replace(txtLine(madeKeyName, good), "s1._domainkey", "S1._DomainKey", 1)),
	}
}

func plain() []wantResult { return []wantResult{plainResult("pass")} }
