package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"
)

// Authority issues certificates.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes an authority of this common name.
func NewAuthority(name string) (*Authority, error) {
	a := new(Authority)
	made, err := a.issue(name, true)
	if err != nil {
		return nil, err
	}
	a.key, _ = made.PrivateKey.(*ecdsa.PrivateKey)
	a.certificate, err = x509.ParseCertificate(made.Certificate[0])
	return a, err
}

// Issue makes a certificate of this common name.
func (a *Authority) Issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	made, err := a.issue(name, false)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (a *Authority) issue(name string, authority bool) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: authority, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent, signing := a.certificate, a.key
	if parent == nil {
		parent, signing = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signing)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// save writes the files that Postfix takes: the authority, and a server certificate with its key.
func (a *Authority) save(authority, server string) error {
	made, err := a.issue(Hostname, false)
	if err != nil {
		return err
	}
	key, _ := made.PrivateKey.(*ecdsa.PrivateKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate[0]})
	chain = append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), chain...)
	if err := os.WriteFile(server, chain, 0o600); err != nil {
		return err
	}
	return os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}), 0o644)
}
