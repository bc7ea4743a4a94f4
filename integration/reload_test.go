//go:build integration

package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

func TestReloadPutsNewRulesInForce(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "monitor", `action = "reject"`)
	if got := sendUnsigned(t, w, harness.Unique("reload")+"@elsewhere.test"); got.Code != 250 {
		t.Fatal(got)
	}
	w.Rule(t, "theirs.example", "mode = \"enforce\"\n[[rule]]\nresult = \"none\"\naction = \"reject\"\nreply = \"550 5.7.20 new rule\"\n")
	w.Reload(t, "reloaded")
	if got := sendUnsigned(t, w, "reload@elsewhere.test"); got.String() != "550 5.7.20 new rule" {
		t.Errorf("after the reload: %q", got)
	}
}

func TestReloadWithABrokenFileKeepsTheOldRules(t *testing.T) {
	t.Parallel()
	// What is broken, and what dkimd must name.
	tests := map[string]struct{ file, text, fault string }{
		"rules file":         {"rules/theirs.example.toml", "mode = \"enforce\"\n[[rule]]\nacton = \"reject\"\n", "theirs.example.toml:3"},
		"default rules file": {"rules/_default.toml", "mode = \"enforce\n", "_default.toml:1"},
		"configuration":      {"dkimd.toml", "hostnam = \"x\"\n", "dkimd.toml:1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newActionWorld(t, "enforce", "action = \"reject\"\nreply = \"550 5.7.20 old rule\"")
			path := filepath.Join(w.Dir, test.file)
			before, _ := os.ReadFile(path)
			w.Write(t, test.file, test.text)
			w.Reload(t, "reload refused", test.fault)
			if got := sendUnsigned(t, w, "broken@elsewhere.test"); got.String() != "550 5.7.20 old rule" {
				t.Errorf("with a broken file: %q", got)
			}

			// `dkimd check` says the same, and exits with 2.
			_, said, err := harness.TryRun(t, nil, harness.Binary(t), "check", "--config", w.ConfigFile())
			if err == nil || !strings.Contains(said, test.fault) {
				t.Errorf("check says %q, %v; want %s in it", said, err, test.fault)
			}

			// Mended, it is taken.
			if before == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				w.Write(t, test.file, string(before))
			}
			w.Reload(t, "reloaded")
			if got := sendUnsigned(t, w, "mended@elsewhere.test"); got.String() != "550 5.7.20 old rule" {
				t.Errorf("mended: %q", got)
			}
		})
	}
}

// A key that a reload brings signs; one that it takes away does not.
func TestReloadTakesNewKeys(t *testing.T) {
	t.Parallel()
	harness.OnStage(t)
	keys := t.TempDir()
	w := harness.NewWorld(t, harness.Settings{Keys: keys})
	send := func() []string {
		to := harness.Unique("newkey") + "@elsewhere.test"
		if got := harness.Dial(t, w.Outside).Send("alice@new.test", to, harness.NewMail("alice@new.test", "a new key").Bytes()); got.Code != 250 {
			t.Fatal(got)
		}
		return harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "DKIM-Signature")
	}
	if got := send(); len(got) != 0 {
		t.Errorf("without a key: %q", got)
	}
	harness.GenerateKey(t, keys, "new.test", "s1", "ed25519")
	w.Reload(t, "reloaded")
	if got := send(); len(got) != 1 {
		t.Errorf("with a key: %q", got)
	}
	if err := os.RemoveAll(filepath.Join(keys, "new.test")); err != nil {
		t.Fatal(err)
	}
	w.Reload(t, "reloaded")
	if got := send(); len(got) != 0 {
		t.Errorf("with the key taken away: %q", got)
	}
}
