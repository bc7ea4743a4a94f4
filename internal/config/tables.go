package config

import (
	"os"
	"slices"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/hosts"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/internal/socket"
	"dkimd/keys"
	"dkimd/signer"
	"dkimd/verifier"
)

// table is one [table] of dkimd.toml.
type table struct {
	name    string // empty: the keys above the first [table]
	doc     string // Markdown
	atStart bool   // a change takes effect at the next start, not at a reload
	keys    []key
}

// key is one key of a table.
type key struct {
	name  string
	value value
	doc   string // what it means; type, bounds and default are the value's
}

// path is a key as faults name it.
func (t table) path(k key) string {
	if t.name == "" {
		return k.name
	}
	return t.name + "." + k.name
}

// tables are all keys of dkimd.toml. The values point into c.
func (c *Config) tables() []table {
	return []table{
		{keys: []key{{
			"hostname", host(&c.Hostname),
			"The authserv-id of Authentication-Results fields (RFC 8601 section 2.5). Empty: what the MTA calls itself " +
				"(macro j, Exim's primary_hostname), otherwise the name of the host; fields that claim any of these names are removed.",
		}, {
			"memory", integer(&c.Memory, message.DefaultMemory>>20, 16, 65536),
			"MiB that headers and recipients of all messages under way may hold together, in every connection of every front door. " +
				"Past them mail is deferred until there is room; the last eighth is for messages that hold less than 64 KiB. The " +
				"process takes more: see MemoryMax in packaging/systemd.",
		}, {"publish", publishers(&c.Publish), docPublish}}},
		{"milter", "The front door for Postfix and Sendmail.", true, c.Milter.milterKeys()},
		{"exim", "The front door for Exim: see [exim.md](exim.md).", true, c.Exim.eximKeys()},
		{"sign", "Whose mail is ours, and how it is signed. Options of one domain are in `DIRECTORY/DOMAIN/domain.toml`: " +
			"see [keys.md](keys.md).", false, c.Sign.keys()},
		{"rotate", "How keys are replaced by new ones: see [keys.md](keys.md).", false, c.Rotate.keys()},
		{"verify", "How signatures are verified.", false, c.Verify.keys()},
		{"dns", "How keys and published policies are looked up.", false, c.DNS.keys()},
		{"policy", "Where the rules are that judge mail: see [policy.md](policy.md).", false, c.Policy.keys()},
		{"lists", docLists, false, c.listKeys()},
		{"log", "The log stream, one record for each message: see [events.md](events.md). " +
			"dkimd's own messages go to stderr.", true, c.Log.keys()},
		{"metrics", "What is asked over HTTP: `/metrics`, `/healthz` and `/readyz` by monitoring, the status page `/` by people; see " +
			"[metrics.md](metrics.md).", true, c.Metrics.keys()},
		{"control", "The socket of `dkimd reload` and `dkimd status`.", true, c.Control.keys()},
	}
}

// Door is the table [milter] or [exim]: where mail servers connect.
type Door struct {
	socket.Config
	MaxConnections int
}

const (
	docSocketMode  = "Permissions of unix sockets, in octal. The MTA needs write permission to connect."
	docSocketGroup = "Group of unix sockets, by name or number. Empty: that of the process. The MTA's user must be a member."
	docPeers       = "Users and groups, by name or number, whose processes may use the unix sockets: the system says who connects, " +
		"and the group is the one the process runs with. Others are refused and logged. Root is let in only where it is " +
		"listed. Empty: all that the permissions let in."
	maxConnections = 65536
)

func (d *Door) milterKeys() []key {
	return []key{
		{
			"listen", addresses(&d.Listen, "inet:127.0.0.1:8891"),
			"Where to listen: inet:HOST:PORT, inet6:[HOST]:PORT or unix:/PATH; several allowed. inet:PORT@HOST and " +
				"local:/PATH, as OpenDKIM and Sendmail write it, mean the same. Without HOST, or with *, dkimd listens on every " +
				"address of the host, IPv4 for inet and IPv6 for inet6. Port 0 is any free one. " +
				"The path of a socket has at most 101 bytes. Whoever connects says whose mail it is: through an inet socket any " +
				"local user can have mail signed; docs/postfix.md, The socket, sets up one for the mail server alone.",
		},
		{"socket_mode", mode(&d.Mode, socket.DefaultMode), docSocketMode},
		{"socket_group", group(&d.Group), docSocketGroup},
		{"peers", list(&d.Peers, readPeers), docPeers + " Postfix: [\"postfix\"]."},
		{
			"max_connections", integer(&d.MaxConnections, 4096, 1, maxConnections),
			"Connections served at once. The next one waits, or takes the place of one that is idle: first of those that brought no message.",
		},
	}
}

