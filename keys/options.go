package keys

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/tomlfile"
)

// optionsFile is the name of the file with a domain's options.
const optionsFile = "domain.toml"

// The limits of expiry and headers, in domain.toml and in dkimd.toml.
const (
	MaxExpiry = 3650 * 24 * time.Hour
	MaxFields = 200 // far from the 1000 names of h= that verifiers are asked to look at
)

// maxLocalPart is the longest local part of an address (RFC 5321 section 4.5.3.1.1).
const maxLocalPart = 64

// Options are what a domain.toml says. The zero value stands for a domain without one.
type Options struct {
	Subdomains     bool // the keys also sign for domains below this one that have none
	SubdomainsOnly bool // and not for this one
	// SignAs is the domain whose keys and options sign instead; empty: its own.
	SignAs   domain.Name
	Identity string         // i= (RFC 6376 section 3.5): "@domain" or "local@domain"; empty: none
	Expiry   *time.Duration // x= minus t=; 0: no x=; nil: not set
	// HeaderCanon and BodyCanon are c=; nil: not set.
	HeaderCanon, BodyCanon *dkim.Canonicalization
	// Headers are names of fields to sign, a * at the end for a prefix; or, each with + or - before it, those
	// that are added to what signs otherwise, or taken away. Nil: not set.
	Headers   []string
	Oversign  []string // names of fields to oversign, in the same way
	Selectors []string // which keys sign; nil: all
	Users     []string // logins that may send as this domain; nil: not set

	RotateEvery     *time.Duration // how old a key gets; 0: never replaced; nil: not set
	RotateSelectors []string       // of new keys; nil: not set
}

// AdjustNames is a list of field names as Options have it, seen from the list that holds without it.
func AdjustNames(inherited, written []string) []string {
	switch {
	case written == nil:
		return inherited
	case !adjusts(written):
		return written
	}
	list := slices.Clone(inherited)
	for _, w := range written {
		list = slices.DeleteFunc(list, func(name string) bool { return strings.EqualFold(name, w[1:]) })
		if w[0] == '+' {
			list = append(list, w[1:])
		}
	}
	return list
}

// adjusts reports whether names have a + or - before them.
func adjusts(names []string) bool {
	return len(names) > 0 && names[0] != "" && strings.ContainsRune("+-", rune(names[0][0]))
}

// readOptions reads what a domain.toml says about a domain. broken: it cannot be
// told what the administrator wants, so nothing signs. A selector without key is
// a fault too, but the others go on.
func readOptions(d *Domain, path string, data []byte) (o Options, faults fault.Faults, broken bool) {
	file := tomlfile.Parse(path, data)
	root := file.Root()
	if signAs := root.String("sign_as", ""); root.Has("sign_as") {
		return readAlias(d, file, data, signAs)
	}
	o.Subdomains, o.SubdomainsOnly = subdomains(root)
	o.Identity = ReadIdentity(root, d.Name)
	if expiry := root.Duration("expiry", 0, 0, MaxExpiry); root.Has("expiry") {
		o.Expiry = &expiry
		if expiry%time.Second != 0 {
			root.Fault("expiry", "whole seconds", "x= counts no less (RFC 6376 section 3.5)")
		}
	}
	o.HeaderCanon, o.BodyCanon = canonicalization(root)
	o.Headers = headers(root)
	o.Oversign = oversign(root)
	o.Users = users(root)
	if every := root.Duration("rotate_every", 0, 0, MaxRotation); root.Has("rotate_every") {
		o.RotateEvery = &every
	}
	o.RotateSelectors = RotateSelectors(root, "rotate_selectors", nil)
	o.Selectors = ReadSelectors(root, d.Name)
	faults = file.Faults()
	if len(faults) > 0 {
		// Mail from below the domain was signed while this was said: it is not to go out unsigned because of a typing error elsewhere.
		o.Subdomains = o.Subdomains || saysSubdomains.Match(data)
		return o, faults, true
	}
	for i, selector := range o.Selectors {
		if hint, known := d.knows(selector); !known {
			root.FaultItem("selectors", i, "the selector of a key in this directory", hint)
		}
	}
	return o, file.Faults(), false
}

