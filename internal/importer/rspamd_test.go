package importer_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/importer"
)

type reader func(string, importer.Options) (*importer.Plan, error)

// importCase is a configuration and what it becomes.
type importCase struct {
	files  map[string]string
	want   map[string]string // by file: parts of it, separated by |
	close  string            // parts of the notes
	missed string
}

func (c importCase) run(t *testing.T, read reader, path string) {
	t.Helper()
	s := newSystem(t, c.files)
	pem, _ := key(t)
	for _, name := range []string{"k/one", "k/example.com.dkim.key", "k/example.net.dkim.key"} {
		s.write(name, pem)
	}
	p, err := read(path, importer.Options{Root: s.root, User: importer.User{Name: "root", UID: os.Geteuid(), GID: os.Getegid()}})
	if err != nil {
		t.Fatal(err)
	}
	files := s.written(p)
	for name, want := range c.want {
		for part := range strings.SplitSeq(want, "|") {
			if !strings.Contains(files[name], part) {
				t.Errorf("%s: want %q in\n%s", name, part, files[name])
			}
		}
	}
	for v, want := range map[importer.Verdict]string{importer.Close: c.close, importer.NotCarried: c.missed} {
		got := strings.ReplaceAll(notes(p, v), s.root, "ROOT")
		for part := range strings.SplitSeq(want, "|") {
			if !strings.Contains(got, part) {
				t.Errorf("%s: want %q in\n%s", v, part, got)
			}
		}
	}
	if got := notes(p, importer.NotCarried); c.missed == "" && got != "" {
		t.Errorf("not carried: %s", got)
	}
}

