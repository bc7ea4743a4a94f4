package keys

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/fault"
	"dkimd/internal/message"
	"dkimd/internal/tomlfile"
)

// optionsFile is the name of the file with a domain's options.
const optionsFile = "domain.toml"

// maxExpiry keeps x= within what any clock reads.
const maxExpiry = 10 * 366 * 24 * time.Hour

// Options are what a domain.toml says. The zero value is that of a domain without one.
type Options struct {
	Subdomains bool           // the keys also sign for domains below this one that have none
	Identity   string         // i= (RFC 6376 section 3.5): "@domain" or "local@domain"; empty: none
	Expiry     *time.Duration // x= minus t=; 0: no x=; nil: not set
	Headers    []string       // names of fields to sign, a * at the end for a prefix; nil: not set
	Selectors  []string       // which keys sign; nil: all
	Users      []string       // logins that may send as this domain; nil: not set
}

// readOptions reads what a domain.toml says about a domain. broken: it cannot be
// told what the administrator wants, so nothing signs. A selector without key is
// a fault too, but the others go on.
func readOptions(d *Domain, path string, data []byte) (o Options, faults fault.Faults, broken bool) {
	file := tomlfile.Parse(path, data)
	root := file.Root()
	o.Subdomains = root.Bool("subdomains", false)
	o.Identity = identity(root, d.Name)
	if expiry := root.Duration("expiry", 0, 0, maxExpiry); root.Has("expiry") {
		o.Expiry = &expiry
		if expiry%time.Second != 0 {
			root.Fault("expiry", "whole seconds", "x= counts no less (RFC 6376 section 3.5)")
		}
	}
	o.Headers = headers(root)
	o.Users = users(root)
	o.Selectors = selectors(root, d.Name)
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

// saysSubdomains finds the option in a file that is no TOML.
var saysSubdomains = regexp.MustCompile(`(?m)^[ \t]*subdomains[ \t]*=[ \t]*true\b`)

// knows reports whether there is a key that can sign under a selector, and what to do if not.
func (d *Domain) knows(selector string) (hint string, known bool) {
	is := func(k *Key) bool { return k.Selector == selector }
	switch {
	case slices.ContainsFunc(d.Keys, is):
		return "", true
	case slices.ContainsFunc(d.Pending, is):
		return "dkimd key activate " + d.Name + " " + selector, false
	}
	return "dkimd key generate " + d.Name + " --selector " + selector, false
}

func identity(root *tomlfile.Table, domain string) string {
	id := root.String("identity", "")
	if id == "" {
		return ""
	}
	want := `"@` + domain + `", or an address or domain below it`
	local, at, found := strings.Cut(id, "@")
	if i := strings.LastIndexByte(id, '@'); found {
		local, at = id[:i], id[i+1:]
	}
	name, reason := domainName(at)
	switch {
	case !found:
		root.Fault("identity", want, `write "@`+domain+`"`)
	case reason != "" || !message.Within(name, domain):
		root.Fault("identity", want, "i= has to lie within d= (RFC 6376 section 3.5)")
	case strings.ContainsFunc(local, func(r rune) bool { return r <= ' ' || r > '~' }):
		root.Fault("identity", want, "a local part of printable ASCII without spaces")
	default:
		return local + "@" + name
	}
	return ""
}

func headers(root *tomlfile.Table) []string {
	names := root.Strings("headers", nil)
	from := false
	for i, name := range names {
		from = from || strings.EqualFold(name, "From")
		stem := strings.TrimSuffix(name, "*")
		again := func(other string) bool { return strings.EqualFold(name, other) }
		switch becomes := dkim.Unstable(name); {
		// RFC 5322 section 2.2; * is allowed in names, but nobody has one there.
		case stem == "" || strings.ContainsFunc(stem, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == ';' || r == '*' }):
			root.FaultItem("headers", i, "the name of a header field, or the beginning of names and *", `such as "Subject" or "List-*"`)
		case slices.ContainsFunc(names[:i], again):
			root.FaultItem("headers", i, "each field once", "remove one of the two")
		case becomes != "":
			root.FaultItem("headers", i, "fields that reach the recipient as they were signed", becomes+"; remove "+strconv.Quote(name))
		}
	}
	if names != nil && !from {
		root.Fault("headers", "a list with From in it", "From must be signed (RFC 6376 section 5.4)")
	}
	return names
}

func selectors(root *tomlfile.Table, domain string) []string {
	names := root.Strings("selectors", nil)
	if names != nil && len(names) == 0 {
		root.Fault("selectors", "at least one selector", "leave selectors out and every key signs")
	}
	for i, written := range names {
		name, reason := selectorName(written, domain, asPublished)
		if reason != "" {
			root.FaultItem("selectors", i, "a selector", reason)
		}
		names[i] = name
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
