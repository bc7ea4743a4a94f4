package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dkimd/internal/config"
	"dkimd/internal/daemon"
	"dkimd/internal/logtest"
	"dkimd/internal/milter/client"
)

// limit is a value at a limit of its key, on one side of it.
type limit struct {
	text  string // what the file says, as TOML
	valid bool
	with  string // other lines of the same table that it needs
}

func ok(text string, with ...string) limit {
	return limit{text: text, valid: true, with: strings.Join(with, "\n")}
}

func bad(text string, with ...string) limit {
	return limit{text: text, with: strings.Join(with, "\n")}
}

func within(least, most int) []limit {
	return []limit{ok(strconv.Itoa(least)), ok(strconv.Itoa(most)), bad(strconv.Itoa(least - 1)), bad(strconv.Itoa(most + 1))}
}

func flags() []limit { return []limit{ok("true"), ok("false"), bad("1")} }

func words(list ...string) []limit {
	limits := []limit{bad(`"word"`)}
	for _, w := range list {
		limits = append(limits, ok(strconv.Quote(w)))
	}
	return limits
}

func wordLists(list ...string) []limit {
	limits := []limit{bad("[]"), bad(`["word"]`), ok(`["` + strings.Join(list, `", "`) + `"]`)}
	for _, w := range list {
		limits = append(limits, ok(strconv.Quote(w)))
	}
	return limits
}

func names(n int, form string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(form, i)
	}
	return `["From", "` + strings.Join(list, `", "`) + `"]`
}

// long is a name of 203 to 265 octets.
func long(n int) string {
	return strings.Repeat(strings.Repeat("a", 49)+".", 4) + strings.Repeat("b", n-202) + ".c"
}

func quoted(s string) string { return strconv.Quote(s) }

// fieldNames are lists for headers, of dkimd.toml and of domain.toml.
func fieldNames() []limit {
	return []limit{
		ok(`"From"`), bad(`["To"]`), bad("[]"), bad(`["From", ""]`), bad(`["From", "*"]`), bad(`["From", "from"]`), bad(`["From", "A:"]`),
		ok(`["From", "X-` + strings.Repeat("a", 98) + `"]`), bad(`["From", "X-` + strings.Repeat("a", 99) + `"]`),
		ok(`["From", "X-` + strings.Repeat("a", 98) + `*"]`), bad(`["From", "X-` + strings.Repeat("a", 99) + `*"]`),
		ok(names(199, "X-%d")), bad(names(200, "X-%d")), bad(`["From", "DKIM-Signature"]`), bad(`["From", "*x"]`),
	}
}

func domainNames() []limit {
	return []limit{
		ok(`"b.example"`), ok(`"BÜCHER.example."`), bad(`"localhost"`), bad(`"co.uk"`), bad(`"-a.example"`), bad(`"a-.example"`), bad(`"a..example"`),
		bad(`"192.0.2.1"`), bad(`"[192.0.2.1]"`), bad(`"a b.example"`), bad(`"` + strings.Repeat("a", 64) + `.example"`),
		ok(`"` + strings.Repeat("a", 63) + `.example"`), bad(quoted(long(254))),
	}
}