func TestRspamd(t *testing.T) {
	t.Parallel()
	const modules, local = "etc/rspamd/modules.d/dkim_signing.conf", "etc/rspamd/local.d/dkim_signing.conf"
	tests := map[string]importCase{
		"the package alone": {
			map[string]string{modules: "dkim_signing {\n  use_esld = true; # yes\n  .include(try=true) \"$LOCAL_CONFDIR/local.d/dkim_signing.conf\"\n}\n"},
			map[string]string{"dkimd.toml": "enabled = false|canonicalization = \"relaxed/relaxed\"|user_match = \"domain\"|\"192.168.0.0/16\""},
			"", "",
		},
		"a path for all domains": {
			map[string]string{modules: "dkim_signing { path = \"/x/$domain.key\"; selector = \"x\"; }", local: "path = \"/k/$domain.$selector.key\"\nselector = \"dkim\""},
			map[string]string{"dkimd.toml": "layout = [\"ROOT/k/{domain}.dkim.key\"]|selector = \"dkim\"", "keys/example.com/domain.toml": "subdomains = true"},
			"", "",
		},
		"no organizational domains": {
			map[string]string{local: "path: /k/$domain.$selector.key; use_esld: false; sign_local = false; allow_username_mismatch = true;"},
			map[string]string{"dkimd.toml": "layout|networks = []", "keys/example.com/domain.toml": ""},
			"", "",
		},
		"domains": {
			map[string]string{local: "domain {\n  example.org { path = \"/k/one\"; selector = \"s\"; }\n  \"example.net\" { selectors [ { path: '/k/one'; selector: a }, { path: \"/k/one\", selector: \"b\" } ] }\n}\ntry_fallback = false;"},
			map[string]string{
				"KeyTable":     "example.org/s example.org:s:ROOT/k/one\n|example.net/a example.net:a:|example.net/b example.net:b:",
				"SigningTable": "*@example.org example.org/s\n*@*.example.org example.org/s\n", "dkimd.toml": "multiple_signatures = true",
			},
			"", "",
		},
		"an Ed25519 key in PEM": {
			map[string]string{
				local:  "domain { example.org { path = \"/k/ed\"; selector = \"e\"; } }",
				"k/ed": "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n",
			},
			map[string]string{"KeyTable": "example.org/e example.org:e:ROOT/k/ed\n"},
			"key: signs with Ed25519; rspamd 3.4 reads no such key in PEM", "",
		},
		"maps": {
			map[string]string{local: "path_map = \"/m/paths\"; selector_map = \"file:///m/selectors\"; use_esld = no;", "m/paths": "example.org /k/one\nexample.net /absent\n", "m/selectors": "example.org zz\n"},
			map[string]string{"KeyTable": "example.org/zz example.org:zz:ROOT/k/one\n"},
			"", "domain: the key ROOT",
		},
		"tables": {
			map[string]string{local: "signing_table = [\"*@example.org one\", \"*@*.example.net %\"];\nkey_table = \"/m/keys\"; selector = \"d\";", "m/keys": "one example.org:/k/one\ntwo example.net:s:/k/one\n"},
			map[string]string{"KeyTable": "one example.org:d:ROOT/k/one\ntwo example.net:s:ROOT/k/one\n", "SigningTable": "*@example.org one\n*@*.example.net %\n"},
			"", "",
		},
		"networks and what is missing": {
			map[string]string{local: "sign_networks = [192.0.2.0/24, \"198.51.100.7\", \"x\"]; use_redis = true; sign_condition =<<EOD\nreturn function() end\nEOD\nuse_domain = \"recipient\"; sign_headers = \"(o)from:(x)subject:to\";\nfoo = bar;", "etc/rspamd/options.inc": "local_addrs = [10.0.0.0/8];"},
			map[string]string{"dkimd.toml": "\"192.0.2.0/24\"|\"198.51.100.7\"|\"10.0.0.0/8\"|headers = [\"from\", \"subject\", \"to\"]|oversign = [\"from\", \"subject\"]"},
			"sign_headers: [sign] headers and oversign; whether subject|foo: without effect|sign_networks: no address", "use_redis|sign_condition|use_domain",
		},
		"one key, networks in a text": {
			map[string]string{local: "path = \"/k/one\"; sign_networks = \"192.0.2.0/24, 198.51.100.0/24\";"},
			map[string]string{"KeyTable": "all %:dkim:ROOT/k/one\n"},
			"use_esld: mail of a subdomain is signed with its own name", "sign_networks: want a list in [ ]",
		},
		"one domain signs for all": {
			map[string]string{local: "use_domain = \"Example.NET\"; path = \"/k/$domain.dkim.key\"; use_domain_sign_networks = \"Example.NET\";"},
			map[string]string{"KeyTable": "example.net:dkim:ROOT/k/example.net.dkim.key\n", "SigningTable": "* example.net/dkim\n"},
			"", "",
		},
		"domains by the list of public suffixes": {
			map[string]string{local: "domain { a.example.org { path = \"/k/one\"; } example.lan { path = \"/k/one\"; } example.co.uk { path = \"/k/one\"; } }"},
			map[string]string{"SigningTable": "SENDER NAME\n*@example.co.uk example.co.uk/dkim\n*@*.example.co.uk example.co.uk/dkim\n*@example.lan example.lan/dkim\n"},
			"domain: left out: use_esld has rspamd sign mail of this domain with the key of example.org only|allow_hdrfrom_mismatch", "",
		},
		"fields and logins as rspamd makes them": {
			map[string]string{
				local:                          "path = \"/k/$domain.$selector.key\"; sign_headers = \"date\"; auth_only = false; sign_authenticated = true; use_domain_sign_local = \"header\"; .include \"/etc/rspamd/more.conf\"",
				"etc/rspamd/local.d/dkim.conf": "sign_headers [ \"from\", \"(o)to\" ]", "etc/rspamd/more.conf": "use_esld = false;",
			},
			map[string]string{"dkimd.toml": "headers = [\"from\", \"to\"]|oversign = [\"to\"]|authenticated = false", "keys/example.com/domain.toml": ""},
			"", "",
		},
		"a section in rspamd.conf.local": {
			map[string]string{modules: "dkim_signing {}", "etc/rspamd/rspamd.conf.local": "logging { path = \"/x\"; }\ndkim_signing { path = \"/k/$domain.$selector.key\"; }"},
			map[string]string{"dkimd.toml": "layout = [\"ROOT/k/{domain}.dkim.key\"]"},
			"", "",
		},
		"keys in Redis": {
			map[string]string{local: "try_fallback = true;\nuse_esld = false;\nuse_redis = true;\nservers = \"redis\";\ndb = \"4\"\nkey_prefix = \"DKIM_KEYS\";"},
			nil, "servers: without effect until then|db: without|try_fallback: without|key_prefix: without", "use_redis: dkimd reads keys from files",
		},
		"no Redis, names that rspamd passes over, no bounces": {
			map[string]string{local: "path = \"/k/$domain.$selector.key\"; use_redis = false; servers = \"redis\"; hash_key = \"X\"; allow_envfrom_empty = false; allow_username_mismatch = true; sign_networks = [\"localhost\"];"},
			map[string]string{"dkimd.toml": "layout"},
			"hash_key: without effect: rspamd does not know it|allow_envfrom_empty: dkimd signs mail without MAIL FROM, too|sign_networks: no address and no network", "",
		},
		"maps that are not there": {
			map[string]string{local: "path = \"/k/$domain.$selector.key\"; sign_networks = \"/^(127\\\\.0\\\\.0\\\\.1|::1)$/\"; path_map = \"/absent\";"},
			map[string]string{"dkimd.toml": "layout"},
			"sign_networks: no such file|path_map: no such file|allow_username_mismatch: [sign] user_match: a login has to be", "",
		},
		"a map of the web, a name that is none": {
			map[string]string{local: "sign_networks = \"https://example.com/nets\"; domain { *.example.net { path = \"/k/one\"; } }"},
			nil, "domain: left out: rspamd compares it with whole names", "sign_networks: dkimd fetches no map",
		},
		"overridden": {
			map[string]string{local: "sign_authenticated = true;", "etc/rspamd/override.d/dkim_signing.conf": "sign_authenticated = false;"},
			map[string]string{"dkimd.toml": "authenticated = false"},
			"", "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.run(t, importer.Rspamd, "")
		})
	}
	for text, want := range map[string]string{
		"path = \"/k": "dkim_signing.conf:1: got a quote that does not end", "domain {\n": "want a } for the { of line 1", "a [ b": "want a ] for the [ of line 1", "a [ b }": "want a ] for the [ of line 1",
		".if x\n": "got \".if\"; want keys", "\n{% if %}": "dkim_signing.conf:2: got a template", "\xff = 1": "got bytes that are not UTF-8", "path_map = \"https://x/y\";": "want a map in a file of this host",
		"a = <<EOD\n": "got << without an end",
	} {
		s := newSystem(t, map[string]string{local: text})
		if _, err := importer.Rspamd("", importer.Options{Root: s.root}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v; want %s", text, err, want)
		}
	}
}

