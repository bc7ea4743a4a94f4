package tomlfile_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"dkimd/internal/fault"
	"dkimd/internal/tomlfile"
)

// read asks for every key of a small world of tables.
func read(f *tomlfile.File) fault.Faults {
	root := f.Root()
	root.String("hostname", "")
	m := root.Table("milter")
	m.Strings("listen", []string{"default"})
	m.Int("max_connections", 4096, 1, 65536)
	m.Enum("mode", "monitor", "monitor", "enforce")
	s := root.Table("sign")
	s.Bool("authenticated", true)
	s.Prefixes("networks", nil)
	s.Duration("expiry", 0, 0, 0)
	s.Duration("timeout", time.Second, 100*time.Millisecond, 30*time.Second)
	for _, rule := range root.Tables("rule") {
		rule.EnumList("result", nil, "none", "invalid", "fail", "pass")
		if !rule.Has("action") {
			rule.Fault("action", "accept or reject", "say what should happen")
		}
		rule.String("action", "")
	}
	return f.Faults()
}

func TestFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		toml string
		want []string
	}{
		"empty file":          {"", nil},
		"only comments":       {"# nothing\n\n", nil},
		"byte order mark":     {"\xef\xbb\xbfhostname = \"mx\"\n", nil},
		"CRLF line ends":      {"hostname = \"mx\"\r\n[sign]\r\nauthenticated = 1\r\n", []string{`f.toml:3: sign.authenticated: got 1 (integer); want true or false`}},
		"string where bool":   {"[sign]\nauthenticated = \"yes\"", []string{`f.toml:2: sign.authenticated: got "yes" (string); want true or false`}},
		"quoted bool":         {"[sign]\nauthenticated = \"true\"", []string{`f.toml:2: sign.authenticated: got "true" (string); want true or false (hint: write it without quotes: true)`}},
		"number where string": {"hostname = 5", []string{`f.toml:1: hostname: got 5 (integer); want a string (hint: write it in quotes: "5")`}},
		"date where string":   {"hostname = 2020-02-02", []string{`f.toml:1: hostname: got 2020-02-02 (date); want a string (hint: write it in quotes: "2020-02-02")`}},
		"list where string":   {"hostname = [\"a\", 1.5]", []string{`f.toml:1: hostname: got ["a", 1.5] (list); want a string`}},
		"table where string":  {"[hostname]\nx = 1", []string{`f.toml:1: hostname: got a table; want a string`}},
		"string where table":  {"milter = \"x\"", []string{`f.toml:1: milter: got "x" (string); want a table (hint: begin it with a line [milter])`}},
		"array where table":   {"[[milter]]\nlisten = []", []string{`f.toml:1: milter: got an array of tables; want a table (hint: begin it with a line [milter])`}},
		"table where array":   {"[rule]\nresult = []", []string{`f.toml:1: rule: got a table; want an array of tables (hint: begin each with a line [[rule]])`}},
		"strings where array": {"rule = [\"a\"]", []string{`f.toml:1: rule: got ["a"] (list); want an array of tables (hint: begin each with a line [[rule]])`}},
		"number out of range": {"[milter]\nmax_connections = 0", []string{`f.toml:2: milter.max_connections: got 0; want a whole number from 1 to 65536`}},
		"quoted number":       {"[milter]\nmax_connections = \"5\"", []string{`f.toml:2: milter.max_connections: got "5" (string); want a whole number from 1 to 65536 (hint: write it without quotes: 5)`}},
		"float":               {"[milter]\nmax_connections = 1e3", []string{`f.toml:2: milter.max_connections: got 1e3 (float); want a whole number from 1 to 65536`}},
		"hexadecimal":         {"[milter]\nmax_connections = 0x1_0", nil},
		"misspelt word":       {"[milter]\nmode = \"Enforce\"", []string{`f.toml:2: milter.mode: got "Enforce"; want monitor or enforce (hint: did you mean "enforce"?)`}},
		"other word":          {"[milter]\nmode = \"zzz\"", []string{`f.toml:2: milter.mode: got "zzz"; want monitor or enforce`}},
		"word is a number":    {"[milter]\nmode = 1", []string{`f.toml:2: milter.mode: got 1 (integer); want monitor or enforce`}},
		"duration, no unit":   {"[sign]\nexpiry = \"5\"", []string{`f.toml:2: sign.expiry: got "5"; want a duration of at least 0 (hint: write a number with its unit: "30s", "5m", "12h", "7d")`}},
		"duration, number":    {"[sign]\nexpiry = 0", []string{`f.toml:2: sign.expiry: got 0 (integer); want a duration of at least 0 (hint: write it in quotes: "0")`}},
		"duration, negative":  {"[sign]\nexpiry = \"-5s\"", []string{`f.toml:2: sign.expiry: got "-5s"; want a duration of at least 0`}},
		"duration, too long":  {"[sign]\ntimeout = \"1h\"", []string{`f.toml:2: sign.timeout: got "1h"; want a duration from 100ms to 30s`}},
		"duration, overflow":  {"[sign]\nexpiry = \"999999999w\"", []string{`f.toml:2: sign.expiry: got "999999999w"; want a duration of at least 0 (hint: write a number with its unit: "30s", "5m", "12h", "7d")`}},
		"each list element at its line": {"[sign]\nnetworks = [\n \"10.0.0.0/8\",\n \"10.1.2.3/8\",\n \"localhost\",\n \"fe80::1%eth0\",\n]\n", []string{
			`f.toml:4: sign.networks[2]: got "10.1.2.3/8"; want an address or a network in CIDR form (hint: write 10.0.0.0/8 for the network or 10.1.2.3 for the one address)`,
			`f.toml:5: sign.networks[3]: got "localhost"; want an address or a network in CIDR form (hint: write it like "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32")`,
			`f.toml:6: sign.networks[4]: got "fe80::1%eth0"; want an address or a network in CIDR form (hint: clients are compared without their zone: leave out %eth0)`,
		}},
		"list elements of wrong types": {"[milter]\nlisten = [\"a\", 1,\n[\"b\"]]", []string{
			`f.toml:2: milter.listen[2]: got 1 (integer); want a string (hint: write it in quotes: "1")`,
			`f.toml:2: milter.listen[3]: got ["b"] (list); want a string`,
		}},
		"unknown key, near":             {"[milter]\nmax-connections = 5", []string{`f.toml:2: milter.max-connections: got an unknown key; want a known one (hint: did you mean max_connections?)`}},
		"unknown key, swapped letters":  {"[milter]\nlitsen = []", []string{`f.toml:2: milter.litsen: got an unknown key; want a known one (hint: did you mean listen?)`}},
		"unknown key, far":              {"[milter]\ncolour = 5", []string{`f.toml:2: milter.colour: got an unknown key; want one of listen, max_connections, mode`}},
		"unknown key, other table":      {"listen = []", []string{`f.toml:1: listen: got an unknown key; want a known one (hint: listen belongs in [milter])`}},
		"unknown key, top":              {"[sign]\nhostname = \"x\"", []string{`f.toml:2: sign.hostname: got an unknown key; want a known one (hint: hostname belongs above the first [table])`}},
		"unknown table, once":           {"[colour]\na = 1\nb = 2", []string{`f.toml:1: colour: got an unknown key; want one of hostname, milter, rule, sign`}},
		"unknown key, hostile":          {"\"a\\u001b[31m\\n\\u202e\" = 1", []string{`f.toml:1: "a\x1b[31m\n\u202e": got an unknown key; want one of hostname, milter, rule, sign`}},
		"dotted keys":                   {"milter.max_connections = 0\nmilter.colour = 1", []string{`f.toml:1: milter.max_connections: got 0; want a whole number from 1 to 65536`, `f.toml:2: milter.colour: got an unknown key; want one of listen, max_connections, mode`}},
		"inline table":                  {"milter = { max_connections = 0 }", []string{`f.toml:1: milter.max_connections: got 0; want a whole number from 1 to 65536`}},
		"array of tables":               {"[[rule]]\naction = \"x\"\n[[rule]]\nresult = [\"none\", \"non\"]\ncolour = 1", []string{`f.toml:3: rule[2].action: got nothing; want accept or reject (hint: say what should happen)`, `f.toml:4: rule[2].result[2]: got "non"; want none, invalid, fail or pass (hint: did you mean "none"?)`, `f.toml:5: rule[2].colour: got an unknown key; want one of action, result`}},
		"array of inline tables":        {"rule = [{action = 1},\n{action = 2}]", []string{`f.toml:1: rule[1].action: got 1 (integer); want a string (hint: write it in quotes: "1")`, `f.toml:2: rule[2].action: got 2 (integer); want a string (hint: write it in quotes: "2")`}},
		"control characters in a value": {"[milter]\nmode = \"\\u001b\\n\\u0000\\u2028\\u202e\\\"\"", []string{`f.toml:2: milter.mode: got "\x1b\n\x00\u2028\u202e\""; want monitor or enforce`}},
		"long value":                    {"[milter]\nmode = \"" + strings.Repeat("x", 9000) + "\"", []string{`f.toml:2: milter.mode: got "` + strings.Repeat("x", 60) + `..." (9000 bytes); want monitor or enforce`}},
		"all at once, by line":          {"[sign]\nauthenticated = 1\nexpiry = 2\n[milter]\nx = 1\n", []string{`f.toml:2: sign.authenticated: got 1 (integer); want true or false`, `f.toml:3: sign.expiry: got 2 (integer); want a duration of at least 0 (hint: write a number with its unit, in quotes: "30s", "5m", "12h", "7d")`, `f.toml:5: milter.x: got an unknown key; want one of listen, max_connections, mode`}},

		"key twice":                           {"hostname = \"a\"\nhostname = \"b\"", []string{`f.toml:2: hostname: got it a second time (the first is on line 1); want every key and table once (hint: remove one of the two)`}},
		"key twice in a table":                {"[milter]\nlisten = []\n\nlisten = []", []string{`f.toml:4: milter.listen: got it a second time (the first is on line 2); want every key and table once (hint: remove one of the two)`}},
		"key twice in the second of an array": {"[[rule]]\nx = 1\n[[rule]]\nx = 1\nx = 2", []string{`f.toml:5: rule.x: got it a second time (the first is on line 4); want every key and table once (hint: remove one of the two)`}},
		"table twice":                         {"[milter]\n[sign]\n[milter]\n", []string{`f.toml:3: milter: got it a second time (the first is on line 1); want every key and table once (hint: remove one of the two)`}},
		"no quotes":                           {"hostname = mx.example.org", []string{`f.toml:1: got "hostname = mx.example.org"; want TOML (hint: column 12: strings are written in quotes: hostname = "mx.example.org")`}},
		"a number with a 0 in front":          {"[milter]\nsocket_mode = 0660", []string{`f.toml:2: got "socket_mode = 0660"; want TOML (hint: column 15: a number has no 0 in front: 660; a string is written in quotes: "0660")`}},
		"a number no machine holds":           {"[dns]\nattempts = 99999999999999999999", []string{`f.toml:2: got "attempts = 99999999999999999999"; want TOML (hint: column 12: the number is too large)`}},
		"no quotes, duration":                 {"[sign]\nexpiry = 5m", []string{`f.toml:2: got "expiry = 5m"; want TOML (hint: column 11: strings are written in quotes: expiry = "5m")`}},
		"no quotes, listen":                   {"[milter]\nlisten = inet:127.0.0.1:8891", []string{`f.toml:2: got "listen = inet:127.0.0.1:8891"; want TOML (hint: column 10: strings are written in quotes: listen = "inet:127.0.0.1:8891")`}},
		"yes":                                 {"[sign]\nauthenticated = yes", []string{`f.toml:2: got "authenticated = yes"; want TOML (hint: column 17: write true, or a string in quotes)`}},
		"True":                                {"[sign]\nauthenticated = True", []string{`f.toml:2: got "authenticated = True"; want TOML (hint: write it in lower case: true)`}},
		"colon":                               {"hostname: \"a\"", []string{`f.toml:1: got "hostname: \"a\""; want TOML (hint: column 9: a line is KEY = VALUE, [TABLE] or # COMMENT)`}},
		"open string":                         {"hostname = \"a\nx = 1", []string{`f.toml:1: got "hostname = \"a"; want TOML (hint: column 14: the quote that ends the string is missing on this line)`}},
		"open list":                           {"[milter]\nlisten = [\"a\"\nmode = \"x\"", []string{`f.toml:3: got "mode = \"x\""; want TOML (hint: column 1: a comma or the ] that ends the list is missing here or on a line above)`}},
		"escape":                              {"hostname = \"\\d\"", []string{`f.toml:1: got "hostname = \"\\d\""; want TOML (hint: column 13: \ begins an escape: write \\, or the string in 'single quotes')`}},
		"invalid UTF-8":                       {"# caf\xe9\n\nhostname = 1", []string{`f.toml:1: got the byte 0xe9; want UTF-8 text (hint: convert the file: iconv -f latin1 -t utf-8)`}},
		"one fault when not TOML":             {"[sign]\nauthenticated = 1\n[[[", []string{`f.toml:3: got "[[["; want TOML (hint: column 3: invalid character at start of key: U+005B '[')`}},
		"too large":                           {strings.Repeat("#", 1<<20+1), []string{`f.toml: got more than 1 MiB; want a file of at most 1 MiB (hint: is this the file you mean?)`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, fault := range read(tomlfile.Parse("f.toml", []byte(test.toml))) {
				got = append(got, fault.Error())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(test.want, "\n     "))
			}
		})
	}
}