func (d *Door) eximKeys() []key {
	return []key{
		{
			"listen", addresses(&d.Listen),
			"Where Exim connects: unix:/run/dkimd/exim.sock, or any form that [milter] takes. Empty: dkimd does not serve " +
				"Exim. With an address here, [milter] listen = [] is allowed: a host with Exim alone needs no milter.",
		},
		{"socket_mode", mode(&d.Mode, socket.DefaultMode), docSocketMode},
		{"socket_group", group(&d.Group), docSocketGroup + " On Debian: Debian-exim."},
		{"peers", list(&d.Peers, readPeers), docPeers + " On Debian: [\"Debian-exim\"]."},
		{
			"max_connections", integer(&d.MaxConnections, 1024, 1, maxConnections),
			"Messages served at once. The next one waits, or takes the place of a connection on which nothing has come.",
		},
	}
}

// Sign is the table [sign]: whose mail is ours, and how it is signed.
type Sign struct {
	Directory          string
	KeyTable           string // as written; empty: none
	SigningTable       string
	MultipleSignatures bool
	Map                []keys.Mapping
	Layouts            []string
	Selector           string      // of layouts without {selector}
	AllowMode          os.FileMode // accepted of key files besides the rule; 0: none
	Networks           []hosts.Entry
	Authenticated      bool
	DaemonNames        []string
	TLSClients         []string // NAME or NAME|ISSUER of certificates
	NotRecipients      []string // patterns, as policy.NewRecipients reads them
	UserMatch          signer.UserMatch
	IdentityFrom       []signer.Identity
	Canonicalization   Canonicalization // of every signature
	Headers            []string
	Oversign           []string // all of them in Headers
	Expiry             time.Duration
	FallbackDomain     domain.Name // or empty
	AlsoDomains        []domain.Name
	SendUnsigned       bool // on_error: mail that could not be signed is not deferred
	RequirePublished   RequirePublished
}

// RequirePublished is what comes of keys that DNS does not serve.
type RequirePublished uint8

// What may come of them.
const (
	WarnUnpublished RequirePublished = iota
	IgnoreUnpublished
	WithholdUnpublished
)

const docTLSClients = "Mail of clients with these TLS certificates is ours, where the MTA has verified them: the common name " +
	"(CN) of the certificate, or NAME|ISSUER with that of its issuer, as they are written in it. Milter only. A certificate " +
	"names a host and is no login: user_match does not ask for it."

func (s *Sign) keys() []key {
	return slices.Concat(s.sources(), s.whose(), []key{
		{
			"identity_from", list(&s.IdentityFrom, readIdentities, signer.ByFrom),
			"What says who signs: the first of from, sender (the Sender field), list-id (its namespace: lists.example.org for " +
				"`<announce.lists.example.org>`), envelope (MAIL FROM) and auth (the login) whose domain has a key. user_match asks of " +
				"that domain. For DMARC only from helps. Mail without exactly one From field is not signed. Exim tells neither MAIL FROM " +
				"nor login when it signs.",
		},
		{
			"canonicalization", choice(&s.Canonicalization,
				means("relaxed/relaxed", Canonicalization{dkim.Relaxed, dkim.Relaxed}),
				means("relaxed/simple", Canonicalization{dkim.Relaxed, dkim.Simple}),
				means("simple/relaxed", Canonicalization{dkim.Simple, dkim.Relaxed}),
				means("simple/simple", Canonicalization{dkim.Simple, dkim.Simple})),
			"Of the header and of the body (RFC 6376 section 3.4).",
		},
		{
			"headers", list(&s.Headers, readHeaders, signer.DefaultHeaders()...),
			"Fields signed where present, at most 200. A * at the end stands for any ending. From must be among them. " +
				"DKIM-Signature, Authentication-Results, Return-Path and Bcc must not: they do not reach the recipient as they " +
				"were signed.",
		},
		{
			"oversign", list(&s.Oversign, readNames, signer.DefaultOversign()...),
			"Fields signed once more than they occur, so that none can be added. Date, Message-ID, Sender, In-Reply-To, " +
				"References, List-Unsubscribe, List-Unsubscribe-Post, MIME-Version and Content-* only where they occur, because " +
				"mail servers and mailing lists add them where they are missing. Each must be in headers, without *. " +
				"Where only headers is set, the default is cut down to it.",
		},
		{
			"expiry", wholeSeconds(duration(&s.Expiry, 0, 0, keys.MaxExpiry)),
			"How long a signature is valid: x= minus t=, in whole seconds. \"0\": it does not expire.",
		},
		{"fallback_domain", sdid(&s.FallbackDomain), "Signs mail of ours whose From domain has no key."},
		{
			"also_domains", list(&s.AlsoDomains, readDomains),
			"Sign mail of ours as these domains too, for example a provider's own.",
		},
		{
			"on_error", choice(&s.SendUnsigned, means("tempfail", false), means("unsigned", true)),
			"When no usable key is left, or signing failed: tempfail defers the mail, unsigned lets it go out unsigned.",
		},
		{
			"require_published", choice(&s.RequirePublished, means("warn", WarnUnpublished), means("off", IgnoreUnpublished), means("withhold", WithholdUnpublished)),
			"Keys that DNS does not serve: warn tells in the log and by metrics, from a comparison once a day. withhold also has such a key sign no " +
				"more once every name server of its zone has answered for a day and none has its record, while another key of the " +
				"domain is served; it signs again as soon as its record is back. off: DNS is not asked.",
		},
	})
}

