package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/fault"
)

// parts writes files of a configuration and loads dkimd.toml.
func parts(t *testing.T, files map[string]string) (dir string, c *config.Config, faults fault.Faults) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, faults = config.Load(filepath.Join(dir, "dkimd.toml"), false)
	return dir, c, faults
}

func TestPartsAreRead(t *testing.T) {
	t.Parallel()
	dir, c, faults := parts(t, map[string]string{
		"dkimd.toml":              "hostname = \"mx.example\"\n[sign]\nauthenticated = false\n[dns]\n# timeout = \"5s\"\n",
		"dkimd.toml.d/10.toml":    "[dns]\ntimeout = \"1s\"\n",
		"dkimd.toml.d/20.toml":    "[metrics]\nlisten = \"inet:127.0.0.1:9\"\n[log]\nformat = \"text\"\n",
		"dkimd.toml.d/.hidden":    "[verify]\nmax_signatures = 7\n",
		"dkimd.toml.d/30.conf":    "[verify]\nmax_signatures = 7\n",
		"dkimd.toml.d/README":     "Words.\n",
		"dkimd.toml.d/empty.toml": "[sign]\n",
	})
	if faults != nil || c.Hostname != "mx.example" || c.Sign.Authenticated || c.DNS.Timeout != time.Second || c.Log.Format != "text" ||
		len(c.Metrics.Listen) != 1 || c.Verify.MaxSignatures != 10 {
		t.Errorf("%v %+v", faults, c)
	}
	if w := c.Warnings(); len(w) != 2 || w[0].Path != filepath.Join(dir, "dkimd.toml.d/30.conf") || w[1].Path != filepath.Join(dir, "dkimd.toml.d/README") {
		t.Errorf("not read: %v", w)
	}
	if !strings.Contains(c.Describe(), `timeout = "1s"  # `+dir+"/dkimd.toml.d/10.toml:2\n") {
		t.Errorf("the origin of a value is not said:\n%s", c.Describe())
	}
	late := c.Locate(fault.Faults{{Key: "metrics.listen"}})
	if late[0].Path != dir+"/dkimd.toml.d/20.toml" || late[0].Line != 2 {
		t.Errorf("a fault that comes to light later: %v", late)
	}
	_, c, faults = parts(t, map[string]string{"dkimd.toml.d/10.toml": "[dns]\ntimeout = \"1s\"\n"})
	if faults != nil || c.DNS.Timeout != time.Second {
		t.Errorf("without dkimd.toml: %v %v", faults, c.DNS)
	}
}

// A fault in a part names the part, and its line.
func TestFaultsOfParts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ main, part, want string }{
		"a table twice":      {"[dns]\ntimeout = \"1s\"\n", "[log]\n[dns]\nattempts = 1\n", `dkimd.toml.d/a.toml:2: dns: got a table that DIR/dkimd.toml has too; want each table in one file (hint: move all its keys to one of them)`},
		"a key of no table":  {"", "hostname = \"mx.example\"\n", `dkimd.toml.d/a.toml:1: hostname: got a key above the first [table]; want it in DIR/dkimd.toml (hint: further files hold whole tables)`},
		"a value":            {"", "[dns]\n\nattempts = 0\n", `dkimd.toml.d/a.toml:3: dns.attempts: got 0; want a whole number from 1 to 10`},
		"an unknown key":     {"", "[dns]\nattempt = 1\n", `dkimd.toml.d/a.toml:2: dns.attempt: got an unknown key; want a known one (hint: did you mean attempts?)`},
		"an unknown table":   {"", "[foo]\n", `dkimd.toml.d/a.toml:1: foo: got an unknown key; want one of control, `},
		"no TOML":            {"", "[dns\n", `dkimd.toml.d/a.toml:1: got `},
		"faults in both":     {"[log]\nformat = 1\n", "[dns]\nattempts = 0\n", "DIR/dkimd.toml:2: log.format: got 1 (integer); want json, text or exim"},
		"a relation of keys": {"", "[verify]\nmin_rsa_bits = 2048\nmax_rsa_bits = 1024\n", `dkimd.toml.d/a.toml:3: verify.max_rsa_bits: got 1024; want at least min_rsa_bits`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _, faults := parts(t, map[string]string{"dkimd.toml": test.main, "dkimd.toml.d/a.toml": test.part})
			if len(faults) == 0 || !strings.Contains(faults.Error(), strings.ReplaceAll(test.want, "DIR", dir)) {
				t.Errorf("got %v", faults)
			}
			if name == "faults in both" && len(faults) != 2 {
				t.Errorf("got %v", faults)
			}
		})
	}
}

// What stands in the place of the directory, or of a file in it, is said.
func TestPartsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	if dir, _, faults := parts(t, map[string]string{"dkimd.toml.d": "x"}); len(faults) != 1 || faults[0].Path != dir+"/dkimd.toml.d" {
		t.Errorf("a file in its place: %v", faults)
	}
	if dir, _, faults := parts(t, map[string]string{"dkimd.toml.d/a.toml/b": ""}); len(faults) != 1 || faults[0].Path != dir+"/dkimd.toml.d/a.toml" {
		t.Errorf("a directory in it: %v", faults)
	}
	dir := t.TempDir()
	for _, link := range []string{"dkimd.toml.d", "other.toml.d/a.toml"} {
		_ = os.Mkdir(filepath.Join(dir, "other.toml.d"), 0o700)
		if err := os.Symlink("nowhere", filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
		main, _, _ := strings.Cut(link, ".d")
		if _, faults := config.Load(filepath.Join(dir, main), false); len(faults) != 1 || faults[0].Path != filepath.Join(dir, link) {
			t.Errorf("%s leads nowhere: %v", link, faults)
		}
	}
}
