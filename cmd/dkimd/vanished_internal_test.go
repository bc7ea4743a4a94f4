package main

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"dkimd/internal/config"
)

// A default directory may be absent at start; one that vanishes must not take
// all rules or keys out of force at a reload.
func TestReloadRefusesAVanishedDirectory(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"keys", "rules"} {
		w := newWorld(t)
		c := config.Default()
		c.Sign.Directory, c.Policy.Directory = w.path("keys"), w.path("rules")
		old, err := build(c, nil, observers{recorder: discard{}, log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer old.close()
		if err := old.vanished(c); err != nil {
			t.Errorf("all is there: %v", err)
		}
		if err := os.Rename(w.path(name), w.path("elsewhere")); err != nil {
			t.Fatal(err)
		}
		if err := old.vanished(c); err == nil || !strings.Contains(err.Error(), "got a directory that was there and is gone; want "+w.path(name)+" (hint: put it back") {
			t.Errorf("%s is gone: %v", name, err)
		}
		empty, err := build(c, nil, observers{recorder: discard{}, log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer empty.close()
	}
}
