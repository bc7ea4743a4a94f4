package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/tomlfile"
	"dkimd/keys"
)

// Rotate is the table [rotate]: how keys are replaced.
type Rotate struct {
	Every        time.Duration // 0: never by schedule
	Keep         time.Duration
	Patience     time.Duration
	AtOnce       int
	Selector     []string
	Withdraw     bool // end: records go, rather than being revoked
	Reveal       bool
	NewDomains   bool
	CheckServers []string
}

func (r *Rotate) keys() []key {
	return []key{
		{
			"every", duration(&r.Every, 0, 0, keys.MaxRotation),
			"How old a key gets before `serve` replaces it; rotate_every in a domain.toml says it for one domain. Domains take " +
				"turns over the whole time. \"0\": only dkimd key rotate begins a rotation.",
		},
		{
			"keep", duration(&r.Keep, 14*24*time.Hour, time.Second, 365*24*time.Hour),
			"How long mail may be under way: the record of a key stays that long after its last signature.",
		},
		{
			"patience", duration(&r.Patience, 3*24*time.Hour, time.Second, 365*24*time.Hour),
			"After this, what holds a key up is an error: a name server that is down, a record that nobody publishes.",
		},
		{"at_once", integer(&r.AtOnce, 10, 1, 10_000), "Domains whose rotation begins by schedule only while fewer wait for DNS."},
		{
			"selector", list(&r.Selector, keys.RotateSelectors, "s{date}"),
			"Selectors of new keys: one with {date} in it, or several that are used in turn, as where their names are CNAME " +
				"records. Those of Ed25519 keys have -ed25519 after them.",
		},
		{
			"end", choice(&r.Withdraw, means("revoke", false), means("withdraw", true)),
			"What becomes of the record of a key that has retired: revoke empties its p=, withdraw removes it.",
		},
		{
			"reveal", boolean(&r.Reveal, false),
			"The revoked record gets the private key in its n=, so that old signatures prove nothing any more. With end = \"revoke\".",
		},
		{
			"new_domains", boolean(&r.NewDomains, false),
			"A domain's directory without any key gets one, which signs once DNS has it. Until then its mail goes out unsigned.",
		},
		{
			"check_servers", list(&r.CheckServers, readServers),
			"Recursive servers that have to see a record, too, before its key signs: where this host has a view of DNS that is not everybody's.",
		},
	}
}

// The methods of [[publish]].
const (
	ByUpdate   = "rfc2136"
	ByCommand  = "command"
	ByZoneFile = "zonefile"
	ByHand     = "manual"
)

// Publish is one [[publish]]: how records come into a zone.
type Publish struct {
	Zone       domain.Name   `json:"zone"` // and what is below it; empty: every zone
	Method     string        `json:"method"`
	TTL        time.Duration `json:"-"`
	Servers    []string      `json:"servers,omitempty"`   // the authoritative ones to ask; none: those of the zone
	Server     string        `json:"server,omitempty"`    // that takes updates; empty: the primary
	Key        string        `json:"key,omitempty"`       // of TSIG; empty: none
	Algorithm  string        `json:"algorithm,omitempty"` // of the key
	SecretFile string        `json:"secret_file,omitempty"`
	Secret     string        `json:"-"`                 // what is in it
	Command    []string      `json:"command,omitempty"` // and its arguments
	File       string        `json:"file,omitempty"`
	Run        []string      `json:"run,omitempty"`
}

const docPublish = "Tables `[[publish]]`, how records of keys come into DNS: see [dns.md](dns.md). The one with the longest `zone` " +
	"that holds the name counts. `method` is rfc2136 (with `server`, `key`, `algorithm`, `secret_file`), command (with `command`), " +
	"zonefile (with `file`, `run`) or manual; `ttl` and `servers` are for all. Without any, somebody has to publish records."

// publishers are the tables [[publish]].
func publishers(at *[]Publish) value {
	return field[[]Publish]{at, nil, "list of tables", readPublishers, func(list []Publish) any { return append([]Publish{}, list...) }}
}

// publishTOML is [[publish]] on one line.
func publishTOML(list []Publish) string {
	tables := make([]string, len(list))
	for i, p := range list {
		parts := []string{"method = " + strconv.Quote(p.Method), "ttl = " + strconv.Quote(tomlfile.FormatDuration(p.TTL))}
		word := func(key, value string) {
			if value != "" {
				parts = append(parts, key+" = "+strconv.Quote(value))
			}
		}
		words := func(key string, list []string) {
			if len(list) > 0 {
				parts = append(parts, key+" = "+quotedList(list))
			}
		}
		word("zone", string(p.Zone))
		words("servers", p.Servers)
		word("server", p.Server)
		if word("key", p.Key); p.Key != "" {
			word("algorithm", p.Algorithm)
		}
		word("secret_file", p.SecretFile)
		words("command", p.Command)
		word("file", p.File)
		words("run", p.Run)
		tables[i] = "{ " + strings.Join(parts, ", ") + " }"
	}
	return "[" + strings.Join(tables, ", ") + "]"
}

