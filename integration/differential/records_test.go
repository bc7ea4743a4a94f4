//go:build integration

package differential_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"

	"dkimd/internal/dkim/dkimtest"
)

// oddRecords are key records that are odd or wrong: K is the type, P the public key, Q that of another
// key, and each string one TXT record at the name. No record: the name does not exist.
var oddRecords = [][]string{
	{"v=DKIM1; k=K; p=P"},
	{"p=P; k=K"},
	{"k=K; p=P;"},
	{"v=DKIM1;k=K;p=P;"},
	{"k=K; v=DKIM1; p=P"},
	{"v=DKIM2; k=K; p=P"},
	{"v=dkim1; k=K; p=P"},
	{"v= DKIM1 ; k = K ; p = P "},
	{"V=DKIM1; K=K; P=P"},
	{"v=; k=K; p=P"},
	{"v=DKIM1; p=P"},
	{"p=P"},
	{"P"},
	{""},
	{" "},
	{";"},
	{"v=DKIM1; k=KK; p=P"},
	{"v=DKIM1; k=dsa; p=P"},
	{"v=DKIM1; k=; p=P"},
	{"v=DKIM1; k=rsa; p=P"},
	{"v=DKIM1; k=ed25519; p=P"},
	{"v=DKIM1; k=UPPER; p=P"},
	{"v=DKIM1; k=K; h=sha256; p=P"},
	{"v=DKIM1; k=K; h=sha1:sha256; p=P"},
	{"v=DKIM1; k=K; h=sha1; p=P"},
	{"v=DKIM1; k=K; h=SHA256; p=P"},
	{"v=DKIM1; k=K; h=; p=P"},
	{"v=DKIM1; k=K; h= sha1 : sha256 ; p=P"},
	{"v=DKIM1; k=K; h=sha512; p=P"},
	{"v=DKIM1; k=K; h=sha256:; p=P"},
	{"v=DKIM1; k=K; h=*; p=P"},
	{"v=DKIM1; k=K; s=email; p=P"},
	{"v=DKIM1; k=K; s=*; p=P"},
	{"v=DKIM1; k=K; s=other; p=P"},
	{"v=DKIM1; k=K; s=tlsrpt; p=P"},
	{"v=DKIM1; k=K; s=email:other; p=P"},
	{"v=DKIM1; k=K; s=other:*; p=P"},
	{"v=DKIM1; k=K; s=EMAIL; p=P"},
	{"v=DKIM1; k=K; s=; p=P"},
	{"v=DKIM1; k=K; s=other : email; p=P"},
	{"v=DKIM1; k=K; s=e-mail; p=P"},
	{"v=DKIM1; k=K; t=y; p=P"},
	{"v=DKIM1; k=K; t=s; p=P"},
	{"v=DKIM1; k=K; t=y:s; p=P"},
	{"v=DKIM1; k=K; t=foo; p=P"},
	{"v=DKIM1; k=K; t=; p=P"},
	{"v=DKIM1; k=K; t=S; p=P"},
	{"v=DKIM1; k=K; t= y : s ; p=P"},
	{"v=DKIM1; k=K; n=a note; p=P"},
	{"v=DKIM1; k=K; n=a=20b=3D; p=P"},
	{"v=DKIM1; k=K; n=\xc3\xa4; p=P"},
	{"v=DKIM1; k=K; n=\xff; p=P"},
	{"v=DKIM1; k=K; n=a\x01; p=P"},
	{"v=DKIM1; k=K; n=p=x; p=P"},
	{"v=DKIM1; k=K; g=*; p=P"},
	{"v=DKIM1; k=K; g=; p=P"},
	{"v=DKIM1; k=K; g=joe; p=P"},
	{"v=DKIM1; k=K; g=j*; p=P"},
	{"v=DKIM1; k=K; g=ann; p=P"},
	{"v=DKIM1; k=K; p="},
	{"v=DKIM1; k=K"},
	{"p="},
	{"v=DKIM1; k=K; p= "},
	{"v=DKIM1; k=K; p=;"},
	{"p"},
	{"p=;p=P"},
	{"v=DKIM1; k=K; p=SPACED"},
	{"v=DKIM1; k=K; p=TABBED"},
	{"v=DKIM1; k=K; p=FOLDED"},
	{"v=DKIM1; k=K; p=LINED"},
	{"v=DKIM1; k=K; p=\"P\""},
	{"\"v=DKIM1; k=K; p=P\""},
	{"v=DKIM1; k=K; p=P="},
	{"v=DKIM1; k=K; p=P*"},
	{"v=DKIM1; k=K; p=CUT"},
	{"v=DKIM1; k=K; p=AAAA"},
	{"v=DKIM1; k=K; p=PKCS1"},
	{"v=DKIM1; k=K; p=SPKI"},
	{"v=DKIM1; k=K; p=Q"},
	{"v=DKIM1; k=K; p=PP"},
	{"v=DKIM1; k=K; p=!"},
	{"v=DKIM1; k=K; p=UNPADDED"},
	{"v=DKIM1; k=K; p=P; p=P"},
	{"v=DKIM1; k=K; p=P; p=Q"},
	{"v=DKIM1; k=K; p=Q; p=P"},
	{"v=DKIM1; v=DKIM1; k=K; p=P"},
	{"v=DKIM1; k=K; x=1; x=2; p=P"},
	{"v=DKIM1; k=K; xyz=1; p=P"},
	{"v=DKIM1; k=K; x-y=1; p=P"},
	{"v=DKIM1; k=K; 1=1; p=P"},
	{"v=DKIM1; k=K; p=P; foo"},
	{"v=DKIM1; k=K; p=P;;"},
	{"v=DKIM1;; k=K; p=P"},
	{";v=DKIM1; k=K; p=P"},
	{" v=DKIM1; k=K; p=P"},
	{"v=DKIM1; k=K; p=P; ; "},
	{"v=DKIM1 k=K p=P"},
	{"v=DKIM1, k=K, p=P"},
	{"v=DKIM1\\; k=K\\; p=P"},
	{"v=DKIM1: k=K: p=P"},
	{"v=DKIM1;\r\n k=K;\r\n p=P"},
	{"v=DKIM1;\nk=K;\np=P\n"},
	{"v=DKIM1; k=K; p=P\r\n"},
	{"v=DKIM1; k=K; p=P\x00"},
	{"v=spf1 -all"},
	{"v=spf1 -all", "v=DKIM1; k=K; p=P"},
	{"v=DKIM1; k=K; p=P", "v=spf1 -all"},
	{"v=DKIM1; k=K; p=P", "v=DKIM1; k=K; p=Q"},
	{"v=DKIM1; k=K; p=Q", "v=DKIM1; k=K; p=P"},
	{"v=DKIM1; k=K; p=P", "v=DKIM1; p="},
	{"v=DKIM1; p=", "v=DKIM1; k=K; p=P"},
	{"v=DKIM1; k=rsa; p=RSA512"},
	{"v=DKIM1; k=rsa; p=RSA1016"},
	{"v=DKIM1; k=rsa; p=EVEN"},
	{"!"},
	nil,
	{"v=DKIM1; k=K; n=" + strings.Repeat("x", 3000) + "; p=P"},
	{"v=DKIM1; k=K; n=" + strings.Repeat("x", 5000) + "; p=P"},
	{"v=DKIM1; k=K; " + strings.Repeat("x", 60) + "=1; p=P"},
}

