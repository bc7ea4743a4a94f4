//go:build integration

package integration_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
	tests := map[string]struct{ file, text, fault, said string }{
		"rules file":         {"rules/theirs.example.toml", "mode = \"enforce\"\n[[rule]]\nacton = \"reject\"\n", "theirs.example.toml:3", "kept=1"},
		"default rules file": {"rules/_default.toml", "mode = \"enforce\n", "_default.toml:1", "reload refused"},
		"configuration":      {"dkimd.toml", "hostnam = \"x\"\n", "dkimd.toml:1", "reload refused"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newActionWorld(t, "enforce", "action = \"reject\"\nreply = \"550 5.7.20 old rule\"")
			path := filepath.Join(w.Dir, test.file)
			before, _ := os.ReadFile(path)
			w.Write(t, test.file, test.text)
			w.Reload(t, test.said, test.fault)
			if got := sendUnsigned(t, w, "broken@elsewhere.test"); got.String() != "550 5.7.20 old rule" {
				t.Errorf("with a broken file: %q", got)
			}

			// `dkimd check` says the same, and exits with 2.
			_, said, err := harness.TryRun(t, nil, harness.Binary(t), "check", "--user", strconv.Itoa(os.Geteuid()), "--config", w.ConfigFile())
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
	harness.GenerateKey(t, keys, "stays.test", "s1", "ed25519")
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

// One domain of several breaks on disk while mail flows: no message is deferred or leaves unsigned,
// the old key goes on, and the new keys of the others are taken.
func TestReloadWithOneBrokenDomainUnderLoad(t *testing.T) {
	t.Parallel()
	harness.OnStage(t)
	keys := t.TempDir()
	domains := []string{"one.test", "two.test", "three.test"}
	for _, name := range domains {
		harness.GenerateKey(t, keys, name, "s1", "ed25519")
	}
	w := harness.NewWorld(t, harness.Settings{Keys: keys})
	send := func(name string) int {
		to := harness.Unique("underload") + "@elsewhere.test"
		if got := harness.Dial(t, w.Outside).Send("alice@"+name, to, harness.NewMail("alice@"+name, "load").Bytes()); got.Code != 250 {
			t.Errorf("%s: %v", name, got)
			return -1
		}
		return len(harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "DKIM-Signature"))
	}
	var load sync.WaitGroup
	done := make(chan struct{})
	sent := make([]int, len(domains))
	for i, name := range domains {
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got := send(name); got < 1 {
					t.Errorf("%s: %d signatures", name, got)
					return
				}
				sent[i]++
			}
		})
	}
	w.Reload(t, "reloaded", "kept=0")
	if err := os.WriteFile(filepath.Join(keys, "two.test", "s1.pem"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.GenerateKey(t, keys, "three.test", "s2", "ed25519")
	for range 3 {
		w.Reload(t, "reloaded", "kept=1", "domain=two.test")
		for name, want := range map[string]int{"one.test": 1, "two.test": 1, "three.test": 2} {
			if got := send(name); got != want {
				t.Errorf("%s: %d signatures, want %d", name, got, want)
			}
		}
	}
	close(done)
	load.Wait()
	for i, n := range sent {
		if n == 0 {
			t.Errorf("no mail of %s", domains[i])
		}
	}
}
