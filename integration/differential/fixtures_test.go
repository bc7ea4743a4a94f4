//go:build integration

package differential_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/resolver"
	"dkimd/internal/resolver/dnstest"
)

// fixtures are those of the verifier package, with the keys that DNS holds for their signatures.
func fixtures(t *testing.T) []*sample {
	t.Helper()
	paths, err := filepath.Glob("../../verifier/testdata/*.eml")
	if err != nil || len(paths) < 150 {
		t.Fatalf("%d fixtures (%v)", len(paths), err)
	}
	var all []*sample
	for _, path := range paths {
		base := strings.TrimSuffix(path, ".eml")
		s := &sample{name: filepath.Base(base), fixture: true, otherKey: true}
		s.raw = read(t, path)
		var want struct{ Now time.Time }
		if err := json.Unmarshal(read(t, base+".want.json"), &want); err != nil {
			t.Fatal(err)
		}
		s.now = want.Now
		if bytes.Count(s.raw, []byte("DKIM-Signature")) > 20 {
			continue // how many are verified is each verifier's own choice
		}
		s.records = lookUp(t, s.raw, string(read(t, base+".dns")))
		all = append(all, s)
	}
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// lookUp resolves the names that the signatures of a message ask for in a zone.
func lookUp(t *testing.T, raw []byte, zone string) map[string][]string {
	t.Helper()
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for line := range strings.Lines(zone) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == ";" {
			server.SetRcode(words[2], 2) // SERVFAIL, and what else comes to the same
		}
	}
	if err := server.SetZone(zone); err != nil {
		t.Fatal(err)
	}
	dns, err := resolver.New(resolver.Config{Servers: []string{server.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dns.Close() }()
	found := map[string][]string{}
	h, _ := split(raw)
	for _, f := range h.All(dkim.SignatureField) {
		s, _ := dkim.ParseSignature(f)
		name := dkim.RecordName(s.Selector, s.Domain)
		answer, err := dns.TXT(t.Context(), name)
		switch {
		case err == nil:
			found[name] = answer.Records
		case errors.Is(err, resolver.ErrTemporary):
			found[name] = []string{"!"}
		}
	}
	return found
}

// TestFixturesOfTheVerifier: what the fixtures want is what others say, too.
func TestFixturesOfTheVerifier(t *testing.T) {
	t.Parallel()
	open := startOpenDKIMVerifier(t)
	timed := newJudges(startPython(t), startPerl(t))
	most := newJudges(append([]peer{goMsgauth{}}, timed.peers...)...)
	all := newJudges(append([]peer{open}, most.peers...)...)
	samples := fixtures(t)
	// OpenDKIM has one DNS, with a cache, for all of them; it gets those that agree with most about the keys.
	count := map[string]int{}
	key := func(name string, records []string) string { return name + "\x00" + strings.Join(records, "\x00") }
	for _, s := range samples {
		for name, records := range s.records {
			count[key(name, records)]++
		}
	}
	for _, s := range samples {
		judges := all
		for name, records := range s.records {
			for other, n := range count {
				if strings.HasPrefix(other, name+"\x00") && n > count[key(name, records)] {
					judges = most
				}
			}
		}
		if len(s.records) < len(signaturesOf(s.raw)) {
			judges = most // a key that is absent here may be there for another
		}
		// OpenDKIM and go-msgauth know no time but the present.
		dated := slices.ContainsFunc(signaturesOf(s.raw), func(f string) bool {
			c := &dispute{signature: f}
			return c.has("x") || c.has("t")
		})
		if dated {
			judges = timed
		}
		judges.all(t, s, "")
	}
	timed.report(t)
	most.report(t)
	all.report(t)
}
