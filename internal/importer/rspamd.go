package importer

import (
	"cmp"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
)

func itoa(n int) string { return strconv.Itoa(n) }

// DefaultRspamd is where rspamd has its configuration.
const DefaultRspamd = "/etc/rspamd"

// rspamd is a configuration of rspamd being read.
type rspamd struct {
	Options
	root     root
	plan     *Plan
	dir      string // as the system names it
	settings *ucl   // of dkim_signing
	dkim     *ucl   // of dkim
	// signHeaders are the fields that are signed; empty: the default.
	signHeaders string
	used        map[string]bool
	depth       int       // of files that include each other
	globs       bool      // a map has patterns
	tables      *opendkim // writes keys and tables: they are of the same form
}

// Rspamd reads the signing of rspamd: dkim_signing.conf in modules.d, local.d and override.d of a directory, or one file.
func Rspamd(path string, options Options) (*Plan, error) {
	if path == "" {
		path = DefaultRspamd
	}
	r := &rspamd{Options: options, root: root(options.Root), dir: path, used: map[string]bool{}, settings: &ucl{kind: uclObject}, dkim: &ucl{kind: uclObject}}
	r.plan = &Plan{Source: "rspamd", From: r.root.path(path)}
	r.tables = &opendkim{Options: options, root: r.root, plan: r.plan, base: "/"}
	if err := r.read(path); err != nil {
		return nil, err
	}
	if err := r.carry(); err != nil {
		return nil, err
	}
	r.plan.OldConfig, r.plan.Records = r.writeOld, r.tables.keyRecords
	r.plan.sort()
	return r.plan, nil
}

// read reads the file, or those of the directory.
func (r *rspamd) read(path string) error {
	info, err := os.Stat(r.root.path(path))
	if err != nil {
		return fault.Fault{Path: r.root.path(path), Got: "no such file or directory", Want: "rspamd's directory of configurations, or its dkim_signing.conf"}
	}
	if !info.IsDir() {
		r.dir = filepath.Dir(path)
		return r.file(path, "dkim_signing", r.settings)
	}
	found := false
	for _, sub := range []string{"modules.d", "rspamd.conf.local", "local.d", "rspamd.conf.override", "override.d"} {
		for section, into := range map[string]*ucl{"dkim_signing": r.settings, "dkim": r.dkim} {
			name := filepath.Join(path, sub, section+".conf")
			if strings.HasPrefix(sub, "rspamd.") {
				name = filepath.Join(path, sub)
			}
			err := r.file(name, section, into)
			if f, ok := errors.AsType[fault.Fault](err); ok && f.Got == noSuchFile {
				continue
			}
			if err != nil {
				return err
			}
			found = found || section == "dkim_signing"
		}
	}
	if !found {
		return fault.Fault{Path: r.root.path(path), Got: "no dkim_signing.conf in modules.d, local.d or override.d", Want: "rspamd's directory of configurations"}
	}
	return nil
}

// file takes in one file: the keys of a section, in a section of that name or, but in rspamd.conf, alone.
func (r *rspamd) file(path, section string, into *ucl) error {
	data, err := r.root.read(path, Place{})
	if err != nil {
		return err
	}
	variables := map[string]string{
		"LOCAL_CONFDIR": r.dir, "CONFDIR": r.dir, "DBDIR": "/var/lib/rspamd", "RUNDIR": "/run/rspamd", "RULESDIR": "/usr/share/rspamd/rules",
	}
	top, err := parseUCL(r.root.path(path), data, variables, func(_ *uclReader, _ *ucl, _, name string) error {
		return r.included(name, section, into)
	})
	if err != nil {
		return err
	}
	if inner := top.get(section); inner != nil && inner.kind == uclObject {
		top = inner
	} else if strings.HasPrefix(filepath.Base(path), "rspamd.conf") {
		return nil
	}
	into.merge(top)
	return nil
}

// included takes in a file that another one includes, but those that read takes in. What is not there is passed over: such
// lines say try.
func (r *rspamd) included(path, section string, into *ucl) error {
	if filepath.Base(path) == section+".conf" || r.depth == maxInclude {
		return nil
	}
	r.depth++
	defer func() { r.depth-- }()
	err := r.file(path, section, into)
	if f, ok := errors.AsType[fault.Fault](err); ok && f.Got == noSuchFile {
		return nil
	}
	return err
}

