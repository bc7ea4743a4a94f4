package keys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/message"
	"dkimd/internal/safetext"

	"golang.org/x/sys/unix"
)

// anySender stands in tables for the domain of the sender, or for its name.
const anySender = "%"

// signingTable is a source: OpenDKIM's SigningTable with the KeyTable that it names keys of.
type signingTable struct {
	lines    patterns[*signingLine]
	multiple bool // all lines that match sign
	keys     map[string]*tableKey
}

// signingLine is what a line of the signing table says of the addresses of its pattern.
type signingLine struct {
	key     string  // in the key table; anySender: it is named after the sender's domain
	domain  *Domain // that signs; nil where it depends on the sender
	variant variant // its options, where the line has some
}

// tableKey is an entry of the key table.
type tableKey struct {
	name   string
	named  bool    // a line of the signing table names it
	domain *Domain // AnySender where d= is the sender's; nil where each has a file of its own, too
	own    map[domain.Name]*Domain
}

// lookup is who signs for a sender by the table.
func (t *signingTable) lookup(sender message.Address) []*Domain {
	var found []*Domain
	t.lines.find(sender, func(l *signingLine) bool {
		d := t.resolve(l, sender.Domain).current()
		if d.signs && !slices.Contains(found, d) {
			found = append(found, d)
		}
		return t.multiple || len(found) == 0
	})
	return found
}

// brokenLine begins the entry of a domain for a line that cannot be used; its pattern follows.
const brokenLine = "line "

// maxPattern is the longest pattern that an address may match.
const maxPattern = maxLocalPart + 256

// byPattern is the domain that signs by the first line with a pattern; nil where there is none, or each sender has its own.
func (s *Store) byPattern(pattern string) *Domain {
	for _, source := range s.sources {
		t, ok := source.(*signingTable)
		if !ok {
			continue
		}
		l, ok := t.lines.first(pattern)
		switch {
		case ok && l.domain != nil:
			return l.domain
		case ok && t.keys[l.key] != nil:
			return t.keys[l.key].domain
		}
	}
	return nil
}

// tableKeys are the entries of the key table.
func (s *Store) tableKeys() map[string]*tableKey {
	for _, source := range s.sources {
		if t, ok := source.(*signingTable); ok {
			return t.keys
		}
	}
	return nil
}

// resolve is the domain that signs by a line.
func (t *signingTable) resolve(l *signingLine, sender domain.Name) *Domain {
	var d *Domain
	if l.domain != nil {
		// What is kept at a reload may depend on the sender where what is on disk does not.
		if d = l.domain.current(); !d.AnySender() {
			return l.variant.of(d)
		}
		d = d.as(sender)
	} else {
		name := l.key
		if name == anySender {
			name = string(sender)
		}
		k := t.keys[name]
		if k == nil {
			return unusable(sender, "no key "+safetext.Quote(name)+" in the key table")
		}
		d = k.of(sender)
	}
	if identity := strings.ReplaceAll(l.variant.identity, anySender, string(sender)); identity != "" {
		d = d.with(Options{Identity: within(identity, d.Name)})
	}
	return d
}

// of is the domain that signs with a key for a sender.
func (k *tableKey) of(sender domain.Name) *Domain {
	if k.domain != nil {
		d := k.domain.current()
		if d.AnySender() {
			d = d.as(sender)
		}
		return d
	}
	if d := k.own[sender]; d != nil {
		return d.current()
	}
	return unusable(sender, "no file of "+string(sender)+" for key "+safetext.Quote(k.name)+" of the key table")
}

// as is a domain for any sender under the name of one.
func (d *Domain) as(sender domain.Name) *Domain {
	named := d.with(d.Options)
	named.Name, named.Keys = sender, make([]*Key, len(d.Keys))
	for i, k := range d.Keys {
		key := *k
		key.Domain = sender
		named.Keys[i] = &key
	}
	return named
}