// sources are the keys that say where private keys are.
func (s *Sign) sources() []key {
	return []key{
		{
			"directory", directory(&s.Directory, "/etc/dkimd/keys"),
			"DOMAIN/SELECTOR.pem in it: every key there signs for DOMAIN. A directory named here must exist; the default " +
				"need not.",
		},
		{
			"key_table", signTable(&s.KeyTable, "table"),
			"OpenDKIM's KeyTable or rspamd's key_table, as it is: lines of NAME DOMAIN:SELECTOR:KEY. A path, with file: or refile: " +
				"before it, or csl: and the entries. Empty: none. See [keys.md](keys.md).",
		},
		{
			"signing_table", signTable(&s.SigningTable, "table"),
			"OpenDKIM's SigningTable or rspamd's signing_table, as it is: lines of PATTERN NAME or PATTERN NAME:IDENTITY. With refile: " +
				"the first line with a pattern that matches counts; otherwise user@host, host, user@.parent, .parent, user@* and * are " +
				"looked up in this order.",
		},
		{
			"multiple_signatures", boolean(&s.MultipleSignatures, false),
			"true: all lines of the signing table that match sign, not only the first.",
		},
		{
			"map", maps(&s.Map),
			"Written as tables `[[sign.map]]`: mail of the addresses in `from` is signed with d=`sign_as`. The first table that has the " +
				"address counts, before all other keys. `from` has addresses, domains and patterns (`*@*.example.com`: every domain " +
				"below); `selectors` and `identity` are as in domain.toml.",
		},
		{
			"layout", list(&s.Layouts, readLayouts),
			"Key files where other programs have them: absolute paths with {domain} in them, and {selector} where the path has it. They " +
				"sign for domains that have no key in `directory`.",
		},
		{"selector", text(&s.Selector, "", "selector", readSelector), "The selector of keys in layouts without {selector}."},
		{
			"allow_mode", keyMode(&s.AllowMode),
			"Permissions of key files, in octal, that are accepted besides those of the rule in keys.md: \"0660\" where a panel insists. Empty: none.",
		},
	}
}

// whose are the keys that say whose mail is ours, and for whom it is signed.
func (s *Sign) whose() []key {
	return []key{
		{
			"networks", clients(&s.Networks, loopback()...),
			"Clients whose mail is ours: " + docHosts,
		},
		{
			"authenticated", boolean(&s.Authenticated, true),
			"Mail of clients that logged in ({auth_authen} or {auth_type} is set) is ours.",
		},
		{
			"daemon_names", list(&s.DaemonNames, readDaemonNames, "ORIGINATING"),
			"Mail through MTA daemons of these names ({daemon_name}) is ours.",
		},
		{"tls_clients", list(&s.TLSClients, readTLSClients), docTLSClients},
		{
			"not_recipients", list(&s.NotRecipients, readRecipients),
			"Mail of ours is not signed where all its recipients are here: \"user@example.com\", \"example.com\", or " +
				"\"*.example.com\" for those below it. One recipient that is not, and it is signed for all: without a signature " +
				"some would refuse it, and none because it has one. Exim tells no recipients when it signs.",
		},
		{
			"user_match", choice(&s.UserMatch, means("any", signer.MatchAny), means("domain", signer.MatchDomain)),
			"any: a login may send as any domain. domain: mail is signed only where the login's domain is the From domain, " +
				"or where the users of that domain's domain.toml list the login. It is asked of logins only: see keys.md.",
		},
	}
}