// settingLimits are the limits of dkimd.toml. DIR is the directory of the test, SOCKET where its milter listens.
func settingLimits() map[string][]limit {
	path := func(n int) string { return "unix:DIR/" + strings.Repeat("s", n) }
	listen := func(also string) []limit {
		return []limit{
			ok(also + `"inet:127.0.0.1:0"]`), ok(also + `"local:DIR/other"]`), bad(also + `"inet:127.0.0.1:65536"]`), bad(also + `"inet:0"]`),
			bad(also + `"` + path(101) + `"]`), bad(also + `"unix:other"]`), bad(also + `"inet:[::1]:0"]`), bad(also + `""]`),
			bad(also + `"inet:-a.example:1"]`),
		}
	}
	modes := []limit{ok(`"0600"`), ok(`"777"`), bad(`"1777"`), bad(`"0000"`), bad(`"06"`), bad(`"0680"`)}
	groups := []limit{ok(`""`), ok(strconv.Quote(strconv.Itoa(os.Getegid()))), bad(`"no such group"`), bad(`"4294967296"`), bad(`"-1"`)}
	peers := []limit{ok("[]"), bad(`"no such user"`), bad(`""`), bad(`"4294967296"`), bad(`"-1"`)}
	clients := []limit{ok("[]"), ok(`["192.0.2.0/24", "2001:db8::1"]`), ok(`"0.0.0.0/1"`), bad(`"192.0.2.1/24"`), bad(`"192.0.2.0/33"`), ok(`["!192.0.2.1", "[192.0.2.2]"]`), bad(`"!"`), bad(`"mx.1"`), bad(`".co.uk"`), bad(`"@/DIR/absent"`), ok(`"@/etc/hostname"`)}
	directories := []limit{ok(`"DIR/KIND"`), bad(`"DIR/absent"`), bad(`"KIND"`), bad(`""`), bad(`"DIR/dkimd.toml"`)}
	directory := func(kind string) []limit {
		var limits []limit
		for _, l := range directories {
			l.text = strings.ReplaceAll(l.text, "KIND", kind)
			limits = append(limits, l)
		}
		return limits
	}
	list := func(limits []limit) []limit { return append(slices.Clone(limits), ok("[]")) }
	return map[string][]limit{
		"hostname": {
			ok(`""`), ok(`"mx.example.org"`), ok(`"localhost"`), ok(quoted(long(253))), bad(quoted(long(254))), bad(`"mx_1.example"`),
			bad(`"a..b"`), bad(`"192.0.2.1"`),
		},
		"memory":                 within(16, 65536),
		"milter.listen":          listen(`["SOCKET", `),
		"milter.socket_mode":     modes,
		"milter.socket_group":    groups,
		"milter.peers":           append(slices.Clone(peers), ok(strconv.Quote(strconv.Itoa(os.Geteuid())))),
		"milter.max_connections": within(1, 65536),
		"exim.listen":            list(listen(`[`)),
		"exim.socket_mode":       modes,
		"exim.socket_group":      groups,
		"exim.peers":             append(slices.Clone(peers), bad(strconv.Quote(strconv.Itoa(os.Geteuid())))), // no unix socket
		"exim.max_connections":   within(1, 65536),
		"sign.directory":         directory("keys"),
		"sign.key_table": {
			ok(`""`), ok(`"csl:k=example.org:s1:DIR/keys/example.org/s1.pem"`, `signing_table = "csl:*=k"`), bad(`"csl:k=example.org:s1:/k"`),
			bad(`"dsn:mysql://user@3306+host/db"`, `signing_table = "csl:*=k"`), bad(`"KeyTable"`, `signing_table = "csl:*=k"`), bad(`"/absent"`), bad(`"DIR"`),
			bad(`"refile:KeyTable"`),
		},
		"sign.signing_table": {
			ok(`""`), ok(`"csl:*=k"`, `key_table = "csl:k=example.org:s1:DIR/keys/example.org/s1.pem"`), bad(`"csl:*=k"`), bad(`"ldap://x/"`), bad(`"file:/absent"`),
		},
		"sign.multiple_signatures": flags(),
		"sign.map": {
			ok("[]"), ok(`[{ from = "example.net", sign_as = "example.org" }]`), bad("5"), bad(`["example.net"]`),
		},
		"sign.layout": {
			ok("[]"), ok(`"DIR/keys/{domain}/{selector}.pem"`), bad(`"DIR/keys/{domain}.pem"`), ok(`"DIR/keys/{domain}.pem"`, `selector = "s1"`), bad(`"{domain}/{selector}"`),
			bad(`"DIR/keys/{selector}.pem"`), bad(`"DIR/{domain}/{selector}/{selector}"`), bad(`"DIR/{domain}/*.pem"`, `selector = "s1"`), bad(`"DIR/absent/{domain}"`, `selector = "s1"`),
		},
		"sign.selector": {
			ok(`""`), ok(`"s1"`, `layout = "DIR/keys/{domain}.pem"`), bad(`"s1"`), bad(`"-"`, `layout = "DIR/keys/{domain}.pem"`),
			bad(quoted(strings.Repeat("s", 64)), `layout = "DIR/keys/{domain}.pem"`),
		},
		"sign.allow_mode":    {ok(`""`), ok(`"0660"`), ok(`"644"`), bad(`"0662"`), bad(`"1777"`), bad(`"06"`), bad(`"0680"`)},
		"sign.networks":      append(clients, ok(`"127.0.0.1"`)),
		"sign.authenticated": flags(),
		"sign.daemon_names":  {ok(`["MSA", "LIMITS"]`), bad(`""`), bad(`" "`), bad("1")},
		"sign.tls_clients": {
			ok("[]"), ok(`["relay.example", "Relay 1|Our CA"]`), ok(quoted(strings.Repeat("a", 256))), bad(quoted(strings.Repeat("a", 257))),
			bad(`""`), bad(`"a|"`), bad(`"|a"`), bad(`"a|b|c"`), bad(`" a"`), bad(`"/CN=a"`), bad(`"a\nb"`), bad("1"),
		},
		"sign.not_recipients":   {ok("[]"), ok(`["joe@b.example", "*.b.example"]`), bad(`""`), bad(`"@"`), bad(`"a..b"`)},
		"sign.user_match":       words("any", "domain"),
		"sign.identity_from":    append(wordLists("from", "sender", "list-id", "envelope", "auth"), bad(`["from", "from"]`)),
		"sign.canonicalization": words("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"),
		"sign.headers":          fieldNames(),
		"sign.oversign": {
			ok("[]"), ok(`["From", "Subject"]`), bad(`"X-Other"`), bad(`"List-*"`), bad(`["From", "From"]`), bad(names(200, "List-%d")),
		},
		"sign.expiry":            {ok(`"0"`), ok(`"1s"`), ok(`"3650d"`), ok(`"1d12h"`), bad(`"3651d"`), bad(`"1500ms"`), bad(`"-1s"`), bad("5")},
		"sign.fallback_domain":   append(domainNames(), ok(`""`), ok(`"example.org"`)),
		"sign.also_domains":      append(domainNames(), ok("[]"), bad(`["b.example", "B.example"]`), bad(`""`)),
		"sign.on_error":          words("tempfail", "unsigned"),
		"sign.require_published": words("warn", "off", "withhold"),
		"verify.enabled":         flags(),
		"verify.spf":             flags(),
		"verify.spf_trusted_from": {
			ok("[]"), ok(`"192.0.2.7"`), ok(`["192.0.2.0/24|mx1.b.example", "2001:db8::/32", "192.0.2.7|mx"]`), bad(`"mx1.b.example"`), bad(`"192.0.2.7|"`), bad(`"192.0.2.7|mx 1"`),
			bad(`"192.0.2.7|mx_1"`), bad(`"192.0.2.7/24"`), bad(`"0.0.0.0/0|mx"`), bad(`"::/0"`), bad(`"|mx"`), bad(`""`), bad("1"),
		},
		"verify.trusted":        clients,
		"verify.leave_alone":    clients,
		"verify.strip_also":     {ok("[]"), ok(`["mx2.b.example", "mx3"]`), bad(`""`), bad(`"mx_2.b.example"`), bad(`["mx2.b.example", "MX2.b.example"]`)},
		"verify.strip":          words("all", "dkim"),
		"verify.on_unstripped":  words("tempfail", "accept"),
		"verify.max_signatures": within(1, 100),
		"verify.min_rsa_bits":   append(within(1024, 4096), bad("2049", "max_rsa_bits = 2048"), ok("2048", "max_rsa_bits = 2048")),
		"verify.max_rsa_bits":   within(1024, 4096),
		"verify.clock_skew":     {ok(`"0"`), ok(`"1d"`), bad(`"86401s"`), bad(`"-1s"`), bad(`"1"`)},
		"verify.body_length":    words("policy", "honour"),
		"dns.servers": {
			ok(`"127.0.0.1:1"`), ok(`["127.0.0.1", "[::1]:53", "::1"]`), bad(`"127.0.0.1:0"`), bad(`"127.0.0.1:65536"`), bad(`"dns.example"`),
			ok(`["` + strings.TrimSuffix(strings.Repeat(`127.0.0.1:1", "`, 16), `", "`) + `"]`), bad(`["` + strings.Repeat(`127.0.0.1:1", "`, 16) + `127.0.0.1:1"]`),
		},
		"dns.trust_ad":      flags(),
		"dns.timeout":       {ok(`"100ms"`), ok(`"30s"`), bad(`"99ms"`), bad(`"30001ms"`), bad("5")},
		"dns.attempts":      within(1, 10),
		"dns.cache_entries": within(1, 10_000_000),
		"policy.directory":  directory("rules"),
		"log.format":        words("json", "text", "exim"),
		"log.output": {
			ok(`"stdout"`), ok(`["stderr", "DIR/log"]`), bad("[]"), bad(`["stdout", "stdout"]`), bad(`"log"`), bad(`"DIR"`), bad(`"DIR/absent/log"`),
			ok(`"syslog:/` + strings.Repeat("s", 106) + `"`), bad(`"syslog:/` + strings.Repeat("s", 107) + `"`), bad(`"journal:/x"`), bad(`"syslog:x"`),
		},
		"metrics.listen":  list(listen(`[`)),
		"metrics.page":    words("local", "everywhere", "off"),
		"metrics.history": within(0, 1024),
		"publish": {
			ok("[]"), ok(`[{ method = "manual" }]`), ok(`[{ method = "command", command = "/bin/true", zone = "example.org" }]`), bad("5"), bad(`["example.org"]`),
			ok(`[{ method = "zonefile", file = "DIR/keys.zone", ttl = "7d" }]`), ok(`[{ method = "rfc2136", server = "192.0.2.1" }]`),
		},
		"rotate.every":         {ok(`"0"`), ok(`"3650d"`), bad(`"3651d"`), bad(`"-1s"`)},
		"rotate.keep":          {ok(`"1s"`), ok(`"365d"`), bad(`"366d"`), bad(`"0"`)},
		"rotate.patience":      {ok(`"1s"`), ok(`"365d"`), bad(`"366d"`), bad(`"0"`)},
		"rotate.at_once":       within(1, 10_000),
		"rotate.selector":      selectorNames(),
		"rotate.end":           words("revoke", "withdraw"),
		"rotate.reveal":        flags(),
		"rotate.new_domains":   flags(),
		"rotate.check_servers": {ok("[]"), ok(`"192.0.2.1"`), ok(`"[::1]:53"`), bad(`"resolver"`)},
		"control.listen": {
			ok("[]"), ok(`"unix:DIR/control"`), ok(`["local:DIR/a", "unix:DIR/b"]`), bad(`"inet:127.0.0.1:0"`), bad(`"` + path(101) + `"`), bad(`"unix:control"`), bad(`""`),
		},
	}
}