// unusable is a domain that should sign and cannot.
func unusable(name domain.Name, why string) *Domain {
	return &Domain{Name: name, Transient: true, signs: true, reading: alreadyRead, faults: fault.Faults{{Got: why, Want: "a key to sign with"}}}
}

// within is an identity that may stand beside d=; OpenDKIM leaves others out, too.
func within(identity string, sdid domain.Name) string {
	local, host, ok := cutLast(identity)
	name, err := domain.Parse(host)
	if !ok || err != nil || !name.Within(sdid) {
		return ""
	}
	return local + "@" + string(name)
}

// variant is a domain with other options, made once for the domain as it is.
type variant struct {
	identity  string
	selectors []string
	made      atomic.Pointer[variantOf]
}

type variantOf struct{ base, domain *Domain }

func (v *variant) of(base *Domain) *Domain {
	if v.identity == "" && v.selectors == nil {
		return base
	}
	if made := v.made.Load(); made != nil && made.base == base {
		return made.domain
	}
	o := base.Options
	if v.identity != "" {
		o.Identity = v.identity
	}
	d := base.with(o)
	d.Transient = base.Transient
	if v.selectors != nil {
		d.Keys = slices.DeleteFunc(slices.Clone(base.Keys), func(k *Key) bool { return !slices.Contains(v.selectors, k.Selector) })
	}
	v.made.Store(&variantOf{base, d})
	return d
}

// with is the domain with other options, for a message.
func (d *Domain) with(o Options) *Domain {
	return &Domain{Name: d.Name, Path: d.Path, Keys: d.Keys, Options: o, Transient: true, signs: d.signs, faults: d.faults, reading: d.reading}
}

// openTables reads the tables.
func (s *Store) openTables(c Config) {
	if c.KeyTable == "" || c.SigningTable == "" {
		return
	}
	keyTable, keyErr := ParseTable(c.KeyTable)
	signing, signErr := ParseTable(c.SigningTable)
	if keyErr != nil || signErr != nil {
		return // internal/config says so
	}
	o := &tableOpener{store: s, table: &signingTable{
		multiple: c.MultipleSignatures,
	}}
	lines := &signingLines{Table: signing}
	var reading sync.WaitGroup
	reading.Go(func() { lines.read(c.MultipleSignatures) })
	o.readKeys(keyTable, c)
	reading.Wait()
	o.bind(lines)
	o.reportUnnamed(keyTable)
	s.sources = append(s.sources, o.table)
}

// tableOpener reads both tables.
type tableOpener struct {
	store    *Store
	table    *signingTable
	ordered  []*tableKey // the keys as they stand in the key table
	previous map[string]*content
	before   map[string]*tableKey // of the store before
	unread   bool                 // one of the tables could not be read, and that is fault enough
}

// judge takes in what is wrong with a whole table.
func (o *tableOpener) judge(t Table, seen fingerprint, wrong *fault.Fault) {
	if wrong != nil {
		o.unread = true
		o.store.fault(wrong)
		o.store.unlisted = append(o.store.unlisted, *wrong)
	} else if t.Path != "" && seen.mode&0o020 != 0 {
		// Panels leave tables so. Without it all mail would go out unsigned from the next start on, and the group is the operator's choice.
		o.store.fault(writable(t.Path, seen))
	}
}

// readKeys reads the key table.
func (o *tableOpener) readKeys(t Table, c Config) {
	entries, seen, wrong := t.load()
	o.judge(t, seen, wrong)
	o.table.keys = make(map[string]*tableKey, len(entries))
	all := make([]tableKey, len(entries))
	o.ordered = make([]*tableKey, 0, len(entries))
	o.store.domains = slices.Grow(o.store.domains, len(entries))
	if previous := o.store.reader.previous.Load(); previous != nil {
		o.previous, o.before = previous.contents, previous.tableKeys()
	}
	o.store.contents = make(map[string]*content, len(entries))
	e := keyEntryReader{opener: o, table: t, directory: filepath.Dir(t.Path), seen: seen, permissions: newPermissions(seen, c)}
	for i, entry := range entries {
		if o.table.keys[entry.key] != nil {
			o.store.overlooked = append(o.store.overlooked, *t.at(entry.line, fault.Fault{Got: "a second entry for " + safetext.Quote(entry.key), Want: "one entry a name", Hint: "the first one counts"}))
			continue
		}
		k := &all[i]
		k.name = entry.key
		if wrong := e.read(k, entry); wrong != nil {
			o.spoil(k, entry, t.at(entry.line, *wrong))
		}
		o.table.keys[entry.key] = k
		o.ordered = append(o.ordered, k)
	}
}

