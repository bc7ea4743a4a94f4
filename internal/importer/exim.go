package importer

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
)

// exim is a configuration of Exim being read.
type exim struct {
	Options
	root   root
	plan   *Plan
	tables *opendkim          // writes keys and tables
	main   map[string]setting // options above the first "begin"
	acls   map[string][]line  // the lines of each ACL
	lists  []line             // domainlist and its like
	signs  []setting          // of the transport that signs
	// Nothing is signed; there are several selectors; dkim_identity is carried.
	unsigned, several, identified bool
	differs                       string   // how Exim treats the domain of a sender in the path of a key
	tested                        []string // files that have to exist, reduced
}

// eximTransport are the dkim_ options of a transport.
type eximTransport struct {
	name string
	set  map[string]setting
	all  []setting
}

// Exim reads the dkim_ options of the transports and acl_smtp_dkim: of a file with a configuration or with what exim -bP config or
// exim -bP transports prints; without one it asks exim.
func Exim(path string, options Options) (*Plan, error) {
	e := &exim{Options: options, root: root(options.Root), main: map[string]setting{}, acls: map[string][]line{}}
	e.plan = &Plan{Source: "exim", From: path}
	e.tables = &opendkim{Options: options, root: e.root, plan: e.plan, base: "/"}
	var data []byte
	var err error
	if path == "" {
		e.plan.From = "exim -bP config"
		data, err = askExim()
	} else {
		data, err = e.root.read(path, Place{})
	}
	if err != nil {
		return nil, err
	}
	transports := e.read(eximLines(e.plan.From, data))
	e.listen()
	e.whose()
	e.sign(transports)
	e.verifyOptions()
	e.acl()
	if len(transports) > 0 {
		e.signs = transports[0].all
	}
	e.plan.Clients, e.plan.AnyClient = []string{"127.0.0.1", "::1"}, true
	e.plan.OldConfig, e.plan.Records = e.writeOld, e.tables.keyRecords
	e.plan.sort()
	return e.plan, nil
}

// askExim is the configuration of the Exim of this host, with macros resolved.
func askExim() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, name := range []string{"/usr/sbin/exim4", "/usr/sbin/exim", "/usr/exim/bin/exim"} {
		if program, err := exec.LookPath(name); err == nil {
			return exec.CommandContext(ctx, program, "-bP", "config").Output() //nolint:gosec // one of these
		}
	}
	return nil, fault.Fault{Got: "no exim on this host", Want: "exim, or the output of exim -bP config in a file", Hint: "dkimd import exim FILE"}
}

