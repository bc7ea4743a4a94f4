package config_test

import (
	"slices"
	"strings"
	"testing"

	"dkimd/internal/config"
	"dkimd/internal/fault"
)

// trustedHosts loads a configuration whose verify.trusted is a file.
func trustedHosts(t *testing.T, text string) (dir string, c *config.Config, faults fault.Faults) {
	t.Helper()
	dir, _, _ = parts(t, map[string]string{"hosts": text})
	_, c, faults = parts(t, map[string]string{"dkimd.toml": "[verify]\ntrusted = [\"192.0.2.1\",\n\"@" + dir + "/hosts\"]\n"})
	return dir, c, faults
}

func described(c *config.Config) (list []string) {
	for _, e := range c.Verify.Trusted {
		list = append(list, e.String())
	}
	return list
}

// A TrustedHosts of OpenDKIM is read as it is.
func TestHostsFile(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want string // entries after 192.0.2.1
		warn string // of the file, without its path
	}{
		"as it is shipped":         {"# our hosts\n127.0.0.1\n::1\nlocalhost\n\n*.example.com  # all of them\n.example.org\n", "127.0.0.1 ::1 localhost .example.com .example.org", ""},
		"Windows":                  {"\xef\xbb\xbf127.0.0.1\r\n\r\n!10.0.0.7\t\r\n# \r\nmx.example.org", "127.0.0.1 !10.0.0.7 mx.example.org", ""},
		"brackets":                 {"[192.0.2.0]/24\n![2001:DB8::1]\n", "192.0.2.0/24 !2001:db8::1", ""},
		"nothing":                  {"# nobody\n", "", ""},
		"Latin-1 in a comment":     {"127.0.0.1 # B\xfcro\n", "127.0.0.1", ""},
		"a network with host bits": {"127.0.0.1\n192.168.0.1/24\n::1\n", "127.0.0.1 ::1", `2: got "192.168.0.1/24"; want a network (hint: write 192.168.0.0/24 for the network or 192.168.0.1 for the one address; the line counts for nothing, in OpenDKIM too)`},
		"several words":            {"127.0.0.1 localhost\n", "127.0.0.1", `1: got "127.0.0.1 localhost"; want one entry a line (hint: only the first word counts)`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, c, faults := trustedHosts(t, tt.text)
			if got := described(c); faults != nil || !slices.Equal(got, append([]string{"192.0.2.1"}, strings.Fields(tt.want)...)) {
				t.Errorf("%v %q", faults, got)
			}
			w := c.Warnings()
			if (len(w) > 0) != (tt.warn != "") || len(w) > 0 && w[0].Error() != dir+"/hosts:"+tt.warn {
				t.Errorf("warnings: %v", w)
			}
		})
	}
}

func TestEverybodyInAList(t *testing.T) {
	t.Parallel()
	c, faults := load(t, "[sign]\nnetworks = [\"192.0.2.1\", \"0.0.0.0/0\"]\n[verify]\ntrusted = [\"0.0.0.0/1\", \"!::/0\"]\nleave_alone = \"::/0\"")
	w := c.Warnings()
	if faults != nil || len(w) != 2 || w[0].Line != 2 || w[1].Line != 5 || w[0].Key != "sign.networks" || !strings.Contains(w[0].Error(), "holds every address; want some clients (hint: strangers are among them)") {
		t.Error(faults, w)
	}
}

func TestFaultsInHostsFile(t *testing.T) {
	t.Parallel()
	const want = "want an address, a network in CIDR form or the name of a host"
	tests := map[string]struct {
		text   string
		faults []string // without the path
	}{
		"lines":     {"127.0.0.1\n\nmx example\n192.0.2.0/33\nB\xfcro.example.org\n/etc/passwd\n", []string{`4: got "192.0.2.0/33"; ` + want, `5: got "B\xfcro.example.org"; ` + want, `6: got "/etc/passwd"; ` + want}},
		"exclusion": {"!192.168.0.1/24\n", []string{`1: got "!192.168.0.1/24"; ` + want + ` (hint: write 192.168.0.0/24`}},
		"UTF-16":    {"\xff\xfe1\x002\x007\x00\n\x00", []string{`1: got `, `2: got `}},
		"one line":  {strings.Repeat("a", 1<<20), []string{`1: got "` + strings.Repeat("a", 60)}},
		"too large": {strings.Repeat("127.0.0.1\n", 1<<17), []string{` got more than 1 MiB; want a file of at most 1 MiB`}},
		"a dump":    {strings.Repeat("\x00\n", 1000), append(slices.Repeat([]string{""}, 100), ` got 900 more faults`)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _, faults := trustedHosts(t, tt.text)
			if len(faults) != len(tt.faults) {
				t.Fatalf("%d: %.2000s", len(faults), faults)
			}
			for i, f := range faults {
				if text := f.Error(); !strings.HasPrefix(text, dir+"/hosts:"+tt.faults[i]) || len(text) > 500 {
					t.Errorf("%.600s; want %s", text, tt.faults[i])
				}
			}
		})
	}
}

// A file that a part of the configuration names is reported, too.
func TestHostsFileOfAPart(t *testing.T) {
	t.Parallel()
	dir, _, _ := parts(t, map[string]string{"hosts": "a b\n-\n"})
	_, c, faults := parts(t, map[string]string{"dkimd.toml.d/sign.toml": "[sign]\nnetworks = \"@" + dir + "/hosts\"\n"})
	if len(faults) != 1 || faults[0].Path != dir+"/hosts" || faults[0].Line != 2 || len(c.Warnings()) != 1 {
		t.Error(faults, c.Warnings())
	}
}