func TestExim(t *testing.T) {
	t.Parallel()
	const conf = "exim.conf"
	privateKey, _ := key(t)
	transport := func(options string, more ...string) map[string]string {
		files := map[string]string{}
		for _, m := range more { // PATH=TEXT, or the path of a key
			path, text, found := strings.Cut(m, "=")
			if !found {
				text = privateKey
			}
			files[path] = text
		}
		files[conf] = "hostlist relay_from_hosts = 127.0.0.1 : ::::1 : 192.0.2.0/24 : <bad\nacl_smtp_dkim = acl_dkim\nbegin acl\nacl_dkim:\n  deny sender_domains = gmail.com\n" +
			"    dkim_signers = gmail.com\n    dkim_status = none:invalid:fail\n    message = no DKIM\n  defer condition = x\n  accept\nbegin transports\nlocal:\n  driver = pipe\nremote_smtp:\n  driver = smtp\n" + options
		return files
	}
	tests := map[string]importCase{
		"one domain": {
			transport("  dkim_domain = example.org\n  dkim_selector = s\n  dkim_private_key = /k/one\n  dkim_canon = simple\n  dkim_strict = true\n  dkim_timestamps = 3600\n"),
			map[string]string{
				"dkimd.toml": "listen = []|\"192.0.2.0/24\"|canonicalization = \"simple/simple\"|on_error = \"tempfail\"|expiry = \"3600s\"",
				"KeyTable":   "example.org example.org:s:ROOT/k/one\n", "SigningTable": "* example.org\n",
				"rules/gmail.com.toml": "sender     = \"envelope\"|result  = [\"none\", \"invalid\", \"fail\"]\nsigners = [\"gmail.com\"]\naction  = \"reject\"\nreply   = \"550 5.7.20 no DKIM\"",
			},
			"acl_smtp_dkim: rules/", "acl_smtp_dkim: write a rule|relay_from_hosts",
		},
		"a blank line after a continued one": {
			transport("   \\\n\n  dkim_domain = example.org\n  dkim_selector = s\n  dkim_private_key = /k/one\n"),
			map[string]string{"KeyTable": "example.org example.org:s:ROOT/k/one\n"},
			"", "acl_smtp_dkim",
		},
		"the sender's domain": {
			transport("  dkim_domain = ${lc:${domain:$h_from:}}\n  dkim_selector = dkim\n  dkim_private_key = ${if exists{/k/${dkim_domain}.$dkim_selector.key}\\\n     {/k/${dkim_domain}.$dkim_selector.key}{0}}\n  dkim_sign_headers = +From:=Subject:To\n"),
			map[string]string{"dkimd.toml": "layout = [\"ROOT/k/{domain}.dkim.key\"]|selector = \"dkim\"|on_error = \"unsigned\"|headers = [\"From\", \"Subject\", \"To\"]|oversign = [\"From\"]"},
			"", "acl_smtp_dkim|relay_from_hosts",
		},
		"the envelope's domain, one key": {
			transport("  dkim_domain = $sender_address_domain\n  dkim_selector = s\n  dkim_private_key = /k/one\n"),
			map[string]string{"KeyTable": "all %:s:ROOT/k/one\n", "SigningTable": "* all\n"},
			"", "acl_smtp_dkim",
		},
		"a lookup in a directory, as Hestia writes it": {
			transport("  dkim_domain = ${lookup{${lc:${domain:$h_from:}}}dsearch{/k}{$value}{}}\n  dkim_selector = mail\n" +
				"  dkim_private_key = ${if exists{/k/${lookup{${lc:${domain:$h_from:}}}dsearch{/k/}}.dkim.key}{/k/${lookup{${lc:${domain:$h_from:}}}dsearch{/k/}}.dkim.key}{0}}\n"),
			map[string]string{"dkimd.toml": "layout = [\"ROOT/k/{domain}.dkim.key\"]|selector = \"mail\""},
			"", "acl_smtp_dkim|relay_from_hosts",
		},
		"Debian's wiki": {
			map[string]string{conf: "DKIM_CANON = relaxed\nDKIM_SELECTOR = dkim\nDKIM_DOMAIN = ${sg{${lc:${domain:$h_from:}}}{^www\\.}{}}\nDKIM_FILE = /k/DKIM_DOMAIN.dkim.key\n" +
				"DKIM_PRIVATE_KEY = ${if exists{DKIM_FILE}{DKIM_FILE}{0}}\nbegin transports\nremote_smtp:\n  dkim_domain = DKIM_DOMAIN\n  dkim_selector = DKIM_SELECTOR\n  dkim_private_key = DKIM_PRIVATE_KEY\n"},
			map[string]string{"dkimd.toml": "layout = [\"ROOT/k/{domain}.dkim.key\"]|selector = \"dkim\""},
			"dkim_sign_headers: [sign] headers: Exim's default", "",
		},
		"two selectors, an envelope, and a domain only where there is a key": {
			transport("  dkim_selector = dkim : two\n  dkim_private_key = /k/$dkim_domain.${dkim_selector}.key\n" +
				"  dkim_domain = ${if exists{/k/${sender_address_domain}.dkim.key}{$sender_address_domain}{}}\n"),
			map[string]string{"keys/example.com/dkim.pem": "PRIVATE", "keys/example.net/dkim.pem": "PRIVATE"},
			"not of MAIL FROM|does not sign; dkimd takes the letters|; 2 keys were copied", "acl_smtp_dkim",
		},
		"domains and keys of a file": {
			func() map[string]string {
				files := transport("  dkim_domain = ${lookup{$sender_address_domain}lsearch{/m/domains}{$value}{}}\n  dkim_selector = s\n  dkim_private_key = ${lookup{$dkim_domain}lsearch{/m/keys}{$value}}\n")
				files["m/domains"], files["m/keys"] = "# all\nExample.com: example.org\nexample.net\nexample.info:\n", "example.org: /k/one\nexample.net: /k/example.net.dkim.key\n"
				return files
			}(),
			map[string]string{
				"KeyTable":     "example.org example.org:s:ROOT/k/one\nexample.net example.net:s:ROOT/k/example.net.dkim.key\n",
				"SigningTable": "*@example.com example.org\n*@example.net example.net\n",
			},
			"", "acl_smtp_dkim|remote_smtp dkim_domain: the key is neither",
		},
		"cPanel: the domain at the end of the path": {
			transport("  dkim_domain = $sender_address_domain\n  dkim_selector = default\n  dkim_private_key = \"/p/${dkim_domain}\"\n", "p/example.com", "p/example.net"),
			map[string]string{"dkimd.toml": "layout = [\"ROOT/p/{domain}\"]|selector = \"default\""},
			"not of MAIL FROM", "acl_smtp_dkim|relay_from_hosts",
		},
		"DirectAdmin: a file that names the domains": {
			transport("  dkim_domain = ${if eq{${lc:${domain:$h_from:}}}{}{$primary_hostname}{${lookup{${lc:${domain:$h_from:}}}lsearch,ret=key{/m/owners}{$value}}}}\n  dkim_selector = x\n"+
				"  dkim_private_key = ${if exists{/v/$dkim_domain/dkim.private.key}{/v/$dkim_domain/dkim.private.key}{0}}\n", "m/owners=example.com: admin\nexample.org: bob\n", "v/example.com/dkim.private.key"),
			map[string]string{"KeyTable": "example.com example.com:x:ROOT/v/example.com/dkim.private.key\n", "SigningTable": "*@example.com example.com\n"},
			"", "acl_smtp_dkim|relay_from_hosts|remote_smtp dkim_domain: the key",
		},
		"a path made of what a file says, with spaces": {
			transport("  dkim_domain = ${lookup {$sender_address_domain} lsearch {/m/keymap}}\n  dkim_selector = s\n  dkim_private_key = ${lookup{$sender_address_domain}lsearch{/m/keymap}{/k/${value}}{}}\n",
				"m/keymap=example.com: example.org\n", "k/example.org"),
			map[string]string{"KeyTable": "example.org example.org:s:ROOT/k/example.org\n", "SigningTable": "*@example.com example.org\n"},
			"by the domain of From, not of MAIL FROM", "acl_smtp_dkim|relay_from_hosts",
		},
		"a file of selectors, others by a default": {
			transport("  dkim_domain = ${lc:${domain:$h_from:}}\n  dkim_selector = ${lookup{$dkim_domain}lsearch{/m/selectors}{$value}{dkim}}\n"+
				"  dkim_private_key = /k/${lookup{$dkim_domain}dsearch{/k}}.$dkim_selector.key\n", "m/selectors=example.org: two\n", "k/example.org.two.key"),
			map[string]string{"KeyTable": "example.org example.org:two:ROOT/k/example.org.two.key\n", "SigningTable": "*@example.org example.org\n", "dkimd.toml": "layout = [\"ROOT/k/{domain}.dkim.key\"]|selector = \"dkim\""},
			"", "acl_smtp_dkim|relay_from_hosts",
		},
		"the sender in the path, beside a lookup": {
			transport("  dkim_domain = ${lookup{$sender_address_domain}lsearch{/m/domains}}\n  dkim_selector = dkim\n  dkim_private_key = /k/$sender_address_domain.dkim.key\n", "m/domains=example.com: example.com\n"),
			map[string]string{"KeyTable": "example.com example.com:dkim:ROOT/k/example.com.dkim.key\n"},
			"(tainted), and does not sign; dkimd takes the letters of a domain in any case", "acl_smtp_dkim|relay_from_hosts",
		},
		"a file of selectors alone": {
			transport("  dkim_domain = $sender_address_domain\n  dkim_selector = ${lookup{$sender_address_domain}lsearch{/m/selectors}}\n"+
				"  dkim_private_key = ${lookup{$sender_address_domain.pem}dsearch,ret=full{/c}}\n", "m/selectors=example.org: two\n", "c/example.org.pem"),
			map[string]string{"KeyTable": "example.org example.org:two:ROOT/c/example.org.pem\n"},
			"by the domain of From", "acl_smtp_dkim|relay_from_hosts",
		},
		"Webuzo: Perl that untaints": {
			transport("  dkim_domain = ${lc:${domain:$h_from:}}\n  dkim_selector = dkim\n  dkim_private_key = /k/${perl{untaint}{${dkim_domain}}}.dkim.key\n"),
			map[string]string{"dkimd.toml": "layout = [\"ROOT/k/{domain}.dkim.key\"]"},
			"", "acl_smtp_dkim|relay_from_hosts",
		},
		"another file decides": {
			transport("  dkim_domain = ${lc:${domain:$h_from:}}\n  dkim_selector = x\n  dkim_private_key = ${if exists{/d/${lc:${domain:$h_from:}}}{/k/one}{0}}\n"),
			nil, "", "dkim_domain: whether another file than the key|acl_smtp_dkim|relay_from_hosts",
		},
		"no key, a list without From, a word for canonicalization": {
			transport("  dkim_domain = ${lc:${domain:$h_from:}}\n  dkim_selector = x\n  dkim_private_key = /absent/$dkim_domain.pem\n  dkim_sign_headers = true\n  dkim_canon = strict\n"),
			map[string]string{"dkimd.toml": "canonicalization = \"relaxed/relaxed\"|\"From\""},
			"dkim_sign_headers: [sign] headers: Exim's default, since|dkim_canon: [sign] canonicalization: relaxed", "dkim_domain: no key is there|acl_smtp_dkim|relay_from_hosts",
		},
		"a domain that is not known": {
			transport("  dkim_private_key = /k/one\n  dkim_selector = s\n  dkim_identity = x@y\n  dkim_domain = ${perl{domain}}\n"),
			nil, "", "dkim_selector: see dkim_domain|dkim_private_key: see dkim_domain|dkim_identity: i= is the domain|dkim_domain: an expansion|acl_smtp_dkim",
		},
		"a lookup": {
			transport("  dkim_domain = ${lookup{$sender_address_domain}lsearch{/x}}\n  dkim_selector = s\n  dkim_private_key = /k/one\n  dkim_foo = 1\n"),
			nil, "", "remote_smtp dkim_domain: an expansion|remote_smtp dkim_foo|acl_smtp_dkim",
		},
		"macros that Exim has": {
			map[string]string{conf: "DKIM_SIGN_HEADERS = _DKIM_SIGN_HEADERS:=X-Foo:+Sender\nbegin transports\nt:\n  dkim_domain = example.org\n  dkim_selector = s\n  dkim_private_key = /k/one\n  dkim_sign_headers = DKIM_SIGN_HEADERS\n"},
			map[string]string{"dkimd.toml": "\"List-Archive\",\n  \"X-Foo\",\n]\noversign = [\"Sender\"]"},
			"dkim_sign_headers: [sign] headers and oversign", "",
		},
		"macros": {
			map[string]string{conf: "DKIM_DOMAIN = example.org\n.ifdef DKIM_OTHER\nbegin acl\n.endif\nbegin transports\nt:\n.ifdef DKIM_DOMAIN\n  dkim_domain = DKIM_DOMAIN\n.else\n  dkim_domain = no\n.endif\n  dkim_selector = s\n  dkim_private_key = /k/one\n"},
			map[string]string{"KeyTable": "example.org example.org:s:"},
			"", "",
		},
		"exim -bP transports": {
			map[string]string{conf: "remote_smtp transport:\ndriver = smtp\ndkim_domain = example.org\ndkim_selector = s\ndkim_private_key = /k/one\ndkim_strict =\n\nother transport:\ndkim_domain = example.net\n"},
			map[string]string{"KeyTable": "example.org example.org:s:"},
			"", "other dkim_domain: it differs from remote_smtp",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.run(t, importer.Exim, "/exim.conf")
		})
	}
}

