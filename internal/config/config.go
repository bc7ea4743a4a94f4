// Package config reads dkimd.toml: every key with its default, every value
// checked at load, every fault at once with its line. It opens no socket and
// reads no key or rule; those have packages of their own.
package config

import (
	"net/netip"
	"os"
	"slices"
	"time"

	"dkimd/internal/fault"
	"dkimd/internal/tomlfile"
)

// DefaultPath is where dkimd.toml is looked for when no --config names one.
const DefaultPath = "/etc/dkimd/dkimd.toml"

// Config is dkimd.toml with its defaults filled in. docs/configuration.md
// describes each key.
type Config struct {
	Path     string // the file, for faults that come to light later
	Hostname string // authserv-id, RFC 8601 section 2.5; empty: the MTA's name, else the host's
	Milter   Milter
	Exim     Exim
	Sign     Sign
	Verify   Verify
	DNS      DNS
	Policy   Policy
	Log      Log
	Metrics  Metrics
}

// Milter is the table [milter]: the front door of Postfix and Sendmail.
type Milter struct {
	Listen         []string    // inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH; empty only where Exim has a door
	SocketMode     os.FileMode // of unix sockets
	SocketGroup    string      // of unix sockets; empty: that of the process
	MaxConnections int
}

// Exim is the table [exim]: the front door of Exim.
type Exim struct {
	Listen         []string    // as in Milter; empty: no such door
	SocketMode     os.FileMode // of unix sockets
	SocketGroup    string      // of unix sockets; empty: that of the process
	MaxConnections int
}

// Sign is the table [sign]: whose mail is ours, and how it is signed.
type Sign struct {
	Directory        string         // DOMAIN/SELECTOR.pem
	Networks         []netip.Prefix // clients whose mail is ours
	Authenticated    bool           // mail of clients that logged in is ours
	DaemonNames      []string       // {daemon_name} whose mail is ours
	UserMatch        string         // any, domain
	Canonicalization string         // header/body, each simple or relaxed
	Headers          []string       // field names; a * at the end stands for any ending
	Oversign         []string       // field names, all of them in Headers
	Expiry           time.Duration  // x= minus t=; 0: none
	FallbackDomain   string         // in message.Domain form, or empty
	AlsoDomains      []string       // in message.Domain form
	OnError          string         // tempfail, unsigned
}

// Verify is the table [verify].
type Verify struct {
	Trusted       []netip.Prefix
	Strip         string // all, dkim
	MaxSignatures int
	MinRSABits    int
	MaxRSABits    int
	ClockSkew     time.Duration
	BodyLength    string // policy, honour
}

// DNS is the table [dns].
type DNS struct {
	Servers      []string // ADDRESS or ADDRESS:PORT; empty: /etc/resolv.conf
	Timeout      time.Duration
	Attempts     int
	CacheEntries int
}

// Policy is the table [policy].
type Policy struct {
	Directory string // DOMAIN.toml and _default.toml
}

// Log is the table [log]: the stream of one record a message.
type Log struct {
	Format string   // json, text, exim
	Output []string // stdout, stderr, journal, syslog, syslog-rfc5424, these two with :/PATH, or absolute paths
}

// Metrics is the table [metrics]: what monitoring asks over HTTP.
type Metrics struct {
	Listen []string // as in Milter; empty: nobody is answered
}

// Default is the configuration of an empty file.
func Default() *Config {
	return &Config{
		Path: DefaultPath,
		Milter: Milter{
			Listen:         []string{"inet:127.0.0.1:8891"},
			SocketMode:     0o660,
			MaxConnections: 4096,
		},
		Exim: Exim{
			Listen:         []string{},
			SocketMode:     0o660,
			MaxConnections: 1024,
		},
		Sign: Sign{
			Directory:        "/etc/dkimd/keys",
			Networks:         []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
			Authenticated:    true,
			DaemonNames:      []string{"ORIGINATING"},
			UserMatch:        "any",
			Canonicalization: "relaxed/relaxed",
			Headers: []string{
				"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "Sender", "In-Reply-To", "References",
				"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Resent-*", "List-*",
			},
			Oversign:    []string{"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To"},
			AlsoDomains: []string{},
			OnError:     "tempfail",
		},
		Verify: Verify{
			Trusted:       []netip.Prefix{},
			Strip:         "all",
			MaxSignatures: 10,
			MinRSABits:    1024,
			MaxRSABits:    4096,
			ClockSkew:     5 * time.Minute,
			BodyLength:    "policy",
		},
		DNS: DNS{
			Servers:      []string{},
			Timeout:      5 * time.Second,
			Attempts:     2,
			CacheEntries: 100000,
		},
		Policy:  Policy{Directory: "/etc/dkimd/rules"},
		Log:     Log{Format: "json", Output: []string{"stdout"}},
		Metrics: Metrics{Listen: []string{}},
	}
}

// Locate gives faults that came to light when a configuration was put to use the
// file and, where the file sets the key, the line.
func (c *Config) Locate(faults fault.Faults) fault.Faults {
	file, err := tomlfile.Read(c.Path)
	if err != nil {
		file = tomlfile.Parse(c.Path, nil) // all are defaults
	}
	located := make(fault.Faults, len(faults))
	for i, fault := range faults {
		located[i] = file.Place(fault)
	}
	return located
}

// NeedsRestart names the keys in which c differs from the configuration in
// force and which a reload cannot put into force: sockets and outputs stay
// open from start to end.
func (c *Config) NeedsRestart(inForce *Config) []string {
	changed := map[string]bool{
		"milter.listen":          !slices.Equal(c.Milter.Listen, inForce.Milter.Listen),
		"milter.socket_mode":     c.Milter.SocketMode != inForce.Milter.SocketMode,
		"milter.socket_group":    c.Milter.SocketGroup != inForce.Milter.SocketGroup,
		"milter.max_connections": c.Milter.MaxConnections != inForce.Milter.MaxConnections,
		"exim.listen":            !slices.Equal(c.Exim.Listen, inForce.Exim.Listen),
		"exim.socket_mode":       c.Exim.SocketMode != inForce.Exim.SocketMode,
		"exim.socket_group":      c.Exim.SocketGroup != inForce.Exim.SocketGroup,
		"exim.max_connections":   c.Exim.MaxConnections != inForce.Exim.MaxConnections,
		"log.format":             c.Log.Format != inForce.Log.Format,
		"log.output":             !slices.Equal(c.Log.Output, inForce.Log.Output),
		"metrics.listen":         !slices.Equal(c.Metrics.Listen, inForce.Metrics.Listen),
	}
	var keys []string
	for key, differs := range changed {
		if differs {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
