package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"dkimd/keys"
)

// spellings are the ways in which printing could give a secret away.
func spellings(secret []byte) map[string]string {
	list := strings.Trim(fmt.Sprintf("%d", secret[:8]), "[]")
	return map[string]string{
		"decimal":        new(big.Int).SetBytes(secret).String()[:20],
		"hex":            hex.EncodeToString(secret[:8]),
		"bytes":          list,
		"Go bytes":       strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret[:8]), "[]byte{"), "}"),
		"base64":         base64.StdEncoding.EncodeToString(secret[:9]),
		"hex with space": strings.TrimSpace(fmt.Sprintf("% x", secret[:8])),
		"raw":            string(secret[:8]),
		"words":          new(big.Int).SetBytes(secret[len(secret)-8:]).String(), // of a printed big.Int, least first
		"JSON bytes":     strings.ReplaceAll(list, " ", ","),
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem", rsaPEM())
	w.write("example.org/s2.pem", rfc8463PEM)
	s, _ := w.open()
	s.Close() // %#v reads what the background writes
	d := lookup(s, "example.org")
	secrets := [][]byte{rsaKey().D.Bytes(), rsaKey().Primes[0].Bytes(), rsaKey().Primes[1].Bytes(), seedKey().Seed()}
	check := func(how, text string) {
		t.Helper()
		for i, secret := range secrets {
			for spelling, part := range spellings(secret) {
				if strings.Contains(strings.ToLower(text), strings.ToLower(part)) {
					t.Errorf("%s gives away secret %d in %s", how, i, spelling)
				}
			}
		}
	}
	for _, k := range d.Keys {
		p, err := k.Load(within(t))
		w.check(err)
		type hidden struct {
			private  keys.Private
			pointer  *keys.Private
			signer   crypto.Signer
			anything any
		}
		values := map[string]any{
			"pointer": p, "value": *p, "signer": p.Signer, "key": k, "key value": fmt.Sprint(k), "domain": d, "store": s,
			"in a struct":  struct{ P keys.Private }{*p},
			"hidden":       hidden{*p, p, p.Signer, *p},
			"in a map":     map[string]any{"p": *p},
			"in a list":    []any{p, *p, p.Signer},
			"check result": keys.CheckResult{Key: k, Private: p},
		}
		for name, v := range values {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%b", "%o", "%U", "%c", "%t", "%e", "%z"} {
				check(name+" with "+verb, fmt.Sprintf(verb, v))
			}
			if out, err := json.Marshal(v); err == nil {
				check(name+" as JSON", string(out))
			}
			var log bytes.Buffer
			for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
				slog.New(h).Info("a key", "key", v, slog.Group("group", "key", v))
			}
			check(name+" in a log", log.String())
			check(name+" as an error", fmt.Errorf("sign: %v", v).Error())
		}
	}
	// The test would find a secret that is printed.
	bare := fmt.Sprintf("%v %x %v", rsaKey().D, []byte(seedKey()), []byte(seedKey()))
	for i, kind := range map[int]string{0: "decimal", 3: "hex"} {
		if !strings.Contains(bare, spellings(secrets[i])[kind]) {
			t.Errorf("the test does not recognise secret %d in %s", i, kind)
		}
	}
}

func TestPrivateNamesItsKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem", rsaPEM())
	s, _ := w.open()
	p, err := lookup(s, "example.org").Keys[0].Load(within(t))
	w.check(err)
	if got := fmt.Sprintf("%v %s %+v %d", p, *p, p, *p); got != strings.TrimSpace(strings.Repeat("rsa key of 2048 bits ", 4)) {
		t.Error(got)
	}
	if got := p.LogValue().String(); got != "rsa key of 2048 bits" {
		t.Error(got)
	}
}

func TestSigners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("example.org/s1.pem", rsaPEM())
	w.write("example.org/s2.pem", rfc8463PEM)
	s, _ := w.open()
	digest := sha256.Sum256([]byte("header"))
	for _, k := range lookup(s, "example.org").Keys {
		p, err := k.Load(within(t))
		w.check(err)
		switch public := p.Signer.Public().(type) {
		case *rsa.PublicKey:
			signature, err := p.Signer.Sign(nil, digest[:], crypto.SHA256)
			w.check(err)
			w.check(rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature))
		case ed25519.PublicKey:
			signature, err := p.Signer.Sign(nil, digest[:], crypto.Hash(0))
			w.check(err)
			if !ed25519.Verify(public, digest[:], signature) {
				t.Error("Ed25519 signature does not verify")
			}
		default:
			t.Errorf("public key of type %T", public)
		}
	}
}
