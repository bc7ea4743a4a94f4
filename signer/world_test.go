package signer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
	"dkimd/keys"
	"dkimd/signer"
)

var now = time.Unix(1_700_000_000, 0)

// testKeys are one key of each type: making RSA keys takes long.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		panic(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{keys.RSA: private, keys.Ed25519: edwards}
})

// world is a key directory, a configuration and a message that gets signed.
type world struct {
	tb     testing.TB
	dir    string
	config signer.Config
	env    *message.Envelope
	fields []string // "Name: value"
	body   string
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{
		tb: tb, dir: tb.TempDir(),
		config: signer.Config{HeaderCanon: dkim.Relaxed, BodyCanon: dkim.Relaxed, Now: func() time.Time { return now }},
		env:    &message.Envelope{Sender: "joe@example.org"},
		fields: []string{
			"Received: by mail.example.org", "From: Joe <joe@Example.ORG>", "To: ann@example.net", "Subject: one\r\n two",
			"Date: Fri, 11 Jul 2025 21:00:37 -0700", "List-Id: <a.example.org>", "Message-ID: <1@example.org>",
		},
		body: "Hello  there \r\n\r\n",
	}
	w.key("example.org", "s1", keys.RSA)
	return w
}

// key adds DOMAIN/SELECTOR.pem.
func (w *world) key(domain, selector, kind string) {
	w.tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(testKeys()[kind])
	if err != nil {
		w.tb.Fatal(err)
	}
	w.write(domain, selector+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func (w *world) write(domain, name, content string) {
	w.tb.Helper()
	dir := filepath.Join(w.dir, domain)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) header() *message.Header {
	h := &message.Header{}
	for _, f := range w.fields {
		name, value, _ := strings.Cut(f, ":")
		h.Add(name, value)
	}
	return h
}

// value is that of a field, or another one where there is no such field.
func (w *world) value(name string) string {
	for _, f := range w.fields {
		if value, ok := strings.CutPrefix(f, name+": "); ok {
			return value
		}
	}
	return "there"
}

func (w *world) signer() *signer.Signer {
	w.tb.Helper()
	store, _ := keys.Open(keys.Config{Directory: w.dir})
	w.tb.Cleanup(store.Close)
	w.config.Keys = store.Lookup
	s, err := signer.New(w.config)
	if err != nil {
		w.tb.Fatal(err)
	}
	return s
}

func (w *world) sign(s *signer.Signer) (signer.Signed, signer.Reason, error) {
	w.tb.Helper()
	h := w.header()
	signing, reason := s.Begin(context.Background(), w.env, h, message.ReadFrom(h))
	if signing == nil {
		if reason.Code == "" || reason.Text == "" {
			w.tb.Error("unsigned without a reason")
		}
		return signer.Signed{}, reason, nil
	}
	if reason != (signer.Reason{}) {
		w.tb.Error("signed with a reason not to: ", reason)
	}
	_, _ = signing.Write([]byte(w.body))
	signed, err := signing.Finish(context.Background())
	return signed, reason, err
}

// mustSign signs and checks every signature.
func (w *world) mustSign() signer.Signed {
	w.tb.Helper()
	signed, reason, err := w.sign(w.signer())
	if err != nil || reason.Code != "" {
		w.tb.Fatal(reason, err)
	}
	if len(signed.Fields) == 0 || len(signed.Fields) != len(signed.Signatures) {
		w.tb.Fatalf("%d fields, %d signatures", len(signed.Fields), len(signed.Signatures))
	}
	for i, value := range signed.Fields {
		s, err := w.verify(value)
		if err != nil {
			w.tb.Errorf("%+v: %v\n%s", signed.Signatures[i], err, value)
		}
		if got := (signer.Signature{Domain: string(s.Domain), Selector: s.Selector, Algorithm: s.Algorithm}); got != signed.Signatures[i] {
			w.tb.Errorf("the field says %+v, the list %+v", got, signed.Signatures[i])
		}
		checkLayout(w.tb, value)
	}
	return signed
}

var errBroken = errors.New("signature does not match")

// verify checks a signature on the message as it is now.
func (w *world) verify(value string) (*dkim.Signature, error) {
	f := message.NewField(dkim.SignatureField, value)
	s, err := dkim.ParseSignature(f)
	if err != nil {
		return s, err
	}
	b := dkim.NewBodyHash(s.BodyCanon, s.BodyLength)
	_, _ = b.Write([]byte(w.body))
	if sum := b.Sum(); !bytes.Equal(sum[:], s.BodyHash) {
		return s, fmt.Errorf("body: %w", errBroken)
	}
	h := &message.Header{}
	h.Add(dkim.SignatureField, value)
	for _, f := range w.header().Fields() {
		h.Add(string(f.Raw()[:len(f.Raw())-len(f.Value())-1]), string(f.Value()))
	}
	s.Field = h.Fields()[0]
	digest := s.HeaderHash(h)
	if s.Algorithm == dkim.Ed25519SHA256 {
		public, _ := testKeys()[keys.Ed25519].Public().(ed25519.PublicKey)
		if !ed25519.Verify(public, digest[:], s.Value) {
			return s, errBroken
		}
		return s, nil
	}
	public, _ := testKeys()[keys.RSA].Public().(*rsa.PublicKey)
	if rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], s.Value) != nil {
		return s, errBroken
	}
	return s, nil
}

// checkLayout: RFC 5322 sections 2.1.1 and 2.2.3, and our order of tags.
func checkLayout(tb testing.TB, value string) {
	tb.Helper()
	if !strings.HasPrefix(value, " v=1; a=") {
		tb.Errorf("begins with %.20q", value)
	}
	for i, line := range strings.Split("DKIM-Signature:"+value, "\r\n") {
		if i > 0 && (!strings.HasPrefix(line, " ") || strings.TrimSpace(line) == "") {
			tb.Errorf("line %d is %q", i, line)
		}
		if len(line) >= 78 && strings.Contains(strings.TrimSpace(line), " ") || len(line) > 998 {
			tb.Errorf("line %d has %d columns: %s", i, len(line), line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			tb.Errorf("line %d is not plain ASCII: %q", i, line)
		}
	}
	list, err := dkim.ParseTagList(value)
	if err != nil {
		tb.Error(err)
	}
	order := "vacdsitxh" // and then bh and b
	last := -1
	for _, tag := range list[:len(list)-2] {
		at := strings.Index(order, tag.Name)
		if at <= last {
			tb.Errorf("%s= out of order in %s", tag.Name, value)
		}
		last = at
	}
	if list[len(list)-2].Name != "bh" || list[len(list)-1].Name != "b" {
		tb.Error("bh= and b= are not last")
	}
}

// tag is a tag of the field, without white space for h=.
func tag(tb testing.TB, value, name string) string {
	tb.Helper()
	list, err := dkim.ParseTagList(value)
	if err != nil {
		tb.Fatal(err)
	}
	found, _ := list.Lookup(name)
	return strings.NewReplacer("\r\n ", "", " ", "").Replace(found)
}