func readPublishers(t *tomlfile.Table, key string, _ []Publish) []Publish {
	var all []Publish
	for _, entry := range t.Tables(key) {
		p := readPublish(entry)
		if slices.ContainsFunc(all, func(other Publish) bool { return other.Zone == p.Zone }) {
			entry.Fault("zone", "each zone once", "remove one of the two")
			continue
		}
		all = append(all, p)
	}
	return all
}

func readPublish(t *tomlfile.Table) Publish {
	p := Publish{
		Method:  t.Enum("method", ByHand, ByUpdate, ByCommand, ByZoneFile, ByHand),
		TTL:     t.Duration("ttl", time.Hour, time.Second, 7*24*time.Hour),
		Servers: readServers(t, "servers", nil),
	}
	if zone := t.String("zone", ""); zone != "" {
		name, err := domain.ParseDNS(zone)
		if err != nil {
			t.Fault("zone", "the name of a zone", err.Error())
		}
		p.Zone = name
	}
	if !t.Has("method") {
		t.Fault("method", ByUpdate+", "+ByCommand+", "+ByZoneFile+" or "+ByHand, "")
	}
	needs := func(key string, methods ...string) bool {
		if t.Has(key) && !slices.Contains(methods, p.Method) {
			t.Fault(key, "method = "+strconv.Quote(methods[0])+" beside it", "take it out")
		}
		return slices.Contains(methods, p.Method)
	}
	if needs("server", ByUpdate) {
		if server := readServers(t, "server", nil); len(server) > 0 {
			p.Server = server[0]
		}
	}
	p.Key = t.String("key", "")
	p.Algorithm = t.Enum("algorithm", "hmac-sha256", "hmac-sha256", "hmac-sha512")
	p.SecretFile = t.String("secret_file", "")
	needs("key", ByUpdate)
	needs("algorithm", ByUpdate)
	if needs("secret_file", ByUpdate) {
		p.readSecret(t)
	}
	if needs("command", ByCommand) {
		p.Command = program(t, "command")
		if len(p.Command) == 0 && !t.Has("command") {
			t.Fault("command", "a program and its arguments", `such as ["/usr/local/bin/publish"]`)
		}
	}
	if needs("file", ByZoneFile) {
		if p.File = t.String("file", ""); !filepath.IsAbs(p.File) {
			t.Fault("file", "the absolute path of the file that the zone includes", "")
		}
	}
	if needs("run", ByZoneFile) {
		p.Run = program(t, "run")
	}
	return p
}

// program is a program by its absolute path, and its arguments.
func program(t *tomlfile.Table, key string) []string {
	args := t.Strings(key, nil)
	if t.Has(key) && (len(args) == 0 || !filepath.IsAbs(args[0])) {
		t.Fault(key, "the absolute path of a program, and its arguments", "no shell reads it")
	}
	return args
}

// tsigSecret finds the secret in a file of tsig-keygen; others have nothing but the secret.
var tsigSecret = regexp.MustCompile(`secret\s+"([^"]+)"`)

// readSecret wants the secret of a TSIG key where nobody else can read it.
func (p *Publish) readSecret(t *tomlfile.Table) {
	switch {
	case p.Key == "" && p.SecretFile == "":
		return
	case p.Key == "":
		t.Fault("key", "the name of the key", "both sides have to call it the same")
		return
	case p.SecretFile == "":
		t.Fault("secret_file", "the file with the secret of the key", "tsig-keygen writes one")
		return
	}
	info, err := os.Stat(p.SecretFile)
	switch {
	case err != nil:
		t.Fault("secret_file", "a file that dkimd can read", reason(err))
		return
	case !info.Mode().IsRegular() || info.Size() > 1<<16:
		t.Fault("secret_file", "a file with the secret of the key", "")
		return
	case info.Mode().Perm()&0o007 != 0:
		t.Fault("secret_file", "a file that others cannot read", "chmod o= "+p.SecretFile+", and make a new secret if others use this host")
		return
	}
	data, err := os.ReadFile(p.SecretFile)
	if err != nil {
		t.Fault("secret_file", "a file that dkimd can read", reason(err))
		return
	}
	p.Secret = strings.TrimSpace(string(data))
	if m := tsigSecret.FindStringSubmatch(p.Secret); m != nil {
		p.Secret = m[1]
	}
	if strings.ContainsAny(p.Secret, " \n\t") || p.Secret == "" {
		t.Fault("secret_file", "a secret in base64, or what tsig-keygen writes", "")
	}
}
