//go:build integration

package integration_test

import (
	"testing"

	"dkimd/integration/harness"
)

// mailbox is where the fresh Postfix delivers.
const mailbox = "root@example.org"

// follow carries out the steps of a guide. Those about mail servers are followed in integration/system.
func follow(t *testing.T, f *harness.FreshRoot, steps []harness.GuideStep) {
	t.Helper()
	for _, s := range steps {
		if out, err := f.Run(t, s.Script()); err != nil {
			t.Fatalf("%s: %v\n%s\nsaid: %s\n%s", s.Where, err, s.Script(), out, f.Process.Log)
		}
	}
}