// Canonicalization is the pair for header and body (RFC 6376 section 3.4).
type Canonicalization struct{ Header, Body dkim.Canonicalization }

// Verify is the table [verify].
type Verify struct {
	Enabled          bool // otherwise mail that is not ours is left as it is
	SPF              bool // SPF and DMARC are checked though no rule asks
	SPFTrustedFrom   []verifier.Relay
	Trusted          []hosts.Entry
	LeaveAlone       []hosts.Entry
	StripOnlyDKIM    bool     // strip: leave forged results of other methods alone
	StripAlso        []string // further authserv-ids of ours
	KeepForged       bool     // on_unstripped: forged results that cannot be removed do not defer the mail
	MaxSignatures    int
	MinRSABits       int
	MaxRSABits       int
	ClockSkew        time.Duration
	HonourBodyLength bool // body_length: content that l= leaves unsigned does not matter
}

func (v *Verify) keys() []key {
	return []key{
		{
			"enabled", boolean(&v.Enabled, true),
			"false: sign only. Mail that is not ours passes as it is: nothing is looked up, added or removed, and no rule is asked.",
		},
		{
			"spf", boolean(&v.SPF, true),
			"Check SPF and DMARC of all mail that is verified, and write them into Authentication-Results. false: only where a rule asks. " +
				"Clients in trusted, and those whose address is not known, are never checked.",
		},
		{
			"spf_trusted_from",
			relays(&v.SPFTrustedFrom),
			"Relays that pass on the mail of others, and whose word on SPF counts in place of a check: see [dmarc.md](dmarc.md). " +
				"`\"192.0.2.7|mx1.example.org\"`: that address or network, and the authserv-id under which it writes " +
				"Authentication-Results. `\"192.0.2.7\"`: it writes Received-SPF.",
		},
		{
			"trusted", clients(&v.Trusted),
			"Clients whose mail is verified and recorded, but never judged and never signed: backup MXs, forwarders, filters " +
				"that hand mail back. They take precedence over sign.networks. Entries are as there.",
		},
		{
			"leave_alone", clients(&v.LeaveAlone),
			"Clients whose mail passes as it is: it is neither signed nor verified, and nothing is looked up, added or removed, " +
				"not even forged Authentication-Results. They take precedence over all else. Entries are as in sign.networks.",
		},
		{
			"strip", choice(&v.StripOnlyDKIM, means("all", false), means("dkim", true)),
			"Which Authentication-Results fields that claim our name are removed: all, or only those with a result of dkim, and " +
				"of spf and dmarc where verify.spf or a rule has dkimd write these.",
		},
		{
			"strip_also", list(&v.StripAlso, readHostnames),
			"Other names of ours, such as those of our other mail servers: Authentication-Results fields that claim one of them " +
				"are removed as those that claim our name.",
		},
		{
			"on_unstripped", choice(&v.KeepForged, means("tempfail", false), means("accept", true)),
			"When such a field is there and the MTA does not let dkimd remove it: tempfail defers the mail, accept lets it " +
				"through with the forged results in it.",
		},
		{"max_signatures", integer(&v.MaxSignatures, verifier.DefaultMaxSignatures, 1, 100), "Signatures verified in one message. The others are neutral."},
		{"min_rsa_bits", integer(&v.MinRSABits, verifier.MinRSABits, verifier.MinRSABits, 4096), "RSA keys with fewer bits are permerror."},
		{"max_rsa_bits", integer(&v.MaxRSABits, verifier.DefaultMaxRSABits, verifier.MinRSABits, 4096), "RSA keys with more bits are permerror. At least min_rsa_bits."},
		{
			"clock_skew", duration(&v.ClockSkew, 5*time.Minute, 0, 24*time.Hour),
			"How long after its x= a signature is still accepted. A t= counts as in the future from 24 h on.",
		},
		{
			"body_length", choice(&v.HonourBodyLength, means("policy", false), means("honour", true)),
			"The result of a signature whose l= leaves content unsigned. honour: what RFC 6376 says, so that anyone may append " +
				"to the body.",
		},
	}
}