// readAlias reads a domain.toml that says sign_as: the other domain has the options, and the keys.
func readAlias(d *Domain, file *tomlfile.File, data []byte, signAs string) (o Options, faults fault.Faults, broken bool) {
	root := file.Root()
	o.Subdomains, o.SubdomainsOnly = subdomains(root)
	name, err := dkim.ParseSDID(signAs)
	switch {
	case !root.IsString("sign_as"): // said already
	case err != nil:
		root.Fault("sign_as", "a domain such as example.org", err.Error())
	case name == d.Name:
		root.Fault("sign_as", "another domain", "leave it out: a domain signs with its own keys")
	case len(d.Keys)+len(d.Pending) > 0:
		root.Fault("sign_as", "no key in this directory", "move them away, or leave sign_as out")
	}
	if faults = file.Faults(); len(faults) > 0 {
		o.Subdomains = o.Subdomains || saysSubdomains.Match(data)
		return o, faults, true
	}
	o.SignAs = name
	return o, nil, false
}

// subdomains is true, false or "only".
func subdomains(root *tomlfile.Table) (also, only bool) {
	if root.IsString("subdomains") {
		if root.String("subdomains", "") != "only" {
			root.Fault("subdomains", "true, false or \"only\"", "")
		}
		return false, true
	}
	return root.Bool("subdomains", false), false
}

func canonicalization(root *tomlfile.Table) (header, body *dkim.Canonicalization) {
	const none = ""
	written := root.Enum("canonicalization", none, "relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple")
	if written == none {
		return nil, nil
	}
	h, b, _ := dkim.ParseCanonicalization(written)
	return &h, &b
}

// saysSubdomains finds the option in a file that is not TOML.
var saysSubdomains = regexp.MustCompile(`(?m)^[ \t]*subdomains[ \t]*=[ \t]*(true\b|"only")`)

// saysSignAs finds the option in a file that cannot be used: mail of its domain is ours to sign, only we cannot.
var saysSignAs = regexp.MustCompile(`(?m)^[ \t]*sign_as[ \t]*=`)

// knows reports whether there is a key that can sign under a selector, and what to do if not.
func (d *Domain) knows(selector string) (hint string, known bool) {
	is := func(k *Key) bool { return k.Selector == selector }
	switch {
	case slices.ContainsFunc(d.Keys, is):
		return "", true
	case slices.ContainsFunc(d.Pending, is):
		return "dkimd key activate " + string(d.Name) + " " + selector, false
	}
	return "dkimd key generate " + string(d.Name) + " --selector " + selector, false
}

// ReadIdentity reads identity, which lies within d=.
func ReadIdentity(root *tomlfile.Table, sdid domain.Name) string {
	id := root.String("identity", "")
	if id == "" {
		return ""
	}
	want := `"@` + string(sdid) + `", or an address or domain below it`
	at := strings.LastIndexByte(id, '@')
	local := id[:max(at, 0)]
	name, err := domain.Parse(id[at+1:])
	switch {
	case at < 0:
		root.Fault("identity", want, `write "@`+string(sdid)+`"`)
	case err != nil || !name.Within(sdid):
		root.Fault("identity", want, "i= has to lie within d= (RFC 6376 section 3.5)")
	case strings.ContainsFunc(local, func(r rune) bool { return r <= ' ' || r > '~' }):
		root.Fault("identity", want, "a local part of printable ASCII without spaces")
	case len(local) > maxLocalPart:
		root.Fault("identity", "at most "+strconv.Itoa(maxLocalPart)+" octets before the @", "no mail address has more (RFC 5321 section 4.5.3.1.1)")
	default:
		return local + "@" + string(name)
	}
	return ""
}

