//go:build integration

package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReloadPutsNewRulesInForce(t *testing.T) {
	t.Parallel()
	w := newActionWorld(t, "monitor", `action = "reject"`)
	if got := w.unsigned(t, unique("reload")+"@elsewhere.test"); got.code != 250 {
		t.Fatal(got)
	}
	w.rule(t, "theirs.example", "mode = \"enforce\"\n[[rule]]\nresult = \"none\"\naction = \"reject\"\nreply = \"550 5.7.20 new rule\"\n")
	w.reload(t, "reloaded")
	if got := w.unsigned(t, "reload@elsewhere.test"); got.String() != "550 5.7.20 new rule" {
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
			path := filepath.Join(w.dir, test.file)
			before, _ := os.ReadFile(path)
			w.write(t, test.file, test.text)
			w.reload(t, "reload refused", test.fault)
			if got := w.unsigned(t, "broken@elsewhere.test"); got.String() != "550 5.7.20 old rule" {
				t.Errorf("with a broken file: %q", got)
			}

			// `dkimd check` says the same, and exits with 2.
			_, said, err := tryCommand(t, nil, dkimdBinary(t), "check", "--config", w.configFile())
			if err == nil || !strings.Contains(said, test.fault) {
				t.Errorf("check says %q, %v; want %s in it", said, err, test.fault)
			}

			// Mended, it is taken.
			if before == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				w.write(t, test.file, string(before))
			}
			w.reload(t, "reloaded")
			if got := w.unsigned(t, "mended@elsewhere.test"); got.String() != "550 5.7.20 old rule" {
				t.Errorf("mended: %q", got)
			}
		})
	}
}

// A key that a reload brings signs; one that it takes away does not.
func TestReloadTakesNewKeys(t *testing.T) {
	t.Parallel()
	onStage(t)
	keys := t.TempDir()
	w := newWorld(t, settings{keys: keys})
	send := func() []string {
		to := unique("newkey") + "@elsewhere.test"
		if got := dial(t, w.outside).send("alice@new.test", to, newMail("alice@new.test", "a new key").bytes()); got.code != 250 {
			t.Fatal(got)
		}
		return named(w.stage.sink.wait(t, to).data, "DKIM-Signature")
	}
	if got := send(); len(got) != 0 {
		t.Errorf("without a key: %q", got)
	}
	generate(t, keys, "new.test", "s1", "ed25519")
	w.reload(t, "reloaded")
	if got := send(); len(got) != 1 {
		t.Errorf("with a key: %q", got)
	}
	if err := os.RemoveAll(filepath.Join(keys, "new.test")); err != nil {
		t.Fatal(err)
	}
	w.reload(t, "reloaded")
	if got := send(); len(got) != 0 {
		t.Errorf("with the key taken away: %q", got)
	}
}
