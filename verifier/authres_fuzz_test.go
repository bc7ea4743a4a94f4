package verifier_test

import (
	"errors"
	"strings"
	"testing"

	"dkimd/verifier"
)

// FuzzAuthenticationResults: whatever a signature says, the field is well formed,
// has the results it should have, and is one that we would take for ours.
func FuzzAuthenticationResults(f *testing.F) {
	for _, value := range evil {
		f.Add(value, value, value, value, value, value)
	}
	f.Add("example.org", "s1", "rsa-sha256", "a=b@example.org", "abcd/+==", "body hash did not verify")
	f.Fuzz(func(t *testing.T, d, s, a, i, b, reason string) {
		report := &verifier.Report{Results: []verifier.Result{
			{Status: verifier.Fail, Err: errors.New(reason), Domain: d, Selector: s, Algorithm: a, Identity: i, B: b},
			{Status: verifier.TempError, Domain: s, Selector: d, Err: errors.New(i)},
		}}
		got := strings.Join(verifier.AuthenticationResults(authserv, report), "\r\n\t")
		for _, value := range verifier.AuthenticationResults(authserv, report) {
			wellFormed(t, value)
		}
		if n := strings.Count(got, ";"); n != 2 {
			t.Errorf("%d results in %q", n, got)
		}
		if strings.Contains(strings.ToLower(got), "dkim=pass") || strings.Contains(got, "spf=") {
			t.Errorf("a result that is none in %q", got)
		}
		if !verifier.ClaimsAuthserv([]byte(got), authserv, "dkim") {
			t.Errorf("not ours: %q", got)
		}
	})
}
