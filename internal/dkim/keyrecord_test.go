package dkim_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/dkim"
)

// keyForms are one RSA key and one Ed25519 key, in base64.
type keyForms struct {
	rsa                        *rsa.PublicKey
	spki, bare                 string
	ed25519                    ed25519.PublicKey
	ed25519Raw, ed25519Wrapped string
}

func newKeyForms(tb testing.TB) keyForms {
	tb.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		tb.Fatal(err)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	wrapped, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		tb.Fatal(err)
	}
	edWrapped, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		tb.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	return keyForms{
		rsa: &private.PublicKey, spki: encode(wrapped), bare: encode(x509.MarshalPKCS1PublicKey(&private.PublicKey)),
		ed25519: public, ed25519Raw: encode(public), ed25519Wrapped: encode(edWrapped),
	}
}

func der(tb testing.TB, value any) string {
	tb.Helper()
	data, err := asn1.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(data)
}

type rsaNumbers struct{ N, E *big.Int }

func TestParseKeyRecord(t *testing.T) {
	t.Parallel()
	k := newKeyForms(t)
	folded := k.spki[:5] + " \t" + k.spki[5:9] + "\r\n " + k.spki[9:20] + "\n" + k.spki[20:] + " "
	odd := func(n *big.Int) *big.Int { return new(big.Int).SetBit(n, 0, 1) }
	huge := odd(new(big.Int).Lsh(big.NewInt(1), dkim.MaxModulusBits))
	spki, bare := decode(t, k.spki), decode(t, k.bare)
	tests := map[string]struct {
		record string
		want   error
	}{
		"the least":                             {"p=" + k.spki, nil},
		"all tags":                              {"v=DKIM1; h=sha1:sha256; k=rsa; n=a note; s=*; t=y:s; p=" + k.spki, nil},
		"bare RSAPublicKey":                     {"p=" + k.bare, nil},
		"white space and folds inside p=":       {"v=DKIM1;p= " + folded, nil},
		"without padding":                       {"p=" + strings.TrimRight(k.bare, "="), nil},
		"a final semicolon and space":           {"v=DKIM1; p=" + k.spki + "; ", nil},
		"k= in upper case, like OpenDKIM":       {"k=RSA; p=" + k.spki, nil},
		"h= in upper case, like OpenDKIM":       {"h=SHA256; p=" + k.spki, nil},
		"g= and unknown tags, 3.2":              {"v=DKIM1; g=; x9=1; p=" + k.spki, nil},
		"s= email among others":                 {"s=tlsrpt : email; p=" + k.spki, nil},
		"unknown flags, 3.6.1":                  {"t=x:q; p=" + k.spki, nil},
		"ed25519, RFC 8463":                     {"v=DKIM1; k=ed25519; p=" + k.ed25519Raw, nil},
		"ed25519 in SubjectPublicKeyInfo":       {"v=DKIM1; k=ed25519; p=" + k.ed25519Wrapped, nil},
		"v= unknown, 3.6.1":                     {"v=DKIM2; p=" + k.spki, dkim.ErrKeyVersion},
		"v= in lower case":                      {"v=dkim1; p=" + k.spki, dkim.ErrKeyVersion},
		"v= not first, 3.6.1":                   {"p=" + k.spki + "; v=DKIM1", dkim.ErrKeyVersion},
		"empty":                                 {"", dkim.ErrKeySyntax},
		"not a tag list":                        {"v=spf1 -all; p", dkim.ErrKeySyntax},
		"an SPF record":                         {"v=spf1 include:example.org -all", dkim.ErrKeyVersion},
		"p= is absent":                          {"v=DKIM1; k=rsa", dkim.ErrKeySyntax},
		"revoked, 3.6.1":                        {"v=DKIM1; p=", dkim.ErrKeyRevoked},
		"revoked, with white space":             {"v=DKIM1; p= \t ;", dkim.ErrKeyRevoked},
		"a duplicate tag, 3.2":                  {"p=" + k.spki + "; p=" + k.spki, dkim.ErrDuplicateTag},
		"a tag without =":                       {"p=" + k.spki + "; foo", dkim.ErrKeySyntax},
		"an unknown type":                       {"k=dsa; p=" + k.spki, dkim.ErrKeyType},
		"h= without sha256":                     {"h=sha1; p=" + k.spki, dkim.ErrKeyHash},
		"h= empty":                              {"h=; p=" + k.spki, dkim.ErrKeyHash},
		"s= without email":                      {"s=tlsrpt; p=" + k.spki, dkim.ErrKeyService},
		"p= no base64":                          {"p=!" + k.spki, dkim.ErrKeySyntax},
		"p= URL alphabet":                       {"p=AB-_", dkim.ErrKeySyntax},
		"p= no key":                             {"p=AQID", dkim.ErrKeyData},
		"an Ed25519 key as rsa":                 {"p=" + k.ed25519Raw, dkim.ErrKeyData},
		"a wrapped Ed25519 key as rsa":          {"p=" + k.ed25519Wrapped, dkim.ErrKeyData},
		"an RSA key as ed25519":                 {"k=ed25519; p=" + k.spki, dkim.ErrKeyData},
		"ed25519 with 31 octets":                {"k=ed25519; p=" + base64.StdEncoding.EncodeToString(k.ed25519[:31]), dkim.ErrKeyData},
		"one octet more behind the DER":         {"p=" + base64.StdEncoding.EncodeToString(append(slices.Clip(spki), 0)), dkim.ErrKeyData},
		"one octet more behind the bare key":    {"p=" + base64.StdEncoding.EncodeToString(append(slices.Clip(bare), 0)), dkim.ErrKeyData},
		"one octet of the DER missing":          {"p=" + base64.StdEncoding.EncodeToString(spki[:len(spki)-1]), dkim.ErrKeyData},
		"exponent 3":                            {"p=" + der(t, rsaNumbers{k.rsa.N, big.NewInt(3)}), nil},
		"exponent 1":                            {"p=" + der(t, rsaNumbers{k.rsa.N, big.NewInt(1)}), dkim.ErrKeyData},
		"exponent 0":                            {"p=" + der(t, rsaNumbers{k.rsa.N, big.NewInt(0)}), dkim.ErrKeyData},
		"exponent even":                         {"p=" + der(t, rsaNumbers{k.rsa.N, big.NewInt(4)}), dkim.ErrKeyData},
		"exponent negative":                     {"p=" + der(t, rsaNumbers{k.rsa.N, big.NewInt(-3)}), dkim.ErrKeyData},
		"exponent over 31 bits":                 {"p=" + der(t, rsaNumbers{k.rsa.N, big.NewInt(1<<31 + 1)}), dkim.ErrKeyData},
		"modulus even":                          {"p=" + der(t, rsaNumbers{new(big.Int).Lsh(k.rsa.N, 1), big.NewInt(3)}), dkim.ErrKeyData},
		"modulus negative":                      {"p=" + der(t, rsaNumbers{new(big.Int).Neg(k.rsa.N), big.NewInt(3)}), dkim.ErrKeyData},
		"modulus zero":                          {"p=" + der(t, rsaNumbers{big.NewInt(0), big.NewInt(3)}), dkim.ErrKeyData},
		"modulus over 16384 bits":               {"p=" + der(t, rsaNumbers{huge, big.NewInt(3)}), dkim.ErrKeySize},
		"a third number":                        {"p=" + der(t, struct{ N, E, X *big.Int }{k.rsa.N, big.NewInt(3), big.NewInt(1)}), dkim.ErrKeyData},
		"4096 bytes, as many as are read":       {"p=" + k.spki + ";n=" + strings.Repeat("x", 4096-len(k.spki)-5), nil},
		"more than 4096 bytes":                  {"p=" + k.spki + ";n=" + strings.Repeat("x", 4096-len(k.spki)-4), dkim.ErrKeyTooLong},
		"more than 4096 bytes that are no list": {strings.Repeat(";", 5000), dkim.ErrKeyTooLong},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := dkim.ParseKeyRecord(test.record)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if got == nil {
				t.Fatal("no record")
			}
			if (got.PublicKey != nil) != (err == nil) {
				t.Errorf("key %v with error %v", got.PublicKey, err)
			}
			switch key := got.PublicKey.(type) {
			case *rsa.PublicKey:
				if key.N.Cmp(k.rsa.N) != 0 || got.Bits != 1024 || got.Type != dkim.TypeRSA {
					t.Error("another key")
				}
			case ed25519.PublicKey:
				if !key.Equal(k.ed25519) || got.Bits != 256 || got.Type != dkim.TypeEd25519 {
					t.Error("another key")
				}
			}
		})
	}
}