// selectorNames are the selectors of new keys, of dkimd.toml and of domain.toml.
func selectorNames() []limit {
	return []limit{
		ok(`"s{date}"`), ok(`["s1", "s2"]`), bad(`"s1"`), bad(`["s1", "s{date}"]`), bad("[]"), bad(`"domain"`), bad(`["domain", "s1"]`), bad(`"-{date}"`),
		ok(`"` + strings.Repeat("s", 55) + `{date}"`), bad(`"` + strings.Repeat("s", 56) + `{date}"`),
	}
}

// optionLimits are those of a domain.toml of example.org.
func optionLimits() map[string][]limit {
	return map[string][]limit{
		"subdomains":       append(flags(), bad(`"yes"`)),
		"sign_as":          {ok(`"example.org"`), bad(`"localhost"`), bad(`"example.com"`), bad("5"), bad(`"example.net"`)},
		"canonicalization": words("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"),
		"oversign":         {ok(`["From", "X-Other"]`), ok("[]"), ok(`["+X-Other", "-Subject"]`), bad(`["+X-Other", "Subject"]`), bad(`"List-*"`), bad(`["From", "from"]`)},
		"identity": {
			ok(`"@example.org"`), ok(`"a b@example.org"`[:2] + `b@sub.example.org"`), bad(`"@example.net"`), bad(`"example.org"`), bad(`"a b@example.org"`),
			ok(`"` + strings.Repeat("a", 64) + `@example.org"`), bad(`"` + strings.Repeat("a", 65) + `@example.org"`), bad(`"@"`),
		},
		"expiry":    {ok(`"0"`), ok(`"1s"`), ok(`"3650d"`), bad(`"3651d"`), bad(`"1500ms"`), bad(`"-1s"`), bad("5")},
		"headers":   append(fieldNames(), ok(`["+X-Other", "-Subject"]`), bad(`["+X-Other", "Subject", "From"]`), bad(`"-From"`), bad(`["+X", "-x"]`), bad(`"+DKIM-Signature"`)),
		"selectors": {ok(`"s1"`), bad("[]"), bad(`"s2"`), bad(`""`), bad(`"-"`), bad(`"` + strings.Repeat("s", 64) + `"`)},
		"users":     {ok(`"joe"`), ok("[]"), bad(`""`), bad(`" joe"`), bad(`"a\nb"`)},

		"rotate_every":     {ok(`"0"`), ok(`"3650d"`), bad(`"3651d"`), bad(`"-1s"`), bad("5")},
		"rotate_selectors": selectorNames(),
	}
}

