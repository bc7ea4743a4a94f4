package verifier_test

import (
	"strconv"
	"strings"
)

const cannotRead = "signature field cannot be read: "

// rewritten is a field with something replaced before it is signed.
func rewritten(name, old, by string, want []wantResult) making {
	return making{name: "field-" + name, sign: one(func(s *stamp) { s.rewrite = replace(old, by) }), want: want}
}

// tagged is a field with more tags.
func tagged(name, tags string, want []wantResult) making {
	return making{name: "field-" + name, sign: one(func(s *stamp) { s.tags = tags }), want: want}
}

func noAlgorithm(r *wantResult) { r.Alg = "" }
func noDomain(r *wantResult)    { r.Domain, r.Aligned = "", "none" }
func noSelector(r *wantResult)  { r.Selector = "" }

// signedAs signs with a canonicalization that the field says in its own way.
func signedAs(canon, old, by, name string, want []wantResult) making {
	return making{name: "field-" + name, sign: one(func(s *stamp) {
		s.canon, s.signedAs, s.rewrite = "relaxed/relaxed", canon, replace(old, by)
	}), want: want}
}

// madeFields: the DKIM-Signature field, RFC 6376 sections 3.2, 3.5, 5.4 and 6.1.1.
func madeFields() []making {
	unix := func(minutes int64) string { return strconv.FormatInt(madeNow.Unix()+60*minutes, 10) }
	length := func(name, body string, n int, canon string, want []wantResult) making {
		return making{name: "field-length-" + name, body: body, want: want, sign: one(func(s *stamp) {
			s.canon, s.length, s.tags = canon, n+1, " l="+strconv.Itoa(n)+";"
		})}
	}
	many := func(n int) string { return "from:to:subject:date" + strings.Repeat(":x", n-4) }
	syntax := func(detail string, change ...func(*wantResult)) []wantResult {
		return permanent(cannotRead+"syntax error: "+detail, change...)
	}
	missing := func(tag string, change ...func(*wantResult)) []wantResult {
		return permanent(cannotRead+"required tag is missing: "+tag+"=", change...)
	}
	return []making{
		// b= and where it does not stand.
		tagged("b-in-z", " z=From:ann=40example.org|Subject:b=3D;", passes()),
		tagged("b-in-z-behind-a-space", " z=Subject: b=abc;", passes()),
		tagged("b-in-i", " i=b=3db@example.org;", func() []wantResult { r := passes(); r[0].Identity = "b=b@example.org"; return r }()),
		tagged("b-ends-a-name", " xb=1; x_b=b=2;", passes()),
		tagged("b-in-capitals", " B=abc;", passes()),
		{name: "field-b-first", want: passes(), sign: one(func(s *stamp) {
			s.rewrite = func(field string) string {
				return strings.Replace(strings.Replace(field, ";\r\n\tb={b}", "", 1), " v=1;", "b={b}; v=1;", 1)
			}
		})},
		rewritten("b-with-space", "\tb={b}", "\tb \t= \r\n {b}", passes()),
		{name: "field-b-folded-elsewhere", sign: canon("simple/simple"), tamper: func(s string) string {
			head, tail, _ := strings.Cut(s, "\tb=")
			value, rest, _ := strings.Cut(tail, "\r\nFrom")
			return head + "\tb=" + strings.ReplaceAll(value, "\r\n\t", "") + " \r\nFrom" + rest
		}, want: passes()},
		{name: "field-folded-elsewhere-simple", sign: canon("simple/simple"), tamper: replace("\r\n\tbh=", " bh="), want: fails()},
		{name: "field-folded-elsewhere-relaxed", tamper: replace("\r\n\tbh=", " bh="), sign: plainStamp(), want: passes()},
		{name: "field-name-in-other-case", tamper: replace("DKIM-Signature", "dkim-signature"), sign: plainStamp(), want: passes()},
		{name: "field-name-in-other-case-simple", tamper: replace("DKIM-Signature", "dkim-signature"), sign: canon("simple/simple"), want: fails()},
		{name: "field-below-the-others", sign: plainStamp(), want: passes(), tamper: func(s string) string {
			field, rest, _ := strings.Cut(s, "\r\nFrom")
			return below(field + "\r\n")("From" + rest)
		}},
		rewritten("folds-in-values", "h=from:to:subject:date;", "h=\r\n from\r\n\t:to \r\n : subject:\r\n date\r\n ;", passes()),
		rewritten("folds-in-bh", "bh={bh};", "bh = \r\n {bh}\r\n ;", passes()),
		rewritten("folds-between-names", "a=rsa-sha256; c=", "a\r\n =\r\n rsa-sha256\r\n ;\r\n\tc\t=\t", passes()),
		rewritten("no-white-space", "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s1;\r\n\th=", "v=1;a=rsa-sha256;c=relaxed/relaxed;d=example.org;s=s1;h=", passes()),
		rewritten("final-semicolon", "{b}", "{b};", passes()),
		rewritten("final-semicolon-and-space", "{b}", "{b} ; ", passes()),
		rewritten("two-final-semicolons", "{b}", "{b};;", syntax("tag 9 has no =")),
		rewritten("empty-tag", "v=1;", "v=1;;", syntax("tag 2 has no =", noAlgorithm, noDomain, noSelector)),
		tagged("unknown-tags", " xyz=1; x_9=; Z9= a b\tc ;", passes()),
		tagged("unknown-tag-twice", " xyz=1; xyz=1;", permanent(cannotRead+"tag occurs more than once: xyz=")),
		rewritten("d-twice", "s=s1;", "s=s1; d=example.org;", permanent(cannotRead+"tag occurs more than once: d=")),
		rewritten("b-twice", "v=1;", "v=1; b=;", permanent("")),
		tagged("names-in-capitals", " D=example.com; V=2; H=x;", passes()),
		tagged("name-with-hyphen", " x-y=1;", syntax("tag 7 has no valid name")),
		tagged("name-with-digit", " 1x=1;", syntax("tag 7 has no valid name")),
		tagged("no-equals-sign", " xyz;", syntax("tag 7 has no =")),
		tagged("utf-8", " xyz=\xc3\xa4\xe2\x82\xac;", passes()),
		tagged("invalid-utf-8", " xyz=\xff;", syntax("xyz= holds a character that is not allowed")),
		tagged("control-character", " xyz=a\x01b;", syntax("xyz= holds a character that is not allowed")),
		tagged("nul", " xyz=a\x00b;", syntax("xyz= holds a character that is not allowed")),
		tagged("bare-cr", " xyz=a\rb;", syntax("xyz= holds a character that is not allowed")),

		rewritten("v-2", "v=1", "v=2", permanent(cannotRead+"signature version is not 1")),
		rewritten("v-empty", "v=1", "v=", permanent(cannotRead+"signature version is not 1")),
		rewritten("v-01", "v=1", "v=01", permanent(cannotRead+"signature version is not 1")),
		rewritten("v-with-space", "v=1", "v= 1 ", passes()),
		rewritten("v-last", "v=1; a", "a", missing("v")),
		rewritten("a-missing", " a=rsa-sha256;", "", missing("a", noAlgorithm)),
		rewritten("a-in-capitals", "rsa-sha256", "RSA-SHA256", passes()),
		rewritten("a-unknown", "rsa-sha256", "rsa-sha512", permanent("algorithm rsa-sha512 is not supported", func(r *wantResult) { r.Alg = "rsa-sha512" })),
		rewritten("a-of-the-other-type", "rsa-sha256", "ed25519-sha256", func() []wantResult {
			return permanent("key is rsa, signature ed25519", func(r *wantResult) { r.Alg, r.KeyBits = "ed25519-sha256", 2048 })
		}()),
		rewritten("d-missing", " d=example.org;", "", missing("d", noDomain)),
		rewritten("s-missing", " s=s1;", "", missing("s", noSelector)),
		rewritten("h-missing", "h=from:to:subject:date;", "", missing("h")),
		rewritten("bh-missing", "bh={bh};", "", missing("bh")),
		rewritten("bh-garbage", "{bh}", "{bh}*", syntax("bh= is not base64")),
		rewritten("bh-short", "{bh}", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", fails()),
		rewritten("bh-empty", "{bh}", "", syntax("bh= is not base64")),
		{name: "field-b-empty", sign: plainStamp(), want: syntax("b= is not base64"), tamper: func(s string) string {
			head, tail, _ := strings.Cut(s, "\tb=")
			_, rest, _ := strings.Cut(tail, "\r\nFrom")
			return head + "\tb=\r\nFrom" + rest
		}},
		{name: "field-b-missing", sign: plainStamp(), want: missing("b"), tamper: func(s string) string {
			head, tail, _ := strings.Cut(s, ";\r\n\tb=")
			_, rest, _ := strings.Cut(tail, "\r\nFrom")
			return head + "\r\nFrom" + rest
		}},

		signedAs("simple/simple", " c=relaxed/relaxed;", "", "c-missing", passes()),
		signedAs("relaxed/simple", "c=relaxed/relaxed;", "c=relaxed;", "c-one-word", passes()),
		signedAs("simple/relaxed", "c=relaxed/relaxed;", "c=SIMPLE/Relaxed;", "c-in-capitals", passes()),
		rewritten("c-unknown", "c=relaxed/relaxed", "c=nowsp/relaxed", syntax("unknown canonicalization in c=")),
		rewritten("c-empty", "c=relaxed/relaxed", "c=", syntax("unknown canonicalization in c=")),
		rewritten("c-half", "c=relaxed/relaxed", "c=relaxed/", syntax("unknown canonicalization in c=")),
		rewritten("c-of-three", "c=relaxed/relaxed", "c=relaxed/relaxed/relaxed", syntax("unknown canonicalization in c=")),

		tagged("q", " q=dns/txt;", passes()),
		tagged("q-others-too", " q=ldap/x : DNS/TXT;", passes()),
		tagged("q-others-only", " q=dns;", permanent(cannotRead+"unknown query method")),
		tagged("q-empty", " q=;", permanent("")),
		tagged("q-method-without-name", " q=dns/txt:;", permanent("")),

		rewritten("h-from-only", "h=from:to:subject:date", "h=from", fails()), // signed with more
		{name: "field-h-in-capitals", sign: one(func(s *stamp) { s.names = "FROM:TO" }), want: passes()},
		{name: "field-h-final-colon", sign: one(func(s *stamp) { s.names = "from:to:" }), want: syntax("h= holds a word that is not a field name")},
		{name: "field-h-empty", sign: one(func(s *stamp) { s.names, s.rewrite = "from", replace("h=from", "h=") }), want: permanent("")},
		{name: "field-h-1000-names", sign: one(func(s *stamp) { s.names = many(1000) }), want: passes()},
		{name: "field-h-1001-names", sign: one(func(s *stamp) { s.names = many(1001) }), want: permanent(cannotRead + "h= has too many names")},
		{name: "field-h-names-itself", sign: one(func(s *stamp) { s.names = "from:dkim-signature" }), want: passes()},
		{name: "field-h-names-another", sign: []*stamp{{names: "from:dkim-signature"}, {}}, want: append(passes(), passes()...)},
		{name: "field-h-names-another-changed", sign: []*stamp{{names: "from:dkim-signature"}, {tags: " xyz=1;"}}, tamper: replace("xyz=1", "xyz=2"), want: append(fails(), fails()...)},

		tagged("i-in-other-case", " i=Ann@EXAMPLE.org;", passes()),
		tagged("i-subdomain", " i=@a.b.example.org;", passes()),
		tagged("i-without-at", " i=example.org;", syntax("i= has no @")),
		tagged("i-empty", " i=;", syntax("i= has no @")),
		tagged("i-of-a-longer-name", " i=@evilexample.org;", permanent("i= is not within d=")),
		tagged("i-above", " i=@org;", permanent("i= is not within d=")),
		tagged("i-encoded", " i=ann=2Bx=20y@example.org;", func() []wantResult { r := passes(); r[0].Identity = "ann+x y@example.org"; return r }()),
		tagged("i-badly-encoded", " i=ann=4@example.org;", syntax("bad dkim-quoted-printable")),
		tagged("i-with-a-fold", " i=an\r\n n@example.org\r\n ;", func() []wantResult { r := passes(); r[0].Identity = "ann@example.org"; return r }()),
		tagged("i-with-empty-label", " i=@a..example.org;", permanent("")),

		tagged("x-ahead", " t="+unix(-10)+"; x="+unix(10)+";", passes()),
		tagged("x-within-skew", " x="+unix(-4)+";", passes()),
		tagged("x-equals-t", " t="+unix(10)+"; x="+unix(10)+";", permanent(cannotRead+"x= is not later than t=")),
		tagged("x-before-t", " t="+unix(-10)+"; x="+unix(-20)+";", permanent(cannotRead+"x= is not later than t=")),
		tagged("x-0", " x=0;", isPolicy("expired 1970-01-01T00:00:00Z")),
		tagged("x-huge", " x=99999999999999999999999;", passes()),
		tagged("x-negative", " x=-1;", syntax("x= is not a number")),
		tagged("x-empty", " x=;", syntax("x= is not a number")),
		tagged("t-0", " t=0;", passes()),
		tagged("t-in-23-hours", " t="+unix(23*60)+";", passes()),
		tagged("t-huge", " t=9999999999999;", isPolicy("")),
		tagged("t-not-a-number", " t=now;", syntax("t= is not a number")),

		length("0", madeBody, 0, "relaxed/simple", isPolicy("l= leaves 46 bytes unsigned")),
		length("0-of-none", none, 0, "relaxed/relaxed", passes()),
		length("2-of-none", none, 2, "relaxed/simple", passes()),
		length("at", "a\r\nb\r\n", 6, "relaxed/simple", passes()),
		length("at-and-line-ends", "a\r\nb\r\n\r\n\r\n", 6, "relaxed/simple", passes()),
		length("one-below", "a\r\nb\r\n", 5, "relaxed/simple", isPolicy("l= leaves 1 bytes unsigned")),
		length("one-above", "a\r\nb\r\n", 7, "relaxed/simple", fails()),
		length("relaxed", "a  b \r\nc\r\n", 8, "relaxed/relaxed", passes()),
		{name: "field-length-footer", body: "a\r\n", sign: one(func(s *stamp) { s.length, s.tags = 4, " l=3;" }), tamper: behind("footer\r\n"), want: isPolicy("l= leaves 8 bytes unsigned")},
		tagged("length-76-digits", " l="+strings.Repeat("9", 76)+";", fails()),
		tagged("length-77-digits", " l="+strings.Repeat("9", 77)+";", syntax("l= is not a number")),
		tagged("length-negative", " l=-1;", syntax("l= is not a number")),
		tagged("length-empty", " l=;", syntax("l= is not a number")),
	}
}