func (r *rspamd) note(v Verdict, u *ucl, name, words string) {
	r.used[name] = true
	value := u.text
	switch u.kind {
	case uclList:
		value = "[ ]"
	case uclObject:
		value = "{ }"
	case uclText:
	}
	r.plan.note(v, u.Place, name, value, words)
}

// truth is a boolean with its default.
func (r *rspamd) truth(name string, def bool) bool {
	u := r.settings.get(name)
	if u == nil {
		return def
	}
	return slices.Contains([]string{"true", "yes", "on", "1"}, strings.ToLower(u.text))
}

func (r *rspamd) text(name, def string) string {
	if u := r.settings.get(name); u != nil && u.kind == uclText && u.text != "" {
		return u.text
	}
	return def
}

// carry makes dkimd's configuration.
func (r *rspamd) carry() error {
	c := &r.plan.config
	c.set("milter", "listen", []string{besideOpenDKIM}, "")
	c.set("verify", "enabled", false, "rspamd goes on verifying")
	c.set("sign", "canonicalization", "relaxed/relaxed", "as rspamd does")
	r.headers()
	if err := r.whose(); err != nil {
		return err
	}
	if err := r.who(); err != nil {
		return err
	}
	r.rest()
	return nil
}

// headers are those that rspamd signs by default: (o) oversigned, (x) oversigned where they occur.
func (r *rspamd) headers() {
	const def = "(o)from:(x)sender:(o)reply-to:(o)subject:(x)date:(x)message-id:(o)to:(o)cc:(x)mime-version:(x)content-type:" +
		"(x)content-transfer-encoding:resent-to:resent-cc:resent-from:resent-sender:resent-message-id:(x)in-reply-to:(x)references:list-id:" +
		"list-help:list-owner:list-unsubscribe:list-unsubscribe-post:list-subscribe:list-post:(x)openpgp:(x)autocrypt"
	u := cmp.Or(r.dkim.get("sign_headers"), r.settings.get("sign_headers"))
	if u != nil {
		fields := []string{u.text}
		for _, item := range u.list {
			fields = append(fields, item.text)
		}
		r.signHeaders = strings.Trim(strings.Join(fields, ":"), ":")
	}
	written := cmp.Or(r.signHeaders, def)
	var headers, oversign, odd []string
	for field := range strings.SplitSeq(written, ":") {
		field = strings.TrimSpace(field)
		name, always := strings.CutPrefix(field, "(o)")
		name, present := strings.CutPrefix(name, "(x)")
		if name == "" || strings.EqualFold(name, "dkim-signature") {
			continue
		}
		headers = append(headers, name)
		switch {
		case always && onlyWhereThere(name), present && !onlyWhereThere(name):
			odd = append(odd, name)
			if always || covers([]string{"From", "To", "Cc", "Subject", "Reply-To"}, name) { // most messages have them
				oversign = append(oversign, name)
			}
		case always || present:
			oversign = append(oversign, name)
		}
	}
	r.plan.config.set("sign", "headers", headers, "")
	r.plan.config.set("sign", "oversign", oversign, "")
	if u != nil {
		words := "[sign] headers and oversign"
		if len(odd) > 0 {
			r.note(Close, u, "sign_headers", words+"; whether "+strings.Join(odd, ", ")+" is oversigned where it is absent differs")
			return
		}
		r.note(Same, u, "sign_headers", words)
	}
}

// whose says whose mail is ours.
func (r *rspamd) whose() error {
	c := &r.plan.config
	networks := []string{}
	if r.truth("sign_local", true) {
		networks = append(networks, "127.0.0.0/8", "::1", "fe80::/10", "fec0::/10")
		networks = append(networks, r.localAddresses()...)
	}
	signed, err := r.signNetworks()
	if err != nil {
		return err
	}
	networks = append(networks, signed...)
	slices.Sort(networks)
	networks = slices.Compact(networks)
	r.plan.Clients = append(r.plan.Clients, networks...)
	c.set("sign", "networks", networks, "sign_local with local_addrs, and sign_networks")
	c.set("sign", "authenticated", r.truth("auth_only", r.truth("sign_authenticated", true)), "")
	c.set("sign", "daemon_names", []string{}, "as rspamd does")
	for _, name := range []string{"sign_local", "sign_authenticated", "auth_only"} {
		if u := r.settings.get(name); u != nil {
			r.note(Same, u, name, "[sign] networks and authenticated")
		}
	}
	return nil
}

