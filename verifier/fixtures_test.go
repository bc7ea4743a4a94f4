package verifier_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/internal/resolver/dnstest"
	"dkimd/verifier"
)

// A fixture is a whole message in three files: NAME.eml as it came, NAME.dns
// with what DNS holds (zone-file lines; "; SERVFAIL name", "; REFUSED name" and
// "; TIMEOUT name" for names that cannot be resolved), and NAME.want.json.
type wanted struct {
	Now       time.Time     `json:"now"`
	Prefer    []domain.Name `json:"prefer,omitempty"`
	Published string        `json:"published,omitempty"` // asked for if not empty
	Results   []wantResult  `json:"results"`
}

type wantResult struct {
	Result   string `json:"result"`
	Domain   string `json:"d,omitempty"`
	Selector string `json:"s,omitempty"`
	Alg      string `json:"a,omitempty"`
	Identity string `json:"i,omitempty"` // not compared if empty
	Reason   string `json:"reason,omitempty"`
	KeyBits  int    `json:"key_bits,omitempty"`
	Testing  bool   `json:"testing,omitempty"`
	Aligned  string `json:"aligned,omitempty"`
}

func TestFixtures(t *testing.T) {
	t.Parallel()
	for _, name := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata", name)
			var want wanted
			decoder := json.NewDecoder(bytes.NewReader(read(t, path+".want.json")))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&want); err != nil {
				t.Fatal(err)
			}
			v := fixtureVerifier(t, string(read(t, path+".dns")), want.Now)
			header, body := readMessage(t, read(t, path+".eml"))
			for _, chunk := range []int{1 << 20, 7, 1} {
				compare(t, want, verifyChunks(t.Context(), v, header, body, chunk, want))
			}
		})
	}
}

// fixtures are the names of testdata; it fails without any, and on a file whose partners are missing.
func fixtures(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]int{}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		name, _, _ := strings.Cut(entry.Name(), ".")
		switch strings.TrimPrefix(entry.Name(), name) {
		case ".eml", ".dns", ".want.json":
			files[name]++
		default:
			t.Errorf("testdata/%s belongs to no fixture", entry.Name())
		}
		if files[name] == 3 {
			names = append(names, name)
		}
	}
	for name, count := range files {
		if count != 3 {
			t.Errorf("fixture %s has %d files; want .eml, .dns and .want.json", name, count)
		}
	}
	if len(names) == 0 {
		t.Fatal("no fixtures in testdata")
	}
	return names
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func fixtureVerifier(t *testing.T, zone string, now time.Time) *verifier.Verifier {
	t.Helper()
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	config := resolver.Config{Servers: []string{server.Addr()}}
	for line := range strings.Lines(zone) {
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "; SERVFAIL "):
			server.SetRcode(words[2], 2)
		case strings.HasPrefix(line, "; REFUSED "):
			server.SetRcode(words[2], 5)
		case strings.HasPrefix(line, "; TIMEOUT "):
			server.Drop(words[2])
			config.Timeout, config.Attempts = 50*time.Millisecond, 1
		}
	}
	if err := server.SetZone(zone); err != nil {
		t.Fatal(err)
	}
	dns, err := resolver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dns.Close() })
	v, err := verifier.New(verifier.Config{Resolver: dns, ClockSkew: 5 * time.Minute, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// readMessage splits a message as an MTA does before it calls a milter.
func readMessage(t *testing.T, eml []byte) (*message.Header, []byte) {
	t.Helper()
	head, body, ok := bytes.Cut(eml, []byte("\r\n\r\n"))
	if !ok {
		t.Fatal("the message has no empty line")
	}
	h := &message.Header{}
	var name, value string
	for line := range strings.SplitSeq(string(head), "\r\n") {
		if line != "" && (line[0] == ' ' || line[0] == '\t') {
			value += "\r\n" + line
			continue
		}
		if name != "" {
			h.Add(name, value)
		}
		name, value, _ = strings.Cut(line, ":")
	}
	h.Add(name, value)
	return h, body
}

func verifyChunks(ctx context.Context, v *verifier.Verifier, h *message.Header, body []byte, chunk int, want wanted) *verifier.Report {
	w := v.Begin(ctx, verifier.Request{Header: h, From: message.ReadFrom(h), Prefer: want.Prefer, DMARC: want.Published != ""})
	defer w.Close()
	for len(body) > 0 {
		n := min(chunk, len(body))
		_, _ = w.Write(body[:n])
		body = body[n:]
	}
	return w.Finish(ctx)
}

func compare(t *testing.T, want wanted, got *verifier.Report) {
	t.Helper()
	if want.Published != "" && policyIn(got) != want.Published {
		t.Errorf("published: got %s; want %s", policyIn(got), want.Published)
	}
	if len(got.Results) != len(want.Results) {
		t.Fatalf("got %d results; want %d", len(got.Results), len(want.Results))
	}
	for i, w := range want.Results {
		r := got.Results[i]
		is := wantResult{
			Result: r.Status.String(), Domain: r.Domain, Selector: r.Selector, Alg: r.Algorithm, Identity: w.Identity,
			Reason: w.Reason, KeyBits: r.KeyBits, Testing: r.Testing, Aligned: r.Aligned.String(),
		}
		if w.Identity != "" {
			is.Identity = r.Identity
		}
		if w.Reason != "" {
			is.Reason = r.Reason()
		}
		if is != w {
			t.Errorf("result %d: got %+v (%s); want %+v", i, is, r.Reason(), w)
		}
	}
}
