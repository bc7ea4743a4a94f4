//go:build integration

package differential_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dkimd/internal/dkim/dkimtest"
)

// plain reports whether a body is one that everybody canonicalizes alike.
func plain(body []byte) bool {
	text := string(body)
	return !bare(text, '\r') && !bare(text, '\n') && !strings.Contains(text, "\x00") && (text == "" || strings.HasSuffix(text, "\r\n"))
}

// order makes up a signature for a draft. without are names the signer does not sign.
func (r source) order(d draft, domain string, selectors []string, without ...string) order {
	o := order{
		domain: domain, selector: r.of(selectors...), header: r.of("simple", "relaxed"), body: r.of("simple", "relaxed"),
		names: []string{"From"}, length: r.one(0.2),
	}
	if r.one(0.3) {
		o.expires = time.Hour
	}
	if r.one(0.3) {
		o.identity = r.of("@"+domain, "joe@"+domain, "joe@sub."+domain, "@a.b."+domain)
	}
	for _, name := range append(d.names(), "X-Absent", "Cc", "Subject", "From", "List-Id") {
		if r.one(0.5) && !strings.Contains(strings.Join(without, " "), strings.ToLower(name)) {
			o.names = append(o.names, name)
		}
	}
	r.Shuffle(len(o.names), func(i, j int) { o.names[i], o.names[j] = o.names[j], o.names[i] })
	return o
}

var dkimpyRefuses = []string{"return-path", "received", "comments", "keywords", "bcc", "resent-bcc", "dkim-signature"}

// A foreign signer and what it can do.
type foreign struct {
	name string
	sign func(t *testing.T, r source, d draft) []byte
}

func foreignSigners(t *testing.T) []foreign {
	t.Helper()
	python, perl := startPython(t), startPerl(t)
	openDKIM := func(canonicalization, rest string) foreign {
		o := startOpenDKIM(t, openDKIMSigner+"Canonicalization "+canonicalization+"\n"+rest)
		return foreign{"OpenDKIM " + canonicalization, func(t *testing.T, r source, d draft) []byte {
			t.Helper()
			return o.sign(t, d.raw(), r.of("joe@example.net", "joe@example.net", "length@example.net"))
		}}
	}
	const signRSA = "SignatureAlgorithm rsa-sha256\nSignatureTTL 3600\nOversignHeaders From,Subject,X-Absent\nKeyTable csl:k=example.org:rsa:DIR/rsa\nSigningTable csl:example.org=k\n"
	const signEd = "SignatureAlgorithm ed25519-sha256\nKeyTable csl:k=example.org:ed:DIR/ed\nSigningTable csl:example.org=k\n"
	return []foreign{
		{"python3-dkim", func(t *testing.T, r source, d draft) []byte {
			t.Helper()
			return python.sign(t, d.raw(), r.order(d, "example.org", []string{"rsa", "ed", "rsa"}, dkimpyRefuses...))
		}},
		{"Mail::DKIM", func(t *testing.T, r source, d draft) []byte {
			t.Helper()
			return perl.sign(t, d.raw(), r.order(d, "example.org", []string{"rsa", "rsa2048"}))
		}},
		{"go-msgauth", func(t *testing.T, r source, d draft) []byte {
			t.Helper()
			return goMsgauth{}.sign(t, d.raw(), r.order(d, "example.org", []string{"rsa", "ed", "rsa2048"}))
		}},
		openDKIM("simple/relaxed", signRSA),
		openDKIM("relaxed/simple", signRSA),
		openDKIM("simple/simple", signRSA), // what 2.11 signs with Ed25519 under simple not even it verifies
		openDKIM("relaxed/relaxed", signEd),
		{"any order", signAnyOrder},
	}
}

// signAnyOrder signs with the tags in any order, as section 3.2 of RFC 6376 allows: the programs above write b= last.
func signAnyOrder(t *testing.T, r source, d draft) []byte {
	t.Helper()
	w := r.write("example.org")
	r.Shuffle(len(w.tags), func(i, j int) { w.tags[i], w.tags[j] = w.tags[j], w.tags[i] })
	raw, err := dkimtest.Sign(d.raw(), w.field(func() string { return r.of(" ", "\r\n\t", "") }), w.options)
	if err != nil {
		t.Fatal(err)
	}
	return raw[:len(raw)-len(d.raw())]
}

const openDKIMSigner = "Mode s\nInternalHosts 0.0.0.0/0\nMultipleSignatures yes\nBodyLengthDB csl:length@example.net\nSubDomains yes\n"

// foreignSample is a message signed by a foreign program, if it signs it.
func foreignSample(t *testing.T, r source, f foreign, i int) (*sample, draft) {
	t.Helper()
	d := r.draft("example.org", i%3 == 1, i%5 == 4)
	field := f.sign(t, r, d)
	if field == nil {
		return nil, d
	}
	return &sample{
		name: fmt.Sprintf("%s %d", f.name, i), raw: append(field, d.raw()...), records: standard("example.org"),
	}, d
}

// TestWhatOthersSignVerifies: what the foreign programs sign passes.
func TestWhatOthersSignVerifies(t *testing.T) {
	t.Parallel()
	judges := allPeers(t)
	for _, f := range foreignSigners(t) {
		r := newSource("foreign " + f.name)
		declined, total, passed := 0, 0, 0
		for i := range times(120) {
			s, d := foreignSample(t, r, f, i)
			if s == nil {
				declined++
				continue
			}
			own := judges.all(t, s, "")
			if plain(d.body) {
				total++
				if own[0].class == pass {
					passed++
				}
			}
		}
		t.Logf("%s: %d of %d plain messages pass", f.name, passed, total)
		// Where dkimd alone is against it that is a dispute; OpenDKIM signs some that it does not verify itself.
		if passed < total*2/3 {
			t.Errorf("%s: %d of %d plain messages pass", f.name, passed, total)
		}
		if declined > times(120)/2 {
			t.Errorf("%s declined to sign %d of %d", f.name, declined, times(120))
		}
	}
	judges.report(t)
}