func headers(root *tomlfile.Table) []string {
	names := fieldNames(root, "headers")
	from := false
	for i, written := range names {
		name := strings.TrimLeft(written, "+-")
		isFrom := strings.EqualFold(name, "From")
		from = from || isFrom
		if becomes := dkim.Unstable(name); becomes != "" && written[0] != '-' {
			root.FaultItem("headers", i, "fields that reach the recipient as they were signed", becomes+"; remove "+strconv.Quote(written))
		}
		if isFrom && written[0] == '-' {
			root.FaultItem("headers", i, "any field but From", "From must be signed (RFC 6376 section 5.4)")
		}
	}
	if names != nil && !from && !adjusts(names) {
		root.Fault("headers", "a list with From in it", "From must be signed (RFC 6376 section 5.4)")
	}
	return names
}

func oversign(root *tomlfile.Table) []string {
	names := fieldNames(root, "oversign")
	for i, name := range names {
		if strings.HasSuffix(name, "*") {
			root.FaultItem("oversign", i, "a whole field name", "oversigning needs the very name; list each")
		}
	}
	return names
}

// fieldNames reads names of fields: each once, and all of them with + or - before them, or none.
func fieldNames(root *tomlfile.Table, key string) []string {
	names := root.Strings(key, nil)
	if len(names) > MaxFields {
		root.Fault(key, "at most "+strconv.Itoa(MaxFields)+" field names", "")
		return nil
	}
	adjusting := adjusts(names)
	for i, written := range names {
		name := written
		if adjusts(names[i : i+1]) {
			name = written[1:]
		}
		again := func(other string) bool { return strings.EqualFold(strings.TrimLeft(other, "+-"), name) }
		_, _, ok := dkim.ParsePattern(name)
		switch {
		case !ok:
			root.FaultItem(key, i, "the name of a header field, or the beginning of names and *", `such as "Subject" or "List-*"`)
		case (name != written) != adjusting:
			root.FaultItem(key, i, "+ or - before every name, or before none", "with them the list is what differs from [sign] "+key)
		case slices.ContainsFunc(names[:i], again):
			root.FaultItem(key, i, "each field once", "remove one of the two")
		}
	}
	return names
}

// ReadSelectors reads selectors.
func ReadSelectors(root *tomlfile.Table, sdid domain.Name) []string {
	names := root.Strings("selectors", nil)
	if names != nil && len(names) == 0 {
		root.Fault("selectors", "at least one selector", "leave selectors out and every key signs")
	}
	for i, written := range names {
		name, err := dkim.ParseSelector(written, sdid, dkim.AsPublished)
		if err != nil {
			root.FaultItem("selectors", i, "a selector", err.Error())
		}
		names[i] = name
	}
	return names
}

// MaxRotation is the longest time between two rotations that can be configured.
const MaxRotation = 3650 * 24 * time.Hour

// RotateSelectors reads the selectors of new keys: one with {date} in it, or names that are used in turn.
func RotateSelectors(t *tomlfile.Table, key string, def []string) []string {
	names := t.Strings(key, def)
	for i, name := range names {
		selector := strings.Replace(name, "{date}", "20060102", 1)
		if _, err := dkim.ParseSelector(selector, "example.org", dkim.AsPublished); err != nil || selector+stateSuffix == optionsFile {
			t.FaultItem(key, i, "a selector, or the beginning of selectors with {date}", "")
		} else if dated := selector != name; dated != (len(names) == 1) {
			t.FaultItem(key, i, "one selector with {date} in it, or two or more names that are used in turn", `such as "s{date}", or ["s1", "s2"]`)
		}
	}
	if t.Has(key) && len(names) == 0 {
		t.Fault(key, "at least one selector", `such as "s{date}"`)
	}
	return names
}

func users(root *tomlfile.Table) []string {
	names := root.Strings("users", nil)
	for i, name := range names {
		if strings.TrimSpace(name) != name || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			root.FaultItem("users", i, "a login", "")
		}
	}
	return names
}
