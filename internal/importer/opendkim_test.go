package importer_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/cputime"
	"dkimd/internal/importer"

	"golang.org/x/sys/unix"
)

// system is a root directory with the files of a configuration.
type system struct {
	t    *testing.T
	root string
}

func newSystem(t *testing.T, files map[string]string) *system {
	t.Helper()
	s := &system{t, t.TempDir()}
	for name, content := range files {
		s.write(name, content)
	}
	return s
}

func (s *system) write(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// key makes a private key; content is its PEM.
func key(t *testing.T) (content string, der []byte) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der = x509.MarshalPKCS1PrivateKey(private)
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})), der
}

func (s *system) plan(copyKeys bool) *importer.Plan {
	s.t.Helper()
	p, err := importer.OpenDKIM("", importer.Options{Root: s.root, Copy: copyKeys, User: importer.User{Name: "root", UID: os.Geteuid(), GID: os.Getegid()}})
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// written are the files that a plan writes, by their paths in the directory, with DIR for it and ROOT for the system.
func (s *system) written(p *importer.Plan) map[string]string {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "dkimd")
	paths, err := p.Write(dir, importer.User{UID: os.Geteuid(), GID: os.Getegid()}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	files := map[string]string{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		name, _ := filepath.Rel(dir, path)
		files[name] = strings.NewReplacer(dir, "DIR", s.root, "ROOT").Replace(string(content))
	}
	return files
}

func notes(p *importer.Plan, v importer.Verdict) string {
	var all []string
	for _, n := range p.Notes {
		if n.Verdict == v {
			all = append(all, fmt.Sprintf("%s:%d %s: %s", filepath.Base(n.Path), n.Line, n.Setting, n.Text))
		}
	}
	return strings.Join(all, "\n")
}

// What a setting becomes in dkimd.toml.
func TestOpenDKIMSettings(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ conf, want, close, notCarried string }{
		"nothing": {"", "canonicalization = \"simple/simple\"\n|networks = [\"127.0.0.1\"]|daemon_names = []|oversign = []", "", ""},
		"comments and tabs": {
			"Canonicalization\trelaxed/simple  # both\nsignaturettl 0x10 \n", "canonicalization = \"relaxed/simple\"|expiry = \"16s\"", "", "",
		},
		"one canonicalization is of the header": {"Canonicalization relaxed", "canonicalization = \"relaxed/simple\"", "", ""},
		"the last line wins":                    {"SignatureTTL 5\nSignatureTTL 6", "expiry = \"6s\"", "", ""},
		"Mode s":                                {"Mode s", "[verify]|enabled = false", "", ""},
		"Mode v":                                {"Mode v\nInternalHosts 10.0.0.0/8", "networks = []|authenticated = false", "", ""},
		"fields added and taken": {
			"SignHeaders *,+X-Foo,-Reply-To\nOversignHeaders From,X-Bar", "\"X-Foo\"|\"X-Bar\"|oversign = [\"From\", \"X-Bar\"]", "", "",
		},
		"From is always signed": {"SignHeaders Subject", "headers = [\"From\", \"Subject\"]", "", ""},
		"a field omitted":       {"OmitHeaders *,+Subject", "headers = [\n  \"From\",\n  \"Reply-To\",\n  \"Date\"", "", ""},
		"names beside * without a sign": {
			"SignHeaders *,X-Foo\nOmitHeaders *,Subject", "\"Subject\",\n", "SignHeaders: [sign] headers, without X-Foo: beside * OpenDKIM passes over", "",
		},
		"signs without *":          {"SignHeaders From,+X-Foo,-Cc", "headers = [\"From\"]", "without +X-Foo, -Cc: dkimd signs no such field, and OpenDKIM does not start", ""},
		"signs in oversigned":      {"OversignHeaders *,+From,Subject", "oversign = [\"Subject\"]", "without *, +From: dkimd signs no such field", ""},
		"From omitted":             {"OmitHeaders From", "headers = [\n  \"From\"", "OpenDKIM signs no message without it", ""},
		"a colon in a list":        {"InternalHosts ::1,10.0.0.0/8", "networks = [\"::1\", \"10.0.0.0/8\"]", "OpenDKIM does not start with it", ""},
		"a colon after a comma":    {"InternalHosts 127.0.0.1, ::1", "networks = [\"127.0.0.1\", \"::1\"]", "", ""},
		"a field that is unstable": {"SignHeaders From,Return-Path", "headers = [\"From\"]", "SignHeaders: [sign] headers, without Return-Path", ""},
		"an oversigned field":      {"OversignHeaders From,Date", "oversign = [\"From\", \"Date\"]", "OversignHeaders: [sign] oversign; Date only where", ""},
		"InternalHosts": {
			"InternalHosts 127.0.0.1, ::1,localhost,!10.0.0.1,10.0.0.0/8,.example.com,[192.0.2.1]",
			"networks = [\"127.0.0.1\", \"::1\", \"localhost\", \"!10.0.0.1\", \"10.0.0.0/8\", \".example.com\", \"192.0.2.1\"]", "", "",
		},
		"entries that fit no client": {
			"InternalHosts 127.0.0.1,192.168.0.1/24,*.example.com,0::1,192.0.2/24", "networks = [\"127.0.0.1\"]",
			"InternalHosts: fits no client, since OpenDKIM compares it as text; 192.168.0.0/24 would", "",
		},
		"everybody":                       {"InternalHosts 0.0.0.0/0", "networks = [\"0.0.0.0/0\"]", "every client on earth", ""},
		"PeerList":                        {"PeerList 192.0.2.0/24", "leave_alone = [\"192.0.2.0/24\"]", "", ""},
		"MTA and macros":                  {"MTA MSA\nMacroList daemon_name=ORIGINATING|X,auth_type", "daemon_names = [\"MSA\", \"ORIGINATING\", \"X\"]", "", ""},
		"macros that there are none of":   {"MacroList {daemon_name}=X,daemon_name|Y,{auth_type}", "daemon_names = []", "MacroList: fits no macro, since OpenDKIM looks", ""},
		"other macros":                    {"MacroList v=x", "daemon_names = []", "", "MacroList: dkimd asks for a login"},
		"DontSignMailTo":                  {"DontSignMailTo bob@a.example,b.example,*@c.example", "not_recipients = [\"bob@a.example\"]", "signs mail that has other recipients too", ""},
		"its patterns":                    {"DontSignMailTo refile:/rcpts", "not_recipients = [\"@c.example\", \"@*.d.example\"]", "DontSignMailTo: fits no recipient", ""},
		"a host that a pattern excludes":  {"InternalHosts refile:/excluded", "networks = [\"127.0.0.1\"]", "excludes www.example.com too", ""},
		"hosts that a pattern excludes":   {"InternalHosts refile:/part", "networks = [\".example.com\", \"!.mail.example.com\"]", "", ""},
		"a pattern excludes every client": {"InternalHosts refile:/all", "networks = []", "excludes 10.0.0.0/8 too", ""},
		"quoted fields":                   {"SignHeaders \"From,Subject,To\"", "headers = [\"From\", \"Subject\"]", "without \"From, To\"", ""},
		"Ed25519":                         {"SignatureAlgorithm ed25519-sha256", "", "SignatureAlgorithm: the type of a key", ""},
		"SenderHeaders":                   {"SenderHeaders Sender,From", "identity_from = [\"sender\", \"from\"]", "SenderHeaders: [sign] identity_from", ""},
		"AuthservID":                      {"AuthservID mx.example.org", "hostname = \"mx.example.org\"", "", ""},
		"HOSTNAME":                        {"AuthservID HOSTNAME", "", "AuthservID: hostname is left empty", ""},
		"RemoveARFrom":                    {"RemoveARFrom mx2.example.org", "strip_also = [\"mx2.example.org\"]", "", ""},
		"RemoveARFrom of":                 {"RemoveARFrom .example.org", "", "", "RemoveARFrom: want the name of a host"},
		"bounds":                          {"MinimumKeyBits 512\nMaximumSignaturesToVerify 3\nDNSTimeout 0", "min_rsa_bits = 1024|max_signatures = 3|timeout = \"30s\"", "MinimumKeyBits: [verify] min_rsa_bits is from", ""},
		"Nameservers":                     {"Nameservers 192.0.2.1,2001:db8::1", "servers = [\"192.0.2.1\", \"2001:db8::1\"]", "", ""},
		"UMask":                           {"UMask 007", "socket_mode = \"0660\"", "", ""},
		"inet":                            {"Socket inet:8891@localhost", "listen = [\"inet:127.0.0.1:8892\"]", "Socket: dkimd listens", ""},
		"inet6":                           {"Socket inet6:8891@[::1]", "listen = [\"inet6:[::1]:8892\"]", "Socket: dkimd listens", ""},
		"inet everywhere":                 {"Socket inet:8891", "listen = [\"inet:0.0.0.0:8892\"]", "Socket: dkimd listens", ""},
		"a host that is none":             {"Socket inet:8891@localhost\"", "listen = [\"inet:127.0.0.1:8892\"]", "", "Socket: there is no host"},
		"a selector alone":                {"Selector s\nDomain a.example", "", "OpenDKIM does not start with KeyFile or Selector alone", ""},
		"an absent list that is not used": {"ExternalIgnoreList refile:/absent", "", "OpenDKIM does not start with it: ", ""},
		"OnError":                         {"On-SignatureError accept", "on_error = \"unsigned\"", "", ""},
		"unknown":                         {"Foo bar", "", "", "opendkim.conf:1 Foo: opendkim.conf(5) does not have it"},
		"no value":                        {"Syslog", "", "", "Syslog: the value is missing"},
		"no boolean":                      {"Syslog maybe", "", "", "Syslog: want yes or no"},
		"Latin-1":                         {"AuthservID m\xfcller.example", "", "", "AuthservID: want a value in UTF-8"},
		"patterns of hosts":               {"InternalHosts refile:/h", "networks = [\"192.168.0.0/16\"]", "InternalHosts: fits no client, since OpenDKIM takes a * in front", ""},
		"a database":                      {"InternalHosts dsn:mysql://u:p@h/d\nKeyTable ldap://x\nSigningTable db:/x", "networks = [\"127.0.0.1\"]", "", "InternalHosts: dkimd reads no database"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, map[string]string{
				"etc/opendkim.conf": test.conf, "h": "*.example.com\n192.168.*\n", "rcpts": "*@c.example\n*@*.d.example\ne.example\n",
				"excluded": "127.0.0.1\nwww.example.com\n*.example.com\n", "part": ".example.com\n*.mail.example.com\n", "all": "10.0.0.0/8\n*\n",
			})
			p := s.plan(false)
			config := s.written(p)["dkimd.toml"]
			for want := range strings.SplitSeq(test.want, "|") {
				if !strings.Contains(config, want) {
					t.Errorf("want %q in\n%s", want, config)
				}
			}
			if got := notes(p, importer.Close); !strings.Contains(got, test.close) || test.close == "" && got != "" && test.conf == "" {
				t.Errorf("close: got %s; want %s", got, test.close)
			}
			if got := notes(p, importer.NotCarried); !strings.Contains(got, test.notCarried) || test.notCarried == "" && got != "" {
				t.Errorf("not carried: got %s; want %s", got, test.notCarried)
			}
			if p.Complete() != (test.notCarried == "") {
				t.Errorf("complete: %v", p.Complete())
			}
		})
	}
}

