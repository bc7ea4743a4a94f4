package config

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/tomlfile"
)

// Key describes one key of dkimd.toml.
type Key struct {
	Table   string // empty: above the first [table]
	Name    string
	Type    string // string, list, integer, boolean, duration
	Default string // as TOML
	Doc     string // one line
}

// Path is the key as faults name it.
func (k Key) Path() string { return strings.TrimPrefix(k.Table+"."+k.Name, ".") }

// Keys are all keys of dkimd.toml in the order of Reference.
func Keys() []Key {
	d := Default()
	return []Key{
		key("", "hostname", d.Hostname, "authserv-id of Authentication-Results; empty: what the MTA calls itself, else the host's name"),
		key("milter", "listen", d.Milter.Listen, "inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH; several allowed"),
		key("milter", "socket_mode", d.Milter.SocketMode, "permissions of unix sockets, octal"),
		key("milter", "socket_group", d.Milter.SocketGroup, "group of unix sockets; empty: dkimd's own"),
		key("milter", "max_connections", d.Milter.MaxConnections, "served at once; the next waits"),
		key("exim", "listen", d.Exim.Listen, "where Exim asks: unix:/PATH or as in [milter]; several allowed"),
		key("exim", "socket_mode", d.Exim.SocketMode, "permissions of unix sockets, octal"),
		key("exim", "socket_group", d.Exim.SocketGroup, "group of unix sockets, Debian-exim on Debian; empty: dkimd's own"),
		key("exim", "max_connections", d.Exim.MaxConnections, "served at once; the next waits"),
		key("sign", "directory", d.Sign.Directory, "DOMAIN/SELECTOR.pem: every key there signs for DOMAIN"),
		key("sign", "networks", d.Sign.Networks, "clients whose mail is ours"),
		key("sign", "authenticated", d.Sign.Authenticated, "mail of clients that logged in is ours"),
		key("sign", "daemon_names", d.Sign.DaemonNames, "mail through these daemons ({daemon_name}) is ours"),
		key("sign", "user_match", d.Sign.UserMatch, "any; domain: the login's domain must be the From domain, or be listed in domain.toml users"),
		key("sign", "canonicalization", d.Sign.Canonicalization, "header/body, each relaxed or simple"),
		key("sign", "headers", d.Sign.Headers, "fields signed where present; * at the end stands for any ending"),
		key("sign", "oversign", d.Sign.Oversign, "fields signed once more than they occur, so that none can be added"),
		key("sign", "expiry", d.Sign.Expiry, "x= minus t=; 0: signatures do not expire"),
		key("sign", "fallback_domain", d.Sign.FallbackDomain, "signs our mail whose From domain has no key"),
		key("sign", "also_domains", d.Sign.AlsoDomains, "sign our mail as these domains too"),
		key("sign", "on_error", d.Sign.OnError, "no usable key is left, or signing failed: tempfail or unsigned"),
		key("verify", "trusted", d.Verify.Trusted, "clients whose mail is verified and recorded, never judged, never signed"),
		key("verify", "strip", d.Verify.Strip, "remove forged Authentication-Results of ours: all, or those with a dkim result"),
		key("verify", "max_signatures", d.Verify.MaxSignatures, "verified in one message; the rest are neutral"),
		key("verify", "min_rsa_bits", d.Verify.MinRSABits, "shorter keys are permerror"),
		key("verify", "max_rsa_bits", d.Verify.MaxRSABits, "longer keys are permerror"),
		key("verify", "clock_skew", d.Verify.ClockSkew, "how long a signature is still taken after x="),
		key("verify", "body_length", d.Verify.BodyLength, "l= that leaves content unsigned: policy (no pass) or honour (RFC 6376)"),
		key("dns", "servers", d.DNS.Servers, "ADDRESS or ADDRESS:PORT; none: those of /etc/resolv.conf"),
		key("dns", "timeout", d.DNS.Timeout, "of one lookup, over all servers and attempts"),
		key("dns", "attempts", d.DNS.Attempts, "rounds over all servers"),
		key("dns", "cache_entries", d.DNS.CacheEntries, "names kept"),
		key("policy", "directory", d.Policy.Directory, "rules files: DOMAIN.toml and _default.toml"),
		key("log", "format", d.Log.Format, "json, text, or exim: the lines Exim writes"),
		key("log", "output", d.Log.Output, "stdout, stderr, journal, syslog, or /PATH, which is reopened on SIGHUP; several allowed"),
		key("metrics", "listen", d.Metrics.Listen, "where /metrics, /healthz and /readyz are, without authentication: inet:127.0.0.1:9891, or as in [milter]"),
	}
}

func key(table, name string, def any, doc string) Key {
	k := Key{Table: table, Name: name, Doc: doc}
	switch v := def.(type) {
	case string:
		k.Type, k.Default = "string", strconv.Quote(v)
	case bool:
		k.Type, k.Default = "boolean", strconv.FormatBool(v)
	case int:
		k.Type, k.Default = "integer", strconv.Itoa(v)
	case time.Duration:
		k.Type, k.Default = "duration", strconv.Quote(tomlfile.FormatDuration(v))
	case os.FileMode:
		k.Type, k.Default = "string", fmt.Sprintf(`"%04o"`, uint32(v))
	case []string:
		k.Type, k.Default = "list", tomlList(v)
	case []netip.Prefix:
		names := make([]string, len(v))
		for i, prefix := range v {
			if names[i] = prefix.String(); prefix.IsSingleIP() {
				names[i] = prefix.Addr().String()
			}
		}
		k.Type, k.Default = "list", tomlList(names)
	}
	return k
}

func tomlList(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = strconv.Quote(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// Reference is a dkimd.toml that says the defaults, each with its meaning.
func Reference() string {
	var b strings.Builder
	b.WriteString("# dkimd.toml: every key with its default. An empty or absent file means the same.\n")
	table := ""
	for _, k := range Keys() {
		if k.Table != table {
			table = k.Table
			fmt.Fprintf(&b, "\n[%s]\n", table)
		} else {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s\n%s = %s\n", k.Doc, k.Name, k.Default)
	}
	return b.String()
}