// ruleLimits are those of a [[rule]] for mail from example.net; the keys of the file itself begin with a dot.
func ruleLimits() map[string][]limit {
	condition := func(limits ...limit) []limit {
		with := slices.Clone(limits)
		for i := range with {
			with[i].with += "\naction = \"accept\""
		}
		return with
	}
	signatures := func(limits ...limit) []limit {
		with := slices.Clone(limits)
		for i := range with {
			with[i].with += "\nresult = \"pass\""
		}
		return condition(with...)
	}
	outcomes := wordLists("none", "pass", "invalid", "fail", "permerror", "policy", "neutral")
	networks := []limit{ok(`"192.0.2.0/24"`), bad(`"192.0.2.1/24"`), bad("[]"), bad(`"mx.example"`)}
	domains := []limit{ok(`"b.example"`), ok(`"*.b.example"`), bad(`""`), bad(`"a..b"`), bad(`"*"`), bad("[]"), bad(quoted(long(254))), ok(quoted(long(253)))}
	tag := func(n int) string { return `"X-Tag: ` + strings.Repeat("t", n-len("X-Tag: ")) + `"` }
	reply := func(n int) string { return `"550 5.7.1 ` + strings.Repeat("r", n-len("550 5.7.1 ")) + `"` }
	return map[string][]limit{
		".sender":     words("from", "envelope", "either"),
		".subdomains": flags(),
		".mode":       words("monitor", "enforce"),
		"name":        condition(ok(`"`+strings.Repeat("n", 200)+`"`), bad(`"`+strings.Repeat("n", 201)+`"`), bad(`""`), bad(`"(x"`), bad(`"a\u0007"`)),
		"action": {
			ok(`"accept"`), ok(`"reject"`), ok(`"tempfail"`), ok(`"quarantine"`), ok(`"discard"`), ok(`"tag"`, `tag = "X: y"`), bad(`"drop"`),
		},
		"reply": {
			ok(reply(400), `action = "reject"`), bad(reply(401), `action = "reject"`), bad(`"450 4.7.1 x"`, `action = "reject"`),
			ok(`"450 4.7.1 x"`, `action = "tempfail"`), bad(`"550 5.7.1 x"`, `action = "tempfail"`), bad(`"550"`, `action = "accept"`), bad(`"421 x"`, `action = "reject"`),
			bad(`"550 5.7.1 ü"`, `action = "reject"`), bad(`"550 5.7.1 a\nb"`, `action = "reject"`), bad(`""`, `action = "reject"`),
		},
		"tag": {
			ok(tag(400), `action = "tag"`), bad(tag(401), `action = "tag"`), bad(`"X"`, `action = "tag"`), bad(`": x"`, `action = "tag"`), bad(`"X: a\nb"`, `action = "tag"`),
		},
		"clients":           condition(networks...),
		"not_clients":       condition(networks...),
		"any_recipient":     condition(ok(`"a@b.example"`), ok(`"b.example"`), bad("[]"), bad(`""`), bad(`"@"`), bad(`"a..b"`)),
		"recipients":        condition(ok(`"a@b.example"`), ok(`"b.example"`), bad("[]"), bad(`""`), bad(`"@"`), bad(`"a..b"`)),
		"list":              condition(flags()...),
		"not_list":          condition(flags()...),
		"from":              condition(wordLists("missing", "multiple")...),
		"signers":           signatures(domains...),
		"not_signers":       signatures(domains...),
		"aligned":           signatures(words("strict", "relaxed", "any")...),
		"algorithms":        signatures(wordLists("rsa-sha256", "ed25519-sha256", "rsa-sha1")...),
		"min_key_bits":      signatures(within(1024, 16384)...),
		"testing":           signatures(flags()...),
		"duplicates":        signatures(flags()...),
		"result":            condition(outcomes...),
		"not_result":        condition(append(slices.DeleteFunc(slices.Clone(outcomes), func(l limit) bool { return strings.Count(l.text, ",") > 5 }), bad(`["none", "pass", "invalid", "fail"]`))...),
		"published":         condition(wordLists("none", "quarantine", "reject")...),
		"published_testing": condition(flags()...),
		"dmarc":             condition(append(wordLists("pass", "fail", "none", "permerror"), bad(`"temperror"`))...),
		"not_dmarc":         condition(wordLists("pass", "fail", "none", "permerror")...),
		"spf":               condition(append(wordLists("none", "neutral", "pass", "fail", "softfail", "permerror"), bad(`"temperror"`))...),
		"without_spf":       condition(bad("true"), bad("false")),
	}
}