// Who signs, as tables of dkimd's own or those of OpenDKIM.
func TestOpenDKIMTables(t *testing.T) {
	t.Parallel()
	a, der := key(t)
	tests := map[string]struct {
		files                     map[string]string
		copy                      bool
		config, keys, table, left string
	}{
		"a single key": {
			map[string]string{"etc/opendkim.conf": "Domain a.example, b.example\nSelector mail\nKeyFile /k/a.private\nSubDomains yes"},
			false,
			"key_table = \"file:DIR/KeyTable\"|signing_table = \"file:DIR/SigningTable\"",
			"a.example a.example:mail:ROOT/k/a.private\nb.example b.example:mail:ROOT/k/a.private\n",
			"a.example a.example\nb.example b.example\n.a.example a.example\n.b.example b.example\n", "",
		},
		"patterns of domains and those below": {
			map[string]string{
				"etc/opendkim.conf": "Domain refile:/etc/domains\nSelector mail\nKeyFile /k/a.private\nSubDomains yes\nMultipleSignatures yes",
				"etc/domains":       "a.example\nfar.a.example\n*.b.example\n",
			},
			false, "signing_table = \"refile:DIR/SigningTable\"",
			"a.example a.example:mail:ROOT/k/a.private\nfar.a.example far.a.example:mail:ROOT/k/a.private\n*.b.example %:mail:ROOT/k/a.private\n",
			"*@a.example a.example\n*@far.a.example far.a.example\n*@*.b.example *.b.example\n" +
				"*@*.far.a.example far.a.example\n*@*.*.b.example *.b.example\n*@*.a.example a.example\n", "",
		},
		"a single key for every domain": {
			map[string]string{"etc/opendkim.conf": "Domain a.example, *\nSelector mail\nKeyFile /k/a.private\nSubDomains yes"},
			false, "signing_table = \"file:DIR/SigningTable\"", "* %:mail:ROOT/k/a.private\n", "* *\n", "",
		},
		"a single key for a pattern in a list": {
			map[string]string{"etc/opendkim.conf": "Domain *.a.example,b.example\nSelector mail\nKeyFile /k/a.private"},
			false, "", "b.example b.example:mail:ROOT/k/a.private\n", "b.example b.example\n", "",
		},
		"a single key, copied": {
			map[string]string{"etc/opendkim.conf": "Domain a.example\nSelector mail\nKeyFile /k/a.private"}, true, "directory = \"DIR/keys\"", "", "", "",
		},
		"tables": {
			map[string]string{
				"etc/opendkim.conf":          "KeyTable /etc/opendkim/KeyTable\nSigningTable refile:/etc/opendkim/SigningTable\nMultipleSignatures yes",
				"etc/opendkim/KeyTable":      "# keys\r\nk1 a.example:s1:/k/a.private\r\nk2\t%:s2:" + base64.StdEncoding.EncodeToString(der) + "\r\n",
				"etc/opendkim/SigningTable":  "*@a.example k1\n*@*.a.example k1:@a.example # below\n*@* k2\n",
				"etc/opendkim/not-read-here": "",
			},
			false, "signing_table = \"refile:DIR/SigningTable\"|multiple_signatures = true",
			"k1 a.example:s1:ROOT/k/a.private\nk2 %:s2:DIR/table-keys/shared/s2.pem\n", "*@a.example k1\n*@*.a.example k1:@a.example\n*@* k2\n", "",
		},
		"bad lines": {
			map[string]string{
				"etc/opendkim.conf":         "KeyTable /etc/opendkim/KeyTable\nSigningTable refile:/etc/opendkim/SigningTable",
				"etc/opendkim/KeyTable":     "k1 a.example:s1:/k/a.private\nk2 a.example\nk3 localhost:s:/k/a.private\nk4 a.example:s:/absent\nk5 a.example:s:/k\nk6 a.example:s:relative\nk7 a.example:-:/k/a.private\nk8 a.example:s:/k/dump\nk9 a.example:\xfc:/k/a.private\n",
				"etc/opendkim/SigningTable": "*@a.example k1\n*@b.example k4\nc.example\n\xfc k1\n",
				"k/dump":                    "SELECT 1",
			},
			false, "", "k1 a.example:s1:ROOT/k/a.private\n", "*@a.example k1\n",
			"KeyTable:2 KeyTable: want NAME DOMAIN:SELECTOR:KEY|KeyTable:3|KeyTable:4 KeyTable: the key ROOT/absent: no such file|KeyTable:5 KeyTable: the key ROOT/k: a directory|" +
				"KeyTable:6|KeyTable:7|KeyTable:8|KeyTable:9|SigningTable:2 SigningTable: no usable line|SigningTable:3|SigningTable:4",
		},
		"a tree of keys": {
			map[string]string{
				"etc/opendkim.conf":         "KeyTable /etc/opendkim/KeyTable\nSigningTable refile:/etc/opendkim/SigningTable",
				"etc/opendkim/KeyTable":     "k1 a.example:s1:/k/a.private\nk2 b.example:s1:/k/a.private\n",
				"etc/opendkim/SigningTable": "*@a.example k1\n*@b.example k2\n",
			}, true, "directory = \"DIR/keys\"", "", "", "",
		},
		"no tree where one address signs": {
			map[string]string{
				"etc/opendkim.conf":         "KeyTable /etc/opendkim/KeyTable\nSigningTable refile:/etc/opendkim/SigningTable",
				"etc/opendkim/KeyTable":     "k1 a.example:s1:/k/a.private\n",
				"etc/opendkim/SigningTable": "billing@a.example k1\n",
			}, true, "key_table", "k1 a.example:s1:DIR/table-keys/a.example/s1.pem\n", "billing@a.example k1\n", "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, test.files)
			s.write("k/a.private", a)
			p := s.plan(test.copy)
			files := s.written(p)
			for want := range strings.SplitSeq(test.config, "|") {
				if !strings.Contains(files["dkimd.toml"], want) {
					t.Errorf("want %q in\n%s", want, files["dkimd.toml"])
				}
			}
			for name, want := range map[string]string{"KeyTable": test.keys, "SigningTable": test.table} {
				_, got, _ := strings.Cut(files[name], "\n")
				if got != want {
					t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
				}
			}
			if (test.keys == "") == strings.Contains(files["dkimd.toml"], "key_table") {
				t.Errorf("key_table:\n%s", files["dkimd.toml"])
			}
			if test.keys == "" && files["keys/a.example/s1.pem"]+files["keys/a.example/mail.pem"] != a {
				t.Errorf("the key was not copied: %v", slices.Sorted(maps(files)))
			}
			got := strings.ReplaceAll(notes(p, importer.NotCarried), s.root, "ROOT")
			for want := range strings.SplitSeq(test.left, "|") {
				if !strings.Contains(got, want) {
					t.Errorf("not carried: want %q in\n%s", want, got)
				}
			}
			if n := strings.Count(got, "\n") + 1; test.left != "" && n != strings.Count(test.left, "|")+1 {
				t.Errorf("%d lines were left out:\n%s", n, got)
			}
		})
	}
}

