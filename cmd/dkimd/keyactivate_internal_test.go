package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	unlock, err := d.Lock(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	activate := func(ctx context.Context) (status int, said string) {
		var out, text strings.Builder
		status = run(ctx, []string{"key", "activate", "example.org", "s1", "--force", "--config", file}, stdio{strings.NewReader(""), &out, &text})
		return status, text.String()
	}
	soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if status, said := activate(soon); status != exitFailed || !strings.Contains(said, fmt.Sprintf("another dkimd works on these keys, process %d", os.Getpid())) {
		t.Errorf("while it is locked: %d, %q", status, said)
	}
	time.AfterFunc(200*time.Millisecond, unlock)
	if status, said := activate(t.Context()); status != exitDone {
		t.Errorf("it does not wait: %d, %q", status, said)
	}
}
