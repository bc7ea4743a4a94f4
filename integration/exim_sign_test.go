//go:build integration

package integration_test

import (
	"slices"
	"testing"
)

func eachExim(t *testing.T, test func(t *testing.T, build string)) {
	t.Helper()
	for _, build := range eximBuilds {
		t.Run(build, func(t *testing.T) {
			t.Parallel()
			test(t, build)
		})
	}
}

// ourVerdicts is what a foreign verifier must say of mail we signed.
var ourVerdicts = []verdict{{"ours.test", "rsa-sha256", true}, {"ours.test", "ed25519-sha256", true}}

// checkSigned tests that a receiving server finds both our signatures good.
func (e *eximWorld) checkSigned(t *testing.T, data []byte) {
	t.Helper()
	got := verifyWithPython(t, e.dns, data)
	slices.SortFunc(got, func(a, b verdict) int { return len(a.algorithm) - len(b.algorithm) })
	if !slices.Equal(got, ourVerdicts) {
		t.Errorf("python3-dkim: %v, want %v\n%.2000s", got, ourVerdicts, data)
	}
}

func TestEximSignsWhatLeaves(t *testing.T) {
	t.Parallel()
	eachExim(t, func(t *testing.T, build string) {
		e := newEximWorld(t, build, eximSettings{})
		to := unique("relay") + "@elsewhere.test"
		r := e.dial(t, eximInside).send("ann@ours.test", to, newMail("ann@ours.test", "a relayed message").bytes())
		if r.code != 250 {
			t.Fatal(r)
		}
		got := e.sink.wait(t, to)
		if got.verb != "BDAT" {
			t.Errorf("left by %s, want BDAT", got.verb)
		}
		e.checkSigned(t, got.data)
		if rec := e.recordOf(t, "sign", r.eximID()); rec.Client != eximInside || len(rec.Signed) != 2 {
			t.Errorf("record %+v", rec)
		}
	})
}
