package dkim_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"testing"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/safetext"
)

// TestKeyFlaw: records as panels, copying and haste make them, each with what is wrong with it.
func TestKeyFlaw(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	key := base64.StdEncoding.EncodeToString(spki)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	small := newKeyForms(t)
	good := "v=DKIM1; k=rsa; p=" + key
	last := strconv.Itoa(len(good) + 1)
	in := func(s string) string { return good[:60] + s + good[60:] }
	tests := map[string][]struct{ txt, want string }{
		"cut": {
			{good[:255], "it is cut at 255 octets: a string in DNS has 255 at most, and only the first one was kept; p= holds 177 octets of a key of 294"},
			{good[:254], "it is cut at 254 octets: a string in DNS has 255 at most, and only the first one was kept; p= holds 177 octets of a key of 294"},
			{good[:250], "it is cut at 250 octets: a string in DNS has 255 at most, and only the first one was kept; p= holds 174 octets of a key of 294"},
			{good[:128], "it is cut: p= holds 82 octets of a key of 294"},
			{good[:len(good)-4], "it is cut: p= holds 291 octets of a key of 294"},
			{good[:len(good)-1], "it is cut: p= holds 293 octets of a key of 294"},
			{"v=DKIM1; p=" + key[120:], "p= does not begin as an RSA key does: its beginning is missing, or it was damaged"},
			{"p=" + base64.StdEncoding.EncodeToString(append(spki, 1, 2)), "p= holds 2 octets more than the key of 294 in it"},
		},
		"quoting": {
			{`"` + good + `"`, "a quotation mark is part of the text (octet 1): enter it without, the panel adds its own"},
			{in(`" "`), "a quotation mark is part of the text (octet 61): enter it without, the panel adds its own"},
			{in(`""`), "a quotation mark is part of the text (octet 61): enter it without, the panel adds its own"},
			{good + `"`, "a quotation mark is part of the text (octet " + last + "): enter it without, the panel adds its own"},
			{in(`\" \"`), "a backslash is part of the text (octet 61): zone files want it there, this panel does not"},
			{strings.ReplaceAll(good, ";", `\;`), "a backslash is part of the text (octet 8): zone files want it there, this panel does not"},
			{strings.Replace(good, "; p", `\; p`, 1), "a backslash is part of the text (octet 15): zone files want it there, this panel does not"},
			{`'` + good + `'`, "an apostrophe is part of the text (octet 1)"},
			{`v=DKIM1; n="a note"; p=` + key[:10] + "!", `p= holds "!" (octet 34), which is not base64`},
		},
		"zone files": {
			{`( "` + good + `" )`, "a parenthesis of a zone file is part of the text (octet 1)"},
			{`r._domainkey IN TXT ( "` + good + `" ) ; key`, "a line of a zone file was taken for the text: it begins at v=DKIM1, octet 24"},
			{"r1._domainkey.example.org TXT " + good, "a line of a zone file was taken for the text: it begins at v=DKIM1, octet 31"},
			{"r1 3600 in txt " + good, "a line of a zone file was taken for the text: it begins at v=DKIM1, octet 16"},
			{`TXT "` + good + `"`, "a line of a zone file was taken for the text: it begins at v=DKIM1, octet 6"},
			{good + ".", "p= ends in a full stop (octet " + last + "): names in zone files end in one, texts do not"},
			{"k=ed25519; p=" + small.ed25519Raw + ".", "p= ends in a full stop (octet 58): names in zone files end in one, texts do not"},
			{good + ". ", "p= ends in a full stop (octet " + last + "): names in zone files end in one, texts do not"},
			{"v=DKIM1; p=" + key + ".; k=rsa", "p= ends in a full stop (octet " + strconv.Itoa(len(key)+12) + "): names in zone files end in one, texts do not"},
			{"v=DKIM1; p=-----BEGIN PUBLIC KEY-----" + key, "the line of a PEM file is part of the text (octet 12): p= takes what stands between BEGIN and END only"},
			{good + "-----END PUBLIC KEY-----", "the line of a PEM file is part of the text (octet " + last + "): p= takes what stands between BEGIN and END only"},
		},
		"encodings": {
			{strings.ReplaceAll(good, "; ", ";&nbsp;"), "the HTML entity &nbsp; is part of the text (octet 9)"},
			{in("&#43;"), "the HTML entity &#43; is part of the text (octet 61)"},
			{in("&#x2b;"), "the HTML entity &#x2b; is part of the text (octet 61)"},
			{"&quot;" + good, "the HTML entity &quot; is part of the text (octet 1)"},
			{in("<br>"), "the HTML element <br> is part of the text (octet 61)"},
			{"<p>" + good + "</p>", "the HTML element <p> is part of the text (octet 1)"},
			{strings.ReplaceAll(good, "=", "=3D"), "it is in quoted-printable: =3D stands in place of = (octet 2)"},
			{strings.ReplaceAll(good, "=", "=3d"), "it is in quoted-printable: =3D stands in place of = (octet 2)"},
			{in("%2B"), "it is encoded for URLs: %2B is part of the text (octet 61)"},
			{strings.ReplaceAll(good, "; ", ";%20"), "it is encoded for URLs: %20 is part of the text (octet 9)"},
			{in("-"), "p= is in the base64 of URLs: it holds - (octet 61); want + for - and / for _"},
			{in("_"), "p= is in the base64 of URLs: it holds _ (octet 61); want + for - and / for _"},
		},
		"what is not seen": {
			{strings.ReplaceAll(good, "; ", ";\u00a0"), "a no-break space (U+00A0) is part of the text (octet 9): it came along from a web page or a word processor"},
			{"\u200b" + good, "a space of no width (U+200B) is part of the text (octet 1): it came along from a web page or a word processor"},
			{"\ufeff" + good, "a byte order mark (U+FEFF) is part of the text (octet 1): it came along from a web page or a word processor"},
			{in("\u00ad"), "a soft hyphen (U+00AD) is part of the text (octet 61): it came along from a web page or a word processor"},
			{"\u201c" + good + "\u201d", "a curved quotation mark (U+201C) is part of the text (octet 1): it came along from a web page or a word processor"},
			{in("\x00"), "the control character 0x00 is part of the text (octet 61)"},
			{in("\xff"), "the byte 0xFF, which is no UTF-8, is part of the text (octet 61)"},
		},
		"order": {
			{"k=rsa; p=" + key + "; v=DKIM1", "v=DKIM1 must come first, and stands at octet " + strconv.Itoa(len(key)+12)},
			{"k=rsa; v=DKIM1; p=" + key, "v=DKIM1 must come first, and stands at octet 8"},
			{"p=" + key + ";v=DKIM1", "v=DKIM1 must come first, and stands at octet " + strconv.Itoa(len(key)+4)},
			{"t=s;  v=DKIM1; p=" + key, "v=DKIM1 must come first, and stands at octet 7"},
			{"n=a; k=rsa; v=DKIM1; p=" + key, "v=DKIM1 must come first, and stands at octet 13"},
			{good[200:] + good[:200], "its strings are in the wrong order: the end of the key comes first, and v=DKIM1 at octet " + strconv.Itoa(len(good)-199)},
			{good + good, "the record stands in it twice: it begins again at octet " + last},
			{good + "; " + good, "the record stands in it twice: it begins again at octet " + strconv.Itoa(len(good)+3)},
		},
		"tags": {
			{"v=DKIM1, k=rsa, p=" + key, "a semicolon is missing: k= stands inside v= (octet 10)"},
			{"v=DKIM1 k=rsa p=" + key, "a semicolon is missing: k= stands inside v= (octet 9)"},
			{"v=DKIM1; k=rsa p=" + key, "a semicolon is missing: p= stands inside k= (octet 16)"},
			{"v=DKIM1; k=rsa, p=" + key, "a semicolon is missing: p= stands inside k= (octet 17)"},
			{"v=DKIM1; p=" + key + " k=rsa", "a semicolon is missing: k= stands inside p= (octet " + strconv.Itoa(len(key)+13) + ")"},
			{"v=DKIM1;; k=rsa;; p=" + key, "nothing stands before the semicolon at octet 9: it is one too many"},
			{"; " + good, "nothing stands before the semicolon at octet 1: it is one too many"},
			{good + "; ; ", "nothing stands before the semicolon at octet " + strconv.Itoa(len(good)+3) + ": it is one too many"},
			{"v=DKIM1; K=rsa; P=" + key, "the tag K= is in upper case (octet 10): it must be k="},
			{"v=DKIM1; k=rsa; k=rsa; p=" + key, "k= stands in it twice, again at octet 17"},
			{key, "it is bare base64: v=DKIM1; p= must stand in front of the key"},
			{small.spki, "it is bare base64: v=DKIM1; p= must stand in front of the key"},
			{"v=DKIM1; k=rsa; " + key, safetext.Quote(key) + " (octet 17) is no tag: it has no equals sign"},
			{"v=DKIM1; k=rsa", "p= is missing: there is no key in it"},
			{"", "the record is empty"},
			{" ", "the record is empty"},
		},
		"values": {
			{"v=dkim1; p=" + key, `its version is "dkim1" (octet 3); want DKIM1`},
			{"v=DKIM1.0; p=" + key, `its version is "DKIM1.0" (octet 3); want DKIM1`},
			{"v=1; p=" + key, `its version is "1" (octet 3); want DKIM1`},
			{"v=DKIM1; s=r1; p=" + key, "s=r1 (octet 10) is not for email; it is no selector: leave s= out"},
			{"v=DKIM1; s=; p=" + key, "s= (octet 10) is not for email; it is no selector: leave s= out"},
			{"v=DKIM1; h=rsa-sha256; p=" + key, "h=rsa-sha256 (octet 10) does not allow sha256: leave h= out"},
			{"v=DKIM1; h=sha1; p=" + key, "h=sha1 (octet 10) does not allow sha256: leave h= out"},
			{"v=DKIM1; k=rsa-sha256; p=" + key, "k=rsa-sha256 (octet 10) is no type of key; want rsa or ed25519"},
			{"v=DKIM1; k=ed25519; p=" + key, "k= says ed25519, and p= holds an RSA key"},
			{"v=DKIM1; k=rsa; p=" + small.ed25519Raw, "p= holds 32 octets, as an Ed25519 key has: k=ed25519 is missing"},
			{"v=DKIM1; k=ed25519; p=" + small.ed25519Raw[:20], "p= holds 15 octets; an Ed25519 key has 32"},
			{"v=DKIM1; p=" + base64.StdEncoding.EncodeToString(pkcs8), "p= holds a private key, which everybody can read now: never use it again, generate another"},
		},
		"other records": {
			{"v=spf1 -all", "it is an SPF record, whose place is the domain itself"},
			{"v=DMARC1; p=none", "it is a DMARC record, whose place is _dmarc below the domain"},
			{"v=TLSRPTv1; rua=mailto:a@example.org", "it is a TLSRPT record, whose place is _smtp._tls below the domain"},
			{"o=~; r=postmaster@example.org", "it is a DomainKeys policy, whose place is _domainkey itself, and no key"},
			{"t=y; o=~;", "it is a DomainKeys policy, whose place is _domainkey itself, and no key"},
		},
	}
	for kind, list := range tests {
		for _, test := range list {
			_, err := dkim.ParseKeyRecord(test.txt)
			if err == nil || errors.Is(err, dkim.ErrKeyRevoked) {
				t.Errorf("%s: %q is a good record: %v", kind, test.txt, err)
				continue
			}
			if got := dkim.KeyFlaw(test.txt, err); got != test.want {
				t.Errorf("%s: %.80q\ngot  %s\nwant %s", kind, test.txt, got, test.want)
			}
		}
	}
}

