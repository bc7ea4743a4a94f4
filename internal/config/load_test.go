package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/internal/config"
	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/hosts"
	"dkimd/internal/socket"
	"dkimd/keys"
	"dkimd/signer"
	"dkimd/verifier"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// load writes a dkimd.toml and loads it; DIR in it becomes its directory.
func load(t *testing.T, toml string) (*config.Config, []string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "dkimd.toml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(toml, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, faults := config.Load(path, true)
	var got []string
	for _, f := range faults {
		got = append(got, strings.ReplaceAll(strings.TrimPrefix(f.Error(), path+":"), dir, "DIR"))
	}
	return c, got
}

func same(a, b *config.Config) string {
	return cmp.Diff(a, b, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(config.Config{}, "Path", "Lists"), cmpopts.IgnoreUnexported(config.Config{}))
}

func TestEveryKeyIsRead(t *testing.T) {
	t.Parallel()
	got, faults := load(t, `
hostname = "MX.Example.org."
memory = 512
publish = [
	{ zone = "Example.org.", method = "rfc2136", server = "192.0.2.1", servers = ["192.0.2.2"], ttl = "5m" },
	{ method = "command", command = ["/bin/p", "x"] },
	{ zone = "f.example", method = "zonefile", file = "/f", run = "/bin/r" },
]
[milter]
listen = ["inet:8891@localhost", "inet6:[::1]:8892", "inet:*:1", "unix:/run//dkimd/m.sock", "local:/run/x", "inet:0.0.0.0:2"]
socket_mode = "600"
socket_group = "root"
peers = ["root", "7"]
max_connections = 7
[exim]
listen = "unix:/run/dkimd/exim.sock"
socket_mode = "666"
socket_group = "root"
peers = ["root", "7"]
max_connections = 8
[sign]
directory = "DIR"
key_table = "csl:k=example.org:s1:DIR/k"
signing_table = "csl:*=k"
multiple_signatures = true
map = [{ from = ["@Bücher.example", "*@*.example.com"], sign_as = "Example.org", selectors = "S1", identity = "a@example.org" }]
layout = "DIR/{domain}.pem"
selector = "S1"
allow_mode = "0660"
networks = ["192.0.2.0/24", "2001:db8::1", "!192.0.2.7", "Mail.example.org", ".lan", "!*.guests.lan", "[192.0.2.9]"]
authenticated = false
daemon_names = ["MSA"]
tls_clients = ["relay.example|Our CA"]
not_recipients = ["list.example", "@*.list.example"]
user_match = "domain"
identity_from = ["from", "list-id"]
canonicalization = "simple/relaxed"
headers = ["from", "X-*"]
oversign = ["From", "X-Mine"]
expiry = "2w"
fallback_domain = "Bücher.example"
also_domains = ["ESP.example", "_x.example"]
require_published = "withhold"
on_error = "unsigned"
[rotate]
every = "90d"
keep = "7d"
patience = "1d"
at_once = 3
selector = ["s1", "s2"]
end = "withdraw"
reveal = true
new_domains = true
check_servers = "192.0.2.53"
[verify]
enabled = false
spf = false
spf_trusted_from = ["192.0.2.7|MX1.example.org", "2001:db8::/32"]
trusted = "198.51.100.7"
leave_alone = "198.51.100.8"
strip = "dkim"
strip_also = "MX2.example.com"
on_unstripped = "accept"
max_signatures = 100
min_rsa_bits = 2048
max_rsa_bits = 2048
clock_skew = "0"
body_length = "honour"
[dns]
servers = ["127.0.0.1", "[::1]", "127.0.0.1:5353", "[::1]:53"]
trust_ad = true
timeout = "100ms"
attempts = 10
cache_entries = 1
[policy]
directory = "DIR/."
[log]
format = "exim"
output = "DIR/log"
[metrics]
listen = ["unix:/run/dkimd/metrics.sock", "inet:9891@"]
page = "everywhere"
history = 8
[control]
listen = "unix:/run/dkimd/other.sock"
`)
	if len(faults) > 0 {
		t.Fatal(strings.Join(faults, "\n"))
	}
	dir := got.Sign.Directory
	want := &config.Config{
		Hostname: "mx.example.org", Memory: 512,
		Milter: config.Door{
			Config: socket.Config{
				Listen: []string{
					"inet:localhost:8891", "inet6:[::1]:8892", "inet::1", "unix:/run/dkimd/m.sock", "unix:/run/x", "inet:0.0.0.0:2",
				},
				Mode: 0o600, Group: "root", Peers: []string{"root", "7"},
			},
			MaxConnections: 7,
		},
		Exim: config.Door{
			Config:         socket.Config{Listen: []string{"unix:/run/dkimd/exim.sock"}, Mode: 0o666, Group: "root", Peers: []string{"root", "7"}},
			MaxConnections: 8,
		},
		Sign: config.Sign{
			Directory: dir, Networks: append(networks("192.0.2.0/24", "2001:db8::1/128"),
				hosts.Entry{Not: true, Network: netip.MustParsePrefix("192.0.2.7/32")}, hosts.Entry{Name: "mail.example.org"}, hosts.Entry{Name: "lan", Below: true},
				hosts.Entry{Not: true, Name: "guests.lan", Below: true}, hosts.Entry{Network: netip.MustParsePrefix("192.0.2.9/32")}),
			KeyTable: "csl:k=example.org:s1:" + dir + "/k", SigningTable: "csl:*=k", MultipleSignatures: true,
			Map: []keys.Mapping{{
				From: []string{"xn--bcher-kva.example", ".example.com"}, SignAs: "example.org", Selectors: []string{"s1"}, Identity: "a@example.org",
				Path: got.Path, Line: got.Sign.Map[0].Line,
			}},
			Layouts: []string{dir + "/{domain}.pem"}, Selector: "s1", AllowMode: 0o660,
			DaemonNames: []string{"MSA"}, TLSClients: []string{"relay.example|Our CA"}, NotRecipients: []string{"list.example", "@*.list.example"}, UserMatch: signer.MatchDomain, IdentityFrom: []signer.Identity{signer.ByFrom, signer.ByListID}, Canonicalization: config.Canonicalization{Header: dkim.Simple, Body: dkim.Relaxed},
			Headers: []string{"from", "X-*"}, Oversign: []string{"From", "X-Mine"}, Expiry: 14 * 24 * time.Hour,
			FallbackDomain: "xn--bcher-kva.example", AlsoDomains: []domain.Name{"esp.example", "_x.example"}, SendUnsigned: true,
			RequirePublished: config.WithholdUnpublished,
		},
		Publish: []config.Publish{
			{Zone: "example.org", Method: config.ByUpdate, TTL: 5 * time.Minute, Servers: []string{"192.0.2.2"}, Server: "192.0.2.1", Algorithm: "hmac-sha256"},
			{Method: config.ByCommand, TTL: time.Hour, Algorithm: "hmac-sha256", Command: []string{"/bin/p", "x"}},
			{Zone: "f.example", Method: config.ByZoneFile, TTL: time.Hour, Algorithm: "hmac-sha256", File: "/f", Run: []string{"/bin/r"}},
		},
		Rotate: config.Rotate{
			Every: 90 * 24 * time.Hour, Keep: 7 * 24 * time.Hour, Patience: 24 * time.Hour, AtOnce: 3, Selector: []string{"s1", "s2"}, Withdraw: true, Reveal: true,
			NewDomains: true, CheckServers: []string{"192.0.2.53"},
		},
		Verify: config.Verify{
			SPFTrustedFrom: []verifier.Relay{{Network: netip.MustParsePrefix("192.0.2.7/32"), AuthservID: "mx1.example.org"}, {Network: netip.MustParsePrefix("2001:db8::/32")}},
			Trusted:        networks("198.51.100.7/32"), LeaveAlone: networks("198.51.100.8/32"), StripOnlyDKIM: true, StripAlso: []string{"mx2.example.com"}, KeepForged: true, MaxSignatures: 100,
			MinRSABits: 2048, MaxRSABits: 2048, HonourBodyLength: true,
		},
		DNS:    config.DNS{Servers: []string{"127.0.0.1", "::1", "127.0.0.1:5353", "[::1]:53"}, TrustAD: true, Timeout: 100 * time.Millisecond, Attempts: 10, CacheEntries: 1},
		Policy: config.Policy{Directory: dir},
		Log:    config.Log{Format: "exim", Output: []string{dir + "/log"}},

		Metrics: config.Metrics{Listen: []string{"unix:/run/dkimd/metrics.sock", "inet::9891"}, Page: config.PageEverywhere, History: 8},
		Control: config.Control{Listen: []string{"unix:/run/dkimd/other.sock"}},
	}
	if diff := same(want, got); diff != "" {
		t.Error(diff)
	}
	// Whoever adds a key adds it above: no field may still have its default.
	def, all := reflect.ValueOf(*config.Default()), reflect.ValueOf(*got)
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		if !all.Type().Field(i).IsExported() {
			continue
		}
		if all.Field(i).Kind() != reflect.Struct {
			if reflect.DeepEqual(def.Field(i).Interface(), all.Field(i).Interface()) {
				t.Errorf("%s has its default", name)
			}
			continue
		}
		for j := range all.Field(i).NumField() {
			if reflect.DeepEqual(def.Field(i).Field(j).Interface(), all.Field(i).Field(j).Interface()) {
				t.Errorf("%s.%s has its default", name, all.Field(i).Type().Field(j).Name)
			}
		}
	}
}