// signNetworks are the clients of sign_networks.
func (r *rspamd) signNetworks() (networks []string, err error) {
	u := r.settings.get("sign_networks")
	switch {
	case u == nil:
		return nil, nil
	case u.kind == uclText && strings.ContainsAny(u.text, ", "):
		r.note(NotCarried, u, "sign_networks", "want a list in [ ], one network, or a map in a file; left out")
		return nil, nil
	case strings.Contains(u.text, "://") && !strings.Contains(u.text, "file://"):
		r.note(NotCarried, u, "sign_networks", "dkimd fetches no map: write the networks into a file, and name it in [sign] networks with @")
		return nil, nil
	}
	lines, err := r.lookup("sign_networks", u)
	if err != nil {
		return nil, err
	}
	for _, e := range lines {
		prefix, err := netip.ParsePrefix(e.key)
		if addr, noAddr := netip.ParseAddr(e.key); noAddr == nil {
			networks = append(networks, addr.String())
		} else if err == nil {
			networks = append(networks, prefix.Masked().String())
		} else {
			r.plan.note(Close, e.Place, "sign_networks", e.key, "no address and no network, so rspamd finds no client by it; left out")
		}
	}
	if !r.used["sign_networks"] {
		r.note(Same, u, "sign_networks", "[sign] networks")
	}
	return networks, nil
}

