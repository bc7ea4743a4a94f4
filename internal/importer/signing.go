package importer

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/safetext"
	"dkimd/keys"
)

// signing is who signs, as OpenDKIM's tables say it. A single key is the same with tables of one line.
type signing struct {
	keys     []*tableKey
	byName   map[string]*tableKey // in lower case
	parsed   map[string]parsedKey // by path
	rows     []tableRow
	patterns bool // the addresses are patterns: a refile
	multiple bool // every row that fits signs, not only the first

	keyTable, signingTable dataset
	own                    bool // the tables cannot be used as they are
	notes                  map[string]verdictText
}

// parsedKey is what a key file holds; it may be that of many domains.
type parsedKey struct {
	algorithm, wrong string
	pem              bool
}

type verdictText struct {
	verdict Verdict
	text    string
}

// tableKey is a line of the KeyTable.
type tableKey struct {
	Place
	name, domain, selector string
	path                   string // as the system has it; empty: inline
	inline                 []byte // PEM
	copied                 string // where it is copied to, below the directory that is written; empty: it stays
}

// tableRow is a line of the SigningTable.
type tableRow struct {
	Place
	address, key, identity string
}

// readSigning reads Domain, KeyFile and Selector, or the tables, and which of their lines are good.
func (o *opendkim) readSigning() error {
	s := &o.signing
	s.notes = map[string]verdictText{}
	s.multiple = o.truth("MultipleSignatures")
	if s.multiple {
		s.notes["MultipleSignatures"] = verdictText{Close, "multiple_signatures = true: every line that fits signs, a key once; OpenDKIM 2.11 signs twice with a key that two lines name, and takes the first and the last of three or more"}
	} else {
		s.notes["MultipleSignatures"] = verdictText{Same, "off, as in dkimd"}
	}
	if mode, set := o.set["mode"]; set && !strings.Contains(mode.value, "s") {
		for _, name := range []string{"Domain", "KeyFile", "Selector", "KeyTable", "SigningTable", "SubDomains", "MultipleSignatures"} {
			s.notes[name] = verdictText{Same, "without effect: Mode does not sign"}
		}
		return nil
	}
	if _, tables := o.set["keytable"]; tables {
		for _, name := range []string{"Domain", "KeyFile", "Selector", "SubDomains"} {
			s.notes[name] = verdictText{Same, "without effect beside a KeyTable"}
		}
		return o.readTables()
	}
	s.notes["SigningTable"] = verdictText{NotCarried, "there is no KeyTable: it signs nothing"}
	return o.readSingle()
}

// readTables reads KeyTable and SigningTable.
func (o *opendkim) readTables() error {
	s := &o.signing
	keyTable, err := o.root.dataset(o.set["keytable"], o.base)
	if err != nil {
		return err
	}
	s.keyTable = keyTable
	if keyTable.kind == notRead {
		s.notes["KeyTable"] = verdictText{NotCarried, "dkimd reads no database: write the table into a file. Until then nothing is signed"}
		s.notes["SigningTable"] = verdictText{NotCarried, "see KeyTable"}
		return nil
	}
	s.notes["KeyTable"] = verdictText{Same, "key_table"}
	table, set := o.set["signingtable"]
	if !set {
		s.notes["KeyTable"] = verdictText{NotCarried, "there is no SigningTable: nothing says whose mail the keys sign"}
		return nil
	}
	signingTable, err := o.root.dataset(table, o.base)
	if err != nil {
		return err
	}
	if s.signingTable = signingTable; signingTable.kind == notRead {
		s.notes["SigningTable"] = verdictText{NotCarried, "dkimd reads no database: write the table into a file. Until then nothing is signed"}
		return nil
	}
	s.notes["SigningTable"] = verdictText{Same, "signing_table"}
	s.patterns = signingTable.kind == ofPattern
	s.own = keyTable.kind == ofList || signingTable.kind == ofList
	for _, e := range keyTable.entries {
		if key, wrong := o.tableKey(e); wrong != "" {
			o.plan.note(NotCarried, e.Place, "KeyTable", e.key, wrong+"; the line was left out")
			s.own = true
		} else {
			s.add(key)
		}
	}
	for _, e := range signingTable.entries {
		o.readRow(e)
	}
	return nil
}