func TestAmavis(t *testing.T) {
	t.Parallel()
	const file = "etc/amavis/conf.d/50-user"
	for name, test := range map[string]importCase{
		"networks, keys and options": {
			map[string]string{
				file: "use strict;\n$enable_dkim_signing = 1;\ndkim_key('example.org', \"s\", '/k/one'); # a key\n# dkim_key('no.example','s','/k/one');\n" +
					"dkim_key('example.net','s','/absent');\n@mynetworks = qw( 127.0.0.0/8 [::1] 192.0.2.0/24\n  198.51.100.1 );\n@dkim_signature_options_bysender_maps = (\n { 'x@example.org' => { d => 'example.net' }, '.' => { ttl => 21*24*3600, c => 'relaxed/relaxed' } } );\n" +
					"dkim_key('Example.org', 'second', '/k/one');\ndkim_key('*.example.com', 'w', '/k/one', t=>'s');\n",
			},
			map[string]string{
				"KeyTable": "example.org/s example.org:s:ROOT/k/one\n*.example.com/w %:w:ROOT/k/one\n", "SigningTable": "SENDER NAME\n*@example.org example.org/s\n*@*.example.com *.example.com/w\n",
				"dkimd.toml": "enabled = false|\"192.0.2.0/24\"|\"198.51.100.1\"|canonicalization = \"relaxed/relaxed\"|expiry = \"1814400s\"|oversign = [\"From\", \"Date\", \"Subject\", \"Content-Type\"]",
			},
			"dkim_key: key_table|dkim_key: left out: amavis signs with the first key", "dkim_key: the key ROOT",
		},
		"iRedMail: a domain signs for another one and for all": {
			map[string]string{
				file: "$mydomain = \"example.com\";\n$enable_dkim_signing = 1;\ndkim_key($mydomain, \"dkim\", \"/k/$mydomain.dkim.key\");\ndkim_key('example.net', 'dkim', '/k/example.net.dkim.key');\n" +
					"@dkim_signature_options_bysender_maps = ( {\n    \"$mydomain\"  => { d => \"$mydomain\", a => 'rsa-sha256', ttl => 10*24*3600 },\n    # more\n" +
					"    'guest.org' => { d => \"example.com\", a => 'rsa-sha256', ttl => 10*24*3600 },\n    'example.net' => { a => 'rsa-sha256', c => 'relaxed/relaxed', ttl => 30*24*3600 },\n" +
					"    '.' => { d => 'example.com', a => 'rsa-sha256', c => 'relaxed/simple', ttl => 30*24*3600 },\n} );\n",
			},
			map[string]string{
				"KeyTable":     "example.com/dkim example.com:dkim:ROOT/k/example.com.dkim.key\n",
				"SigningTable": "SENDER NAME\n*@example.com example.com/dkim\n*@example.net example.com/dkim:@%\n*@guest.org example.com/dkim:@%\n* example.com/dkim:@%\n",
				"dkimd.toml":   "canonicalization = \"relaxed/simple\"|expiry = \"864000s\"",
			},
			"bysender_maps example.net: dkimd has one for all signatures, 10*24*3600|bysender_maps example.net: dkimd has one for all signatures, relaxed/simple|dkim_key: left out: the options", "",
		},
		"subdomains, users, selectors and types": {
			map[string]string{
				file: "dkim_key('example.com', 'a', '/k/one');\ndkim_key('example.com', 'b', '/k/one');\n" +
					"@dkim_signature_options_bysender_maps = ( { 'joe@example.com' => { s => 'b', i => 'joe@example.com' }, '.example.com' => { d => 'example.com' }, 'x.example.com' => { a => 'ed25519-sha256' },\n" +
					" 'none.example' => { ttl => 5 }, 'root@' => { s => 'b' }, 'foo.example' => { d => 'example.com', foo => 1 } } );\n$signed_header_fields{'to'} = 1;\n$signed_header_fields{lc('X-Foo')} = 2;\n$signed_header_fields{'received'} = 0;\n$signed_header_fields{'from'} = 0;\n",
			},
			map[string]string{
				"SigningTable": "SENDER NAME\njoe@example.com example.com/b:joe@example.com\n*@example.com example.com/a\n*@foo.example example.com/a:@%\n*@example.com example.com/a:@%\n*@*.example.com example.com/a:@%\n",
				"dkimd.toml":   "canonicalization = \"relaxed/simple\"|\"X-Foo\"|  \"From\",\n  \"Reply-To\"",
			},
			"$signed_header_fields{from}: left out: dkimd signs From always|no dkim_key fits d=example.com|no dkim_key fits d=none.example|$enable_dkim_signing: is not set", "a user of any domain|foo.example: dkimd does not know it",
		},
		"the last networks count": {
			map[string]string{
				"etc/amavis/conf.d/20-debian_defaults": "@mynetworks = qw( 127.0.0.0/8 [::1] 10.0.0.0/8 );\n",
				file:                                   "@mynetworks = qw( 192.0.2.0/24 );\n$enable_dkim_signing = 1;\ndkim_key('example.org', 's', '/k/one');\n",
			},
			map[string]string{"dkimd.toml": "networks = [\"127.0.0.0/8\", \"::1\", \"192.0.2.0/24\"]"},
			"", "",
		},
		"no networks": {
			map[string]string{file: "$enable_dkim_signing = 1;\ndkim_key('example.org', 's', '/k/one');\n"},
			map[string]string{"dkimd.toml": "\"10.0.0.0/8\"|\"fc00::/7\""},
			"@mynetworks: is not set here", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.run(t, importer.Amavis, "")
		})
	}
}

