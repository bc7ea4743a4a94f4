package dkim_test

import (
	"strings"
	"testing"

	"dkimd/internal/dkim"
)

func TestSameKey(t *testing.T) {
	t.Parallel()
	const p = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	const own = "v=DKIM1; k=ed25519; p=" + p
	tests := map[string]struct {
		text string
		want bool
	}{
		"to the letter":               {own, true},
		"other order":                 {"v=DKIM1; p=" + p + "; k=ed25519", true},
		"no spaces, no version":       {"k=ed25519;p=" + p + ";", true},
		"folded base64":               {"v=DKIM1; k=ed25519; p=" + p[:10] + " \t" + p[10:], true},
		"no padding":                  {strings.TrimSuffix(own, "="), true},
		"k= in capitals":              {"v=DKIM1; k=ED25519; p=" + p, true},
		"a note":                      {own + "; n=do not remove", true},
		"testing":                     {own + "; t=y", true},
		"strict, for mail":            {"v=DKIM1; t=s; s=email; k=ed25519; p=" + p, true},
		"no verifier takes it: h=":    {own + "; h=sha1", true},
		"no verifier takes it: s=":    {own + "; s=tlsrpt", true},
		"no verifier takes it: v=":    {"k=ed25519; v=DKIM1; p=" + p, true},
		"another key":                 {"v=DKIM1; k=ed25519; p=" + strings.Replace(p, "11", "22", 1), false},
		"another type":                {"v=DKIM1; k=rsa; p=" + p, false},
		"revoked":                     {"v=DKIM1; k=ed25519; p=", false},
		"something else":              {"v=spf1 -all", false},
		"nothing":                     {"", false},
		"the key is there by the way": {"v=DKIM1; n=" + p + "; p=", false},
	}
	for name, test := range tests {
		if got := dkim.SameKey(test.text, own); got != test.want {
			t.Errorf("%s: %t; want %t", name, got, test.want)
		}
	}
	if dkim.SameKey("v=DKIM1; p=", "v=DKIM1; p=") {
		t.Error("two revoked records have no key in common")
	}
}