// readRow takes a line of the SigningTable in.
func (o *opendkim) readRow(e entry) {
	s := &o.signing
	name, identity, _ := strings.Cut(e.value, ":")
	row := tableRow{e.Place, e.key, strings.TrimSpace(name), strings.TrimSpace(identity)}
	leftOut := func(wrong string) {
		o.plan.note(NotCarried, e.Place, "SigningTable", strings.TrimSpace(e.key+" "+e.value), wrong+"; the line was left out")
		s.own = true
	}
	switch {
	case safetext.Printable(e.key+e.value) != e.key+e.value:
		leftOut("it is not UTF-8")
		return
	case row.key == "":
		leftOut("it names no key")
		return
	case row.key != "%" && s.key(row.key) == nil:
		leftOut("no usable line of the KeyTable is named " + safetext.Quote(row.key))
		return
	}
	if row.identity != "" && !strings.Contains(row.identity, "@") {
		o.plan.note(Close, e.Place, "SigningTable", strings.TrimSpace(e.key+" "+e.value), "OpenDKIM does not sign with an identity without @; dkimd does, with @ and the domain")
	}
	if k := s.key(row.key); k != nil && k.name != row.key { // dkimd tells letters in upper case apart
		row.key, s.own = k.name, true
	}
	if matchesAll(row.address, s.patterns) {
		o.plan.note(Close, e.Place, "SigningTable", e.key+" "+e.value, everySender)
	} else if !s.patterns && strings.Contains(row.address, "*") && row.address != "*" && !strings.HasSuffix(row.address, "@*") {
		o.plan.note(Close, e.Place, "SigningTable", e.key+" "+e.value, "a * counts in a refile only: this line signs nothing, as it did not")
	}
	if s.patterns && strings.ContainsAny(row.address, `?^$|\[]{}`) {
		o.plan.note(Close, e.Place, "SigningTable", e.key+" "+e.value, "dkimd takes each letter but * as it is; to OpenDKIM some are of a regular expression, which fits other addresses or has it not start")
	}
	s.rows = append(s.rows, row)
}

// everySender tells of an entry that has every address.
const everySender = "signs mail of ours from every domain, also from those of strangers: as it was"

func matchesAll(address string, patterns bool) bool {
	return address == "*" || patterns && (address == "*@*" || address == "**")
}

// key is the first key of a name, in any case.
func (s *signing) key(name string) *tableKey { return s.byName[strings.ToLower(name)] }

func (s *signing) add(k *tableKey) {
	if s.byName == nil {
		s.byName = map[string]*tableKey{}
	}
	s.keys = append(s.keys, k)
	if name := strings.ToLower(k.name); s.byName[name] == nil {
		s.byName[name] = k
	}
}

// tableKey reads a line of the KeyTable: domain:selector:key. Wrong says why dkimd could not use it.
func (o *opendkim) tableKey(e entry) (key *tableKey, wrong string) {
	parts := strings.SplitN(e.value, ":", 3)
	if len(parts) < 3 {
		return nil, "want NAME DOMAIN:SELECTOR:KEY"
	}
	for i, part := range parts {
		if parts[i] = strings.TrimSpace(part); parts[i] != part {
			o.signing.own = true
		}
	}
	key = &tableKey{Place: e.Place, name: e.key, domain: parts[0], selector: parts[1]}
	if safetext.Printable(e.key+e.value) != e.key+e.value {
		return nil, "it is not UTF-8"
	}
	sdid := domain.Name("example.org")
	if key.domain != "%" {
		name, err := dkim.ParseSDID(key.domain)
		if err != nil {
			return nil, "the domain " + safetext.Quote(key.domain) + ": " + err.Error()
		}
		sdid = name
	}
	if _, err := dkim.ParseSelector(key.selector, sdid, dkim.AsPublished); err != nil {
		return nil, "the selector " + safetext.Quote(key.selector) + ": " + err.Error()
	}
	return key, o.locateKey(key, parts[2])
}

