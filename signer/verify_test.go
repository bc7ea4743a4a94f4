package signer_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	oracle "github.com/emersion/go-msgauth/dkim"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
	"dkimd/keys"
	"dkimd/signer"
)

// lookup serves the key records of the test keys, by type of selector.
func lookup(tb testing.TB, name string) string {
	tb.Helper()
	kind := keys.RSA
	if strings.HasPrefix(name, "ed") {
		kind = keys.Ed25519
	}
	if kind == keys.Ed25519 {
		der, err := x509.MarshalPKIXPublicKey(testKeys()[kind].Public())
		if err != nil {
			tb.Fatal(err)
		}
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(der[len(der)-32:])
	}
	der, err := x509.MarshalPKIXPublicKey(testKeys()[kind].Public())
	if err != nil {
		tb.Fatal(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

// messages that others must verify as well. Bare CR and LF are left out: others disagree about them.
func oddMessages() map[string]func(*world) {
	return map[string]func(*world){
		"plain": func(*world) {},
		"empty": func(w *world) { w.body = "" },
		"white": func(w *world) { w.body = " \t\r\n\r\n a \t b \r\n \r\n\r\n" },
		"8-bit": func(w *world) { w.body = "\xe4\u00a0 \xff  x\r\n"; withField(w, "Subject", "\u00a0\u00e4 \u00f6") },
		"folds": func(w *world) { withField(w, "Subject", "\r\n\ta\r\n \t b  c \r\n "); withField(w, "To", "\r\n a@b") },
		"twice": func(w *world) { w.fields = append(w.fields, "List-Id: x", "list-id: y", "Cc: a", "Cc: b") },
		"long":  func(w *world) { w.body = strings.Repeat("a line of text  \r\n", 5000) },
		"identity": func(w *world) {
			// Not "b=": go-msgauth 0.7.0 takes that for the tag wherever it stands.
			w.write("example.org", "domain.toml", `identity = "a;c=d@sub.example.org"`)
		},
	}
}

func canonicalizations() []dkim.Canonicalization {
	return []dkim.Canonicalization{dkim.Simple, dkim.Relaxed}
}

// raw is the message as it travels.
func raw(w *world, signed signer.Signed) []byte {
	var out bytes.Buffer
	for _, value := range signed.Fields {
		out.WriteString("DKIM-Signature:" + value + "\r\n")
	}
	for _, f := range w.header().Fields() {
		out.Write(f.Raw())
		out.WriteString("\r\n")
	}
	out.WriteString("\r\n" + w.body)
	return out.Bytes()
}

// eachMessage signs every message under every pair of canonicalizations, with two keys.
func eachMessage(t *testing.T, check func(name string, w *world, signed signer.Signed)) {
	t.Helper()
	for name, change := range oddMessages() {
		for _, header := range canonicalizations() {
			for _, body := range canonicalizations() {
				w := newWorld(t)
				w.key("example.org", "ed", keys.Ed25519)
				w.config.HeaderCanon, w.config.BodyCanon = header, body
				change(w)
				check(name+" "+header.String()+"/"+body.String(), w, w.mustSign())
			}
		}
	}
}

func TestGoMsgauthVerifies(t *testing.T) {
	t.Parallel()
	eachMessage(t, func(name string, w *world, signed signer.Signed) {
		results, err := oracle.VerifyWithOptions(bytes.NewReader(raw(w, signed)), &oracle.VerifyOptions{
			LookupTXT: func(name string) ([]string, error) { return []string{lookup(t, name)}, nil },
		})
		if err != nil || len(results) != len(signed.Fields) {
			t.Fatal(name, len(results), err)
		}
		for i, r := range results {
			if r.Err != nil {
				t.Errorf("%s: %+v: %v", name, signed.Signatures[i], r.Err)
			}
		}
	})
}

// needs skips a test whose foreign program is not there; CI has all of them.
func needs(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		if os.Getenv("DKIMD_REQUIRE_ALL") != "" {
			t.Fatalf("%s is required: %v\n%s", args[0], err, out)
		}
		t.Skipf("%s cannot be run: %v", strings.Join(args, " "), err)
	}
}

// python is Debian's: that is where python3-dkim is, whatever else is in the PATH.
const python = "/usr/bin/python3"

func TestDkimpyVerifies(t *testing.T) {
	t.Parallel()
	needs(t, python, "-c", "import dkim, nacl")
	const script = `
import sys, dkim, json, base64
records = {"s1": sys.argv[1].encode(), "ed": sys.argv[2].encode()}
def dns(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    return records[name.split(".")[0]]
for line in sys.stdin:
    message = base64.b64decode(line)
    print(*[dkim.DKIM(message, minkey=1024).verify(idx=i, dnsfunc=dns) for i in range(2)])
`
	var names []string
	var input strings.Builder
	eachMessage(t, func(name string, w *world, signed signer.Signed) {
		names = append(names, name)
		input.WriteString(base64.StdEncoding.EncodeToString(raw(w, signed)) + "\n")
	})
	cmd := exec.CommandContext(t.Context(), python, "-c", script, lookup(t, "s1"), lookup(t, "ed"))
	cmd.Stdin = strings.NewReader(input.String())
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) != len(names) {
		t.Fatalf("%v: %s", err, out)
	}
	for i, line := range lines {
		if line != "True True" {
			t.Errorf("%s: %s", names[i], line)
		}
	}
}

// FuzzSignThenVerify: what is signed verifies, and no signed byte can be changed.
func FuzzSignThenVerify(f *testing.F) {
	w := newWorld(f)
	w.key("example.org", "s2", keys.Ed25519)
	signers := map[dkim.Canonicalization]*signer.Signer{}
	for _, c := range canonicalizations() {
		w.config.HeaderCanon, w.config.BodyCanon = c, c
		signers[c] = w.signer()
	}
	f.Add("Hello\r\n there", "List-X", []byte("body \r\n\r\n"), uint16(7))
	f.Add(" \t x\x00", "Subject", []byte("\r\r\n \n"), uint16(300))
	f.Add("b=x; b=", "DKIM-Signature", []byte(""), uint16(40))
	f.Fuzz(func(t *testing.T, subject, name string, body []byte, flip uint16) {
		if !message.IsFieldName(name) || strings.EqualFold(name, "From") || strings.EqualFold(name, "Sender") {
			return
		}
		h := &message.Header{}
		h.Add("From", " joe@example.org")
		h.Add("Subject", subject)
		h.Add(name, subject)
		for c, s := range signers {
			signing, reason := s.Begin(context.Background(), &message.Envelope{}, h, message.ReadFrom(h))
			if signing == nil {
				if reason.Code != signer.Limit {
					t.Fatal(reason)
				}
				continue
			}
			_, _ = signing.Write(body)
			signed, err := signing.Finish(context.Background())
			if err != nil || len(signed.Fields) != 2 {
				t.Fatal(err)
			}
			for _, value := range signed.Fields {
				verifySigned(t, h, body, value)
			}
			flipOne(t, h, c, signed.Fields[int(flip)%2], body, int(flip))
		}
	})
}

func verifySigned(t *testing.T, h *message.Header, body []byte, value string) {
	t.Helper()
	w := &world{tb: t, body: string(body)}
	for _, f := range h.Fields() {
		w.fields = append(w.fields, string(f.Raw()))
	}
	if _, err := w.verify(value); err != nil {
		t.Errorf("%v: %q %q\n%s", err, h.Fields()[1].Raw(), body, value)
	}
}

// flipOne changes one bit of the canonical form of the message, which must break the signature.
func flipOne(t *testing.T, h *message.Header, c dkim.Canonicalization, value string, body []byte, at int) {
	t.Helper()
	w := &world{tb: t, body: string(body)}
	for _, f := range h.Fields() {
		w.fields = append(w.fields, string(f.Raw()))
	}
	changed := []byte(w.fields[1])
	i := len("Subject:") + at%(len(changed)-len("Subject:")+1)
	if i == len(changed) {
		// Behind the end of Subject: change the body instead.
		w.body += "x"
	} else {
		before := string(c.AppendField(nil, h.Fields()[1]))
		changed[i] ^= 1
		after := message.NewField("Subject", string(changed[len("Subject:"):]))
		if string(c.AppendField(nil, after)) == before {
			return // white space for white space
		}
		w.fields[1] = string(changed)
	}
	if _, err := w.verify(value); !errors.Is(err, errBroken) {
		t.Errorf("changed %q to %q, body %q to %q: %v", h.Fields()[1].Raw(), w.fields[1], body, w.body, err)
	}
}
