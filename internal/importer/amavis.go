package importer

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"dkimd/internal/fault"
)

// What of amavisd.conf, which is Perl, is read: lines of these forms.
var (
	amavisKey      = regexp.MustCompile(`^\s*dkim_key\s*\(\s*(['"])([^'"]*)['"]\s*,\s*['"]([^'"]*)['"]\s*,\s*['"]([^'"]*)['"]\s*(,.*)?\)`)
	amavisNetworks = regexp.MustCompile(`@mynetworks\s*=\s*(?:qw)?\(([^)]*)\)`)
	amavisSigning  = regexp.MustCompile(`^\s*\$enable_dkim_signing\s*=\s*(\w+)`)
	amavisOther    = regexp.MustCompile(`^\s*([@$%]\w*dkim\w*|dkim_key)`)
)

// Amavis reads the keys of amavis: dkim_key in a file, or in all of /etc/amavis/conf.d.
func Amavis(path string, options Options) (*Plan, error) {
	r := root(options.Root)
	if path == "" {
		for _, path = range []string{"/etc/amavis/conf.d", "/etc/amavisd/amavisd.conf", "/etc/amavisd.conf"} {
			if exists(r.path(path)) {
				break
			}
		}
	}
	p := &Plan{Source: "amavis", From: r.path(path)}
	o := &opendkim{Options: options, root: r, plan: p, base: "/", signing: signing{patterns: true, own: true, notes: map[string]verdictText{}}}
	paths := []string{path}
	if info, err := os.Stat(r.path(path)); err == nil && info.IsDir() {
		found, _ := filepath.Glob(filepath.Join(r.path(path), "*"))
		if paths = nil; len(found) == 0 {
			return nil, fault.Fault{Path: r.path(path), Got: "an empty directory", Want: "amavisd.conf"}
		}
		for _, f := range found {
			paths = append(paths, strings.TrimPrefix(f, strings.TrimSuffix(string(r), "/")))
		}
	}
	networks := []string{"127.0.0.0/8", "::1"}
	for _, path := range paths {
		data, err := r.read(path, Place{})
		if err != nil {
			return nil, err
		}
		for _, l := range perlLines(r.path(path), data) {
			networks = append(networks, o.amavisLine(l)...)
		}
	}
	c := &p.config
	c.set("milter", "listen", []string{besideOpenDKIM}, "")
	c.set("verify", "enabled", false, "amavis goes on verifying")
	c.set("sign", "canonicalization", "relaxed/simple", "as amavis does by default")
	c.set("sign", "networks", networks, "@mynetworks")
	c.set("sign", "daemon_names", []string{"ORIGINATING"}, "mail that the mail server calls so")
	p.Clients = networks
	o.writeSigning()
	p.sort()
	return p, nil
}

// perlLines are lines without comments, joined up to the ; or ) that ends them where a list goes on.
func perlLines(path string, data []byte) []line {
	var all []line
	held, begun := "", 0
	n := 0
	for text := range strings.Lines(string(data)) {
		n++
		if trimmed := strings.TrimSpace(text); trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		if at := strings.Index(text, " #"); at >= 0 {
			text = text[:at]
		}
		if held == "" {
			begun = n
		}
		held += strings.TrimRight(text, "\r\n") + " "
		if strings.HasSuffix(strings.TrimSpace(held), ";") || n-begun > 50 {
			all = append(all, line{Place{path, begun}, held})
			held = ""
		}
	}
	if held != "" {
		all = append(all, line{Place{path, begun}, held})
	}
	return all
}

// amavisLine reads one statement.
func (o *opendkim) amavisLine(l line) (networks []string) {
	p := o.plan
	if m := amavisKey.FindStringSubmatch(l.text); m != nil {
		name := strings.TrimPrefix(m[2], ".")
		key, wrong := o.tableKey(entry{l.Place, m[2] + "/" + m[3], name + ":" + m[3] + ":" + m[4]})
		if wrong != "" {
			p.note(NotCarried, l.Place, "dkim_key", m[2]+" "+m[3], wrong+"; it does not sign")
			return nil
		}
		o.signing.add(key)
		o.signing.rows = append(o.signing.rows, tableRow{l.Place, "*@" + name, key.name, ""}, tableRow{l.Place, "*@*." + name, key.name, ""})
		v, words := Close, "key_table and signing_table; amavis writes x=, some weeks ahead: [sign] expiry"
		if m[5] != "" {
			words += "; its options " + strings.Trim(m[5], ", ") + " stand in the DNS record only"
		}
		p.note(v, l.Place, "dkim_key", m[2]+" "+m[3], words)
		return nil
	}
	if m := amavisNetworks.FindStringSubmatch(l.text); m != nil {
		for word := range strings.FieldsSeq(strings.NewReplacer(",", " ", "'", " ", `"`, " ").Replace(m[1])) {
			prefix, err := netip.ParsePrefix(strings.NewReplacer("[", "", "]", "").Replace(word))
			if err != nil {
				if addr, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
					networks = append(networks, addr.String())
				} else {
					p.note(NotCarried, l.Place, "@mynetworks", word, "no address and no network; left out")
				}
				continue
			}
			if text := prefix.Masked().String(); text != "127.0.0.0/8" {
				networks = append(networks, text)
			}
		}
		p.note(Same, l.Place, "@mynetworks", strings.TrimSpace(m[1]), "[sign] networks")
		return networks
	}
	if m := amavisSigning.FindStringSubmatch(l.text); m != nil {
		p.note(Same, l.Place, "$enable_dkim_signing", m[1], "dkimd signs")
		return nil
	}
	if m := amavisOther.FindStringSubmatch(l.text); m != nil {
		switch {
		case strings.HasPrefix(m[1], "@dkim_signature_options"):
			p.note(NotCarried, l.Place, m[1], strings.TrimSpace(l.text), "[sign] canonicalization and expiry for all, domain.toml or [[sign.map]] for some")
		case strings.HasPrefix(m[1], "$enable_dkim_verification"):
			p.note(Same, l.Place, m[1], strings.TrimSpace(l.text), "amavis goes on verifying")
		default:
			p.note(NotCarried, l.Place, m[1], strings.TrimSpace(l.text), "dkimd does not know it: see what was meant")
		}
	}
	return nil
}