// locateKey reads where a key is, and whether dkimd can use it.
func (o *opendkim) locateKey(key *tableKey, written string) (wrong string) {
	if !strings.HasPrefix(written, "/") && !strings.HasPrefix(written, "./") && !strings.HasPrefix(written, "../") {
		if key.inline = inlineKey(written); key.inline == nil {
			return "the key is neither a path that begins with / or ./ nor a private key"
		}
		if _, f := keys.Parse(key.Path, slices.Clone(key.inline)); f != nil {
			return "the key: " + f.Got
		}
		o.signing.own = true
		return ""
	}
	if !strings.HasPrefix(written, "/") {
		written = filepath.Join(o.base, written)
		o.signing.own = true
	}
	key.path = o.root.path(written)
	if strings.Contains(written, "%") {
		return ""
	}
	p, known := o.signing.parsed[key.path]
	if !known {
		p = o.parseKey(written, key)
		if o.signing.parsed == nil {
			o.signing.parsed = map[string]parsedKey{}
		}
		o.signing.parsed[key.path] = p
	}
	if p.wrong != "" {
		return p.wrong
	}
	o.noteType(key, p)
	if o.root != "" && o.root != "/" {
		o.signing.own = true
	}
	return ""
}

// noteType tells of a key of a type that OpenDKIM does not sign with: SignatureAlgorithm is that of all keys.
// rspamd reads Ed25519 in base64 only.
func (o *opendkim) noteType(key *tableKey, p parsedKey) {
	algorithm, isEd25519 := o.set["signaturealgorithm"].value, strings.EqualFold(p.algorithm, "Ed25519")
	switch wants := strings.HasPrefix(algorithm, "ed25519"); {
	case o.plan.Source == "rspamd" && isEd25519 && p.pem:
		o.plan.note(Close, key.Place, "key", key.path, "signs with Ed25519; rspamd 3.4 reads no such key in PEM, and does not sign with it")
	case o.plan.Source == "opendkim" && wants != isEd25519:
		o.plan.note(Close, key.Place, "KeyTable", key.path, "signs with "+p.algorithm+"; OpenDKIM defers mail that it is for, since SignatureAlgorithm is "+cmp.Or(algorithm, "rsa-sha256"))
	}
}

// parseKey reads the file of a key.
func (o *opendkim) parseKey(written string, key *tableKey) parsedKey {
	data, err := o.root.read(written, key.Place)
	if f, ok := errors.AsType[fault.Fault](err); ok {
		return parsedKey{wrong: "the key " + key.path + ": " + f.Got}
	}
	if err != nil {
		return parsedKey{wrong: "the key: " + err.Error()}
	}
	inPEM := bytes.Contains(data, []byte("-----BEGIN")) // before it is read, which wipes it
	private, f := keys.Parse(key.path, data)
	if f != nil {
		return parsedKey{wrong: "the key " + key.path + ": " + f.Got}
	}
	return parsedKey{algorithm: private.Type, pem: inPEM}
}

// inlineKey is a private key that stands in a table, PEM or the base64 of its DER, as PEM. Nil: it is none.
func inlineKey(written string) []byte {
	if strings.HasPrefix(written, "-----BEGIN") {
		return []byte(written)
	}
	der, err := base64.StdEncoding.DecodeString(written)
	if err != nil || len(der) < 32 {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})
}

