package verifier_test

import (
	"fmt"
	"slices"
	"strings"
)

// domained is a message signed for a domain, with the key where it belongs.
func domained(name, domain, at string, want []wantResult) making {
	return making{
		name: "name-" + name, sign: one(func(s *stamp) { s.domain = domain }), want: want,
		zone: []string{txtLine("s1._domainkey."+at, testRecord("rsa2048"))},
	}
}

// ofDomain is a result of another domain than that of From.
func ofDomain(domain string, list []wantResult) []wantResult {
	return changed(list, func(r *wantResult) { r.Domain, r.Aligned = domain, "none" })
}

// authored is a message with other From fields.
func authored(name, header, aligned string) making {
	return making{
		name: "from-" + name, header: header + "To: Bob <bob@example.net>\r\nSubject: x\r\nDate: Mon, 01 Jun 2026 12:00:00 +0000\r\n", sign: plainStamp(),
		want: changed(passes(), func(r *wantResult) { r.Aligned = aligned }),
	}
}

// signedTimes is a message with so many signatures, all good and each with another selector; those that are
// looked at pass, up to ten, and the rest is neutral (a limit of ours: RFC 6376 section 6.1).
func signedTimes(n int) making {
	const verified, looked = 10, 100
	m := making{name: fmt.Sprintf("signatures-%d", n)}
	for i := range n {
		selector := fmt.Sprintf("s%d", i)
		m.sign = append(m.sign, &stamp{key: "rsa1024", selector: selector})
		m.zone = append(m.zone, txtLine(selector+"._domainkey.example.org", testRecord("rsa1024")))
		r := plainResult("pass")
		r.Selector, r.KeyBits = selector, 1024
		if i >= verified {
			r.Result, r.KeyBits = "neutral", 0
		}
		if i >= looked {
			r = wantResult{Result: "neutral", Aligned: "none"}
		}
		m.want = append(m.want, r)
	}
	return m
}

// madeNames: names, From and numbers of signatures. RFC 6376 sections 3.5, 5.4, 6.1 and 8.15, RFC 8616 sections 3 and 5.
func madeNames() []making {
	const refused = cannotRead + "syntax error: d=: "
	unreadable := func(reason string) []wantResult { return permanent(reason, noDomain) }
	list := []making{
		domained("a-label", "xn--bcher-kva.example", "xn--bcher-kva.example", ofDomain("xn--bcher-kva.example", passes())),
		domained("u-label", "b\xc3\xbccher.example", "xn--bcher-kva.example", ofDomain("xn--bcher-kva.example", passes())),
		domained("u-label-in-capitals", "B\xc3\x9cCHER.Example", "xn--bcher-kva.example", unreadable(refused+"it is not a valid internationalized name")), // RFC 5890 section 2.3.2.1: no U-label
		domained("underscore", "_mail.example.org", "_mail.example.org", changed(passes(), func(r *wantResult) { r.Domain, r.Aligned = "_mail.example.org", "relaxed" })),
		domained("in-capitals", "EXAMPLE.ORG", "example.org", passes()),
		domained("below-the-author", "a.b.example.org", "a.b.example.org", changed(passes(), func(r *wantResult) { r.Domain, r.Aligned = "a.b.example.org", "relaxed" })),
		domained("of-another", "example.com", "example.com", ofDomain("example.com", passes())),
		domained("public-suffix-of-two-labels", "co.uk", "co.uk", ofDomain("co.uk", permanent("d=co.uk is a public suffix"))),
		domained("private-suffix", "github.io", "github.io", ofDomain("github.io", passes())),
		domained("one-label", "intranet", "intranet", ofDomain("intranet", permanent(cannotRead+"syntax error: d= has one label only"))),
		domained("final-dot", "example.org.", "example.org", unreadable(refused+"it has an empty label")),
		domained("first-dot", ".example.org", "example.org", unreadable(refused+"it has an empty label")),
		domained("empty-label", "a..example.org", "example.org", unreadable(refused+"it has an empty label")),
		domained("empty", " ", "example.org", unreadable("")),
		domained("with-a-space", "exam ple.org", "example.org", unreadable(refused+"it has a character that no domain has")),
		domained("with-a-no-break-space", "exam\xc2\xa0ple.org", "example.org", unreadable(refused+"it is not a valid internationalized name")),
		domained("with-a-soft-hyphen", "exam\xc2\xadple.org", "example.org", unreadable(refused+"it is not a valid internationalized name")),
		domained("with-a-control-character", "exam\x01ple.org", "example.org", permanent(cannotRead+"syntax error: d= holds a character that is not allowed", noDomain, noSelector)),
		domained("with-an-asterisk", "*.example.org", "example.org", unreadable(refused+"it has a character that no domain has")),
		domained("label-of-64", strings.Repeat("a", 64)+".example.org", "example.org", unreadable(refused+"it has a label of more than 63 characters")),
		domained("label-of-63", strings.Repeat("a", 63)+".example.org", strings.Repeat("a", 63)+".example.org", changed(passes(), func(r *wantResult) {
			r.Domain, r.Aligned = strings.Repeat("a", 63)+".example.org", "relaxed"
		})),
		{
			name: "name-selector-of-two-labels", sign: one(func(s *stamp) { s.selector = "A.b" }), zone: []string{txtLine("a.b._domainkey.example.org", testRecord("rsa2048"))},
			want: changed(passes(), func(r *wantResult) { r.Selector = "a.b" }),
		},
		{
			name: "name-selector-with-a-final-dot", sign: one(func(s *stamp) { s.selector = "s1." }),
			want: permanent("", noSelector),
		},
		{
			name: "name-identity-in-u-labels", sign: one(func(s *stamp) { s.domain, s.tags = "xn--bcher-kva.example", " i=@a.b\xc3\xbccher.example;" }),
			zone: []string{txtLine("s1._domainkey.xn--bcher-kva.example", testRecord("rsa2048"))}, want: ofDomain("xn--bcher-kva.example", passes()),
		},

		authored("absent", "Sender: ann@example.org\r\n", "none"),
		authored("in-a-group", "From: Friends: Ann <ann@example.org>;\r\n", "strict"),
		authored("with-an-encoded-word", "From: =?utf-8?q?Ann=40example.com?= <ann@example.org>\r\n", "strict"),
		authored("with-another-address-in-its-name", "From: \"bob@example.com\" <ann@example.org>\r\n", "strict"),
		authored("with-two-addresses", "From: ann@example.org, Bob <bob@example.org>\r\n", "strict"),
		authored("with-two-domains", "From: ann@example.org, bob@example.com\r\n", "none"),
		authored("below", "From: ann@a.example.org\r\n", "relaxed"),
		authored("with-comments", "From: (x) ann (y) @ (z) example.org (bob@example.com)\r\n", "strict"),
		authored("in-capitals", "FROM: ANN@EXAMPLE.ORG\r\n", "strict"),

		signedTimes(1), signedTimes(11), signedTimes(101),
		{
			name: "signatures-of-two-algorithms", sign: []*stamp{{}, {key: "ed25519", selector: "ed"}},
			want: slices.Concat(passes(), changed(plain(), ofEd25519)),
		},
		{
			name: "signatures-one-broken-one-malformed", sign: []*stamp{{names: "from"}, {names: "from:subject"}}, header: madeFrom + "Subject: x\r\n",
			tamper: func(s string) string { return "DKIM-Signature: v=1;\r\n" + replace("Subject: x", "Subject: y")(s) },
			want:   slices.Concat([]wantResult{{Result: "permerror", Aligned: "none"}}, passes(), fails()),
		},
	}
	return list
}
