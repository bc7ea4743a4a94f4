package importer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkimd/internal/domain"
	"dkimd/keys"
)

// NewConfig writes a copy of the configuration that was written to the directory written, for a proof in dir.
func (p *Plan) NewConfig(written, dir, socket, dns string) (string, error) {
	c := p.config.clone()
	c.set("milter", "listen", []string{}, "")
	door := "milter"
	if p.Source == "exim" {
		door = "exim"
		c.set("exim", "peers", []string{}, "")
	}
	c.set(door, "listen", []string{"unix:" + socket}, "")
	c.set(door, "socket_mode", "0600", "")
	c.set("control", "listen", []string{}, "")
	c.set("log", "output", []string{filepath.Join(dir, "dkimd.log")}, "")
	c.set("dns", "servers", []string{dns}, "")
	c.set("dns", "timeout", "1s", "")
	path := filepath.Join(dir, configFile)
	return path, os.WriteFile(path, []byte(c.render("", written)), 0o600)
}

func (t *toml) clone() *toml {
	c := &toml{}
	for _, table := range t.tables {
		c.tables = append(c.tables, &tomlTable{table.name, slices.Clone(table.lines)})
	}
	return c
}

// untouched are settings of opendkim.conf that a proof leaves out: they would reach beyond it.
const untouched = " Socket PidFile UserID UMask Background AutoRestart AutoRestartCount AutoRestartRate ChangeRootDirectory Syslog SyslogName " +
	"SyslogFacility SyslogSuccess LogWhy LogResults ExternalIgnoreList MilterDebug EnableCoredumps TrustAnchorFile ResolverConfiguration Nameservers " +
	"Statistics StatisticsName StatisticsPrefix RequireSafeKeys BaseDirectory SendReports DiagnosticDirectory TemporaryDirectory KeepTemporaryFiles " +
	// and what Debian's OpenDKIM does not know
	"ADSPAction ADSPNoSuchDomain AddAllSignatureResults AnonymousStatistics BogusPolicy DefaultSender DisableADSP IdentityHeader IdentityHeaderRemove " +
	"LDAPSoftStart LocalADSP NoDiscardableMailTo On-PolicyError POPDBFile ResignAll ResignMailTo SMTPURI SendADSPReports StatisticsPolicyScript UnprotectedPolicy "

// writeOld writes opendkim.conf for a proof. Lines that were left out of the tables are left out here too: OpenDKIM
// would not sign with them either, or not start.
func (o *opendkim) writeOld(dir, socket string) ([]string, error) {
	for _, s := range o.all {
		if kind, _ := datasetFile(s.value); kind == notRead && o.directives[strings.ToLower(s.name)].kind == set {
			return nil, fmt.Errorf("%s is in a database, which is not read: nothing can be proved", s.name)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Socket local:%s\nBackground no\nRequireSafeKeys no\nNameservers 127.0.0.1\n", socket)
	var tables []file
	for _, s := range o.all {
		if o.set[strings.ToLower(s.name)] != s || strings.Contains(untouched, " "+s.name+" ") {
			continue
		}
		value := s.value
		_, hasFile := o.set["keyfile"]
		_, hasSelector := o.set["selector"]
		switch _, listed := o.directives[strings.ToLower(s.name)]; {
		case !listed:
		case hasFile != hasSelector && (s.name == "KeyFile" || s.name == "Selector"):
			continue // it would not start
		case s.name == "KeyTable" && len(o.signing.keys) > 0:
			value = "file:" + filepath.Join(dir, "old-KeyTable")
			tables = append(tables, file{"old-KeyTable", o.signing.keyTableText(dir)})
		case s.name == "SigningTable" && len(o.signing.rows) > 0:
			kind := "file"
			if o.signing.patterns {
				kind = "refile"
			}
			value = kind + ":" + filepath.Join(dir, "old-SigningTable")
			tables = append(tables, file{"old-SigningTable", o.signing.signingTableText()})
		default:
			value = o.inRoot(s)
		}
		fmt.Fprintf(&b, "%s %s\n", s.name, value)
	}
	for n, k := range o.signing.keys {
		if k.path == "" {
			tables = append(tables, file{fmt.Sprintf("inline-%d.pem", n), k.inline})
		}
	}
	path := filepath.Join(dir, "opendkim.conf")
	for _, f := range append(tables, file{"opendkim.conf", []byte(b.String())}) {
		if err := os.WriteFile(filepath.Join(dir, f.path), f.content, 0o600); err != nil {
			return nil, err
		}
	}
	return []string{"-f", "-x", path}, nil
}

// inRoot is a value with the path in it where the system has it.
func (o *opendkim) inRoot(s setting) string {
	if s.name == "KeyFile" || s.name == "ReplaceRules" || strings.HasSuffix(s.name, "PolicyScript") {
		return o.root.path(o.absolute(s.value))
	}
	if o.directives[strings.ToLower(s.name)].kind != set {
		return s.value
	}
	kind, path := datasetFile(s.value)
	switch {
	case ofNoType(s.value):
		return string(ofList) + ":" + s.value
	case kind != ofFile && kind != ofPattern:
		return s.value
	}
	return string(kind) + ":" + o.root.path(o.absolute(path))
}

func (s *signing) keyTableText(dir string) []byte {
	var b strings.Builder
	for n, k := range s.keys {
		path := k.path
		if path == "" {
			path = filepath.Join(dir, fmt.Sprintf("inline-%d.pem", n))
		}
		fmt.Fprintf(&b, "%s %s:%s:%s\n", k.name, k.domain, k.selector, path)
	}
	return []byte(b.String())
}

func (s *signing) signingTableText() []byte {
	var b strings.Builder
	for _, r := range s.rows {
		b.WriteString(strings.TrimSuffix(r.address+" "+r.key+":"+r.identity, ":") + "\n")
	}
	return []byte(b.String())
}

// keyRecords are the records of the keys, for every name where one is for all domains.
func (o *opendkim) keyRecords(names []string) ([]keys.Record, error) {
	var all []keys.Record
	for _, k := range slices.Concat(o.signing.keys, o.proven) {
		of := []string{k.domain}
		if k.domain == "%" {
			of = names
		}
		for _, name := range of {
			content := slices.Clone(k.inline)
			if k.path != "" {
				var err error
				if content, err = os.ReadFile(strings.ReplaceAll(k.path, "%", name)); err != nil {
					continue // no key for this domain
				}
			}
			r, err := recordOf(name, k.selector, content)
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
	}
	return all, nil
}

func recordOf(name, selector string, content []byte) (keys.Record, error) {
	private, wrong := keys.Parse(name, content)
	if wrong != nil {
		return keys.Record{}, *wrong
	}
	return keys.NewRecord(domain.Name(strings.ToLower(name)), strings.ToLower(selector), private.Signer.Public())
}