// readSingle reads Domain, KeyFile and Selector: tables of one key.
func (o *opendkim) readSingle() error {
	s := &o.signing
	s.multiple, s.notes["MultipleSignatures"] = false, verdictText{Same, "without effect without a SigningTable"}
	domains, set := o.set["domain"]
	file, hasFile := o.set["keyfile"]
	selector, hasSelector := o.set["selector"]
	if !set || !hasFile || !hasSelector {
		words := "nothing is signed without all of Domain, KeyFile and Selector, as it was not"
		if hasFile != hasSelector {
			words = "nothing is signed without all of Domain, KeyFile and Selector; OpenDKIM does not start with KeyFile or Selector alone"
		}
		for _, name := range []string{"Domain", "KeyFile", "Selector"} {
			s.notes[name] = verdictText{Close, words}
		}
		s.notes["SubDomains"] = verdictText{Same, "without effect: nothing is signed"}
		return nil
	}
	d, err := o.root.dataset(domains, o.base)
	if err != nil {
		return err
	}
	if d.kind == notRead {
		s.notes["Domain"] = verdictText{NotCarried, "dkimd reads no database: write the domains into a file. Until then nothing is signed"}
		return nil
	}
	s.own, s.patterns = true, d.kind == ofPattern
	if all := slices.IndexFunc(d.entries, func(e entry) bool { return e.key == "*" }); all >= 0 && !s.patterns {
		d.entries = d.entries[all : all+1] // whatever else is there: each sender's domain signs for itself
	}
	for _, e := range d.entries {
		o.readSingleDomain(e, selector, file)
	}
	o.subdomains()
	for _, name := range []string{"Domain", "KeyFile", "Selector"} {
		s.notes[name] = verdictText{Same, "key_table and signing_table"}
	}
	s.notes["SubDomains"] = verdictText{Same, "a line for the domains below in signing_table"}
	return nil
}

// readSingleDomain makes table lines for one domain of Domain.
func (o *opendkim) readSingleDomain(e entry, selector, file setting) {
	s := &o.signing
	at := "example.org"
	path := o.absolute(file.value)
	if !strings.Contains(e.key, "*") {
		at = e.key
	}
	key, wrong := o.tableKey(entry{e.Place, e.key, at + ":" + selector.value + ":" + path})
	if wrong != "" {
		o.plan.note(NotCarried, e.Place, "Domain", e.key, wrong+"; nothing is signed for it")
		return
	}
	switch {
	case e.key == "*":
		key.domain = "%"
		o.plan.note(Close, e.Place, "Domain", e.key, everySender)
	case s.patterns && strings.Contains(e.key, "*"):
		key.domain = "%"
	case strings.Contains(e.key, "*"):
		o.plan.note(Close, e.Place, "Domain", e.key, "a * counts in a refile only, or alone: this signs nothing, as it did not")
		return
	}
	s.add(key)
	address := e.key
	if s.patterns {
		address = "*@" + e.key
	}
	s.rows = append(s.rows, tableRow{e.Place, address, key.name, ""})
}

// subdomains adds lines for what is below each domain. OpenDKIM asks for a domain itself first, then for the nearest above it.
func (o *opendkim) subdomains() {
	if !o.truth("SubDomains") {
		return
	}
	s := &o.signing
	rows := slices.Clone(s.rows)
	slices.SortStableFunc(rows, func(a, b tableRow) int { return cmp.Compare(len(b.address), len(a.address)) })
	for _, r := range rows {
		if r.address == "*" {
			continue
		}
		if name, pattern := strings.CutPrefix(r.address, "*@"); pattern {
			r.address = "*@*." + name
		} else {
			r.address = "." + name
		}
		s.rows = append(s.rows, r)
	}
}

// noteSigning is the note of a setting that readSigning has read.
func (o *opendkim) noteSigning(s setting) {
	v, known := o.signing.notes[s.name]
	if !known {
		v = verdictText{Same, "key_table and signing_table"}
	}
	o.plan.note(v.verdict, s.Place, s.name, s.value, v.text)
}