// spoil settles who signs by an entry that cannot be used. Where each sender has a file, those before a reload go on.
func (o *tableOpener) spoil(k *tableKey, e tableEntry, wrong *fault.Fault) {
	if before := o.before[k.name]; before != nil && before.own != nil {
		k.own = before.own
		o.store.fault(wrong)
		return
	}
	written, _, _ := strings.Cut(e.value, ":")
	name, err := dkim.ParseSDID(written)
	switch {
	case written == anySender:
		name = anySender
	case err != nil:
		name = domain.Name(e.key)
	}
	k.domain = newTableDomain(name, wrong.Path, "key "+k.name)
	k.domain.faults = fault.Faults{*wrong}
}

// signingLines are the lines of a signing table, without the keys that they name.
type signingLines struct {
	Table
	entries    []tableEntry
	all        []signingLine // of the entries
	patterns   []string      // of the entries; empty: the line is not used
	lines      patterns[*signingLine]
	seen       fingerprint
	wrong      *fault.Fault // the whole table
	nobodys    fault.Faults // lines of which it is not known whose mail they are about
	overlooked fault.Faults
}

func (s *signingLines) warn(e tableEntry, f fault.Fault) {
	s.overlooked = append(s.overlooked, *s.at(e.line, f))
}

// read reads the table. It needs nothing of the key table, which is read at the same time.
func (s *signingLines) read(multiple bool) {
	s.entries, s.seen, s.wrong = s.load()
	s.all, s.patterns = make([]signingLine, len(s.entries)), make([]string, len(s.entries))
	s.lines = newPatterns[*signingLine](len(s.entries))
	s.lines.ordered, s.lines.every = s.globs, s.globs && multiple
	keyOf := exactKey
	if s.globs {
		keyOf = globKey
	}
	for i, e := range s.entries {
		if e.nobodys() {
			s.nobodys = append(s.nobodys, *s.at(e.line, *e.fault))
			continue
		}
		pattern, never := keyOf(e.key)
		if never {
			s.warn(e, fault.Fault{Got: "the pattern " + safetext.Quote(e.key) + ", which no address matches", Want: wantPattern(s.Table), Hint: patternHint(s.Table)})
			continue
		}
		if pattern == "*" {
			s.warn(e, fault.Fault{Got: "the pattern " + safetext.Quote(e.key) + ": mail of every sender is signed", Want: "the domains that the keys are for"})
		}
		l := &s.all[i]
		name, identity, _ := strings.Cut(e.value, ":")
		if l.key = name; e.fault == nil {
			l.variant.identity = identity
		}
		s.patterns[i] = pattern
		s.lines.add(pattern, l)
	}
}

// bind gives the lines of the signing table their keys, and hands to the store the domains of those that are in use.
func (o *tableOpener) bind(s *signingLines) {
	o.judge(s.Table, s.seen, s.wrong)
	if s.wrong != nil {
		o.store.unknown = s.Path
	}
	for i, e := range s.entries {
		if s.patterns[i] == "" {
			continue
		}
		l := &s.all[i]
		k := o.table.keys[l.key]
		switch broken := e.broken(l.key); {
		case broken != nil:
			l.domain = o.unusableLine(s, i, domain.Name(e.key))
			l.domain.faults = fault.Faults{*s.at(e.line, *broken)}
		case l.key == anySender:
			for _, k := range o.ordered {
				o.use(k)
			}
		case k == nil:
			l.domain = o.unusableLine(s, i, domain.Name(l.key))
			if !o.unread {
				l.domain.faults = fault.Faults{*s.at(e.line, fault.Fault{Got: "no key " + safetext.Quote(l.key) + " in the key table", Want: "the name of a key in it"})}
			}
		default:
			o.use(k)
			identity := l.variant.identity
			l.fix(k)
			if left := l.domain != nil && l.variant.identity == "" || !strings.Contains(identity, "@"); identity != "" && left {
				s.warn(e, fault.Fault{Got: "the identity " + safetext.Quote(identity) + ", which is left out", Want: "an address or @domain within d="})
			}
		}
	}
	o.table.lines = s.lines
	o.store.faults = append(o.store.faults, s.few(s.nobodys)...)
	o.store.overlooked = append(o.store.overlooked, s.few(s.overlooked)...)
}