// localAddresses are local_addrs of options.inc.
func (r *rspamd) localAddresses() []string {
	local := []string{"192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "fd00::/8", "169.254.0.0/16"}
	for _, name := range []string{"options.inc", "local.d/options.inc", "override.d/options.inc"} {
		path := filepath.Join(r.dir, name)
		data, err := r.root.read(path, Place{})
		if err != nil {
			continue
		}
		options, err := parseUCL(r.root.path(path), data, nil, func(*uclReader, *ucl, string, string) error { return nil })
		if err != nil {
			continue
		}
		if u := options.get("local_addrs"); u != nil {
			local = nil
			for _, item := range slices.Concat(u.list, []*ucl{u}) {
				if prefix, err := netip.ParsePrefix(item.text); err == nil {
					local = append(local, prefix.Masked().String())
				} else if addr, err := netip.ParseAddr(item.text); err == nil {
					local = append(local, addr.String())
				}
			}
		}
	}
	return local
}

// lookup are the entries of the map that a setting names: a file, or a list in the configuration itself. A file that is not
// there has none, and a note.
func (r *rspamd) lookup(name string, u *ucl) ([]entry, error) {
	if u.kind == uclList {
		var all []entry
		for _, item := range u.list {
			key, value, _ := strings.Cut(strings.TrimSpace(item.text), " ")
			all = append(all, entry{item.Place, key, strings.TrimSpace(value)})
		}
		return all, nil
	}
	path := strings.TrimPrefix(strings.TrimPrefix(u.text, "file://"), "fallback+file://")
	for _, prefix := range []string{"regexp;", "glob;", "plain;", "radix;"} {
		if after, found := strings.CutPrefix(path, prefix); found {
			path, r.globs = after, r.globs || prefix == "regexp;" || prefix == "glob;"
		}
	}
	if !strings.HasPrefix(path, "/") {
		if _, err := netip.ParsePrefix(path); err == nil {
			return []entry{{u.Place, path, ""}}, nil
		}
		return nil, fault.Fault{Path: u.Path, Line: u.Line, Got: path, Want: "a map in a file of this host", Hint: "fetch the map into a file, and name that"}
	}
	d, err := r.root.dataset(setting{u.Place, "map", "file:" + path}, "/")
	if f, ok := errors.AsType[fault.Fault](err); ok && f.Got == noSuchFile {
		r.note(Close, u, name, "no such file, so rspamd finds nothing by it; left out")
		return nil, nil
	}
	return d.entries, err
}

// who says which key signs.
func (r *rspamd) who() error {
	if r.truth("use_redis", false) || r.truth("use_vault", false) {
		for _, name := range []string{"use_redis", "use_vault"} {
			if u := r.settings.get(name); u != nil && r.truth(name, false) {
				r.note(NotCarried, u, name, "dkimd reads keys from files: write them into "+treeOfKeys+"/DOMAIN/SELECTOR.pem. Until then nothing is signed")
			}
		}
		for _, k := range r.settings.object {
			if strings.Contains(keySources, " "+k.name+" ") || strings.HasPrefix(k.name, "vault_") {
				r.note(Close, k.value, k.name, "without effect until then")
			}
		}
		r.tables.writeSigning()
		return nil
	}
	if r.settings.get("signing_table") != nil && r.settings.get("key_table") != nil {
		return r.openDKIMTables()
	}
	if !r.truth("allow_username_mismatch", false) {
		r.plan.config.set("sign", "user_match", "domain", "allow_username_mismatch = false")
	}
	return r.domains()
}

// keySources are settings about keys that are in no file, or that use_redis and use_vault put aside.
const keySources = " path selector try_fallback domain path_map selector_map key_table signing_table key_prefix selector_prefix " +
	"servers read_servers write_servers db dbname username password prefix timeout sentinels expand_keys "

// openDKIMTables are signing_table and key_table.
func (r *rspamd) openDKIMTables() error {
	o := r.tables
	o.signing = signing{patterns: true, own: true, notes: map[string]verdictText{}}
	keyLines, err := r.lookup("key_table", r.settings.get("key_table"))
	if err != nil {
		return err
	}
	for _, e := range keyLines {
		if strings.Count(e.value, ":") == 1 { // DOMAIN:KEY
			name, path, _ := strings.Cut(e.value, ":")
			e.value = name + ":" + r.text("selector", "dkim") + ":" + path
		}
		key, wrong := o.tableKey(e)
		if wrong != "" {
			r.plan.note(NotCarried, e.Place, "key_table", e.key, wrong+"; the line was left out")
			continue
		}
		o.signing.add(key)
	}
	rows, err := r.lookup("signing_table", r.settings.get("signing_table"))
	if err != nil {
		return err
	}
	for _, e := range rows {
		o.readRow(e)
	}
	o.writeSigning()
	r.note(Same, r.settings.get("key_table"), "key_table", "key_table")
	r.note(Close, r.settings.get("signing_table"), "signing_table", "signing_table; dkimd compares whole addresses and in any case, rspamd as they are written and also where more stands before")
	for _, name := range []string{"use_esld", "selector", "path", "try_fallback", "use_domain", "allow_username_mismatch", "allow_hdrfrom_mismatch"} {
		if u := r.settings.get(name); u != nil {
			r.note(Same, u, name, "without effect beside signing_table")
		}
	}
	return nil
}

// domains are the keys of domain { }, of maps and of the path for all.
func (r *rspamd) domains() error {
	o := r.tables
	o.signing = signing{patterns: true, own: true, multiple: true, notes: map[string]verdictText{}}
	paths, selectors := map[string]entry{}, map[string]entry{}
	var names []string
	for _, m := range []struct {
		name string
		into map[string]entry
	}{{"path_map", paths}, {"selector_map", selectors}} {
		u := r.settings.get(m.name)
		if u == nil {
			continue
		}
		lines, err := r.lookup(m.name, u)
		if err != nil {
			return err
		}
		for _, e := range lines {
			m.into[strings.ToLower(e.key)] = e
			names = append(names, strings.ToLower(e.key))
		}
		if !r.used[m.name] {
			r.note(Same, u, m.name, "key_table and signing_table")
		}
	}
	sections := r.settings.get("domain")
	if sections != nil {
		r.used["domain"] = true
		for _, k := range sections.object {
			names = append(names, strings.ToLower(k.name))
		}
		r.note(Same, sections, "domain", "key_table and signing_table")
	}
	if u := r.settings.get("use_domain"); u != nil && !slices.Contains([]string{"header", "envelope", "auth", "recipient"}, u.text) {
		whose, _ := r.covers(strings.ToLower(u.text))
		for _, key := range r.keysOf(whose, sections.get(whose), paths[whose], selectors[whose]) {
			r.addRow(whose, key, "*")
		}
		o.writeSigning()
		r.note(Same, u, "use_domain", "signing_table: signs mail of every sender as "+whose)
		for _, name := range []string{"path", "selector", "try_fallback", "use_esld"} {
			if u := r.settings.get(name); u != nil {
				r.note(Same, u, name, "key_table")
			}
		}
		return nil
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		for _, key := range r.keysOf(name, sections.get(name), paths[name], selectors[name]) {
			r.addKey(name, key)
		}
	}
	o.writeSigning()
	r.fallback()
	return nil
}

// rspamdKey is a selector and the path of its key; empty: those for all.
type rspamdKey struct {
	Place
	selector, path string
}

// keysOf are the keys of one domain.
func (r *rspamd) keysOf(name string, section *ucl, path, selector entry) []rspamdKey {
	var all []rspamdKey
	text := func(u *ucl) string {
		if u == nil {
			return ""
		}
		return u.text
	}
	if section != nil {
		if section.get("selector") != nil || section.get("path") != nil {
			all = append(all, rspamdKey{section.Place, text(section.get("selector")), text(section.get("path"))})
		}
		if list := section.get("selectors"); list != nil {
			for _, s := range slices.Concat(list.list, []*ucl{list}) {
				if s.kind == uclObject {
					all = append(all, rspamdKey{s.Place, text(s.get("selector")), text(s.get("path"))})
				}
			}
		}
	}
	if len(all) == 0 {
		at := path.Place
		if at.Path == "" {
			at = selector.Place
		}
		all = append(all, rspamdKey{at, "", ""})
	}
	for i := range all {
		k := &all[i]
		if k.selector == "" {
			if k.selector = selector.value; k.selector == "" {
				k.selector = r.text("selector", "dkim")
			}
		}
		if k.path == "" {
			if k.path = path.value; k.path == "" {
				k.path = r.text("path", defaultKeyPath)
			}
		}
		k.path = strings.NewReplacer("${domain}", name, "$domain", name, "${selector}", k.selector, "$selector", k.selector).Replace(k.path)
	}
	return all
}

// defaultKeyPath is rspamd's own.
const defaultKeyPath = "/var/lib/rspamd/dkim/$domain.$selector.key"

// addKey makes table lines for a key.
func (r *rspamd) addKey(name string, k rspamdKey) {
	whose, below := r.covers(name)
	_, err := domain.Parse(name)
	switch {
	case err != nil && !r.globs:
		r.plan.note(Close, k.Place, "domain", name, "left out: rspamd compares it with whole names, and no domain has this one")
	case whose != name:
		r.plan.note(Close, k.Place, "domain", name, "left out: use_esld has rspamd sign mail of this domain with the key of "+whose+" only")
	case below:
		r.addRow(name, k, "*@"+name, "*@*."+name)
	default:
		r.addRow(name, k, "*@"+name)
	}
}

// addRow makes table lines for a key that signs mail of some addresses.
func (r *rspamd) addRow(name string, k rspamdKey, addresses ...string) {
	o := r.tables
	e := entry{k.Place, name + "/" + k.selector, name + ":" + k.selector + ":" + k.path}
	key, wrong := o.tableKey(e)
	if wrong != "" {
		r.plan.note(NotCarried, k.Place, "domain", name, wrong+"; its mail is not signed with it")
		return
	}
	o.signing.add(key)
	for _, address := range addresses {
		o.signing.rows = append(o.signing.rows, tableRow{k.Place, address, key.name, ""})
	}
}

// covers is the domain whose key rspamd signs mail of a domain with, and whether it does so for those below: with use_esld by
// the list of public suffixes, in which names like example.lan are not.
func (r *rspamd) covers(name string) (whose string, below bool) {
	parsed, err := domain.Parse(name)
	if err != nil || !r.truth("use_esld", true) || !parsed.HasListedSuffix() {
		return name, false
	}
	return cmp.Or(string(parsed.Organizational()), name), true
}

// fallback is the path for every domain that has no key of its own.
func (r *rspamd) fallback() {
	path, selector := r.text("path", defaultKeyPath), r.text("selector", "dkim")
	layout := strings.NewReplacer("${domain}", "{domain}", "$domain", "{domain}", "${selector}", selector, "$selector", selector).Replace(path)
	words := "[sign] layout"
	switch {
	case !r.truth("try_fallback", true):
		words = "without effect: try_fallback is off"
	case !strings.Contains(layout, "{domain}"):
		r.oneKey(layout, selector)
		words = "key_table and signing_table: one key for every domain"
	default:
		r.layout(layout, selector)
	}
	for _, name := range []string{"path", "selector", "try_fallback"} {
		if u := r.settings.get(name); u != nil {
			r.note(Same, u, name, words)
		}
	}
}

// layout has dkimd look for keys where rspamd does.
func (r *rspamd) layout(layout, selector string) {
	c := &r.plan.config
	layout = r.root.path(layout)
	before, after, _ := strings.Cut(layout, "{domain}")
	files, _ := filepath.Glob(before + "*" + strings.ReplaceAll(after, "{domain}", "*"))
	if _, err := os.Stat(filepath.Dir(before + "x")); err != nil {
		return // no keys there
	}
	usable := true
	for _, file := range files {
		usable = usable && r.User.uses(file)
	}
	if usable && !r.Copy {
		c.set("sign", "layout", []string{layout}, "path")
		c.set("sign", "selector", selector, "")
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, before), after)
		parsed, err := domain.Parse(name)
		if err != nil {
			continue
		}
		at := Place{file, 0}
		whose, esld := r.covers(string(parsed))
		if whose != string(parsed) {
			r.plan.note(Close, at, "use_esld", name, "rspamd signs mail of this domain with the key of "+whose+", dkimd with its own")
		}
		r.plan.Senders = append(r.plan.Senders, Sender{Domain: string(parsed)})
		r.tables.proven = append(r.tables.proven, &tableKey{domain: string(parsed), selector: selector, path: file})
		if usable && !r.Copy {
			if esld {
				r.plan.files = append(r.plan.files, subdomainsToml(treeOfKeys, string(parsed)))
			}
			continue
		}
		r.plan.keys = append(r.plan.keys, keyCopy{from: file, to: filepath.Join(treeOfKeys, string(parsed), selector+".pem")})
		r.plan.note(Close, at, "path", file, "copied: "+r.User.Name+" cannot use it where it is, or --copy")
		if esld {
			r.plan.files = append(r.plan.files, subdomainsToml(treeOfKeys, string(parsed)))
		}
	}
}

