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
	if expiry := root.Duration("expiry", 0, 0, MaxExpiry); root.Has("expiry") {
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

// saysSubdomains finds the option in a file that is not TOML.
var saysSubdomains = regexp.MustCompile(`(?m)^[ \t]*subdomains[ \t]*=[ \t]*true\b`)

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

func identity(root *tomlfile.Table, sdid domain.Name) string {
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
	names := root.Strings("headers", nil)
	if len(names) > MaxFields {
		root.Fault("headers", "at most "+strconv.Itoa(MaxFields)+" field names", "")
		return nil
	}
	from := false
	for i, name := range names {
		from = from || strings.EqualFold(name, "From")
		again := func(other string) bool { return strings.EqualFold(name, other) }
		_, _, ok := dkim.ParsePattern(name)
		switch becomes := dkim.Unstable(name); {
		case !ok:
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

func selectors(root *tomlfile.Table, sdid domain.Name) []string {
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

func users(root *tomlfile.Table) []string {
	names := root.Strings("users", nil)
	for i, name := range names {
		if strings.TrimSpace(name) != name || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			root.FaultItem("users", i, "a login", "")
		}
	}
	return names
}