func TestOversignFollowsHeaders(t *testing.T) {
	t.Parallel()
	c, faults := load(t, "[sign]\nheaders = [\"From\", \"Subject\"]")
	if faults != nil || !slices.Equal(c.Sign.Oversign, []string{"From", "Subject"}) {
		t.Errorf("oversign %v, faults %v", c.Sign.Oversign, faults)
	}
}

func TestAbsentFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dkimd.toml")
	c, faults := config.Load(path, false)
	if faults != nil || same(c, config.Default()) != "" {
		t.Errorf("an absent default file is not the defaults: %v", faults)
	}
	c, faults = config.Load(path, true)
	if c == nil || len(faults) != 1 || !strings.Contains(faults[0].Error(), "no such file") {
		t.Errorf("an absent file that was named: %v", faults)
	}
	for _, named := range []bool{true, false} {
		_, faults = config.Load(filepath.Dir(path), named)
		if len(faults) != 1 {
			t.Errorf("a directory: %v", faults)
		}
		if err := os.WriteFile(path, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			continue // root reads every file
		}
		if _, faults = config.Load(path, named); len(faults) != 1 || !strings.Contains(faults[0].Error(), "permission denied") {
			t.Errorf("an unreadable file: %v", faults)
		}
	}
}

func TestEmptyFileIsTheDefaults(t *testing.T) {
	t.Parallel()
	c, faults := load(t, "")
	if faults != nil || same(c, config.Default()) != "" {
		t.Errorf("%v %s", faults, same(c, config.Default()))
	}
}