// unusableLine is the domain of a line whose mail gets what on_error says.
func (o *tableOpener) unusableLine(s *signingLines, i int, name domain.Name) *Domain {
	d := newTableDomain(name, s.Path, brokenLine+s.patterns[i])
	o.store.domains = append(o.store.domains, d)
	return d
}

// nobodys reports whether a line cannot be read so far that it is known whose mail it is about.
func (e tableEntry) nobodys() bool {
	return e.fault != nil && (e.key == "" || len(e.key) > maxPattern || !utf8.ValidString(e.key))
}

// broken is why a line of the signing table cannot be used, or nil.
func (e tableEntry) broken(name string) *fault.Fault {
	if e.fault == nil && name == "" {
		return &fault.Fault{Got: "a pattern without the name of a key", Want: "PATTERN NAME"}
	}
	return e.fault
}

// reportUnnamed are the faults of entries that no line of the signing table names.
func (o *tableOpener) reportUnnamed(t Table) {
	var wrong fault.Faults
	for _, k := range o.ordered {
		if !k.named && k.domain != nil {
			wrong = append(wrong, k.domain.faults...)
		}
	}
	o.store.faults = append(o.store.faults, t.few(wrong)...)
}

// fix settles who signs by a line, where that does not depend on the sender.
func (l *signingLine) fix(k *tableKey) {
	if k.domain == nil || k.domain.AnySender() || strings.Contains(l.variant.identity, anySender) {
		return
	}
	l.domain = k.domain
	if l.variant.identity != "" {
		l.variant.identity = within(l.variant.identity, k.domain.Name)
	}
}

func wantPattern(t Table) string {
	if t.globs {
		return "user@example.com, *@example.com or *@*.example.com"
	}
	return "user@example.com, example.com, .example.com or *"
}

func patternHint(t Table) string {
	if t.globs {
		return "patterns of a refile are held against whole addresses"
	}
	return "name the table refile:" + t.Path + " where its lines are patterns"
}

// use hands the domains of a key to the store.
func (o *tableOpener) use(k *tableKey) {
	if k.named {
		return
	}
	k.named = true
	if k.domain != nil {
		o.store.domains = append(o.store.domains, k.domain)
	}
	for _, d := range k.own {
		o.store.domains = append(o.store.domains, d)
	}
}

// keyEntryReader reads the entries of a key table.
type keyEntryReader struct {
	opener      *tableOpener
	table       Table
	directory   string // of the table
	seen        fingerprint
	permissions *permissions
}

const wantKeyEntry = "NAME DOMAIN:SELECTOR:KEY"

