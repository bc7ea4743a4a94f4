package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/keys"
)

// Activation by hand waits its turn: another dkimd may be on its way with the same keys.
func TestActivateTakesTheLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	directory, file := filepath.Join(dir, "keys"), filepath.Join(dir, "dkimd.toml")
	if err := os.WriteFile(file, []byte("[sign]\ndirectory = \""+directory+"\"\n[dns]\nservers = [\"127.0.0.1:1\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Generate(keys.New{Directory: directory, Domain: "example.org", Selector: "s1", Type: keys.Ed25519}); err != nil {
		t.Fatal(err)
	}
	d, err := keys.Find(keys.Config{Directory: directory}, "example.org")
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	activate := func() (status int, said string) {
		var out, text strings.Builder
		status = run(t.Context(), []string{"key", "activate", "example.org", "s1", "--force", "--config", file}, stdio{strings.NewReader(""), &out, &text})
		return status, text.String()
	}
	if status, said := activate(); status != exitFailed || !strings.Contains(said, "another dkimd works on these keys") {
		t.Errorf("while it is locked: %d, %q", status, said)
	}
	unlock()
	if status, said := activate(); status != exitDone {
		t.Errorf("after that: %d, %q", status, said)
	}
}