func TestReferenceLoadsEqualToTheDefaults(t *testing.T) {
	t.Parallel()
	c, faults := load(t, config.Reference())
	if diff := same(c, config.Default()); faults != nil || diff != "" {
		t.Errorf("%v\n%s", faults, diff)
	}
}

// A host with Exim alone needs no milter; a host without any door is a fault.
func TestMilterMayBeAbsentBesideExim(t *testing.T) {
	t.Parallel()
	got, faults := load(t, "[milter]\nlisten = []\n[exim]\nlisten = \"unix:/run/x\"\n")
	if len(faults) > 0 || len(got.Milter.Listen) != 0 || len(got.Exim.Listen) != 1 {
		t.Errorf("%v %v %v", faults, got.Milter.Listen, got.Exim.Listen)
	}
	if _, faults = load(t, "[milter]\nlisten = []\n[exim]\nlisten = []\n"); len(faults) != 1 {
		t.Errorf("no door: %v", faults)
	}
}

func TestNeedsRestart(t *testing.T) {
	t.Parallel()
	a, b := config.Default(), config.Default()
	if keys := a.NeedsRestart(b); keys != nil {
		t.Errorf("nothing changed: %v", keys)
	}
	b.Milter.Listen = []string{"unix:/x"}
	b.Milter.MaxConnections++
	b.Milter.Mode, b.Milter.Group = 0, "mail"
	b.Milter.Peers = []string{"0"}
	b.Exim = config.Door{Config: socket.Config{Listen: []string{"unix:/y"}, Group: "mail", Peers: []string{"0"}}}
	b.Log = config.Log{}
	b.Metrics = config.Metrics{Listen: []string{"inet::1"}}
	b.Control = config.Control{}
	b.Sign.SendUnsigned = true
	want := []string{"control.listen", "exim.listen", "exim.max_connections", "exim.peers", "exim.socket_group", "exim.socket_mode", "log.format", "log.output", "metrics.history", "metrics.listen", "metrics.page", "milter.listen", "milter.max_connections", "milter.peers", "milter.socket_group", "milter.socket_mode"}
	if keys := a.NeedsRestart(b); !slices.Equal(keys, want) {
		t.Errorf("got %v", keys)
	}
}