func maps(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// A % in the path of a key stands for the domain: each key is copied.
func TestOpenDKIMKeyOfEachDomain(t *testing.T) {
	t.Parallel()
	a, _ := key(t)
	s := newSystem(t, map[string]string{
		"etc/opendkim.conf": "KeyTable csl:k=%:s1:/k/%/%.private\nSigningTable csl:*=k", "k/a.example/a.example.private": a, "k/b.example/b.example.private": "",
		"k/c.example/a.example.private": a,
	})
	files := s.written(s.plan(true))
	if got := strings.Join(slices.Sorted(maps(files)), " "); got != "KeyTable SigningTable dkimd.toml table-keys/shared/s1/a.example.pem" {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(files["KeyTable"], "\nk %:s1:DIR/table-keys/shared/s1/%.pem\n") || files["table-keys/shared/s1/a.example.pem"] != a {
		t.Errorf("got %v", files)
	}
	if _, left := s.written(s.plan(false))["table-keys/shared/s1/a.example.pem"]; left {
		t.Error("a key that can be used was copied")
	}
}

// Lines of tables that OpenDKIM does not sign with and dkimd does are told.
func TestOpenDKIMSignsMore(t *testing.T) {
	t.Parallel()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, map[string]string{
		"etc/opendkim.conf": "KeyTable csl:k=a.example:s1:/k\nSigningTable refile:/t", "t": "*@a.example k\n*@b.example k:a.example\n*@c.example k:@a.example\n",
		"k": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	want := "opendkim.conf:1 KeyTable: signs with ed25519; OpenDKIM defers mail that it is for, since SignatureAlgorithm is rsa-sha256\n" +
		"t:2 SigningTable: OpenDKIM does not sign with an identity without @; dkimd does, with @ and the domain"
	if got := notes(s.plan(false), importer.Close); got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

// The configuration of a proof has its files below the root, and none where a table was not read.
func TestOpenDKIMOldConfig(t *testing.T) {
	t.Parallel()
	s := newSystem(t, map[string]string{"etc/opendkim.conf": "ScreenPolicyScript /s.lua\n"})
	dir := t.TempDir()
	if _, err := s.plan(false).OldConfig(dir, "/s"); err != nil {
		t.Fatal(err)
	}
	if conf, err := os.ReadFile(filepath.Join(dir, "opendkim.conf")); err != nil || !strings.Contains(string(conf), "ScreenPolicyScript "+s.root+"/s.lua\n") {
		t.Errorf("got %s, %v", conf, err)
	}
	s.write("etc/opendkim.conf", "KeyTable dsn:mysql://u:secret@h/d\nSigningTable dsn:mysql://u:secret@h/d\n")
	if _, err := s.plan(false).OldConfig(dir, "/s"); err == nil || err.Error() != "KeyTable is in a database, which is not read: nothing can be proved" {
		t.Errorf("got %v", err)
	}
}

// Without these files nothing can be said: nothing is planned.
func TestOpenDKIMFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"no configuration":  {nil, "etc/opendkim.conf: got no such file"},
		"a loop":            {map[string]string{"etc/opendkim.conf": "Include /etc/b", "etc/b": "\nInclude /etc/b"}, "etc/b:2: Include: got \"/etc/b\"; want files that include each other 5 deep"},
		"an absent Include": {map[string]string{"etc/opendkim.conf": "Include /etc/b"}, "etc/b: got no such file; want a file to import (hint: ROOT/etc/opendkim.conf:1 names it)"},
		"a directory":       {map[string]string{"etc/opendkim.conf": "KeyTable /etc\nSigningTable a=b"}, "etc: got a directory"},
		"a dump":            {map[string]string{"etc/opendkim.conf": "KeyTable /etc/d\nSigningTable a=b", "etc/d": "\x7fELF\x00"}, "etc/d: got something binary"},
		"no hosts":          {map[string]string{"etc/opendkim.conf": "InternalHosts /etc/d"}, "etc/d: got no such file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, test.files)
			_, err := importer.OpenDKIM("", importer.Options{Root: s.root})
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), s.root, "ROOT"), strings.ReplaceAll(test.want, s.root, "ROOT")) {
				t.Errorf("got %v; want %s", err, test.want)
			}
		})
	}
	t.Run("a gigabyte", func(t *testing.T) {
		t.Parallel()
		s := newSystem(t, map[string]string{"etc/opendkim.conf": "KeyTable /big\nSigningTable a=b", "big": ""})
		if err := os.Truncate(filepath.Join(s.root, "big"), 1<<30); err != nil {
			t.Skip(err)
		}
		if _, err := importer.OpenDKIM("", importer.Options{Root: s.root}); err == nil || !strings.Contains(err.Error(), "big: got more than 64 MiB") {
			t.Errorf("got %v", err)
		}
	})
}