func decode(tb testing.TB, s string) []byte {
	tb.Helper()
	data, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// TestParseKeyRecordFlags: the flags are told whatever else is wrong (design.md 6 rule 2).
func TestParseKeyRecordFlags(t *testing.T) {
	t.Parallel()
	for record, want := range map[string][2]bool{
		"t=y; p=": {true, false}, "t=s; p=": {false, true}, "t=S : x : Y; p=": {true, true}, "p=": {false, false}, "t=; p=": {false, false},
		"v=DKIM9; t=y; p=AQID": {true, false}, "t=y; k=dsa; p=AQID": {true, false}, "t=y; h=sha1; p=AQID": {true, false}, "t=y:s": {true, true},
		"t=y; p=AQID; bad": {true, false}, "t=yes; p=": {false, false},
	} {
		k, err := dkim.ParseKeyRecord(record)
		if err == nil || k.Testing != want[0] || k.Strict != want[1] {
			t.Errorf("%q: testing %v, strict %v, %v", record, k.Testing, k.Strict, err)
		}
	}
}

// TestParseKeyRecordCostsLittle: the worst record that is read at all.
func TestParseKeyRecordCostsLittle(t *testing.T) {
	t.Parallel()
	data := make([]byte, 3056)
	_, _ = rand.Read(data)
	data[0], data[len(data)-1] = 0x7f, data[len(data)-1]|1
	record := "p=" + der(t, rsaNumbers{new(big.Int).SetBytes(data), big.NewInt(3)})
	if len(record) > dkim.MaxKeyRecordBytes {
		t.Fatal("the record is too long", len(record))
	}
	took := cputime.Least(3, func() {
		if _, err := dkim.ParseKeyRecord(record); !errors.Is(err, dkim.ErrKeySize) {
			t.Error(err)
		}
	})
	if took > 100*time.Millisecond {
		t.Error("took ", took)
	}
}

func FuzzParseKeyRecord(f *testing.F) {
	k := newKeyForms(f)
	f.Add("v=DKIM1; h=sha256; k=rsa; s=email; t=y:s; p=" + k.spki)
	f.Add("p=" + k.bare)
	f.Add("v=DKIM1; k=ed25519; p=" + k.ed25519Raw)
	f.Add("k=ed25519; p=" + k.ed25519Wrapped)
	f.Fuzz(func(t *testing.T, record string) {
		k, err := dkim.ParseKeyRecord(record)
		if k == nil {
			t.Fatal("no record")
		}
		if err != nil {
			if k.PublicKey != nil {
				t.Error("a key with an error")
			}
			return
		}
		switch key := k.PublicKey.(type) {
		case *rsa.PublicKey:
			if key.N.BitLen() != k.Bits || k.Bits > dkim.MaxModulusBits || key.E < 3 || k.Type != dkim.TypeRSA {
				t.Errorf("%q: key of %d bits, exponent %d", record, k.Bits, key.E)
			}
		case ed25519.PublicKey:
			if len(key) != ed25519.PublicKeySize || k.Type != dkim.TypeEd25519 {
				t.Errorf("%q: Ed25519 key of %d octets", record, len(key))
			}
		default:
			t.Errorf("%q: no error and no key", record)
		}
	})
}