// Options of some thousand domains are read in the time of their lines.
func TestAmavisWithManyDomains(t *testing.T) {
	t.Parallel()
	const domains = 2000
	var conf strings.Builder
	for n := range domains {
		fmt.Fprintf(&conf, "dkim_key('d%d.example', 's', '/k/one');\n", n)
	}
	conf.WriteString("@dkim_signature_options_bysender_maps = ( {\n")
	for n := range domains {
		fmt.Fprintf(&conf, "  'd%d.example' => { ttl => 10*24*3600, c => 'relaxed/simple' },\n", n)
	}
	conf.WriteString("} );\n")
	s := newSystem(t, map[string]string{"amavisd.conf": conf.String()})
	pem, _ := key(t)
	s.write("k/one", pem)
	var p *importer.Plan
	took := cputime.Of(func() {
		var err error
		p, err = importer.Amavis("/amavisd.conf", importer.Options{Root: s.root, User: importer.User{Name: "root", UID: os.Geteuid(), GID: os.Getegid()}})
		if err != nil {
			t.Fatal(err)
		}
	})
	if took > 8*time.Second {
		t.Errorf("%v", took)
	}
	if table := s.written(p)["SigningTable"]; strings.Count(table, "\n") != domains+1 {
		t.Errorf("the table:\n%.200s", table)
	}
}