// subdomainsToml is the domain.toml of a domain that signs for those below it.
func subdomainsToml(tree, name string) file {
	return file{filepath.Join(tree, name, "domain.toml"), []byte("subdomains = true # use_esld\n")}
}

// oneKey signs for every domain with its own name.
func (r *rspamd) oneKey(path, selector string) {
	o := r.tables
	key, wrong := o.tableKey(entry{Place{r.plan.From, 0}, "all", "%:" + selector + ":" + path})
	if wrong != "" {
		r.plan.note(NotCarried, Place{r.plan.From, 0}, "path", path, wrong)
		return
	}
	if r.truth("use_esld", true) {
		const words = "mail of a subdomain is signed with its own name in d=, by rspamd with the registered domain above it"
		if u := r.settings.get("use_esld"); u != nil {
			r.note(Close, u, "use_esld", words)
		} else {
			r.plan.note(Close, key.Place, "use_esld", "true", words)
		}
	}
	o.signing = signing{rows: []tableRow{{key.Place, "*", "all", ""}}, patterns: true, own: true}
	o.signing.add(key)
	r.tables.writeSigning()
}

// otherSettings are what rspamd reads beside what is carried: dkim_signing.lua and lua_dkim_tools.lua. It passes over other names.
const otherSettings = " allowed_ids forbidden_ids check_violation allow_headers_fallback vault_url vault_token vault_path vault_domains vault_timeout " +
	"http_sign_header http_sign_on_reject_header_header http_domain_header http_selector_header http_key_header "