// FuzzKeyFlaw: the words are one printable line, whatever DNS serves.
func FuzzKeyFlaw(f *testing.F) {
	k := newKeyForms(f)
	for _, s := range []string{"", ";", "=", "v=DKIM1\\; p=\x00", "p=" + k.spki + ".", "\xff", "v=DKIM1, p=MII", "k=\x1b[2J; p=a", "<b\n>", "p=MIIB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, txt string) {
		_, err := dkim.ParseKeyRecord(txt)
		if err == nil {
			return
		}
		if words := dkim.KeyFlaw(txt, err); words == "" || !safetext.IsPrintable(words) {
			t.Errorf("%q: %q", txt, words)
		}
	})
}

func TestMisplacedNames(t *testing.T) {
	t.Parallel()
	for sdid, want := range map[domain.Name][]string{
		"example.org": {
			"s1._domainkey.example.org.example.org", "s1.example.org", "s1.domainkey.example.org", "s1._domainkeys.example.org", "s1_domainkey.example.org",
			"_domainkey.s1.example.org", "_domainkey.example.org", "s1._domainkey.s1._domainkey.example.org", "example.org",
		},
		"a.mail.example.co.uk": {"s1.a.mail.example.co.uk", "s1._domainkey.a.mail.example.co.uk.example.co.uk", "s1._domainkey.example.co.uk"},
	} {
		var names []string
		for _, m := range dkim.MisplacedNames("s1", sdid) {
			if names = append(names, m.Name); m.Why == "" || m.Name == dkim.RecordName("s1", sdid) {
				t.Errorf("%+v", m)
			}
		}
		for _, name := range want {
			if !strings.Contains(" "+strings.Join(names, " ")+" ", " "+name+" ") {
				t.Errorf("%s: %s is not in %v", sdid, name, names)
			}
		}
	}
}