// DNS is the table [dns].
type DNS struct {
	Servers      []string // ADDRESS or ADDRESS:PORT; empty: /etc/resolv.conf
	TrustAD      bool     // what the servers say about DNSSEC counts, wherever they are
	Timeout      time.Duration
	Attempts     int
	CacheEntries int
}

func (d *DNS) keys() []key {
	return []key{
		{
			"servers", list(&d.Servers, readServers),
			"Name servers by address, with a port where it is not 53: \"127.0.0.1\", \"127.0.0.1:5353\", \"[::1]:53\"; at most 16. " +
				"Empty: those of /etc/resolv.conf, which is read again when it changes.",
		},
		{
			"trust_ad", boolean(&d.TrustAD, false),
			"Whether nobody can change what the name servers answer on the way here, so that what they say about DNSSEC counts: " +
				"`dnssec` in the record. Those on this host are always believed.",
		},
		{
			"timeout", duration(&d.Timeout, resolver.DefaultTimeout, 100*time.Millisecond, 30*time.Second),
			"Of one lookup, over all servers and attempts.",
		},
		{"attempts", integer(&d.Attempts, resolver.DefaultAttempts, 1, 10), "How often the list of servers is gone through: the next query goes out after 1 s, sooner where there are many servers, and at last one without EDNS. An answer to any of them counts."},
		{
			"cache_entries", integer(&d.CacheEntries, resolver.DefaultCacheEntries, 1, 10_000_000),
			"Names kept. Answers are kept as long as DNS says, but 30 s to 1 h; absent names 5 s to 60 s.",
		},
	}
}

// Policy is the table [policy].
type Policy struct{ Directory string }

func (p *Policy) keys() []key {
	return []key{{
		"directory", directory(&p.Directory, "/etc/dkimd/rules"),
		"The rules files, DOMAIN.toml and _default.toml. A directory named here must exist; the default need not: " +
			"then everything is accepted.",
	}}
}

// Log is the table [log]: the stream of one record a message.
type Log struct {
	Format string
	Output []string
}

func (l *Log) keys() []key {
	return []key{
		{
			"format", choice(&l.Format, means("json", "json"), means("text", "text"), means("exim", "exim")),
			"text is for people, exim are the lines that Exim writes. With json, journal and syslog get text; syslog-rfc5424 gets JSON.",
		},
		{
			"output", list(&l.Output, readOutputs, "stdout"),
			"stdout, stderr, journal (systemd's), syslog (/dev/log) or the path of a file in a directory that exists; " +
				"several allowed, each once. A file is created with mode 0640 and reopened on SIGHUP. syslog:/PATH is another " +
				"socket than /dev/log. syslog-rfc5424, with or without a path, is for a receiver that is set up for RFC 5424.",
		},
	}
}

// Metrics is the table [metrics]: what is asked over HTTP.
type Metrics struct {
	Listen  []string
	Page    Page
	History int // MiB
}

// Page says who gets the status page.
type Page string

// The values of metrics.page.
const (
	PageLocal      Page = "local"
	PageEverywhere Page = "everywhere"
	PageOff        Page = "off"
)

func (m *Metrics) keys() []key {
	return []key{
		{
			"listen", addresses(&m.Listen),
			"Where to listen: inet:127.0.0.1:9891, or any form that [milter] takes. A unix socket has mode 0660 and the group of " +
				"the process. Empty: nowhere. There is no authentication and no TLS, and /readyz names domains and files: keep it on " +
				"loopback, or behind a firewall.",
		},
		{
			"page", choice(&m.Page, means("local", PageLocal), means("everywhere", PageEverywhere), means("off", PageOff)),
			"Who gets the status page, which names senders, recipients' domains and rules: who comes through a unix socket or " +
				"loopback, whoever gets to the socket, or nobody.",
		},
		{
			"history", integer(&m.History, 32, 0, 1024),
			"MiB of the last records that the status page searches. 0: none are kept, and it has counters only. They end with the process.",
		},
	}
}

// ControlDirectory holds the control socket by default. Where it is not, there is no such socket.
const ControlDirectory = "/run/dkimd"

// Control is the table [control]: the socket of dkimd reload and dkimd status.
type Control struct{ Listen []string }

func (c *Control) keys() []key {
	return []key{{
		"listen", list(&c.Listen, readControl, "unix:"+ControlDirectory+"/control.sock"),
		"Where commands ask the running daemon: unix:/PATH, of mode 0600, so that only root and dkimd's user can connect; they " +
			"use the first. The default is left out where its directory is not there, or another dkimd serves it. Empty: nowhere.",
	}}
}
