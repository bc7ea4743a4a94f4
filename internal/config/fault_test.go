package config_test

import (
	"slices"
	"strings"
	"testing"
)

// TestFaults breaks one key at a time.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		toml string
		want []string // without the path
	}{
		"exim":                   {"[exim]\nlisten = \"x\"", []string{`2: exim.listen: got "x"; want inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH (hint: write "inet:127.0.0.1:8891" or "unix:/run/dkimd/milter.sock")`}},
		"metrics":                {"[metrics]\nlisten = \"9891\"", []string{`2: metrics.listen: got "9891"; want inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH (hint: write "inet:127.0.0.1:8891" or "unix:/run/dkimd/milter.sock")`}},
		"metrics, as the milter": {"[metrics]\nlisten = [\"inet:8891@127.0.0.1\"]", []string{`2: metrics.listen[1]: got "inet:8891@127.0.0.1"; want an address that milter.listen does not have (hint: another protocol is spoken there; give each its own)`}},
		"metrics, as exim":       {"[exim]\nlisten = \"unix:/run/x\"\n[metrics]\nlisten = \"unix:/run/x\"", []string{`4: metrics.listen: got "unix:/run/x"; want an address that exim.listen does not have (hint: another protocol is spoken there; give each its own)`}},
		"unknown":                {"[sign]\nnetwork = []", []string{`2: sign.network: got an unknown key; want a known one (hint: did you mean networks?)`}},

		"hostname":             {`hostname = "mx_1.example.org"`, []string{`1: hostname: got "mx_1.example.org"; want a host name such as mx.example.org`}},
		"hostname, header":     {`hostname = "mx\r\nX: y"`, []string{`1: hostname: got "mx\r\nX: y"; want a host name such as mx.example.org`}},
		"hostname, long label": {`hostname = "` + strings.Repeat("a", 64) + `.x"`, []string{`1: hostname: got "` + strings.Repeat("a", 60) + `..." (66 bytes); want a host name such as mx.example.org`}},

		"listen, port only":  {"[milter]\nlisten = \"inet:8891\"", []string{`2: milter.listen: got "inet:8891"; want inet:HOST:PORT (hint: name the address too: "inet:127.0.0.1:8891")`}},
		"listen, no scheme":  {"[milter]\nlisten = \"127.0.0.1:8891\"", []string{`2: milter.listen: got "127.0.0.1:8891"; want inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH (hint: write "inet:127.0.0.1:8891" for a TCP socket)`}},
		"listen, tcp":        {"[milter]\nlisten = \"tcp:127.0.0.1:1\"", []string{`2: milter.listen: got "tcp:127.0.0.1:1"; want inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH (hint: write "inet:127.0.0.1:8891" for a TCP socket)`}},
		"listen, digits":     {"[milter]\nlisten = \"inet:300.0.0.1:1\"", []string{`2: milter.listen: got "inet:300.0.0.1:1"; want inet:HOST:PORT (hint: the host is an address or a name)`}},
		"listen, path":       {"[milter]\nlisten = \"/run/x\"", []string{`2: milter.listen: got "/run/x"; want inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH (hint: write "unix:/run/x")`}},
		"listen, word":       {"[milter]\nlisten = \"x\"", []string{`2: milter.listen: got "x"; want inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH (hint: write "inet:127.0.0.1:8891" or "unix:/run/dkimd/milter.sock")`}},
		"listen, relative":   {"[milter]\nlisten = \"unix:x\"", []string{`2: milter.listen: got "unix:x"; want unix:/PATH (hint: the path begins with /)`}},
		"listen, directory":  {"[milter]\nlisten = \"unix:/run/\"", []string{`2: milter.listen: got "unix:/run/"; want the path of a socket (hint: name the socket, not its directory)`}},
		"listen, long path":  {"[milter]\nlisten = \"unix:/" + strings.Repeat("x", 101) + "\"", []string{`2: milter.listen: got "unix:/` + strings.Repeat("x", 54) + `..." (107 bytes); want a path of at most 101 bytes (hint: the system allows 107, of which dkimd needs 6 while it makes the socket)`}},
		"listen, port":       {"[milter]\nlisten = \"inet:127.0.0.1:88910\"", []string{`2: milter.listen: got "inet:127.0.0.1:88910"; want a port from 0 to 65535`}},
		"listen, host":       {"[milter]\nlisten = \"inet:a b:1\"", []string{`2: milter.listen: got "inet:a b:1"; want inet:HOST:PORT (hint: the host is an address or a name)`}},
		"listen, family 6":   {"[milter]\nlisten = \"inet:[::1]:1\"", []string{`2: milter.listen: got "inet:[::1]:1"; want inet:HOST:PORT (hint: write "inet6:[::1]:1" for an IPv6 address)`}},
		"listen, family 4":   {"[milter]\nlisten = \"inet6:127.0.0.1:1\"", []string{`2: milter.listen: got "inet6:127.0.0.1:1"; want inet6:[HOST]:PORT (hint: write "inet:127.0.0.1:1" for an IPv4 address)`}},
		"listen, brackets":   {"[milter]\nlisten = \"inet6:::1:8891\"", []string{`2: milter.listen: got "inet6:::1:8891"; want inet6:[HOST]:PORT (hint: write "inet6:[::1]:8891")`}},
		"listen, twice":      {"[milter]\nlisten = [\"inet:127.0.0.1:1\",\n\"inet:1@127.0.0.1\"]", []string{`3: milter.listen[2]: got "inet:1@127.0.0.1"; want each address once (hint: remove one of the two)`}},
		"listen, as exim":    {"[milter]\nlisten = \"local:/run/d.sock\"\n[exim]\nlisten = \"unix:/run/d.sock\"", []string{`2: milter.listen: got "local:/run/d.sock"; want an address that exim.listen does not have (hint: another protocol is spoken there; give each its own)`}},
		"listen, none":       {"[milter]\nlisten = []", []string{`2: milter.listen: got []; want at least one address (hint: write ["inet:127.0.0.1:8891"])`}},
		"socket_mode":        {"[milter]\nsocket_mode = \"0888\"", []string{`2: milter.socket_mode: got "0888"; want permissions in octal, from "0000" to "0777" (hint: write it like "0660")`}},
		"socket_mode, long":  {"[milter]\nsocket_mode = \"4755\"", []string{`2: milter.socket_mode: got "4755"; want permissions in octal, from "0000" to "0777" (hint: write it like "0660")`}},
		"socket_mode, empty": {"[milter]\nsocket_mode = \"\"", []string{`2: milter.socket_mode: got ""; want permissions in octal, from "0000" to "0777" (hint: write it like "0660")`}},
		"socket_mode, none":  {"[milter]\nsocket_mode = \"0000\"", []string{`2: milter.socket_mode: got "0000"; want permissions with which somebody can connect, which takes write permission (hint: write it like "0660")`}},
		"socket_mode, int":   {"[milter]\nsocket_mode = 660", []string{`2: milter.socket_mode: got 660 (integer); want a string (hint: write it in quotes: "660")`}},
		"socket_group":       {"[milter]\nsocket_group = \"no such group\"", []string{`2: milter.socket_group: got "no such group"; want a group of this host (hint: getent group lists them; the MTA's user must be a member)`}},
		"max_connections":    {"[milter]\nmax_connections = 65537", []string{`2: milter.max_connections: got 65537; want a whole number from 1 to 65536`}},

		"directory, absent":   {"[sign]\ndirectory = \"DIR/keys\"", []string{`2: sign.directory: got "DIR/keys"; want a directory that exists (hint: mkdir -p DIR/keys)`}},
		"directory, a file":   {"[sign]\ndirectory = \"/etc/passwd\"", []string{`2: sign.directory: got "/etc/passwd"; want a directory (hint: this path is not a directory)`}},
		"directory, below":    {"[sign]\ndirectory = \"/etc/passwd/x\"", []string{`2: sign.directory: got "/etc/passwd/x"; want a directory that dkimd can read (hint: not a directory)`}},
		"directory, relative": {"[sign]\ndirectory = \"keys\"", []string{`2: sign.directory: got "keys"; want the absolute path of a directory (hint: begin it with /: a daemon has no working directory of its own)`}},
		"directory, empty":    {"[policy]\ndirectory = \"\"", []string{`2: policy.directory: got ""; want the absolute path of a directory (hint: leave the key out for the default)`}},
		"networks":            {"[sign]\nnetworks = [\"10.0.0.1/8\"]", []string{`2: sign.networks[1]: got "10.0.0.1/8"; want an address, a network in CIDR form or the name of a host (hint: write 10.0.0.0/8 for the network or 10.0.0.1 for the one address)`}},
		"authenticated":       {"[sign]\nauthenticated = \"yes\"", []string{`2: sign.authenticated: got "yes" (string); want true or false`}},
		"daemon_names":        {"[sign]\ndaemon_names = [\"\"]", []string{`2: sign.daemon_names[1]: got ""; want the name of a daemon (hint: what Postfix sets with milter_macro_daemon_name, Sendmail with Name=)`}},
		"user_match":          {"[sign]\nuser_match = \"domains\"", []string{`2: sign.user_match: got "domains"; want any or domain (hint: did you mean "domain"?)`}},
		"canonicalization":    {"[sign]\ncanonicalization = \"relaxed\"", []string{`2: sign.canonicalization: got "relaxed"; want relaxed/relaxed, relaxed/simple, simple/relaxed or simple/simple`}},
		"headers, no From":    {"[sign]\nheaders = [\"Subject\"]", []string{`2: sign.headers: got ["Subject"]; want From among them (hint: add "From")`}},
		"headers, colon":      {"[sign]\nheaders = [\"From\", \"Subject:\"]", []string{`2: sign.headers[2]: got "Subject:"; want a field name (hint: write it like "Subject" or "List-*", without a colon)`}},
		"headers, star":       {"[sign]\nheaders = [\"From\", \"*\"]", []string{`2: sign.headers[2]: got "*"; want a field name (hint: write it like "Subject" or "List-*", without a colon)`}},
		"headers, twice":      {"[sign]\nheaders = [\"From\",\n\"from\"]", []string{`3: sign.headers[2]: got "from"; want each field once (hint: remove one of the two)`}},
		"headers, signatures": {"[sign]\nheaders = [\"From\", \"DKIM-*\"]", []string{`2: sign.headers[2]: got "DKIM-*"; want fields that reach the recipient as they were signed (hint: DKIM-Signature is what signing adds; remove "DKIM-*")`}},
		"headers, results":    {"[sign]\nheaders = [\"From\", \"authentication-results\"]", []string{`2: sign.headers[2]: got "authentication-results"; want fields that reach the recipient as they were signed (hint: Authentication-Results is removed and added in transit; remove "authentication-results")`}},
		"headers, never":      {"[sign]\nheaders = [\"From\", \"Return-*\"]", []string{`2: sign.headers[2]: got "Return-*"; want fields that reach the recipient as they were signed (hint: Return-Path is replaced at delivery; remove "Return-*")`}},
		"oversign, star":      {"[sign]\noversign = [\"List-*\"]", []string{`2: sign.oversign[1]: got "List-*"; want a whole field name (hint: oversigning needs the very name; list each)`}},
		"oversign, unsigned":  {"[sign]\noversign = [\"From\", \"X-Mine\"]", []string{`2: sign.oversign[2]: got "X-Mine"; want a field that sign.headers lists (hint: add "X-Mine" to headers)`}},
		"expiry":              {"[sign]\nexpiry = \"soon\"", []string{`2: sign.expiry: got "soon"; want a duration from 0 to 3650d (hint: write a number with its unit: "30s", "5m", "12h", "7d")`}},
		"expiry, parts":       {"[sign]\nexpiry = \"1500ms\"", []string{`2: sign.expiry: got "1500ms"; want whole seconds (hint: x= counts no less)`}},
		"fallback, address":   {"[sign]\nfallback_domain = \"192.0.2.1\"", []string{`2: sign.fallback_domain: got "192.0.2.1"; want a domain such as example.org (hint: its last label is a number, as in an IP address)`}},
		"fallback, one label": {"[sign]\nfallback_domain = \"localhost\"", []string{`2: sign.fallback_domain: got "localhost"; want a domain such as example.org (hint: it has one label only, and verifiers reject signatures of such a domain (RFC 6376 section 3.5))`}},
		"also a registry":     {"[sign]\nalso_domains = [\"co.uk\"]", []string{`2: sign.also_domains[1]: got "co.uk"; want a domain such as example.org (hint: it is a public suffix, and verifiers reject signatures of such a domain)`}},
		"a long field name":   {"[sign]\nheaders = [\"From\", \"" + strings.Repeat("x", 101) + "\"]", []string{`2: sign.headers[2]: got "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." (101 bytes); want a field name (hint: write it like "Subject" or "List-*", without a colon)`}},
		"the longest name":    {"[sign]\nheaders = [\"From\", \"" + strings.Repeat("x", 100) + "\"]", nil},
		"fallback_domain":     {"[sign]\nfallback_domain = \"a@example.org\"", []string{`2: sign.fallback_domain: got "a@example.org"; want a domain such as example.org (hint: it has a character that no domain has)`}},
		"also_domains":        {"[sign]\nalso_domains = [\"a.example\", \"A.example.\", \"-\"]", []string{`2: sign.also_domains[2]: got "A.example."; want each domain once (hint: remove one of the two)`, `2: sign.also_domains[3]: got "-"; want a domain such as example.org (hint: a label begins or ends with a hyphen)`}},
		"on_error":            {"[sign]\non_error = \"accept\"", []string{`2: sign.on_error: got "accept"; want tempfail or unsigned`}},

		"trusted":         {"[verify]\ntrusted = [\"mx_2.example.org\", \"!!192.0.2.1\", \"a.*.example\"]", []string{`2: verify.trusted[2]: got "!!192.0.2.1"; want an address, a network in CIDR form or the name of a host (hint: it has a character that no domain has)`, `2: verify.trusted[3]: got "a.*.example"; want an address, a network in CIDR form or the name of a host (hint: it has a character that no domain has)`}},
		"leave_alone":     {"[verify]\nleave_alone = [\".co.uk\", \"!.co.uk\"]", []string{`2: verify.leave_alone[1]: got ".co.uk"; want an address, a network in CIDR form or the name of a host (hint: anybody can have a name below it)`}},
		"a file of hosts": {"[verify]\ntrusted = [\"192.0.2.1\",\n\"@/DIR/absent\"]", []string{`3: verify.trusted[2]: got "@/DIR/absent"; want a file that dkimd can read (hint: no such file or directory; namei -l /DIR/absent shows what is there)`}},
		"strip_also":      {"[verify]\nstrip_also = [\"mx2.example.com\", \"mx_3.example.com\", \"MX2.example.com\"]", []string{`2: verify.strip_also[2]: got "mx_3.example.com"; want a host name such as mx.example.org (hint: it has a character that no domain has)`, `2: verify.strip_also[3]: got "MX2.example.com"; want each name once (hint: remove one of the two)`}},
		"identity_from":   {"[sign]\nidentity_from = [\"from\", \"reply-to\", \"from\"]", []string{`2: sign.identity_from[2]: got "reply-to"; want from, sender, list-id, envelope or auth`, `2: sign.identity_from[3]: got "from"; want each word once (hint: remove one of the two)`}},
		"not_recipients":  {"[sign]\nnot_recipients = [\"list.example\", \"a b@list.example\"]", []string{`2: sign.not_recipients[2]: got "a b@list.example"; want an address or a domain (hint: write it like "user@example.com", "@example.com" or "@*.example.com")`}},
		"strip":           {"[verify]\nstrip = false", []string{`2: verify.strip: got false (boolean); want all or dkim`}},
		"max_signatures":  {"[verify]\nmax_signatures = 101", []string{`2: verify.max_signatures: got 101; want a whole number from 1 to 100`}},
		"min_rsa_bits":    {"[verify]\nmin_rsa_bits = 512", []string{`2: verify.min_rsa_bits: got 512; want a whole number from 1024 to 4096`}},
		"max below min":   {"[verify]\nmin_rsa_bits = 2048\nmax_rsa_bits = 1024", []string{`3: verify.max_rsa_bits: got 1024; want at least min_rsa_bits (2048)`}},
		"max_rsa_bits":    {"[verify]\nmax_rsa_bits = 8192", []string{`2: verify.max_rsa_bits: got 8192; want a whole number from 1024 to 4096`}},
		"clock_skew":      {"[verify]\nclock_skew = \"25h\"", []string{`2: verify.clock_skew: got "25h"; want a duration from 0 to 1d`}},
		"body_length":     {"[verify]\nbody_length = \"honor\"", []string{`2: verify.body_length: got "honor"; want policy or honour (hint: did you mean "honour"?)`}},
		"servers":         {"[dns]\nservers = [\"dns.example\", \"127.0.0.1:0\"]", []string{`2: dns.servers[1]: got "dns.example"; want the address of a name server (hint: write it like "127.0.0.1", "127.0.0.1:5353" or "[::1]:53")`, `2: dns.servers[2]: got "127.0.0.1:0"; want the address of a name server (hint: write it like "127.0.0.1", "127.0.0.1:5353" or "[::1]:53")`}},
		"timeout":         {"[dns]\ntimeout = \"99ms\"", []string{`2: dns.timeout: got "99ms"; want a duration from 100ms to 30s`}},
		"attempts":        {"[dns]\nattempts = 0", []string{`2: dns.attempts: got 0; want a whole number from 1 to 10`}},
		"cache_entries":   {"[dns]\ncache_entries = 10000001", []string{`2: dns.cache_entries: got 10000001; want a whole number from 1 to 10000000`}},
		"format":          {"[log]\nformat = \"JSON\"", []string{`2: log.format: got "JSON"; want json, text or exim (hint: did you mean "json"?)`}},
		"output":          {"[log]\noutput = \"dkimd.log\"", []string{`2: log.output: got "dkimd.log"; want stdout, stderr, journal, syslog or the absolute path of a file`}},
		"output, none":    {"[log]\noutput = []", []string{`2: log.output: got []; want at least one output (hint: write "stdout")`}},
		"output, twice":   {"[log]\noutput = [\"syslog:/dev/log\",\n\"syslog:/dev//log\"]", []string{`3: log.output[2]: got "syslog:/dev//log"; want each output once (hint: remove one of the two)`}},
		"output, journal": {"[log]\noutput = [\"stdout\", \"journal:/x\"]", []string{`2: log.output[2]: got "journal:/x"; want stdout, stderr, journal, syslog or the absolute path of a file (hint: write "journal")`}},
		"output, socket":  {"[log]\noutput = \"syslog:localhost\"", []string{`2: log.output: got "syslog:localhost"; want syslog or syslog:/PATH (hint: the path is that of a unix socket, and begins with /)`}},
		"output, length":  {"[log]\noutput = \"syslog-rfc5424:/" + strings.Repeat("x", 107) + "\"", []string{`2: log.output: got "syslog-rfc5424:/` + strings.Repeat("x", 44) + `..." (123 bytes); want a path of at most 107 bytes (hint: the system allows no longer one for a socket)`}},
		"output, rfc3164": {"[log]\noutput = \"syslog-rfc3164\"", []string{`2: log.output: got "syslog-rfc3164"; want stdout, stderr, journal, syslog or the absolute path of a file (hint: write "syslog", or "syslog-rfc5424" where the receiver is set up for RFC 5424)`}},
		"output, no dir":  {"[log]\noutput = \"DIR/no/log\"", []string{`2: log.output: got "DIR/no/log"; want a file in a directory that exists (hint: DIR/no: no such file or directory; create it, owned by dkimd's user)`}},
		"output, in file": {"[log]\noutput = \"/etc/passwd/log\"", []string{`2: log.output: got "/etc/passwd/log"; want a file in a directory (hint: /etc/passwd is not one)`}},
		"output, a dir":   {"[log]\noutput = \"DIR\"", []string{`2: log.output: got "DIR"; want a file (hint: this path is a directory; name a file in it)`}},
		"no TOML":         {"[log]\noutput = stdout\nformat = 5", []string{`2: got "output = stdout"; want TOML (hint: column 10: strings are written in quotes: output = "stdout")`}},
		"several at once": {"[log]\nformat = 1\n[dns]\nattempts = 0\nx = 1", []string{`2: log.format: got 1 (integer); want json, text or exim`, `4: dns.attempts: got 0; want a whole number from 1 to 10`, `5: dns.x: got an unknown key; want one of attempts, cache_entries, servers, timeout, trust_ad`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, got := load(t, test.toml); !slices.Equal(got, test.want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(test.want, "\n     "))
			}
		})
	}
}