// rest gives every other setting its verdict.
func (r *rspamd) rest() {
	settings := slices.Clone(r.settings.object)
	defaults := []string{"allow_hdrfrom_mismatch", "allow_hdrfrom_multiple"} // rspamd's differ from what dkimd does
	if r.plan.config.value("sign", "user_match") != nil {
		defaults = append(defaults, "allow_username_mismatch")
	}
	for _, name := range defaults {
		if r.settings.get(name) == nil {
			settings = append(settings, uclKey{name, &ucl{Place: Place{r.plan.From, 0}, text: "false"}})
		}
	}
	for _, k := range settings {
		if r.used[k.name] {
			continue
		}
		v := r.verdict(k.name)
		if strings.HasPrefix(k.name, "use_domain") && k.name != "use_domain_custom" {
			v = r.useDomain(k.name, k.value.text)
		}
		r.note(v.verdict, k.value, k.name, v.text)
	}
}

// useDomain is the verdict of use_domain and its like.
func (r *rspamd) useDomain(name, value string) verdictText {
	switch {
	case name == "use_domain" && value == "header":
		return verdictText{Same, "the domain of From signs"}
	case name == "use_domain" && (value == "envelope" || value == "auth"):
		r.plan.config.set("sign", "identity_from", []string{value}, "use_domain")
		return verdictText{Same, "[sign] identity_from"}
	case strings.HasPrefix(name, "use_domain_sign_") && value == r.text("use_domain", "header"):
		return verdictText{Same, "as use_domain"}
	case name == "use_domain_sign_inbound" && !r.truth("sign_inbound", false):
		return verdictText{Same, "without effect: sign_inbound is off"}
	}
	return verdictText{NotCarried, "the domain of From signs; [sign] identity_from finds it elsewhere"}
}

