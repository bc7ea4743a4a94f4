package verifier_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/resolver"
	"dkimd/verifier"
)

func FuzzClaimsAuthserv(f *testing.F) {
	for _, seed := range []string{
		" mx.example.org; dkim=pass", ` "mx.example.org" (a(b)c) 1; spf=pass; dkim/1 = pass (x)`, " mx . example . org;none",
		"(mx.example.org", " foreign.example dkim=pass", "\x00mx.exam\u00adple.org\\;", " mx。example.org;=",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		claims := verifier.ClaimsAuthserv(value, authserv)
		if !claims && verifier.ClaimsAuthserv(value, authserv, "dkim") {
			t.Errorf("%q: claims only with a dkim result", value)
		}
		// Case means nothing, and neither does a comment, fold or line end in front.
		for _, other := range [][]byte{bytes.ToUpper(ascii(value)), append([]byte("\r\n\t"), value...)} {
			if bytes.Equal(ascii(value), value) && claims != verifier.ClaimsAuthserv(other, authserv) {
				t.Errorf("%q: got %t; %q differs", value, claims, other)
			}
		}
		if !verifier.ClaimsAuthserv(append([]byte(" mx.example.org; "), value...), authserv) {
			t.Errorf("our name before %q does not claim", value)
		}
		if !verifier.ClaimsAuthserv(append([]byte(" mx.example.org; dkim=pass; "), value...), authserv, "dkim") {
			t.Errorf("our name and dkim=pass before %q do not claim", value)
		}
		if verifier.ClaimsAuthserv(append([]byte(" mx.example.org.evil.example; "), value...), authserv) {
			t.Errorf("a foreign name before %q claims", value)
		}
	})
}

func ascii(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r >= 0x80 {
			return -1
		}
		return r
	}, b)
}

// FuzzVerify lets everything of a message be hostile. DNS holds a key that signed none of it.
func FuzzVerify(f *testing.F) {
	w := newWorld()
	w.signAll()
	good := w.fields[0]
	f.Add(good, " ann@example.org", []byte(w.body), uint8(3))
	f.Add(strings.Replace(good, "rsa-sha256", "ed25519-sha256", 1), " a@b, c@d", []byte("\r\n\r\n\r"), uint8(1))
	f.Add(" v=1; a=rsa-sha256; d=example.org; s=s1; h=from; l=0; bh=; b=", "", []byte{}, uint8(0))
	f.Add(strings.Replace(good, "v=1;", "v=1; l=3; x=1; t=0; i=@a.example.org;", 1), " x", []byte("abc"), uint8(2))
	records := []string{rsaRecord(otherRSAKey()), ed25519Record(newEd25519()), "v=spf1 -all"}
	f.Fuzz(func(t *testing.T, field, from string, body []byte, chunk uint8) {
		w := newWorld()
		w.sign = nil
		w.header = [][2]string{{"DKIM-Signature", field}, {"DKIM-Signature", good}, {"DKIM-Signature", field}, {"From", from}, {"To", " bob@example.net"}}
		w.body = string(body)
		w.chunk = int(chunk)
		w.config.Resolver = oneKey{w.dns, records}
		report := w.verify(t)
		if len(report.Results) != 3 {
			t.Fatalf("got %d results; want 3", len(report.Results))
		}
		for _, r := range report.Results {
			if r.Status == verifier.Pass || r.Status == verifier.Policy || r.Status == verifier.None {
				t.Errorf("%s for a key that DNS does not hold: %+v", r.Status, r)
			}
			if r.Err == nil || r.Reason() == "" {
				t.Errorf("%s without a reason", r.Status)
			}
		}
		n := 0
		for _, value := range verifier.AuthenticationResults(authserv, report) {
			wellFormed(t, value)
			n += strings.Count(value, ";")
		}
		if n != 3 {
			t.Errorf("got %d results; want three", n)
		}
		w.chunk = 0
		if again := w.verify(t); !slices.Equal(statuses(report), statuses(again)) {
			t.Errorf("chunks matter: got %v and %v", statuses(report), statuses(again))
		}
	})
}

// oneKey gives the same records for every name.
type oneKey struct {
	*fakeDNS
	records []string
}

//nolint:revive // the order is that of verifier.Resolver
func (d oneKey) Cached(string) (a resolver.Answer, err error, ok bool) {
	return resolver.Answer{Records: d.records}, nil, true
}

// FuzzSignedMessage: what is signed verifies, however it is cut, and not with one signed octet changed.
func FuzzSignedMessage(f *testing.F) {
	f.Add([]byte("Hello\r\n\r\n"), " subject", uint8(0), uint8(0), uint16(2))
	f.Add([]byte("a \t b\r\n \r\n\r\n"), "\tx\r\n  y ", uint8(1), uint8(3), uint16(0))
	f.Add([]byte("\r\r\n\n\x00\xff"), "", uint8(2), uint8(1), uint16(4))
	canons := []string{"simple/simple", "relaxed/relaxed", "simple/relaxed", "relaxed/simple"}
	f.Fuzz(func(t *testing.T, body []byte, subject string, canon, chunk uint8, at uint16) {
		w := newWorld()
		useEd25519(w)
		w.first().canon = canons[int(canon)%len(canons)]
		w.header[2][1] = subject
		w.body = string(body)
		w.chunk = int(chunk)
		if r := w.one(t); r.Status != verifier.Pass {
			t.Fatalf("got %s (%s); want pass", r.Status, r.Reason())
		}
		if len(body) == 0 {
			return
		}
		i := int(at) % len(body)
		changed := bytes.Clone(body)
		changed[i] ^= 1
		if bytes.ContainsAny([]byte{body[i], changed[i]}, " \t\r\n") {
			return // white space may mean nothing
		}
		w.body = string(changed)
		w.sign = nil
		if r := w.one(t); r.Status != verifier.Fail {
			t.Errorf("octet %d changed: got %s; want fail", i, r.Status)
		}
	})
}