// The command line of a package's file of defaults, where the service reads it.
func TestOpenDKIMCommandLine(t *testing.T) {
	t.Parallel()
	const legacy = "# NOTE: This is a legacy configuration file. It is not used\n"
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"SOCKET": {map[string]string{"etc/opendkim.conf": "Socket inet:1@localhost", "etc/default/opendkim": "RUNDIR=/run/o\nSOCKET=\"inet:8891@127.0.0.1\" # here\n"}, "8892"},
		"options": {
			map[string]string{"etc/opendkim.conf": "", "etc/default/opendkim": "DAEMON_OPTS=\"-lW -b s -crelaxed/relaxed -x /etc/opendkim.conf\"\n"}, "relaxed/relaxed",
		},
		"legacy":     {map[string]string{"etc/opendkim.conf": "Socket inet:8000@localhost", "etc/default/opendkim": legacy + "SOCKET=inet:1@localhost\n"}, "8001"},
		"generated":  {map[string]string{"etc/opendkim.conf": "", "etc/default/opendkim": legacy + "SOCKET=inet:7@localhost\n", "etc/systemd/system/opendkim.service.d/override.conf": ""}, ":8\""},
		"-x":         {map[string]string{"etc/o.conf": "SignatureTTL 7", "etc/sysconfig/opendkim": "OPTIONS=\"-x /etc/o.conf -P /run/o.pid\"\n"}, "\"7s\""},
		"unreadable": {map[string]string{"etc/opendkim.conf": "SignatureTTL 7", "etc/default/opendkim/x": ""}, "\"7s\""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, test.files)
			if config := s.written(s.plan(false))["dkimd.toml"]; !strings.Contains(config, test.want) {
				t.Errorf("want %q in\n%s", test.want, config)
			}
		})
	}
}