// FuzzLoad: whatever the file holds, loading ends with a usable configuration or with faults.
func FuzzLoad(f *testing.F) {
	f.Add(config.Reference())
	f.Add("[milter]\nlisten = [\"inet:@\", \"unix:\", \"inet6:[::1\"]\n[sign]\nheaders=[\"*\",\"\"]")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, toml string) {
		path := filepath.Join(dir, "f.toml")
		if err := os.WriteFile(path, []byte(toml), 0o600); err != nil {
			t.Fatal(err)
		}
		c, faults := config.Load(path, true)
		if c == nil || len(c.Milter.Listen)+len(c.Exim.Listen) == 0 || c.Verify.MaxRSABits < c.Verify.MinRSABits {
			t.Errorf("unusable: %+v", c)
		}
		if !strings.Contains(toml, "From") && faults == nil && !slices.ContainsFunc(c.Sign.Headers, func(n string) bool {
			return strings.HasPrefix("from", strings.ToLower(strings.TrimSuffix(n, "*")))
		}) {
			t.Error("From is not signed")
		}
		for _, fault := range faults {
			if s := fault.Error(); len(s) > 2000 || strings.ContainsAny(s, "\n\r\x00\x1b") {
				t.Errorf("%q", s)
			}
		}
	})
}

func TestOutputs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for text, want := range map[string][]string{
		`"stdout"`:         {"stdout"},
		`"journal"`:        {"journal"},
		`"syslog"`:         {"syslog"},
		`"syslog-rfc5424"`: {"syslog-rfc5424"},
		`["stderr", "DIR//log", "DIR/two", "syslog:/run//x", "syslog-rfc5424:/run/x"]`: {"stderr", dir + "/log", dir + "/two", "syslog:/run/x", "syslog-rfc5424:/run/x"},
	} {
		c, faults := load(t, "[log]\noutput = "+strings.ReplaceAll(text, "DIR", dir))
		if len(faults) > 0 || !slices.Equal(c.Log.Output, want) {
			t.Errorf("%s: %q, %v", text, c.Log.Output, faults)
		}
	}
}