// eximLines are the logical lines of a configuration: continued with \, without comments and what is between a false .ifdef
// and its end, with macros filled in.
func eximLines(path string, data []byte) []line {
	var all []line
	macros := map[string]string{
		"_HAVE_DKIM":         "y",
		"_DKIM_SIGN_HEADERS": eximHeaders, "_DKIM_OVERSIGN_HEADERS": "+" + strings.ReplaceAll(eximHeaders, ":", ":+"),
	}
	var skipped []bool
	n, begun, held := 0, 0, ""
	for text := range strings.Lines(string(data)) {
		n++
		text = strings.TrimRight(text, "\r\n \t")
		trimmed := strings.TrimLeft(text, " \t")
		if held == "" && (trimmed == "" || trimmed[0] == '#') || held != "" && strings.HasPrefix(trimmed, "#") {
			continue
		}
		if held == "" {
			begun = n
			held = text
		} else {
			held += trimmed
		}
		if before, more := strings.CutSuffix(held, `\`); more {
			held = before
			continue
		}
		text, held = held, ""
		words := strings.Fields(text)
		switch {
		case len(words) == 0: // a blank line ends one that is continued
			continue
		case words[0] == ".ifdef" || words[0] == ".ifndef":
			_, defined := macros[strings.Join(words[1:], " ")]
			skipped = append(skipped, defined != (words[0] == ".ifdef"))
			continue
		case words[0] == ".else" && len(skipped) > 0:
			skipped[len(skipped)-1] = !skipped[len(skipped)-1]
			continue
		case words[0] == ".endif" && len(skipped) > 0:
			skipped = skipped[:len(skipped)-1]
			continue
		case slices.Contains(skipped, true):
			continue
		}
		name, value, assigned := strings.Cut(text, "=")
		name = strings.TrimSpace(name)
		if assigned && name != "" && strings.ToUpper(name) == name && !strings.ContainsAny(name, " .") {
			macros[strings.TrimSuffix(name, "=")] = strings.TrimSpace(strings.TrimPrefix(value, "="))
			continue
		}
		all = append(all, line{Place{path, begun}, fillIn(text, macros)})
	}
	return all
}

// fillIn replaces macros, the longest first.
func fillIn(text string, macros map[string]string) string {
	names := make([]string, 0, len(macros))
	for name := range macros {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	for range 4 { // macros have macros
		before := text
		for _, name := range names {
			text = strings.ReplaceAll(text, name, macros[name])
		}
		if text == before {
			break
		}
	}
	return text
}

// read sorts the lines into main options, ACLs and transports.
func (e *exim) read(lines []line) []*eximTransport {
	var transports []*eximTransport
	section, acl := "", ""
	for _, l := range lines {
		text := strings.TrimSpace(l.text)
		first, rest, _ := strings.Cut(text, " ")
		option, value, assigned := strings.Cut(text, "=")
		option, value = strings.TrimSpace(option), strings.Trim(strings.TrimSpace(value), `"`)
		name, isName := strings.CutSuffix(text, ":")
		switch {
		case first == "begin":
			section = strings.TrimSpace(rest)
		case strings.HasSuffix(text, " transport:"): // exim -bP transports
			section = "transports"
			transports = append(transports, &eximTransport{name: strings.TrimSuffix(text, " transport:"), set: map[string]setting{}})
		case section == "transports" && isName && !strings.ContainsAny(name, " ="):
			transports = append(transports, &eximTransport{name: name, set: map[string]setting{}})
		case section == "transports" && len(transports) > 0:
			if assigned && strings.HasPrefix(option, "dkim_") && value != "" {
				t := transports[len(transports)-1]
				t.set[option] = setting{l.Place, option, value}
				t.all = append(t.all, t.set[option])
			}
		case section == "acl" && isName && !strings.ContainsAny(name, " ="):
			acl = name
		case section == "acl":
			e.acls[acl] = append(e.acls[acl], l)
		case section == "" && assigned:
			if strings.HasSuffix(first, "list") {
				e.lists = append(e.lists, l)
			}
			option = strings.TrimPrefix(option, "hostlist ")
			e.main[strings.TrimSpace(option)] = setting{l.Place, option, value}
		}
	}
	return slices.DeleteFunc(transports, func(t *eximTransport) bool { return len(t.all) == 0 })
}

// listen gives dkimd a door for Exim.
func (e *exim) listen() {
	c := &e.plan.config
	c.set("milter", "listen", []string{}, "Exim has no milters")
	listen := "inet:127.0.0.1:11335"
	if exists("/run/dkimd") {
		listen = "unix:/run/dkimd/exim.sock"
		if _, err := user.Lookup("Debian-exim"); err == nil { // who could not connect otherwise
			c.set("exim", "socket_mode", "0666", "")
			c.set("exim", "peers", []string{"Debian-exim", "root"}, "the transport filter and the ACLs run as this user")
		}
	}
	c.set("exim", "listen", []string{listen}, "docs/exim.md says what Exim needs")
}

// whose says whose mail is ours: relay_from_hosts, since Exim signs all that leaves.
func (e *exim) whose() {
	networks := []string{"127.0.0.0/8", "::1"}
	if s, set := e.main["relay_from_hosts"]; set {
		list := strings.ReplaceAll(s.value, "::::", "::")
		separator := ":"
		if after, other := strings.CutPrefix(list, "<"); other && after != "" {
			separator, list = after[:1], after[1:]
		} else {
			list = strings.ReplaceAll(s.value, "::", "\x00")
		}
		for item := range strings.SplitSeq(list, separator) {
			item = strings.ReplaceAll(strings.TrimSpace(item), "\x00", ":")
			prefix, err := netip.ParsePrefix(item)
			addr, noAddr := netip.ParseAddr(item)
			switch {
			case item == "":
			case err == nil:
				networks = append(networks, prefix.Masked().String())
			case noAddr == nil:
				networks = append(networks, addr.String())
			case item == "localhost":
			default:
				e.plan.note(NotCarried, s.Place, "relay_from_hosts", item, "name its address in [sign] networks")
			}
		}
		e.plan.note(Same, s.Place, "relay_from_hosts", s.value, "[sign] networks")
	}
	slices.Sort(networks)
	e.plan.config.set("sign", "networks", slices.Compact(networks), "relay_from_hosts")
	e.plan.Lost = append(e.plan.Lost, Host{Place{e.plan.From, 0}, "all others", "Exim signs whatever leaves through the transport; dkimd only mail of its own clients and logins, not what is forwarded"})
}

// sign makes keys and options of the transports; options are those of the first.
func (e *exim) sign(transports []*eximTransport) {
	e.tables.signing = signing{patterns: true, own: true, notes: map[string]verdictText{}}
	for i, t := range transports {
		slices.SortStableFunc(t.all, func(a, b setting) int { return cmp.Compare(eximOrder(a), eximOrder(b)) })
		for _, s := range t.all {
			at := t.name + " " + s.name
			if i > 0 && transports[0].set[s.name].value == s.value {
				e.plan.note(Same, s.Place, at, s.value, "as in "+transports[0].name)
				continue
			}
			if i > 0 {
				e.plan.note(NotCarried, s.Place, at, s.value, "it differs from "+transports[0].name+"; dkimd signs in one way, whatever the transport")
				continue
			}
			e.option(t, s, at)
		}
	}
	e.tables.writeSigning()
	if len(transports) == 0 {
		e.plan.note(Close, Place{e.plan.From, 0}, "dkim_domain", "", "no transport signs, and so does dkimd")
		return
	}
	c, t := &e.plan.config, transports[0]
	if _, set := t.set["dkim_canon"]; !set {
		c.set("sign", "canonicalization", "relaxed/relaxed", "as Exim does by default")
	}
	if _, set := t.set["dkim_strict"]; !set {
		c.set("sign", "on_error", "unsigned", "as Exim does without dkim_strict")
	}
	if _, set := t.set["dkim_sign_headers"]; !set {
		e.headers(eximHeaders)
		e.plan.note(Close, Place{e.plan.From, 0}, t.name+" dkim_sign_headers", "", "[sign] headers: Exim's default; "+eximAbsent)
	}
}

// eximOrder has dkim_domain first: what becomes of it decides about others.
func eximOrder(s setting) int {
	if s.name == "dkim_domain" {
		return 0
	}
	return 1
}

// eximAbsent is how h= differs.
const eximAbsent = "names without + or = also cover the absence of the field in Exim, and of several the last one alone"

// eximHeaders are those that Exim signs by default (RFC 4871 section 5.5).
const eximHeaders = "From:Sender:Reply-To:Subject:Date:Message-ID:To:Cc:MIME-Version:Content-Type:Content-Transfer-Encoding:Content-ID:" +
	"Content-Description:Resent-Date:Resent-From:Resent-Sender:Resent-To:Resent-Cc:Resent-Message-ID:In-Reply-To:References:List-Id:" +
	"List-Help:List-Unsubscribe:List-Subscribe:List-Post:List-Owner:List-Archive"

// headers reports whether the list has From, without which it is not taken.
func (e *exim) headers(list string) bool {
	var headers, oversign []string
	for name := range strings.SplitSeq(list, ":") {
		name = strings.TrimSpace(name)
		bare := strings.TrimLeft(name, "+=")
		if bare == "" {
			continue
		}
		if !covers(headers, bare) {
			headers = append(headers, bare)
		}
		if strings.HasPrefix(name, "+") && !covers(oversign, bare) {
			oversign = append(oversign, bare)
		}
	}
	if !covers(headers, "From") {
		e.headers(eximHeaders)
		return false
	}
	if oversign == nil {
		oversign = []string{}
	}
	e.plan.config.set("sign", "headers", headers, "")
	e.plan.config.set("sign", "oversign", oversign, "")
	return true
}

// option gives an option of the transport its verdict.
func (e *exim) option(t *eximTransport, s setting, at string) {
	c := &e.plan.config
	say := func(v Verdict, words string) { e.plan.note(v, s.Place, at, s.value, words) }
	switch s.name {
	case "dkim_domain":
		e.domain(t, s, at)
	case "dkim_identity":
		if e.identified {
			say(Same, "signing_table")
		} else {
			say(NotCarried, "i= is the domain: identity in domain.toml sets another")
		}
	case "dkim_selector", "dkim_private_key":
		if _, set := t.set["dkim_domain"]; !set || e.unsigned {
			say(NotCarried, "see dkim_domain: nothing is signed")
		} else {
			say(Same, "with dkim_domain")
		}
	case "dkim_canon":
		if s.value != "relaxed" && s.value != "simple" {
			c.set("sign", "canonicalization", "relaxed/relaxed", "")
			say(Close, "[sign] canonicalization: relaxed, which Exim takes any other word for")
			return
		}
		c.set("sign", "canonicalization", s.value+"/"+s.value, "")
		say(Same, "[sign] canonicalization")
	case "dkim_sign_headers":
		if strings.Contains(s.value, "$") {
			e.headers(eximHeaders)
			say(NotCarried, "an expansion: write the names into [sign] headers")
			return
		}
		if !e.headers(s.value) {
			say(Close, "[sign] headers: Exim's default, since this list has no From: no receiver takes such a signature")
			return
		}
		say(Close, "[sign] headers and oversign; "+eximAbsent)
	case "dkim_strict":
		strict := s.value == "1" || strings.EqualFold(s.value, "true") || strings.EqualFold(s.value, "yes")
		c.set("sign", "on_error", map[bool]string{true: "tempfail", false: "unsigned"}[strict], "")
		say(Same, "[sign] on_error")
	case "dkim_hash":
		if s.value == "sha256" {
			say(Same, "dkimd signs with sha256")
		} else {
			say(Close, "dkimd signs with sha256 alone, as RFC 8301 asks")
		}
	case "dkim_timestamps":
		if seconds, err := strconv.Atoi(s.value); err == nil && seconds > 0 {
			c.set("sign", "expiry", s.value+"s", "")
			say(Same, "[sign] expiry")
		} else {
			say(Close, "signatures have t= always")
		}
	default:
		say(NotCarried, "dkimd does not know it: see what was meant")
	}
}

// domain makes keys of dkim_domain, dkim_selector and dkim_private_key.
func (e *exim) domain(t *eximTransport, s setting, at string) {
	e.differs = eximPathOf(s.value, t.set["dkim_private_key"].value)
	name := e.reduce(s.value)
	sameDomain := strings.NewReplacer(ofFrom, ofDomain, ofEnvelope, ofDomain)
	expanded := e.reduce(t.set["dkim_private_key"].value)
	file := sameDomain.Replace(expanded)
	written := e.reduce(t.set["dkim_selector"].value)
	e.several = strings.Contains(written, ":")
	for _, tested := range e.tested {
		if !slices.ContainsFunc(strings.Split(written, ":"), func(selector string) bool {
			of := strings.NewReplacer("$dkim_selector", strings.TrimSpace(selector))
			return of.Replace(sameDomain.Replace(tested)) == of.Replace(file)
		}) {
			e.left(s, at, "whether another file than the key is there decides: name senders and keys in [sign] signing_table. Until then nothing is signed")
			return
		}
	}
	domains, keys, selectors := e.searched(name, s.Place), e.searched(expanded, s.Place), e.searched(written, s.Place)
	if selectors != nil {
		e.bySelectors(s, at, eximLookups{domains, keys, selectors}, name, file)
		return
	}
	for selector := range strings.SplitSeq(written, ":") { // each signs
		selector = strings.TrimSpace(selector)
		path := strings.ReplaceAll(file, "$dkim_selector", selector)
		switch {
		case selector == "" || strings.Contains(written, "$"):
			e.left(s, at, "the selector is missing or an expansion: name the keys in [sign] key_table. Until then nothing is signed")
			return
		case domains != nil && (keys != nil || strings.HasPrefix(path, "/")), keys != nil && (name == ofFrom || name == ofEnvelope):
			e.byLines(s, at, eximLookups{domains, keys, nil}, selector, path, name)
		case !strings.HasPrefix(path, "/") || strings.Contains(path, "$"):
			e.left(s, at, "the key is an expansion: name the keys in [sign] key_table. Until then nothing is signed")
			return
		case name == ofFrom || name == ofEnvelope:
			e.bySender(s, at, name, selector, path)
		case strings.Contains(name, "$"):
			e.left(s, at, "an expansion: name senders and keys in [sign] signing_table. Until then nothing is signed")
			return
		default:
			e.fixed(t, s, at, name, selector, path)
		}
	}
}

// bySelectors signs for the domains that have a selector in a file, and for others with the one that is given for them.
func (e *exim) bySelectors(s setting, at string, of eximLookups, name, file string) {
	switch bySender := name == ofFrom || name == ofEnvelope; {
	case of.domains == nil && !bySender || of.keys == nil && !strings.HasPrefix(file, "/"):
		e.left(s, at, "an expansion: name senders and keys in [sign] signing_table. Until then nothing is signed")
	case of.selectors.otherwise != "" && bySender && of.keys == nil:
		e.byLines(s, at, of, "", file, name)
		e.bySender(s, at, name, of.selectors.otherwise, strings.ReplaceAll(file, "$dkim_selector", of.selectors.otherwise))
	default:
		e.byLines(s, at, of, of.selectors.otherwise, file, name)
	}
}

// left is the note that nothing is signed.
func (e *exim) left(s setting, at, words string) {
	e.unsigned = true
	e.plan.note(NotCarried, s.Place, at, s.value, words)
}

// bySender signs with the sender's domain.
func (e *exim) bySender(s setting, at, name, selector, file string) {
	words, v := "the domain of From", Same
	if name == ofEnvelope {
		words, v = "the domain of From, not of MAIL FROM, which Exim does not tell a transport filter", Close
	}
	if strings.Contains(file, ofDomain) && e.differs != "" {
		words, v = words+e.differs, Close
	}
	if !strings.Contains(file, ofDomain) {
		if wrong := e.row(s.Place, "%", selector, file, "", "*"); wrong != "" {
			e.left(s, at, wrong+"; nothing is signed")
			return
		}
		e.plan.note(v, s.Place, at, s.value, words+", with one key for all")
		return
	}
	layout := e.root.path(file)
	before, after, _ := strings.Cut(layout, ofDomain)
	files, _ := filepath.Glob(before + "*" + strings.ReplaceAll(after, ofDomain, "*"))
	usable := !e.Copy && len(files) > 0 && !e.several // the tree has each key of a domain sign
	var copies []keyCopy
	for _, f := range files {
		usable = usable && e.User.uses(f)
		name := strings.TrimPrefix(f, before)
		if after != "" {
			name, _, _ = strings.Cut(name, after)
		}
		parsed, err := domain.Parse(name)
		if err != nil {
			continue
		}
		e.plan.Senders = append(e.plan.Senders, Sender{Domain: string(parsed)})
		e.tables.proven = append(e.tables.proven, &tableKey{domain: string(parsed), selector: selector, path: f})
		copies = append(copies, keyCopy{from: f, to: filepath.Join(treeOfKeys, string(parsed), selector+".pem")})
	}
	if usable {
		e.plan.config.set("sign", "layout", []string{layout}, "dkim_private_key")
		e.plan.config.set("sign", "selector", selector, "")
		e.plan.note(v, s.Place, at, s.value, words+"; [sign] layout")
		return
	}
	if len(copies) == 0 {
		e.left(s, at, "no key is there: nothing is signed until one is in "+treeOfKeys+"/DOMAIN/SELECTOR.pem")
		return
	}
	e.plan.keys = append(e.plan.keys, copies...)
	e.plan.note(Close, s.Place, at, s.value, fmt.Sprintf("%s; %d keys were copied to the tree of keys: new ones belong there", words, len(copies)))
}

// row makes lines of the tables.
func (e *exim) row(at Place, name, selector, file, identity, address string) (wrong string) {
	key, wrong := e.tables.tableKey(entry{at, name, name + ":" + selector + ":" + strings.ReplaceAll(file, ofDomain, name)})
	if wrong != "" {
		return wrong
	}
	if name == "%" {
		key.name = "all"
	}
	if e.tables.signing.key(key.name) != nil {
		key.name += "/" + selector
	}
	if e.tables.signing.key(key.name) == nil {
		e.tables.signing.add(key)
	}
	e.tables.signing.rows = append(e.tables.signing.rows, tableRow{at, address, key.name, identity})
	return ""
}

// byLines signs for the domains that lines of a file name: with the domain, the key or the selector that a line has for the
// sender's.
func (e *exim) byLines(s setting, at string, of eximLookups, selector, file, by string) {
	lines, sign := of.domains, "with the domain"
	switch {
	case lines != nil:
	case of.keys != nil:
		lines, sign = of.keys, "with the key"
	default:
		lines, sign = of.selectors, "with the selector"
	}
	for _, l := range lines.lines {
		name, path, chosen := l.key, file, selector
		if of.domains != nil && l.value != "" {
			name = l.value
		}
		if of.keys != nil {
			path = of.keys.of(l.key, name)
		}
		if of.selectors != nil {
			chosen = of.selectors.of(l.key, name)
		}
		path = strings.ReplaceAll(path, "$dkim_selector", chosen)
		if wrong := e.row(l.Place, name, chosen, path, "", "*@"+l.key); wrong != "" {
			e.plan.note(NotCarried, l.Place, at, l.key, wrong+"; its mail is not signed")
		}
	}
	v, words := Same, "signing_table: each domain of the file "+sign+" that stands there"
	if strings.Contains(by, ofEnvelope) {
		v, words = Close, words+", by the domain of From, not of MAIL FROM, which Exim does not tell a transport filter"
	}
	if strings.Contains(file, ofDomain) && e.differs != "" {
		v, words = Close, words+e.differs
	}
	e.plan.note(v, s.Place, at, s.value, words)
}

// fixed signs everything with one domain, or with several.
func (e *exim) fixed(t *eximTransport, s setting, at, names, selector, file string) {
	for name := range strings.SplitSeq(names, ":") {
		name = strings.TrimSpace(name)
		identity := ""
		if i, set := t.set["dkim_identity"]; set && !strings.Contains(i.value, "$") {
			identity, e.identified = i.value, true
		}
		if wrong := e.row(s.Place, name, selector, file, identity, "*"); wrong != "" {
			e.plan.note(NotCarried, s.Place, at, name, wrong+"; it does not sign")
		}
	}
	e.tables.signing.multiple = len(e.tables.signing.keys) > 1
	e.plan.note(Same, s.Place, at, s.value, "signs mail of every sender: signing_table")
}
