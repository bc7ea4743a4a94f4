package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/config"
	"dkimd/internal/events"
	"dkimd/keys"
)

type discard struct{}

func (discard) Write(*events.Event) {}

// A default directory may be absent at start; one that vanishes must not take
// all rules or keys out of force at a reload.
func TestReloadRefusesAVanishedDirectory(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"keys", "rules"} {
		dir := t.TempDir()
		c := config.Default()
		c.Sign.Directory, c.Policy.Directory = filepath.Join(dir, "keys"), filepath.Join(dir, "rules")
		if err := os.Mkdir(c.Policy.Directory, 0o700); err != nil {
			t.Fatal(err)
		}
		rules := filepath.Join(c.Policy.Directory, "reject.example.toml")
		if err := os.WriteFile(rules, []byte("[[rule]]\naction = \"reject\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Generate(keys.New{Directory: c.Sign.Directory, Domain: "example.org", Selector: "k1", Type: keys.Ed25519}); err != nil {
			t.Fatal(err)
		}
		old, err := Build(c, nil, Observers{Recorder: discard{}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		if err := old.vanished(c); err != nil {
			t.Errorf("all is there: %v", err)
		}
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, "elsewhere")); err != nil {
			t.Fatal(err)
		}
		if err := old.vanished(c); err == nil || !strings.Contains(err.Error(), "got a directory that was there and is gone; want "+filepath.Join(dir, name)+" (hint: put it back") {
			t.Errorf("%s is gone: %v", name, err)
		}
		empty, err := Build(c, nil, Observers{Recorder: discard{}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer empty.Close()
	}
}
