//go:build integration

package differential_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
	"dkimd/internal/milter/client"
	"dkimd/keys"
	"dkimd/signer"
)

// signedBy are the tags that say who has signed, of each field, in an order of their own.
var signedBy = regexp.MustCompile(`\b([dsi])=([^;\s]+);`)

func whoSigned(values []string) string {
	var all []string
	for _, value := range values {
		tags := map[string]string{}
		for _, m := range signedBy.FindAllStringSubmatch(strings.Join(strings.Fields(value), " "), -1) {
			tags[m[1]] = m[2]
		}
		all = append(all, fmt.Sprintf("d=%s s=%s i=%s", tags["d"], tags["s"], tags["i"]))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// TestTablesAsOpenDKIMReadsThem: who signs, as which domain, with which selector and identity, for
// every address and every table, is what OpenDKIM makes of the same files. Two things are left out: of three lines or more that
// match, OpenDKIM 2.11 forgets those between the first and the last, and with an identity that has no @ it does not sign.
func TestTablesAsOpenDKIMReadsThem(t *testing.T) {
	t.Parallel()
	addresses := []string{
		"joe@example.org", "Joe@Example.ORG", "ann@example.org", "joe@a.example.org", "joe@b.a.example.org", "ann@a.example.org", "joe@example.net",
		"joe@notexample.org", "sales-1@example.net", "joe@org", "joe@example.com", "joe@a.example.com", "x.y+z@example.org", `"a b"@example.org`,
	}
	const keyTable = "o example.org:rsa:DIR/rsa\nn example.net:rsa:DIR/rsa\nc example.com:ed:DIR/rsa\n" +
		"any %:any:DIR/rsa\nexample.com example.com:named:DIR/rsa\nlost example.net:lost:DIR/absent\nown %:own:DIR/%.key\nfixed example.org:fixed:DIR/%.key\n"
	for name, test := range map[string]struct {
		kind, table string
		multiple    bool
	}{
		"domains":                       {"refile", "*@example.org o\n*@example.net n\n", false},
		"a plain file":                  {"file", "example.org o\nexample.net n\njoe@example.net c\n", false},
		"a plain file has no patterns":  {"file", "*@example.org o\n@example.net n\n", false},
		"parents":                       {"file", ".example.org n\njoe@.example.org c\n.org o\njoe@.com any\n", false},
		"user in any domain":            {"file", "joe@* o\n* n\n", false},
		"the order of a file":           {"file", "* c\n.example.org n\nexample.org o\njoe@example.org any\n", false},
		"two forms of a file":           {"file", "* c\nexample.org o\n.com n\n", true},
		"the order of a refile":         {"refile", "*@example.org o\njoe@example.org n\n* c\n", false},
		"all lines of a refile":         {"refile", "*@example.org o\njoe@example.org n\n*@*.example.org any\nan*@*.org c\n", true},
		"below a domain":                {"refile", "*@*.example.org o\n*@*.com c\n", false},
		"globs":                         {"refile", "*example.org o\nsales-*@example.net n\nj*@*.example.com c\n*.example.com any\n", false},
		"a refile is no list of hosts":  {"refile", "example.org o\n.example.org n\n@example.net c\n", false},
		"d= of the sender":              {"refile", "* any\n", false},
		"a key named after the sender":  {"refile", "*@example.com %\n", false},
		"identities":                    {"refile", "joe@example.org o:joe@example.org\nann@example.org o:@%\n*@a.example.org o:news@%\n*@example.net n:@example.org\n*@*.example.org o:@sub.example.org\n", false},
		"a key file that is not there":  {"refile", "*@example.org lost\n*@example.net n\n", false},
		"one of two is not there":       {"refile", "*@example.net lost\n*@example.net n\n", false},
		"a file for each sender domain": {"refile", "*@example.org own\n*@example.net own\n*@example.com fixed\n", false},
		"comments, tabs and blank ends": {"refile", "# x\n\n*@example.org\t\to   # mail\n*@example.net n\t\n", false},
		"letters of any case":           {"refile", "*@EXAMPLE.org o\nJOE@example.NET n\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fill := strings.NewReplacer("DIR", dir)
			for file, text := range map[string]string{
				"KeyTable": fill.Replace(keyTable), "SigningTable": test.table, "rsa": string(keyring()["rsa"].pkcs8), "example.org.key": string(keyring()["rsa"].pkcs8),
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			signing := test.kind + ":" + filepath.Join(dir, "SigningTable")
			conf := "Mode s\nInternalHosts 203.0.113.0/24\nKeyTable " + filepath.Join(dir, "KeyTable") + "\nSigningTable " + signing + "\n"
			if test.multiple {
				conf += "MultipleSignatures yes\n"
			}
			theirs := startOpenDKIM(t, conf)
			store, _ := keys.Open(keys.Config{KeyTable: filepath.Join(dir, "KeyTable"), SigningTable: signing, MultipleSignatures: test.multiple})
			t.Cleanup(store.Close)
			ours, err := signer.New(signer.Config{Keys: store.Lookup, HeaderCanon: dkim.Relaxed, BodyCanon: dkim.Relaxed})
			if err != nil {
				t.Fatal(err)
			}
			signed := 0
			for _, address := range addresses {
				raw := []byte("From: " + address + "\r\nTo: x@example.com\r\nSubject: s\r\nDate: Mon, 30 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@x>\r\n\r\nHello\r\n")
				want := theirs.whoSigns(t, raw)
				if got := whoSigns(t, ours, raw); got != want {
					t.Errorf("%s: %q, OpenDKIM says %q", address, got, want)
				}
				if want != "" {
					signed++
				}
			}
			if signed == 0 && test.kind != "file" && name != "a refile is no list of hosts" {
				t.Error("OpenDKIM signs nothing")
			}
		})
	}
}

func (o *openDKIM) whoSigns(t *testing.T, raw []byte) string {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	result := o.send(t, raw, "x@example.com")
	if result.Action == client.TempFail {
		return "tempfail"
	}
	var values []string
	for _, e := range result.Edits {
		if e.Name == "DKIM-Signature" {
			values = append(values, e.Value)
		}
	}
	return whoSigned(values)
}

func whoSigns(t *testing.T, s *signer.Signer, raw []byte) string {
	t.Helper()
	h, body := split(raw)
	w, reason := s.Begin(t.Context(), &message.Envelope{}, h, message.ReadFrom(h))
	if w == nil {
		if reason.Code != signer.NoKey {
			t.Errorf("not signed: %s", reason.Text)
		}
		return ""
	}
	_, _ = w.Write(body)
	signed, err := w.Finish(t.Context())
	switch {
	case errors.Is(err, signer.ErrKeyUnusable):
		return "tempfail"
	case err != nil:
		t.Fatal(err)
	}
	return whoSigned(signed.Fields)
}