// known are the keys that a table of a file has: the fault of an unknown one lists them.
func known(t *testing.T, files map[string]string) []string {
	t.Helper()
	_, told := checkTree(t, tree(t, files))
	list := regexp.MustCompile(`qqqqqqq: got an unknown key; want one of (.*)\n`).FindStringSubmatch(told)
	if list == nil {
		t.Fatal(told)
	}
	return strings.Split(list[1], ", ")
}

// tree writes a configuration whose daemon signs for example.org.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dk") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	all := map[string]string{
		"keys/example.org/s1.pem": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n",
		"rules/example.com.toml":  "[[rule]]\nclients = \"192.0.2.1\"\naction = \"discard\"\n",
	}
	maps.Copy(all, files)
	for _, setting := range []struct{ table, key, value string }{
		{"milter", "listen", `"SOCKET"`},
		{"sign", "directory", `"DIR/keys"`},
		{"sign", "daemon_names", `"LIMITS"`}, // mail is ours, whoever sends it
		{"policy", "directory", `"DIR/rules"`},
		{"dns", "servers", `"127.0.0.1:1"`},
		{"verify", "spf", "false"}, // nobody is asked, so that no message waits a second for the server that is not there
	} {
		text, header := all["dkimd.toml"], "["+setting.table+"]\n"
		if !strings.Contains(text, header) {
			text += "\n" + header
		}
		if !strings.Contains(files["dkimd.toml"], header+setting.key+" = ") {
			text = strings.Replace(text, header, header+setting.key+" = "+setting.value+"\n", 1)
		}
		all["dkimd.toml"] = text
	}
	fill := strings.NewReplacer("DIR", dir, "SOCKET", "unix:"+filepath.Join(dir, "m"))
	for name, text := range all {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(fill.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// checkTree is what `dkimd check` says.
func checkTree(t *testing.T, dir string) (status int, told string) {
	t.Helper()
	out := new(logtest.Lines)
	status = run(t.Context(), []string{"check", "--user", strconv.Itoa(os.Geteuid()), "--config", filepath.Join(dir, "dkimd.toml")}, stdio{out: out, err: out})
	return status, out.String()
}

// TestCheckTellsTheTruth gives each key of each file the values at its limits: what check
// passes the daemon can use, and what check does not pass it names.
func TestCheckTellsTheTruth(t *testing.T) {
	t.Parallel()
	settings, options, rules := settingLimits(), optionLimits(), ruleLimits()
	for _, key := range config.Keys() {
		table, name, _ := strings.Cut(key, ".")
		header := "[" + table + "]\n"
		if name == "" {
			name, header = key, ""
		}
		walk(t, "dkimd.toml", key, settings[key], func(l limit) map[string]string {
			return map[string]string{"dkimd.toml": header + name + " = " + l.text + "\n" + l.with + "\n"}
		})
	}
	for _, key := range known(t, map[string]string{"keys/example.org/domain.toml": "qqqqqqq = 1"}) {
		file := "keys/example.org/domain.toml"
		if key == "sign_as" { // beside a key it has no valid value
			file = "keys/example.com/domain.toml"
		}
		walk(t, "domain.toml", key, options[key], func(l limit) map[string]string {
			return map[string]string{file: key + " = " + l.text + "\n" + l.with}
		})
	}
	const file = "rules/example.net.toml"
	for _, key := range known(t, map[string]string{file: "qqqqqqq = 1"}) {
		if key == "rule" {
			continue
		}
		walk(t, "rules file", key, rules["."+key], func(l limit) map[string]string {
			return map[string]string{file: key + " = " + l.text + "\n[[rule]]\naction = \"accept\"\n"}
		})
	}
	for _, key := range known(t, map[string]string{file: "[[rule]]\naction = \"accept\"\nqqqqqqq = 1"}) {
		walk(t, "rule", "rule[1]."+key, rules[key], func(l limit) map[string]string {
			return map[string]string{file: "mode = \"enforce\"\n[[rule]]\n" + key + " = " + l.text + "\n" + l.with}
		})
	}
}

// walk tries the limits of one key.
func walk(t *testing.T, file, key string, limits []limit, files func(limit) map[string]string) {
	t.Helper()
	valid := 0
	for i, l := range limits {
		if l.valid {
			valid++
		}
		t.Run(fmt.Sprintf("%s/%s/%d", file, key, i+1), func(t *testing.T) {
			t.Parallel()
			dir := tree(t, files(l))
			status, told := checkTree(t, dir)
			named := regexp.MustCompile(`(?m)^dkimd: \S+: (\S+\.)?` + regexp.QuoteMeta(key) + `(\[\d+\])?: got `).MatchString(told)
			switch {
			case l.valid && status != exitDone:
				t.Errorf("%s: check refuses it: %s", l.text, told)
			case l.valid:
				serves(t, dir, l)
			case status != exitFix || !named && !strings.Contains(told, "max_rsa_bits"):
				t.Errorf("%s: check ends with %d and does not name %s: %s", l.text, status, key, told)
			}
		})
	}
	if valid == 0 || valid == len(limits) {
		t.Errorf("%s: %s has no values on both sides of its limits", file, key)
	}
}

// serves starts the daemon and sends it mail of ours and mail of others. The fault of a
// configuration that it cannot use shows in its end, in its log or in its answers.
func serves(t *testing.T, dir string, l limit) {
	t.Helper()
	log := new(logtest.Lines)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, daemon.Options{
			Config: filepath.Join(dir, "dkimd.toml"), Named: true, Stdout: new(logtest.Lines), Stderr: log, Ready: func() { close(ready) },
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Errorf("%s: check passes it, and the daemon does not start: %v", l.text, err)
		return
	}
	ours := send(t, dir, "joe@example.org", "LIMITS")
	theirs := send(t, dir, "joe@example.net", "smtpd")
	if !strings.Contains(fmt.Sprint(ours.Edits), "DKIM-Signature") {
		t.Errorf("%s: check passes it, and mail of ours is not signed: %+v\n%s", l.text, ours, log)
	}
	if strings.Contains(theirs.Reply, "broken") || strings.Contains(theirs.Reply, "internal") {
		t.Errorf("%s: check passes it, and mail is answered %s", l.text, theirs.Reply)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("%s: %v", l.text, err)
	}
	if text := log.String(); strings.Contains(text, "level=ERROR") && !strings.Contains(l.text, "syslog") { // nobody listens there
		t.Errorf("%s: check passes it, and the daemon says %s", l.text, text)
	}
}

func send(t *testing.T, dir, sender, daemonName string) client.Result {
	t.Helper()
	mta, err := client.Dial(t.Context(), "unix", filepath.Join(dir, "m"), client.Options{DaemonName: daemonName})
	if err != nil {
		t.Fatal(err)
	}
	login := ""
	if daemonName == "LIMITS" { // ours by its name; it has every identity that identity_from may ask for
		login = sender
	}
	r, err := mta.Send(t.Context(), client.Mail{
		AuthUser: login,
		Peer:     client.Peer{Name: "there.example", Addr: netip.MustParseAddr("203.0.113.9"), Port: 4000}, Helo: "there.example",
		Sender: sender, Recipients: []string{"ann@example.com"}, QueueID: "Q", Raw: []byte("From: " + sender + "\r\nSender: " + sender + "\r\nList-Id: <list." + sender[strings.IndexByte(sender, '@')+1:] + ">\r\nSubject: limits\r\n\r\nHello\r\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
