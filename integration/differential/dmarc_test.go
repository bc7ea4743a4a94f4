//go:build integration

package differential_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/resolver"
)

// TestDMARCIsWhatPeersSay: Mail::DMARC and OpenDMARC follow RFC 7489. Where that and RFC 9989 agree they judge as we do: a domain that
// exists, with one valid record or none at the author's and at the organizational domain, none between these, and neither psd=, np=, t=
// nor pct=. A record below an organizational domain that has none makes another one by RFC 9989 section 4.10.2.
func TestDMARCIsWhatPeersSay(t *testing.T) {
	t.Parallel()
	t.Run("Mail::DMARC", func(t *testing.T) {
		t.Parallel()
		need(t, "/usr/bin/perl", "-MMail::DMARC::PurePerl", "-e1")
		judgeLike(t, startPipe(t, "/usr/bin/perl", "testdata/dmarc.pl"), false)
	})
	t.Run("OpenDMARC", func(t *testing.T) {
		t.Parallel()
		need(t, "/usr/bin/python3", "-c", `import ctypes; ctypes.CDLL("libopendmarc.so.2")`)
		judgeLike(t, startPipe(t, "/usr/bin/python3", "testdata/opendmarc.py"), true)
	})
}

// Where peers judge otherwise, for they follow RFC 7489: see docs/divergences.md.
func TestDMARCIsNotWhatPeersSay(t *testing.T) {
	t.Parallel()
	need(t, "/usr/bin/perl", "-MMail::DMARC::PurePerl", "-e1")
	need(t, "/usr/bin/python3", "-c", `import ctypes; ctypes.CDLL("libopendmarc.so.2")`)
	mailDMARC, openDMARC := startPipe(t, "/usr/bin/perl", "testdata/dmarc.pl"), startPipe(t, "/usr/bin/python3", "testdata/opendmarc.py")
	document, err := os.ReadFile("../../docs/divergences.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		author, signer             string
		zone                       map[string]string
		here, mailDMARC, openDMARC string
	}{
		"a record below an organizational domain that has none":     {"a.example.com", "c.example.com", map[string]string{"_dmarc.a.example.com": "v=DMARC1; p=reject"}, "fail reject", "pass none", "pass none"},
		"a record between the author and the organizational domain": {"b.a.example.com", "c.example.com", map[string]string{"_dmarc.a.example.com": "v=DMARC1; p=reject"}, "fail reject", "none none", "none none"},
		"strict alignment":        {"a.example.com", "example.com", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject; adkim=s"}, "fail reject", "fail reject", "pass none"},
		"pct=":                    {"example.com", "", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject; pct=0"}, "fail reject", "fail quarantine", "fail reject"},
		"t=":                      {"example.com", "", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject; t=y"}, "fail quarantine", "fail reject", "fail reject"},
		"psd=n":                   {"b.a.example.com", "", map[string]string{"_dmarc.a.example.com": "v=DMARC1; p=quarantine; psd=n", "_dmarc.example.com": "v=DMARC1; p=reject"}, "fail quarantine", "fail reject", "fail reject"},
		"p= that says nothing":    {"example.com", "", map[string]string{"_dmarc.example.com": "v=DMARC1; p=junk"}, "permerror none", "fail none", "error 4"},
		"sp= that says nothing":   {"example.com", "", map[string]string{"_dmarc.example.com": "v=DMARC1; p=reject; sp=junk"}, "permerror none", "fail none", "error 4"},
		"capitals in a policy":    {"example.com", "", map[string]string{"_dmarc.example.com": "v=DMARC1; P=Reject"}, "fail reject", "fail Reject", "fail reject"},
		"a version in lower case": {"example.com", "", map[string]string{"_dmarc.example.com": "v=dmarc1; p=reject"}, "none none", "fail reject", "fail reject"},
	} {
		if !strings.Contains(string(document), "| "+name+" |") {
			t.Errorf("docs/divergences.md does not tell of %q", name)
		}
		args := []string{c.author, c.signer, ""}
		for at, text := range c.zone {
			args = append(args, at, text)
		}
		for peer, words := range map[string][2]string{
			"here":        {judgedHere(c.zone, c.author, [2]string{c.signer}), c.here},
			"Mail::DMARC": {mailDMARC.ask(t, "judge", args...), c.mailDMARC},
			"OpenDMARC":   {openDMARC.ask(t, "judge", args...), c.openDMARC},
		} {
			if words[0] != words[1] {
				t.Errorf("%s: %s says %q; want %q", name, peer, words[0], words[1])
			}
		}
	}
}

// judgeLike compares random cases. A loose peer may align in strict mode what is of the same organization (docs/divergences.md).
func judgeLike(t *testing.T, peer *pipe, loose bool) {
	t.Helper()
	const seed = 9989
	random := rand.New(rand.NewPCG(seed, seed))
	one := func(list ...string) string { return list[random.IntN(len(list))] }
	names := []string{"org.example.com", "example.com", "a.example.com", "b.a.example.com", "c.example.com", "example.net", "a.example.net", "notexample.com"}
	tag := func(name string, values ...string) string {
		if random.IntN(2) == 0 {
			return ""
		}
		return one(";", "; ", " ; ") + name + "=" + one(values...)
	}
	policies := []string{"none", "quarantine", "reject"}
	seen := map[string]int{}
	for range 2000 {
		author := one(names...)
		zone := map[string]string{}
		for _, at := range []string{"example.com", "example.net", author} {
			_, above, _ := strings.Cut(author, "example.")
			if org := "_dmarc.example." + above; random.IntN(3) > 0 && (at != author || author == "notexample.com" || "_dmarc."+author == org || zone[org] != "") {
				zone["_dmarc."+at] = "v=DMARC1; p=" + one(policies...) + tag("sp", policies...) + tag("adkim", "r", "s") + tag("aspf", "r", "s") + tag("x", "y") + one("", ";")
			}
		}
		var ids [2]string
		for i := range ids {
			if random.IntN(2) == 0 {
				ids[i] = one(names...)
			}
		}
		args := []string{author, ids[0], ids[1]}
		for name, text := range zone {
			args = append(args, name, text)
		}
		got, want := judgedHere(zone, author, ids), peer.ask(t, "judge", args...)
		if loose && got != want && judgedHere(relaxed(zone), author, ids) == want {
			seen["loose"]++
			continue
		}
		if got != want {
			t.Errorf("From %s, DKIM %q, SPF %q, %v: %q here; the peer says %q", author, ids[0], ids[1], zone, got, want)
		}
		seen[got]++
	}
	for _, word := range []string{"none none", "pass none", "fail none", "fail quarantine", "fail reject"} {
		if seen[word] < 20 {
			t.Errorf("only %d cases of %q: %v", seen[word], word, seen)
		}
	}
	if loose != (seen["loose"] > 0) {
		t.Errorf("%d cases of loose alignment", seen["loose"])
	}
}

// relaxed is a zone without strict alignment.
func relaxed(zone map[string]string) map[string]string {
	changed := map[string]string{}
	for name, text := range zone {
		changed[name] = strings.ReplaceAll(text, "=s", "=r")
	}
	return changed
}

// judgedHere is our result, and what should become of the message.
func judgedHere(zone map[string]string, author string, ids [2]string) string {
	lookup := func(name string) (resolver.Answer, error) {
		if text, ok := zone[strings.ToLower(name)]; ok {
			return resolver.Answer{Records: []string{text}}, nil
		}
		return resolver.Answer{}, resolver.ErrNoData
	}
	var domains []domain.Name
	var passed []dmarc.Identifier
	for i, id := range ids {
		if id != "" {
			domains = append(domains, domain.Name(id))
			passed = append(passed, dmarc.Identifier{Method: []dmarc.Method{dmarc.DKIM, dmarc.SPF}[i], Domain: domain.Name(id)})
		}
	}
	verdict := dmarc.Discover(lookup, domain.Name(author), domains).Judge(passed, dmarc.SPFAsked)
	disposition := "none"
	if verdict.Result == dmarc.Fail {
		disposition = verdict.Policy.String()
	}
	return fmt.Sprintf("%s %s", verdict.Result, disposition)
}
