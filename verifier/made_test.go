package verifier_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/dkim/dkimtest"
)

// The fixtures below are made here: go test ./verifier -run TestFixturesAreAsMade -update
// writes them anew. They are signed by dkimtest, which reads RFC 6376 for itself, with the keys in
// testdata/keys, which are for tests only. What is wanted of each is written by hand, from the
// RFCs; integration/differential has other verifiers judge them, too.
var update = flag.Bool("update", false, "write the fixtures of testdata anew")

// madeNow is when they arrive.
var madeNow = time.Date(2026, 6, 1, 12, 5, 0, 0, time.UTC)

// A making is one fixture.
type making struct {
	name   string
	header string // fields with CRLF
	body   string
	sign   []*stamp              // the first ends up on top
	tamper func(s string) string // of the whole message, after signing
	zone   []string              // lines; nil: keyZone
	want   []wantResult
}

// A stamp is one signature. The zero values are those of a plain one.
type stamp struct {
	key             string // file in testdata/keys without test-only-; default rsa2048
	canon           string // default relaxed/relaxed
	domain          string // default example.org
	selector        string // default s1
	names           string // h=; default from:to:subject:date
	tags            string // between h= and bh=, each with its semicolon
	length          int    // l=, with 1 added: 0 is none
	rewrite         func(field string) string
	signedAs, named string // canonicalization and names to sign with, where the field says otherwise
}

const (
	madeFrom = "From: Ann <ann@example.org>\r\n"
	madeRest = "To: Bob <bob@example.net>\r\nSubject: the  minutes of\r\n\tour meeting\r\nDate: Mon, 01 Jun 2026 12:00:00 +0000\r\n"
	madeBody = "Hello Bob,\r\n\r\nhere  are the minutes. \r\n\r\nAnn\r\n"
)

func testKey(name string) crypto.Signer {
	keyFiles.Lock()
	defer keyFiles.Unlock()
	if k, ok := keyFiles.found[name]; ok {
		return k
	}
	data, err := os.ReadFile(filepath.Join("testdata", "keys", "test-only-"+name+".pem"))
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(data)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	signer, _ := key.(crypto.Signer)
	keyFiles.found[name] = signer
	return signer
}

var keyFiles = struct {
	sync.Mutex
	found map[string]crypto.Signer
}{found: map[string]crypto.Signer{}}

// testRecord is the key record of a test key.
func testRecord(name string) string {
	if name == "ed25519" {
		return ed25519Record(testKey(name))
	}
	return rsaRecord(testKey(name))
}