func TestBrokenFileHasOneFault(t *testing.T) {
	t.Parallel()
	f := tomlfile.Parse("f.toml", []byte("a = b"))
	f.Root().Fault("action", "an action", "")
	f.Root().Table("x").Fault("y", "a y", "")
	f.Add(fault.Fault{Want: "more"})
	if faults := read(f); len(faults) != 1 {
		t.Error(faults.Err())
	}
}

func TestKeyReadTwiceHasOneFault(t *testing.T) {
	t.Parallel()
	f := tomlfile.Parse("f.toml", []byte("a = 1"))
	_, _ = f.Root().String("a", ""), f.Root().String("a", "")
	if faults := f.Faults(); len(faults) != 1 {
		t.Error(faults.Err())
	}
}

func TestFaultsAreBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 5000 {
		b.WriteString("key" + strconv.Itoa(i) + " = 1\n")
	}
	faults := read(tomlfile.Parse("f.toml", []byte(b.String())))
	if len(faults) != 101 {
		t.Fatalf("%d faults", len(faults))
	}
	if got := faults[100].Error(); !strings.HasSuffix(got, " more faults") {
		t.Errorf("last fault: %s", got)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	f := tomlfile.Parse("f.toml", []byte(`
name = 'a\b'
list = "one"
empty = []
n = 1_000
on = true
long = "1w2d12h"
nets = ["192.0.2.7", "::ffff:10.0.0.0/104", "2001:db8::/32"]
[deep.table]
x = "y"
`))
	root := f.Root()
	check := func(ok bool, what string) {
		t.Helper()
		if !ok {
			t.Error(what)
		}
	}
	check(root.String("name", "") == `a\b`, "string")
	check(slices.Equal(root.Strings("list", nil), []string{"one"}), "a single string is a list of one")
	got := root.Strings("empty", []string{"default"})
	check(got != nil && len(got) == 0, "an empty list is not the default")
	check(slices.Equal(root.Strings("absent", []string{"default"}), []string{"default"}), "the default")
	check(root.Int("n", 0, 0, 5000) == 1000, "integer")
	check(root.Bool("on", false), "boolean")
	check(root.Duration("long", 0, 0, 0) == (9*24+12)*time.Hour, "duration")
	check(slices.Equal(root.Prefixes("nets", nil), []netip.Prefix{
		netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"),
	}), "prefixes")
	deep := root.Table("deep").Table("table")
	check(deep.String("x", "") == "y" && deep.KeyPath("x") == "deep.table.x" && deep.LineOf("x") == 10 && deep.Line() == 9, "nested table")
	check(root.Table("absent").Table("more").KeyPath("k") == "absent.more.k", "an absent table has a path")
	check(slices.Equal(root.Keys()[:3], []string{"name", "list", "empty"}), "keys by line")
	if faults := f.Faults(); len(faults) > 0 {
		t.Error(faults.Err())
	}
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	tests := map[time.Duration]string{
		0: "0", 5 * time.Second: "5s", 5 * time.Minute: "5m", 90 * time.Minute: "1h30m", time.Hour: "1h",
		24 * time.Hour: "1d", 36 * time.Hour: "36h", 100 * time.Millisecond: "100ms", 61 * time.Second: "1m1s", 20 * time.Minute: "20m", 10 * time.Hour: "10h",
	}
	for d, want := range tests {
		if got := tomlfile.FormatDuration(d); got != want {
			t.Errorf("%v: got %s; want %s", d, got, want)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := tomlfile.Read(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	f, err := tomlfile.Read(dir)
	if err != nil || len(f.Faults()) != 1 {
		t.Errorf("a directory: %v", err)
	}
	path := filepath.Join(dir, "f.toml")
	if err := os.WriteFile(path, []byte("a = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err = tomlfile.Read(path)
	if err != nil || f.Root().Int("a", 0, 0, 9) != 1 || f.Path() != path {
		t.Errorf("file: %v", err)
	}
}

// FuzzParse: whatever a file holds, reading it ends, and faults are single printable lines of bounded length.
func FuzzParse(f *testing.F) {
	f.Add([]byte("[milter]\nlisten = [\"a\"]\n[[rule]]\naction='x'\n[rule.sub]\na.b.c={d=[{},{}]}"))
	f.Add([]byte("a={b=1,b=2}"))
	f.Add([]byte("\"\\u0000\" = 'x'"))
	f.Add([]byte("[[a]]\n[[a.b]]\nc=1\n[[a.b]]\n[a.b.d]"))
	f.Add([]byte("x = [[[{a=[1]}]]]\n\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, fault := range read(tomlfile.Parse("f.toml", data)) {
			s := fault.Error()
			if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || len(s) > 2000 {
				t.Errorf("fault: %q", s)
			}
			if fault.Line > 1+strings.Count(string(data), "\n") {
				t.Errorf("line %d is past the end", fault.Line)
			}
		}
	})
}
