package daemon

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"dkimd/internal/config"
)

// What is in the directories of domains is read when it is needed: 100,000 of them must not hold up the start.
func TestStartReadsFewDomains(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := config.Default()
	c.Sign.Directory, c.Policy.Directory = filepath.Join(dir, "keys"), filepath.Join(dir, "rules")
	for i := range 300 {
		if err := os.MkdirAll(filepath.Join(c.Sign.Directory, fmt.Sprintf("d%d.example", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	key, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	if err := os.WriteFile(filepath.Join(c.Sign.Directory, "d0.example", "s1.pem"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDaemon(Options{Stdout: io.Discard, Stderr: io.Discard})
	d.started = c
	s := Read(c, nil, d.observers())
	s.Keys.Close() // ends the reading in the background
	before := s.Keys.Counts().Unread
	if before < 2 {
		t.Skip("the background was faster")
	}
	d.enforce(s)
	if after := s.Keys.Counts().Unread; after < before-1 {
		t.Errorf("the start read %d of %d domains, want the first one at most", before-after, before)
	}
}
