package verifier_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/dmarc"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/verifier"
)

// now is when every message of these tests arrives.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })

var otherRSAKey = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })

var ed25519Key = sync.OnceValue(newEd25519)

func newEd25519() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func newRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

// published is the p= of a key.
func published(key crypto.Signer) string {
	switch public := key.Public().(type) {
	case ed25519.PublicKey:
		return base64.StdEncoding.EncodeToString(public)
	default:
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			panic(err)
		}
		return base64.StdEncoding.EncodeToString(der)
	}
}

func rsaRecord(key crypto.Signer) string { return "v=DKIM1; k=rsa; p=" + published(key) }

func ed25519Record(key crypto.Signer) string { return "v=DKIM1; k=ed25519; p=" + published(key) }

// signing is one signature, put on top of the header as it is made.
type signing struct {
	key       crypto.Signer
	algorithm string
	domain    string
	selector  string
	canon     string
	headers   string
	auid      string                    // i= where not empty
	extra     string                    // further tags, each with its semicolon
	length    int64                     // l=; -1: none
	rewrite   func(value string) string // of the field before it is signed
	spoil     func(value string) string // of the field after that
}

// world is a message, its signatures and the DNS; as newWorld makes it, it verifies.
type world struct {
	header  [][2]string
	body    string
	sign    []*signing
	tamper  func(w *world) // after signing
	dns     *fakeDNS
	config  verifier.Config
	request verifier.Request // Header and From are filled in
	chunk   int
	fields  []string // the signature fields as made, bottom first
	logged  *strings.Builder
}

func newSigning() *signing {
	return &signing{
		key: rsaKey(), algorithm: "rsa-sha256", domain: "example.org", selector: "s1",
		canon: "relaxed/relaxed", headers: "from:to:subject", length: -1,
	}
}

func newWorld() *world {
	logged := &strings.Builder{}
	dns := &fakeDNS{records: map[string][]string{"s1._domainkey.example.org": {rsaRecord(rsaKey())}}}
	return &world{
		header: [][2]string{
			{"From", " Ann <ann@example.org>"},
			{"To", " bob@example.net"},
			{"Subject", " a test\r\n of folding"},
		},
		body:   "Hello Bob,\r\n\r\nhow are you?\r\n",
		sign:   []*signing{newSigning()},
		dns:    dns,
		logged: logged,
		config: verifier.Config{
			Resolver: dns, ClockSkew: 5 * time.Minute,
			Now:    func() time.Time { return now },
			Logger: slog.New(slog.NewTextHandler(logged, nil)),
		},
	}
}

// first is the only signature of most worlds.
func (w *world) first() *signing { return w.sign[0] }

func (w *world) key() string { return w.dns.records["s1._domainkey.example.org"][0] }

func (w *world) setKey(records ...string) { w.dns.records["s1._domainkey.example.org"] = records }

func build(fields [][2]string) *message.Header {
	h := &message.Header{}
	for _, f := range fields {
		h.Add(f[0], f[1])
	}
	return h
}

// make signs a message with the pieces of internal/dkim; not with the signer,
// which could be wrong in the same way as the verifier.
func (s *signing) make(header [][2]string, body string) string {
	hc, bc, err := dkim.ParseCanonicalization(s.canon)
	if err != nil {
		panic(err)
	}
	bh := dkim.NewBodyHash(bc, s.length)
	_, _ = bh.Write([]byte(body))
	sum := bh.Sum()
	var b strings.Builder
	fmt.Fprintf(&b, " v=1; a=%s; c=%s; d=%s; s=%s;\r\n\th=%s;", s.algorithm, s.canon, s.domain, s.selector, s.headers)
	if s.auid != "" {
		fmt.Fprintf(&b, " i=%s;", s.auid)
	}
	if s.length >= 0 {
		fmt.Fprintf(&b, " l=%d;", s.length)
	}
	fmt.Fprintf(&b, "%s bh=%s; b=", s.extra, base64.StdEncoding.EncodeToString(sum[:]))
	value := b.String()
	if s.rewrite != nil {
		value = s.rewrite(value)
	}
	names := strings.FieldsFunc(s.headers, func(c rune) bool { return c == ':' || c == ' ' })
	hash := dkim.HeaderHash(build(header), names, hc, message.NewField("DKIM-Signature", value))
	digest := hash[:]
	options := crypto.SHA256
	if _, ok := s.key.(ed25519.PrivateKey); ok {
		options = 0
	}
	signature, err := s.key.Sign(rand.Reader, digest, options)
	if err != nil {
		panic(err)
	}
	value += base64.StdEncoding.EncodeToString(signature)
	if s.spoil != nil {
		value = s.spoil(value)
	}
	return value
}