// read reads one entry.
func (r *keyEntryReader) read(k *tableKey, e tableEntry) *fault.Fault {
	if e.fault != nil {
		return e.fault
	}
	parts := strings.SplitN(e.value, ":", 3)
	if len(parts) < 3 || parts[2] == "" {
		return &fault.Fault{Got: "an entry without domain, selector and key", Want: wantKeyEntry}
	}
	name, below := domain.Name(anySender), domain.Name("")
	var err error
	if parts[0] != anySender {
		if name, err = dkim.ParseSDID(parts[0]); err != nil {
			return &fault.Fault{Got: "the domain " + safetext.Quote(parts[0]) + ": " + err.Error(), Want: wantKeyEntry}
		}
		below = name
	}
	selector, err := dkim.ParseSelector(parts[1], below, dkim.AsPublished)
	if err != nil {
		return &fault.Fault{Got: "the selector " + safetext.Quote(parts[1]) + ": " + err.Error(), Want: wantKeyEntry}
	}
	key := &Key{Domain: name, Selector: selector}
	path, isFile := r.path(parts[2])
	switch {
	case !isFile:
		if wrong := r.inline(key, parts[2], e.line); wrong != nil {
			return wrong
		}
	case name == anySender && strings.Contains(path, anySender):
		return r.ownFiles(k, selector, path)
	default:
		key.Path = strings.ReplaceAll(path, anySender, string(name))
		r.file(key)
	}
	k.domain = newTableDomain(name, key.Path, "key "+k.name)
	k.domain.Keys = []*Key{key}
	return nil
}

// path is where the key of an entry is, if it is a file: relative to the table.
func (r *keyEntryReader) path(data string) (string, bool) {
	switch {
	case strings.HasPrefix(data, "/"):
		return filepath.Clean(data), true
	case strings.HasPrefix(data, "./"), strings.HasPrefix(data, "../"):
		return filepath.Join(r.directory, data), true
	}
	return "", false
}

// file gives a key the content of its file, which it may have in common with others.
func (r *keyEntryReader) file(key *Key) {
	contents := r.opener.store.contents
	if c := contents[key.Path]; c != nil {
		key.content = c
		return
	}
	if c := r.opener.previous[key.Path]; c != nil {
		if now, err := stat(key.Path); err == nil && c.fits(now) {
			key.content = c
		}
	}
	if key.content == nil {
		key.content = newContent(key, fingerprint{}, r.opener.store.reader)
		key.permissions = r.permissions
	}
	contents[key.Path] = key.content
}

// inline gives a key the content that stands in the table itself. The table is a key file then.
func (r *keyEntryReader) inline(key *Key, data string, line int) *fault.Fault {
	if r.table.Path == "" {
		return &fault.Fault{Got: "a private key in dkimd.toml", Want: "the path of a key file", Hint: "move it into a file: others can read dkimd.toml"}
	}
	if wrong := r.permissions.checkMode(r.table.Path, r.seen); wrong != nil {
		wrong.Got += " in it"
		return wrong
	}
	key.Path, key.Line = r.table.Path, line
	store := r.opener.store
	if key.content = store.contents[data]; key.content == nil {
		if key.content = r.opener.previous[data]; key.content == nil {
			key.content = newContent(key, fingerprint{}, store.reader)
			key.inline = func() []byte { return []byte(oneLinePEM.Replace(data)) }
		}
		store.contents[data] = key.content
	}
	return nil
}

// oneLinePEM breaks PEM into lines that a table has on one.
//
//nolint:gochecknoglobals // made once
var oneLinePEM = strings.NewReplacer(`\n`, "\n", "KEY-----", "KEY-----\n", "-----END", "\n-----END")

// ownFiles finds the keys of an entry that has one for each sender's domain.
func (r *keyEntryReader) ownFiles(k *tableKey, selector, path string) *fault.Fault {
	l := &layout{base: "/", selector: selector, permissions: r.permissions}
	l.take(strings.ReplaceAll(path, anySender, DomainPlace))
	k.own = map[domain.Name]*Domain{}
	err := l.list(func(p *place) {
		name, err := dkim.ParseSDID(p.written)
		if err != nil || k.own[name] != nil {
			return
		}
		_ = p.files(func(selector, path string) {
			if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
				return
			}
			key := &Key{Domain: name, Selector: selector, Path: path}
			r.file(key)
			k.own[name] = newTableDomain(name, path, "key "+k.name+" "+string(name))
			k.own[name].Keys = []*Key{key}
		})
	})
	if err != nil {
		return &fault.Fault{Got: reason(err) + ": " + l.base, Want: "the directory of the keys"}
	}
	return nil
}