// txtLine is one TXT record as a zone file has it.
func txtLine(name string, texts ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. 300 IN TXT", name)
	for _, text := range texts {
		for first := true; first || text != ""; first = false {
			n := min(len(text), 200)
			b.WriteString(` "`)
			for _, c := range []byte(text[:n]) {
				switch {
				case c == '"' || c == '\\':
					b.WriteString(`\` + string(rune(c)))
				case c < ' ' || c > '~':
					fmt.Fprintf(&b, `\%03d`, c)
				default:
					b.WriteByte(c)
				}
			}
			b.WriteString(`"`)
			text = text[n:]
		}
	}
	return b.String()
}

const madeKeyName = "s1._domainkey.example.org"

// keyZone has every test key: RSA of 2048 bits at s1, Ed25519 at ed.
func keyZone() []string {
	return []string{txtLine(madeKeyName, testRecord("rsa2048")), txtLine("ed._domainkey.example.org", testRecord("ed25519"))}
}

// record puts one record where the key is; "@" in it is the RSA key.
func record(texts ...string) []string {
	for i := range texts {
		texts[i] = strings.Replace(texts[i], "@", published(testKey("rsa2048")), 1)
	}
	return []string{txtLine(madeKeyName, texts...)}
}

func (s *stamp) field() string {
	return fmt.Sprintf("DKIM-Signature: v=1; a=%s; c=%s; d=%s; s=%s;\r\n\th=%s;%s\r\n\tbh={bh};\r\n\tb={b}", s.algorithm(), s.canon, s.domain, s.selector, s.names, s.tags)
}

func (s *stamp) algorithm() string {
	if s.key == "ed25519" {
		return "ed25519-sha256"
	}
	return "rsa-sha256"
}

func (s *stamp) apply(t *testing.T, raw []byte) []byte {
	t.Helper()
	defaults := func(value *string, otherwise string) {
		if *value == "" {
			*value = otherwise
		}
	}
	defaults(&s.key, "rsa2048")
	defaults(&s.canon, "relaxed/relaxed")
	defaults(&s.domain, "example.org")
	defaults(&s.selector, "s1")
	defaults(&s.names, "from:to:subject:date")
	defaults(&s.signedAs, s.canon)
	defaults(&s.named, s.names)
	field := s.field()
	if s.rewrite != nil {
		field = s.rewrite(field)
	}
	header, body, _ := strings.Cut(strings.ToLower(s.signedAs), "/")
	names := strings.FieldsFunc(s.named, func(c rune) bool { return strings.ContainsRune(": \t\r\n", c) })
	signed, err := dkimtest.Sign(raw, field, dkimtest.Options{
		Key: testKey(s.key), RelaxHeader: header == "relaxed", RelaxBody: body == "relaxed", Names: names, Length: s.length - 1, Wrap: 70,
	})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// files are the three files of a fixture.
func (m making) files(t *testing.T) map[string][]byte {
	t.Helper()
	if m.header == "" {
		m.header = madeFrom + madeRest
	}
	if m.zone == nil {
		m.zone = keyZone()
	}
	raw := []byte(m.header + "\r\n" + m.body)
	for i := range m.sign {
		raw = m.sign[len(m.sign)-1-i].apply(t, raw)
	}
	if m.tamper != nil {
		raw = []byte(m.tamper(string(raw)))
	}
	var want bytes.Buffer
	encoder := json.NewEncoder(&want)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(wanted{Now: madeNow, Results: m.want}); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{".eml": raw, ".dns": []byte(strings.Join(m.zone, "\n") + "\n"), ".want.json": want.Bytes()}
}

// TestFixturesAreAsMade: what is in testdata is what this program makes.
func TestFixturesAreAsMade(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range makings() {
		if seen[m.name] {
			t.Errorf("two fixtures are called %s", m.name)
		}
		seen[m.name] = true
		for suffix, data := range m.files(t) {
			path := filepath.Join("testdata", m.name+suffix)
			if *update {
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s is not as made (%v); run go test ./verifier -run TestFixturesAreAsMade -update", path, err)
			}
		}
	}
}

func makings() []making {
	var all []making
	for _, list := range [][]making{madeHeaders(), madeBodies(), madeFields(), madeKeys(), madeNames()} {
		for _, m := range list {
			if m.body == "" {
				m.body = madeBody
			}
			if m.body == none {
				m.body = ""
			}
			all = append(all, m)
		}
	}
	return all
}

// none is a body without anything.
const none = "(none)"

// The results that are wanted, of a plain signature.
func plainResult(status string) wantResult {
	return wantResult{Result: status, Domain: "example.org", Selector: "s1", Alg: "rsa-sha256", Aligned: "strict"}
}

func passes() []wantResult {
	r := plainResult("pass")
	r.KeyBits = 2048
	return []wantResult{r}
}

// fails, and is policy, with a key that was found.
func fails() []wantResult {
	r := plainResult("fail")
	r.KeyBits = 2048
	return []wantResult{r}
}

func isPolicy(reason string) []wantResult {
	r := plainResult("policy")
	r.KeyBits, r.Reason = 2048, reason
	return []wantResult{r}
}

// permanent is a permerror before the key is looked at.
func permanent(reason string, change ...func(*wantResult)) []wantResult {
	r := plainResult("permerror")
	r.Reason = reason
	for _, c := range change {
		c(&r)
	}
	return []wantResult{r}
}

func temporary(reason string) []wantResult {
	r := plainResult("temperror")
	r.Reason = reason
	return []wantResult{r}
}

// replace is a tamper or a rewrite that must find what it replaces.
func replace(old, by string) func(string) string {
	return func(s string) string {
		if !strings.Contains(s, old) {
			panic("no " + old)
		}
		return strings.Replace(s, old, by, 1)
	}
}

// above puts fields on top, below behind the last.
func above(fields string) func(string) string { return func(s string) string { return fields + s } }

func below(fields string) func(string) string {
	return func(s string) string { return strings.Replace(s, "\r\n\r\n", "\r\n"+fields+"\r\n", 1) }
}

func behind(text string) func(string) string { return func(s string) string { return s + text } }

// one is a list of one plain stamp after a change.
func one(change func(s *stamp)) []*stamp {
	s := &stamp{}
	change(s)
	return []*stamp{s}
}

func canon(c string) []*stamp { return one(func(s *stamp) { s.canon = c }) }

func plainStamp() []*stamp { return []*stamp{{}} }