// On-* become rules that hold for every author.
func TestOpenDKIMRules(t *testing.T) {
	t.Parallel()
	s := newSystem(t, map[string]string{"etc/opendkim.conf": "On-Default q\nOn-NoSignature accept\nOn-DNSError reject\nOn-BadSignature Reject\n"})
	_, got, _ := strings.Cut(s.written(s.plan(false))["rules/_default.toml"], "\n")
	rule := func(name, result, action string) string {
		return fmt.Sprintf("\n[[rule]]\nname = %q\nresult = [%q]\naligned = \"any\"\naction = %q\n", name, result, action)
	}
	want := "mode = \"enforce\"\n" + rule("On-BadSignature", "fail", "reject") + rule("On-KeyNotFound", "permerror", "quarantine") + rule("On-DNSError", "temperror", "tempfail")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s = newSystem(t, map[string]string{"etc/opendkim.conf": "On-Default r\nMode s\n"})
	if rules := s.written(s.plan(false))["rules/_default.toml"]; rules != "" {
		t.Errorf("rules without verifying:\n%s", rules)
	}
}

// Nothing that is there is overwritten, and a write that fails leaves nothing.
func TestWriteIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, map[string]string{"etc/opendkim.conf": "On-Default r"})
	u := importer.User{UID: os.Geteuid(), GID: os.Getegid()}
	there := func(dir string) (names []string) {
		_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
			names = append(names, strings.TrimPrefix(path, dir))
			return nil
		})
		return names
	}
	tests := map[string]struct {
		there map[string]string
		check func(string) error
		want  string
	}{
		"dkimd.toml is there":                      {map[string]string{"d/dkimd.toml": ""}, nil, "dkimd.toml is there already"},
		"rules are there":                          {map[string]string{"d/rules/_default.toml": "", "d/keys/x": ""}, nil, "_default.toml is there already"},
		"a check fails":                            {map[string]string{"d/keys/x": ""}, func(string) error { return errors.New("no") }, "no"},
		"a check fails, and there is no directory": {nil, func(string) error { return errors.New("no") }, "no"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := newSystem(t, test.there)
			before := there(to.root)
			_, err := s.plan(false).Write(filepath.Join(to.root, "d"), u, test.check)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want %s", err, test.want)
			}
			if after := there(to.root); !slices.Equal(before, after) {
				t.Errorf("before %q, after %q", before, after)
			}
		})
	}
	to := newSystem(t, map[string]string{"d/keys/x": "", "d/rules/a.example.toml": ""})
	for _, name := range []string{"dkimd.toml", "rules/_default.toml"} {
		defer func() {
			if info, err := os.Stat(filepath.Join(to.root, "d", name)); err != nil || info.Mode() != 0o640 {
				t.Errorf("%s: %v, %v; want mode 0640", name, info.Mode(), err)
			}
		}()
	}
	if _, err := s.plan(false).Write(filepath.Join(to.root, "d"), u, nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(there(filepath.Join(to.root, "d")), " "); got != " /dkimd.toml /keys /keys/x /rules /rules/_default.toml /rules/a.example.toml" {
		t.Errorf("got %s", got)
	}
}

