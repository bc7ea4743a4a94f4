package importer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dkimd/internal/domain"
	"dkimd/keys"
)

// Where keys and tables are written, below the directory of dkimd.toml.
const (
	treeOfKeys      = "keys"       // DOMAIN/SELECTOR.pem: [sign] directory
	keysOfTables    = "table-keys" // keys that key_table names; not the tree, which would have each sign for all of its domain
	newKeyTable     = "KeyTable"
	newSigningTable = "SigningTable"
)

// writeSigning decides how dkimd is told who signs: by the tables as they are, by the tree of keys, or by tables of its own.
func (o *opendkim) writeSigning() {
	c, s := &o.plan.config, &o.signing
	c.set("sign", "directory", below(treeOfKeys), "")
	o.plan.directories = append(o.plan.directories, treeOfKeys)
	if len(s.rows) == 0 || !o.signs() {
		return
	}
	o.senders()
	if o.Copy && o.isTree() {
		o.writeTree()
		return
	}
	o.copyKeys()
	if !s.own && o.User.reads(s.keyTable.path) && o.User.reads(s.signingTable.path) {
		c.set("sign", "key_table", string(ofFile)+":"+s.keyTable.path, why(o.set["keytable"]))
		c.set("sign", "signing_table", string(s.signingTable.kind)+":"+s.signingTable.path, why(o.set["signingtable"]))
	} else {
		o.writeTables()
	}
	if s.multiple {
		c.set("sign", "multiple_signatures", true, "")
	}
}

// copyKeys copies the keys that dkimd cannot use where they are, or all.
func (o *opendkim) copyKeys() {
	s := &o.signing
	copies, usable := map[string]string{}, map[string]bool{} // by path
	for _, k := range s.keys {
		if strings.Contains(k.path, "%") {
			o.copyEach(k)
			continue
		}
		if _, known := usable[k.path]; !known {
			usable[k.path] = k.path != "" && !o.Copy && o.User.uses(k.path)
		}
		if usable[k.path] {
			continue
		}
		if k.copied = copies[k.path]; k.copied == "" {
			k.copied = o.unused(k)
			o.plan.keys = append(o.plan.keys, keyCopy{k.path, k.inline, k.copied})
		}
		if k.path != "" {
			if copies[k.path] == "" && !o.Copy {
				o.plan.note(Close, k.Place, "KeyTable", k.path, "copied: "+o.User.Name+" cannot use it where it is, for its owner or its mode")
			}
			copies[k.path] = k.copied
		}
		s.own = true
	}
}

// copyEach copies the keys of a line whose path has a % for the domain, if dkimd cannot use each where it is.
func (o *opendkim) copyEach(k *tableKey) {
	before, after, _ := strings.Cut(k.path, "%")
	between, _, again := strings.Cut(after, "%")
	found, _ := filepath.Glob(strings.ReplaceAll(k.path, "%", "*")) // a bad pattern has no matches
	var copies []keyCopy
	usable := true
	to := strings.TrimSuffix(o.unused(k), ".pem")
	for _, path := range found {
		name := strings.TrimSuffix(strings.TrimPrefix(path, before), between)
		if again {
			name, _, _ = strings.Cut(strings.TrimPrefix(path, before), between)
		}
		_, err := domain.Parse(name)
		if err != nil || strings.ReplaceAll(k.path, "%", name) != path {
			continue
		}
		data, err := os.ReadFile(path) //nolint:gosec // a key of the configuration
		if err != nil {
			continue
		}
		if _, f := keys.Parse(path, data); f != nil {
			continue // such as the record beside it
		}
		usable = usable && o.User.uses(path)
		copies = append(copies, keyCopy{from: path, to: filepath.Join(to, name+".pem")})
	}
	if usable && !o.Copy || len(copies) == 0 {
		return
	}
	if !o.Copy {
		o.plan.note(Close, k.Place, "KeyTable", k.path, "copied: "+o.User.Name+" cannot use each where it is, for its owner or its mode. A key that is added later belongs in "+to)
	}
	k.copied = filepath.Join(to, "%.pem")
	o.plan.keys = append(o.plan.keys, copies...)
	o.signing.own = true
}

