package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/config"
	"dkimd/internal/message"
	"dkimd/keys"
)

// A daemon that signs by tables alone is asked before a reload takes most of its domains away, and keeps a line that breaks.
func TestReloadOfTablesAlone(t *testing.T) {
	t.Parallel()
	const domains = 12
	lines := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, "*@d%02d.example k%02d\n", i, i)
		}
		return b.String()
	}
	for name, test := range map[string]struct {
		signing string // the table after
		asked   string // about the removal; empty: it is taken
		signs   string // for joe@d01.example
	}{
		"no line is left":         {"# none\n", "no domain with a key any more, where there were 12", ""},
		"less than half are left": {lines(0, 5), "no key any more for 7 of 12 domains, d05.example among them", ""},
		"more than half are left": {lines(0, 7), "", "d01.example"},
		"one line breaks":         {strings.Replace(lines(0, 12), "*@d01.example k01", "*@d01.example", 1), "", "d01.example"},
		"the key is not there":    {strings.Replace(lines(0, 12), "*@d01.example k01", "*@d01.example none", 1), "", "d01.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(name, text string) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			g, err := keys.Generate(keys.New{Directory: filepath.Join(dir, "made"), Domain: "d.example", Selector: "s1", Type: keys.Ed25519})
			if err != nil {
				t.Fatal(err)
			}
			var entries strings.Builder
			for i := range domains {
				fmt.Fprintf(&entries, "k%02d d%02d.example:s1:%s\n", i, i, g.Path)
			}
			c := config.Default()
			c.Sign.Directory, c.Policy.Directory = filepath.Join(dir, "keys"), filepath.Join(dir, "rules")
			c.Sign.KeyTable, c.Sign.SigningTable = write("KeyTable", entries.String()), "refile:"+write("SigningTable", lines(0, domains))
			o := Observers{Recorder: discard{}, Log: slog.New(slog.DiscardHandler)}
			old, err := Build(c, nil, o)
			if err != nil {
				t.Fatal(err)
			}
			defer old.Close()
			write("SigningTable", test.signing)
			next, err := Build(c, old, o)
			if err != nil {
				t.Fatal(err)
			}
			defer next.Close()
			d := newDaemon(Options{Config: filepath.Join(dir, "dkimd.toml"), Stderr: t.Output()})
			err = d.admit(t.Context(), old, next, false)
			if test.asked == "" && err != nil || test.asked != "" && (err == nil || !strings.Contains(err.Error(), test.asked) || !strings.Contains(err.Error(), "--accept-removal")) {
				t.Fatalf("got %v; want %q", err, test.asked)
			}
			if test.asked != "" {
				if err := d.admit(t.Context(), old, next, true); err != nil {
					t.Errorf("the removal is confirmed: %v", err)
				}
				return
			}
			found := next.Keys.Lookup(message.Address{Local: "joe", Domain: "d01.example"})
			if len(found) != 1 || string(found[0].Name) != test.signs || !found[0].Usable() {
				t.Errorf("signed by %v; want %s", found, test.signs)
			}
		})
	}
}
