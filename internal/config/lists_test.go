package config_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/config"
	"dkimd/internal/hosts"
)

func networks(list ...string) (all []hosts.Entry) {
	for _, s := range list {
		all = append(all, hosts.Entry{Network: netip.MustParsePrefix(s)})
	}
	return all
}

func TestListsAreTakenIn(t *testing.T) {
	t.Parallel()
	c, faults := load(t, `
[verify]
trusted = ["198.51.100.1", "@forwarders"]
[sign]
networks = "@ours"
[lists]
ours = "192.0.2.0/24"
forwarders = ["203.0.113.0/24",
  "2001:db8::7"]
customers = ["example.net", "@example.org", "@*.example.com", "*.example.com", "joe@example.net"]
`)
	if faults != nil || !slices.Equal(c.Verify.Trusted, networks("198.51.100.1/32", "203.0.113.0/24", "2001:db8::7/128")) || !slices.Equal(c.Sign.Networks, networks("192.0.2.0/24")) {
		t.Errorf("%v: trusted %v, networks %v", faults, c.Verify.Trusted, c.Sign.Networks)
	}
	unused := c.Lists.Unused()
	if len(unused) != 1 || unused[0].Line != 10 || unused[0].Key != "lists.customers" || unused[0].Path != c.Path {
		t.Errorf("unused: %v", unused)
	}
	if want := "[lists]\nours = [\"192.0.2.0/24\"]  # " + c.Path + ":7\nforwarders = "; !strings.Contains(c.Describe(), want) {
		t.Errorf("no %q in\n%s", want, c.Describe())
	}
}

func TestFaultsInLists(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		toml string
		want []string
	}{
		"a list in a list": {
			"[lists]\na = \"192.0.2.1\"\nb = [\"192.0.2.2\",\n\"@a\"]",
			[]string{`4: lists.b[2]: got "@a"; want no list in a list (hint: name both where they are used)`},
		},
		"a network that is none": {
			"[lists]\na = [\"192.0.2.1\", \"192.0.2.0/33\"]",
			[]string{`2: lists.a[2]: got "192.0.2.0/33"; want an address or a network in CIDR form (hint: write it like "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32")`},
		},
		"a domain that is none": {
			"[lists]\na = [\"example.org\", \"example org\"]",
			[]string{`2: lists.a[2]: got "example org"; want a network, a domain or an address (hint: it has a character that no domain has)`},
		},
		"two kinds": {
			"[lists]\na = [\"example.org\",\n\"192.0.2.1\"]",
			[]string{`3: lists.a[2]: got "192.0.2.1"; want networks alone, or domains and addresses alone (hint: its first entry is "example.org": make two lists)`},
		},
		"nothing": {
			"[lists]\na = []", []string{`2: lists.a: got []; want at least one entry (hint: what holds for an empty list would be a guess)`},
		},
		"no list": {"[lists]\na = 5\n[lists.b]\nc = 1", []string{
			`2: lists.a: got 5 (integer); want a list of strings (hint: write it in quotes: "5")`, `3: lists.b: got a table; want a list of strings`,
		}},
		"a name that cannot be used": {
			"[lists]\n\"a.b\" = \"192.0.2.1\"", []string{`2: lists."a.b": got "192.0.2.1"; want a list whose name has 1 to 60 letters, digits, - and _`},
		},
		"unknown": {
			"[verify]\ntrusted = [\"@forwarder\"]\n[lists]\nforwarders = \"192.0.2.1\"",
			[]string{`2: verify.trusted[1]: got "@forwarder"; want a list of [lists] in dkimd.toml (hint: did you mean "@forwarders"?)`},
		},
		"unknown, and like no other": {
			"[verify]\ntrusted = \"@x\"\n[lists]\nforwarders = \"192.0.2.1\"",
			[]string{`2: verify.trusted: got "@x"; want a list of [lists] in dkimd.toml (hint: there are forwarders)`},
		},
		"of another kind than its use": {
			"[verify]\ntrusted = [\"192.0.2.9\", \"@customers\"]\n[lists]\ncustomers = [\"joe@example.org\", \"example.net\"]",
			[]string{`2: verify.trusted[2]: got "joe@example.org" of lists.customers (PATH:4); want an address, a network in CIDR form or the name of a host (hint: it has a character that no domain has)`},
		},
		"an element after a list": {
			"[verify]\ntrusted = [\"@a\",\n\"local host\"]\n[lists]\na = [\"192.0.2.1\", \"192.0.2.2\"]",
			[]string{`3: verify.trusted[2]: got "local host"; want an address, a network in CIDR form or the name of a host (hint: it has a character that no domain has)`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, faults := load(t, tt.toml)
			for i := range tt.want {
				tt.want[i] = strings.ReplaceAll(tt.want[i], "PATH", "DIR/dkimd.toml")
			}
			if !slices.Equal(faults, tt.want) {
				t.Errorf("%s\ngot  %q\nwant %q", c.Path, faults, tt.want)
			}
		})
	}
}

func TestLimitsOfLists(t *testing.T) {
	t.Parallel()
	entries := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%q, ", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		}
		return "[" + b.String() + "]"
	}
	long := strings.Repeat("a", 60)
	for toml, valid := range map[string]bool{
		"a = " + entries(1000): true, "a = " + entries(1001): false,
		long + " = '192.0.2.1'": true, long + "a = '192.0.2.1'": false,
	} {
		_, faults := load(t, "[lists]\n"+toml)
		if (faults == nil) != valid {
			t.Errorf("%.40s (%d bytes): %.200q", toml, len(toml), faults)
		}
	}
}

// A list may stand in a file of its own; what is said of it names that file.
func TestListsInAPart(t *testing.T) {
	t.Parallel()
	dir, c, faults := parts(t, map[string]string{
		"dkimd.toml":              "[verify]\ntrusted = \"@names\"\n",
		"dkimd.toml.d/lists.toml": "[lists]\nnames = \"joe@example.org\"\nnobody = \"192.0.2.1\"\n",
	})
	if len(faults) != 1 || !strings.Contains(faults[0].Error(), dir+"/dkimd.toml:2: verify.trusted: got \"joe@example.org\" of lists.names ("+dir+"/dkimd.toml.d/lists.toml:2)") {
		t.Error(faults)
	}
	if unused := c.Lists.Unused(); len(unused) != 1 || unused[0].Path != dir+"/dkimd.toml.d/lists.toml" || unused[0].Line != 3 {
		t.Error(unused)
	}
	_, c, faults = parts(t, map[string]string{"dkimd.toml": "[lists]\nours = \"192.0.2.0/24\"\n", "dkimd.toml.d/sign.toml": "[sign]\nnetworks = \"@ours\"\n"})
	if faults != nil || !slices.Equal(c.Sign.Networks, networks("192.0.2.0/24")) {
		t.Error("used in a part:", faults, c.Sign.Networks)
	}
	if unused := config.Default().Lists.Unused(); unused != nil {
		t.Error(unused)
	}
}