func (w *world) signAll() {
	original := w.header
	for _, s := range w.sign {
		value := s.make(original, w.body)
		w.fields = append(w.fields, value)
		w.header = append([][2]string{{"DKIM-Signature", value}}, w.header...)
	}
	if w.tamper != nil {
		w.tamper(w)
	}
}

// begin signs, spoils and hands over the message up to the end of its body.
func (w *world) begin(t *testing.T) *verifier.Verification {
	t.Helper()
	w.signAll()
	v, err := verifier.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	req := w.request
	req.Header = build(w.header)
	req.From = message.ReadFrom(req.Header)
	req.From.Incomplete = req.From.Incomplete || w.request.From.Incomplete
	running := v.Begin(t.Context(), req)
	for rest := []byte(w.body); len(rest) > 0; {
		n := len(rest)
		if w.chunk > 0 {
			n = min(n, w.chunk)
		}
		chunk := append([]byte(nil), rest[:n]...)
		if got, err := running.Write(chunk); got != n || err != nil {
			t.Errorf("Write: got %d, %v; want %d", got, err, n)
		}
		clear(chunk) // whoever kept it now has nothing
		rest = rest[n:]
	}
	return running
}

func (w *world) verify(t *testing.T) *verifier.Report {
	t.Helper()
	running := w.begin(t)
	defer running.Close()
	report := running.Finish(t.Context())
	for _, value := range verifier.AuthenticationResults(authserv, report) {
		wellFormed(t, value)
	}
	return report
}

// one is the Result of a world with one signature.
func (w *world) one(t *testing.T) verifier.Result {
	t.Helper()
	report := w.verify(t)
	if len(report.Results) != 1 {
		t.Fatalf("got %d results; want 1", len(report.Results))
	}
	return report.Results[0]
}

// fakeDNS answers from memory: as a cache, unless told to take its time.
type fakeDNS struct {
	records map[string][]string
	err     map[string]error
	auth    bool
	// slow: Cached knows nothing, and TXT does what hold says before it answers.
	slow bool
	hold func(ctx context.Context, name string) error

	mu    sync.Mutex
	asked []string
}

//nolint:revive // the order is that of verifier.Resolver
func (d *fakeDNS) Cached(name string) (resolver.Answer, error, bool) {
	if d.slow {
		return resolver.Answer{}, nil, false
	}
	a, err := d.answer(name)
	return a, err, true
}

func (d *fakeDNS) TXT(ctx context.Context, name string) (resolver.Answer, error) {
	if d.hold != nil {
		if err := d.hold(ctx, name); err != nil {
			return resolver.Answer{}, err
		}
	}
	return d.answer(name)
}

func (d *fakeDNS) answer(name string) (resolver.Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, name)
	if err := d.err[name]; err != nil {
		return resolver.Answer{}, err
	}
	records, ok := d.records[name]
	switch {
	case !ok:
		return resolver.Answer{}, resolver.ErrNotExist
	case len(records) == 0:
		return resolver.Answer{}, resolver.ErrNoData
	}
	return resolver.Answer{Records: records, Authenticated: d.auth, Server: "192.0.2.53:53"}, nil
}

func (d *fakeDNS) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.asked...)
}

func (d *fakeDNS) fail(name string, err error) {
	if d.err == nil {
		d.err = map[string]error{}
	}
	d.err[name] = err
}

// policyIn is what a report says of the author's policy.
func policyIn(r *verifier.Report) string {
	switch {
	case r.DMARC.Result == dmarc.TempError:
		return "temperror"
	case r.DMARC.Author == "":
		return "unasked"
	case r.DMARC.Policy == dmarc.PolicyAbsent:
		return "absent"
	}
	return r.DMARC.Policy.String()
}
