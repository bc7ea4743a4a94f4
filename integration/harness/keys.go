package harness

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// ourKeys are keys that dkimd made: an RSA and an Ed25519 key for ours.test.
type ourKeys struct {
	dir  string // [sign] directory
	zone string // what `dkimd key generate` printed to be published
}

var generated struct {
	sync.Once
	ourKeys
	done bool
}

// ours are the keys all tests share.
func ours(t *testing.T) ourKeys {
	t.Helper()
	generated.Do(func() {
		generated.dir = filepath.Join(shared.dir, "keys")
		generated.zone = GenerateKey(t, generated.dir, "ours.test", "r1", "rsa") + GenerateKey(t, generated.dir, "ours.test", "e1", "ed25519")
		generated.done = true
	})
	if !generated.done {
		t.Fatal("the keys of ours.test could not be made")
	}
	return generated.ourKeys
}

// GenerateKey makes a key and lets it sign, and returns the DNS record to publish.
func GenerateKey(t *testing.T, dir, domain, selector, kind string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "dkimd.toml")
	if err := os.WriteFile(config, []byte("[sign]\ndirectory = \""+dir+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dkimd := Binary(t)
	zone := Run(t, nil, dkimd, "key", "generate", domain, "--selector", selector, "--type", kind, "--config", config)
	Run(t, nil, dkimd, "key", "activate", domain, selector, "--force", "--config", config)
	return string(zone) + "\n"
}