// weak are RSA keys that are too small, by what stands for them.
var weak = sync.OnceValue(func() map[string]smallKey {
	return map[string]smallKey{"RSA512": newSmallKey(512), "RSA1016": newSmallKey(1016)}
})

// record fills in the letters.
func (r source) record(text string, k key) string {
	kind := strings.TrimSuffix(k.algorithm, "-sha256")
	other := keyring()["other"].p
	var bare, info string
	switch public := k.private.Public().(type) {
	case *rsa.PublicKey:
		bare, info = base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(public)), k.p
	case ed25519.PublicKey:
		der, _ := x509.MarshalPKIXPublicKey(public)
		bare, info = k.p, base64.StdEncoding.EncodeToString(der)
		seed := make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(seed)
		other = base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	}
	split := func(by string) string { return k.p[:20] + by + k.p[20:30] + by + k.p[30:] }
	for name, private := range weak() {
		if strings.Contains(text, name) {
			der, _ := x509.MarshalPKIXPublicKey(private.Public())
			return strings.Replace(text, name, base64.StdEncoding.EncodeToString(der), 1)
		}
	}
	if strings.Contains(text, "EVEN") {
		public := *keyring()["rsa"].private.Public().(*rsa.PublicKey)
		public.E = 65538
		der, _ := x509.MarshalPKIXPublicKey(&public)
		return strings.Replace(text, "EVEN", base64.StdEncoding.EncodeToString(der), 1)
	}
	return strings.NewReplacer("DKIM1", "DKIM1", "DKIM2", "DKIM2", "P=P", "P="+k.p, "K=K", "K="+kind, "KK", kind+kind, "PP", k.p+k.p, "PKCS1", bare, "SPKI", info,
		"SPACED", split(" "), "TABBED", split("\t"), "FOLDED", split("\r\n "), "LINED", split("\n"), "CUT", k.p[:len(k.p)-9], "UNPADDED", strings.TrimRight(k.p, "="),
		"UPPER", strings.ToUpper(kind), "K", kind, "P", k.p, "Q", other).Replace(text)
}

// TestOddKeyRecords: the same messages with odd records in DNS.
func TestOddKeyRecords(t *testing.T) {
	t.Parallel()
	judges := allPeers(t)
	r := newSource("odd records")
	for round := range 3 {
		for i, texts := range oddRecords {
			d := r.draft("example.org", false, false)
			d.body = []byte("Hello  you \r\n")
			w := r.write("example.org")
			selector := []string{"rsa", "ed", "rsa2048"}[round]
			w.key = keyring()[selector]
			w.options.Key = w.key.private
			w.set("a", w.key.algorithm)
			w.set("s", fmt.Sprintf("r%d-%d", round, i))
			if r.one(0.5) {
				w.set("i", r.of("@example.org", "joe@example.org", "joe@sub.example.org"))
			}
			var records []string
			for _, text := range texts {
				for name, private := range weak() {
					if strings.Contains(text, name) {
						w.options.Key = private
						w.set("a", "rsa-sha256")
					}
				}
				records = append(records, r.record(text, w.key))
			}
			raw, err := dkimtest.Sign(d.raw(), w.field(func() string { return " " }), w.options)
			if err != nil {
				t.Fatal(err)
			}
			s := &sample{name: fmt.Sprintf("odd record %d-%d", round, i), raw: raw, odd: texts, otherKey: true, records: map[string][]string{}}
			if records != nil {
				s.records[fmt.Sprintf("r%d-%d._domainkey.example.org", round, i)] = records
			}
			judges.all(t, s, "")
		}
	}
	judges.report(t)
}