// What a run that was killed left behind is removed by the next one, and not what another one is writing.
func TestWriteRemovesWhatAKilledRunLeft(t *testing.T) {
	t.Parallel()
	to := newSystem(t, map[string]string{".d.import-1/keys/a.pem": "", ".d.import-2/keys/a.pem": ""})
	writing, err := os.Open(filepath.Join(to.root, ".d.import-2"))
	if err != nil {
		t.Fatal(err)
	}
	defer writing.Close() //nolint:errcheck // only read
	if err := unix.Flock(int(writing.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, map[string]string{"etc/opendkim.conf": ""})
	if _, err := s.plan(false).Write(filepath.Join(to.root, "d"), importer.User{UID: os.Geteuid(), GID: os.Getegid()}, nil); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(to.root)
	if err != nil || len(entries) != 2 || entries[0].Name() != ".d.import-2" || entries[1].Name() != "d" {
		t.Errorf("got %v, %v; want .d.import-2 and d", entries, err)
	}
}

// Tables of 20,000 lines that share one key are read in the time of their lines. A name of a key is the same in any case, and spaces
// around the colons do not count.
func TestLargeTables(t *testing.T) {
	t.Parallel()
	var keyTable, signingTable strings.Builder
	for n := range 20_000 {
		fmt.Fprintf(&keyTable, "K%d d%d.example : s : /k/one\n", n, n)
		fmt.Fprintf(&signingTable, "*@d%d.example k%d\n", n, n)
	}
	s := newSystem(t, map[string]string{"etc/opendkim.conf": "KeyTable /kt\nSigningTable refile:/st", "kt": keyTable.String(), "st": signingTable.String()})
	pem, _ := key(t)
	s.write("k/one", pem)
	var p *importer.Plan
	if took := cputime.Of(func() { p = s.plan(false) }); took > 8*time.Second {
		t.Errorf("%v", took)
	}
	if len(p.Senders) != 20_000 || !p.Complete() {
		t.Errorf("%d senders: %s", len(p.Senders), notes(p, importer.NotCarried))
	}
	if table := s.written(p)["SigningTable"]; !strings.Contains(table, "\n*@d7.example K7\n") {
		t.Errorf("the table:\n%.200s", table)
	}
}
