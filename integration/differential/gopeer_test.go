//go:build integration

package differential_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/keys"
	"dkimd/signer"
	"dkimd/verifier"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// goMsgauth is go-msgauth's dkim package.
type goMsgauth struct{}

func (goMsgauth) name() string { return "go-msgauth" }

// lookupError is an error of net.LookupTXT as go-msgauth looks at it.
type lookupError struct{ temporary bool }

func (lookupError) Error() string     { return "lookup" }
func (lookupError) Timeout() bool     { return false }
func (e lookupError) Temporary() bool { return e.temporary }

func (goMsgauth) verify(t *testing.T, s *sample) []judgement {
	t.Helper()
	results, err := msgauth.VerifyWithOptions(bytes.NewReader(s.raw), &msgauth.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) {
			records := s.records[strings.ToLower(strings.TrimSuffix(name, "."))]
			switch {
			case len(records) == 0:
				return nil, lookupError{}
			case records[0] == "!":
				return nil, lookupError{temporary: true}
			}
			return records, nil
		},
	})
	if err != nil {
		return []judgement{{class: broken, detail: err.Error()}}
	}
	var found []judgement
	for _, r := range results {
		j := judgement{class: fail}
		switch {
		case r.Err == nil:
			j.class = pass
		case msgauth.IsTempFail(r.Err):
			j.class = temperror
		case msgauth.IsPermFail(r.Err):
			j.class = permerror
		}
		if r.Err != nil {
			j.detail = r.Err.Error()
		}
		found = append(found, j)
	}
	return found
}

// sign returns the message signed: go-msgauth writes the field itself.
func (goMsgauth) sign(t *testing.T, raw []byte, o order) []byte {
	t.Helper()
	options := &msgauth.SignOptions{
		Domain: o.domain, Selector: o.selector, Identifier: o.identity, Signer: keyring()[o.selector].private,
		HeaderCanonicalization: msgauth.Canonicalization(o.header), BodyCanonicalization: msgauth.Canonicalization(o.body),
		HeaderKeys: o.names,
	}
	if o.expires > 0 {
		options.Expiration = time.Now().Add(o.expires)
	}
	var out bytes.Buffer
	if err := msgauth.Sign(&out, bytes.NewReader(raw), options); err != nil {
		t.Fatalf("go-msgauth: %v", err)
	}
	return out.Bytes()[:out.Len()-len(raw)]
}

// dkimd is ourselves: the verifier package as it stands in the daemon, with DNS from memory.
type dkimd struct{}

func (dkimd) name() string { return "dkimd" }

// memory is a verifier.Resolver.
type memory map[string][]string

//nolint:revive // the order is that of verifier.Resolver
func (m memory) Cached(name string) (resolver.Answer, error, bool) {
	a, err := m.TXT(context.Background(), name)
	return a, err, true
}

func (m memory) TXT(_ context.Context, name string) (resolver.Answer, error) {
	records := m[name]
	switch {
	case len(records) == 0:
		return resolver.Answer{}, resolver.ErrNotExist
	case records[0] == "!":
		return resolver.Answer{}, resolver.ErrTemporary
	}
	return resolver.Answer{Records: records}, nil
}

func (dkimd) verify(t *testing.T, s *sample) []judgement {
	t.Helper()
	config := verifier.Config{Resolver: memory(s.records), ClockSkew: 5 * time.Minute}
	if !s.now.IsZero() {
		config.Now = func() time.Time { return s.now }
	}
	v, err := verifier.New(config)
	if err != nil {
		t.Fatal(err)
	}
	h, body := split(s.raw)
	w := v.Begin(t.Context(), verifier.Request{Header: h, From: message.ReadFrom(h)})
	defer w.Close()
	for len(body) > 0 { // chunks of an odd size
		n := min(1021, len(body))
		_, _ = w.Write(body[:n])
		body = body[n:]
	}
	var found []judgement
	for _, r := range w.Finish(t.Context()).Results {
		found = append(found, judgement{class: class(r.Status.String()), detail: r.Reason(), b: r.B})
	}
	return found
}

// split takes a message apart as an MTA does before it calls a milter, but for
// white space before the colon, which stays.
func split(raw []byte) (*message.Header, []byte) {
	h := &message.Header{}
	var name, value string
	started := false
	flush := func() {
		if started {
			h.Add(name, value)
		}
	}
	for len(raw) > 0 {
		line, rest, _ := bytes.Cut(raw, []byte("\r\n"))
		switch {
		case len(line) == 0:
			flush()
			return h, rest
		case started && (line[0] == ' ' || line[0] == '\t'):
			value += "\r\n" + string(line)
		default:
			before, after, ok := bytes.Cut(line, []byte(":"))
			if !ok {
				flush()
				return h, raw // no field: the body begins here
			}
			flush()
			name, value, started = string(before), string(after), true
		}
		raw = rest
	}
	flush()
	return h, nil
}

// signing is dkimd's signer with one configuration. Every domain of the list has the keys selected.
type signing struct{ *signer.Signer }

func newSigning(t *testing.T, config signer.Config, domains map[string]string, selectors ...string) signing {
	t.Helper()
	dir := t.TempDir()
	for domain, options := range domains {
		path := filepath.Join(dir, domain)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{}
		if options != "" {
			files["domain.toml"] = []byte(options)
		}
		for _, s := range selectors {
			files[s+".pem"] = keyring()[s].pkcs8
		}
		for name, data := range files {
			if err := os.WriteFile(filepath.Join(path, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	store, faults := keys.Open(keys.Config{Directory: dir})
	if len(faults) > 0 {
		t.Fatal(faults.Err())
	}
	t.Cleanup(store.Close)
	config.Keys = store.Lookup
	s, err := signer.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return signing{s}
}

// sign returns the fields that go on top of a message.
func (s signing) sign(t *testing.T, raw []byte) []byte {
	t.Helper()
	h, body := split(raw)
	w, reason := s.Begin(t.Context(), &message.Envelope{}, h, message.ReadFrom(h))
	if w == nil {
		t.Fatalf("not signed: %s\n%q", reason.Text, raw)
	}
	for len(body) > 0 {
		n := min(4093, len(body))
		_, _ = w.Write(body[:n])
		body = body[n:]
	}
	signed, err := w.Finish(t.Context())
	if err != nil || len(signed.Fields) == 0 {
		t.Fatalf("not signed: %v", err)
	}
	var out bytes.Buffer
	for _, f := range signed.Fields {
		out.WriteString(dkim.SignatureField + ":" + f + "\r\n")
	}
	return out.Bytes()
}

func canonicalization(name string) dkim.Canonicalization {
	if name == "relaxed" {
		return dkim.Relaxed
	}
	return dkim.Simple
}