// unused is a name for a copy of a key.
func (o *opendkim) unused(k *tableKey) string {
	domain := k.domain
	if domain == "%" {
		domain = "shared"
	}
	path := filepath.Join(keysOfTables, domain, k.selector+".pem")
	for n := 2; o.taken[path]; n++ {
		path = filepath.Join(keysOfTables, domain, fmt.Sprintf("%s-%d.pem", k.selector, n))
	}
	if o.taken == nil {
		o.taken = map[string]bool{}
	}
	o.taken[path] = true
	return path
}

// writeTables writes tables of dkimd's own.
func (o *opendkim) writeTables() {
	s := &o.signing
	o.plan.tables = append(o.plan.tables, func(dir string) []file {
		var keyTable, signingTable strings.Builder
		keyTable.WriteString("# NAME DOMAIN:SELECTOR:KEY\n")
		for _, k := range s.keys {
			path := k.path
			if k.copied != "" {
				path = filepath.Join(dir, k.copied)
			}
			fmt.Fprintf(&keyTable, "%s %s:%s:%s\n", k.name, k.domain, k.selector, path)
		}
		signingTable.WriteString("# SENDER NAME\n")
		for _, r := range s.rows {
			value := r.key
			if r.identity != "" {
				value += ":" + r.identity
			}
			fmt.Fprintf(&signingTable, "%s %s\n", r.address, value)
		}
		return []file{{newKeyTable, []byte(keyTable.String())}, {newSigningTable, []byte(signingTable.String())}}
	})
	kind := string(ofFile)
	if s.patterns {
		kind = string(ofPattern)
	}
	o.plan.config.set("sign", "key_table", below("file:"+newKeyTable), "")
	o.plan.config.set("sign", "signing_table", below(kind+":"+newSigningTable), "")
}

// isTree reports whether a tree of keys says the same as the tables: each domain has keys of its own, which sign for all of it.
func (o *opendkim) isTree() bool {
	s := &o.signing
	signed := map[string]string{} // the key of each domain
	for _, r := range s.rows {
		name, ok := s.wholeDomain(r.address)
		k := s.key(r.key)
		if !ok || k == nil || k.domain == "%" || !strings.EqualFold(k.domain, name) || r.identity != "" || strings.Contains(k.path, "%") {
			return false
		}
		if other, twice := signed[name]; twice && other != r.key && !s.multiple {
			return false
		}
		if k2 := s.key(signed[name]); k2 != nil && k2 != k && k2.selector == k.selector {
			return false
		}
		signed[name] = r.key
	}
	return true
}

// wholeDomain is the domain of an address that stands for all its mail.
func (s *signing) wholeDomain(address string) (name string, ok bool) {
	name = address
	if s.patterns {
		if name, ok = strings.CutPrefix(address, "*@"); !ok {
			return "", false
		}
	}
	name = strings.ToLower(name)
	return name, !strings.ContainsAny(name, "@*%") && !strings.HasPrefix(name, ".")
}

// writeTree copies the keys to where dkimd looks for them by itself.
func (o *opendkim) writeTree() {
	seen := map[string]bool{}
	for _, r := range o.signing.rows {
		k := o.signing.key(r.key)
		to := filepath.Join(treeOfKeys, strings.ToLower(k.domain), k.selector+".pem")
		if !seen[to] {
			seen[to] = true
			o.plan.keys = append(o.plan.keys, keyCopy{k.path, k.inline, to})
		}
	}
}

// senders are the addresses whose mail the tables have signed.
func (o *opendkim) senders() {
	s := &o.signing
	seen := map[Sender]bool{}
	for _, r := range s.rows {
		local, name, isAddress := strings.Cut(r.address, "@")
		if !isAddress {
			local, name = "", r.address
		}
		if strings.Contains(local, "*") {
			local = strings.ReplaceAll(local, "*", "any")
			if local == "any" {
				local = ""
			}
		}
		sender := Sender{Local: local}
		switch {
		case strings.HasPrefix(name, "*."):
			sender.Below, name = true, name[2:]
		case strings.HasPrefix(name, "."):
			sender.Below, name = true, name[1:]
		case strings.HasPrefix(name, "*") && len(name) > 1:
			sender.Subdomains, name = true, strings.TrimLeft(name, "*.")
		case name == "*" || name == "%":
			name = "example.org"
		}
		if sender.Domain = strings.ToLower(strings.ReplaceAll(name, "*", "any")); !seen[sender] {
			seen[sender] = true
			o.plan.Senders = append(o.plan.Senders, sender)
		}
	}
}
