package keys_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"strings"
	"testing"

	"dkimd/keys"
)

// Every form of key that is in use signs.
func TestForms(t *testing.T) {
	t.Parallel()
	seed := seedKey().Seed()
	pkcs1 := x509.MarshalPKCS1PrivateKey(rsaKey())
	v2 := must(asn1.Marshal(struct { // RFC 5958: version 2 with attributes and public key
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
		Public    asn1.BitString `asn1:"tag:1"`
	}{1, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 112}}, append([]byte{4, 32}, seed...), asn1.BitString{Bytes: seedKey()[32:], BitLength: 256}}))
	forms := map[string]string{
		"PKCS #8 RSA":                     rsaPEM(),
		"PKCS #1 RSA":                     pemOf("RSA PRIVATE KEY", pkcs1),
		"PKCS #8 labelled RSA":            pemOf("RSA PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey()))),
		"PKCS #1 labelled PRIVATE KEY":    pemOf("PRIVATE KEY", pkcs1),
		"PKCS #8 Ed25519 of openssl":      rfc8463PEM,
		"PKCS #8 version 2 Ed25519":       pemOf("PRIVATE KEY", v2),
		"a seed as PEM":                   pemOf("ED25519 PRIVATE KEY", seed),
		"a seed of dknewkey":              rfc8463Seed + "\n",
		"seed and public key of rspamadm": base64.StdEncoding.EncodeToString(seedKey()),
		"Windows line ends":               strings.ReplaceAll(rsaPEM(), "\n", "\r\n"),
		"a byte order mark":               "\xef\xbb\xbf" + rfc8463PEM,
		"text before, as openssl -text":   "Private-Key: (2048 bit)\n" + rsaPEM(),
		"no line end at the end":          strings.TrimSpace(rfc8463PEM),
	}
	for name, content := range forms {
		w := newWorld(t)
		w.write("example.org/s1.pem", content)
		s, faults := w.open()
		if len(faults) != 0 {
			t.Errorf("%s: %v", name, faults)
			continue
		}
		k := lookup(s, "example.org").Keys[0]
		p, err := k.Load(within(t))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		switch public := p.Signer.Public().(type) {
		case ed25519.PublicKey:
			if p.Type != keys.Ed25519 || p.Bits != 256 || base64.StdEncoding.EncodeToString(public) != rfc8463Public {
				t.Errorf("%s: %v with public key %x", name, p, public)
			}
		default:
			if p.Type != keys.RSA || p.Bits != 2048 || !rsaKey().PublicKey.Equal(public) {
				t.Errorf("%s: %v", name, p)
			}
		}
	}
}