// verdict is that of a setting of which the rest of the configuration says all.
func (r *rspamd) verdict(name string) verdictText {
	known := map[string]verdictText{
		"enabled": {Same, "[sign]"}, "symbol": {Same, "the record of each message says who signed"},
		"use_esld": {Same, "subdomains"}, "check_pubkey": {Close, "dkimd key check and a daily look at DNS warn, and never withhold a signature"},
		"allow_pubkey_mismatch":                {Close, "see check_pubkey"},
		"allow_envfrom_empty":                  {Same, "dkimd signs mail without MAIL FROM"},
		"allow_hdrfrom_multiple":               {Close, "dkimd signs no mail with several From fields"},
		"allow_hdrfrom_mismatch":               {Close, "dkimd signs also where the domain of MAIL FROM is another one"},
		"allow_hdrfrom_mismatch_local":         {Close, "see allow_hdrfrom_mismatch"},
		"allow_hdrfrom_mismatch_sign_networks": {Close, "see allow_hdrfrom_mismatch"},
		"allow_username_mismatch":              {Same, "[sign] user_match"},
		"sign_inbound":                         {NotCarried, "dkimd signs mail of its own clients only"},
		"sign_condition":                       {NotCarried, "dkimd runs no Lua"}, "use_domain_custom": {NotCarried, "dkimd runs no Lua"},
		"skip_spam_sign":   {NotCarried, "dkimd signs what is handed to it: have the mail server refuse spam before"},
		"use_http_headers": {NotCarried, "dkimd takes no keys from requests"}, "sign_on_reject": {NotCarried, "see use_http_headers"},
		"use_milter_headers": {Same, "dkimd is a milter"}, "use_redis": {Same, "off, as in dkimd"}, "use_vault": {Same, "off, as in dkimd"},
	}
	v, ok := known[name]
	switch {
	case name == "allow_envfrom_empty" && !r.truth(name, true):
		return verdictText{Close, v.text + ", too"}
	case name == "allow_hdrfrom_mismatch" && r.truth(name, false):
		return verdictText{Same, "the domain of MAIL FROM does not matter"}
	case name == "allow_username_mismatch" && !r.truth(name, false) && r.truth("use_esld", true):
		return verdictText{Close, v.text + ": a login has to be of the domain of From itself, to rspamd of any domain below the registered one"}
	case name == "sign_inbound" && !r.truth(name, false):
		return verdictText{Same, "off, as in dkimd"}
	case name == "enabled" && !r.truth(name, true):
		return verdictText{Close, "rspamd does not sign; dkimd will"}
	case ok:
		return v
	case strings.Contains(keySources, " "+name+" "):
		return verdictText{Same, "without effect: no Redis"}
	case strings.Contains(otherSettings, " "+name+" "):
		return verdictText{NotCarried, "dkimd does not know it: see what was meant"}
	}
	return verdictText{Close, "without effect: rspamd does not know it, and neither does dkimd"}
}
