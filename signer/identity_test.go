package signer_test

import (
	"strconv"
	"strings"
	"testing"

	"dkimd/keys"
)

// RFC 6376 section 3.5: i= is within d=. The keys package refuses other files;
// whoever fills in a keys.Domain by hand gets no signature either.
func TestIdentityStaysWithinTheDomain(t *testing.T) {
	t.Parallel()
	for identity, signs := range map[string]bool{
		"": true, "@example.org": true, "joe@example.org": true, "@a.example.org": true,
		"@example.com": false, "@badexample.org": false, "@org": false, "joe": false, "@": false,
		strings.Repeat("x", 64) + "@example.org": true, strings.Repeat("x", 65) + "@example.org": false,
	} {
		w := newWorld(t)
		w.write("example.org", "domain.toml", "identity = "+strconv.Quote(identity))
		_, _, err := w.sign(w.signer())
		if (err == nil) != signs {
			t.Errorf("identity %q: %v", identity, err)
		}
	}
}

// RFC 6376 section 3.5: d=, s= and i= hold A-labels, however directory, file and domain.toml are written.
func TestNamesAreWrittenInALabels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.key("b\u00fccher.example", "schl\u00fcssel", keys.Ed25519)
	w.write("b\u00fccher.example", "domain.toml", `identity = "joe@mail.b\u00fccher.example"`)
	withField(w, "From", "joe@xn--bcher-kva.example")
	signed, _, err := w.sign(w.signer())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"d": "xn--bcher-kva.example", "s": "xn--schlssel-95a", "i": "joe@mail.xn--bcher-kva.example"} {
		if got := tag(t, signed.Fields[0], name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
}
