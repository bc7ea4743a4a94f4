package importer

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/fault"
)

// What of amavisd.conf, which is Perl, is read: lines of these forms.
var (
	amavisKey      = regexp.MustCompile(`^\s*dkim_key\s*\(\s*(['"])([^'"]*)['"]\s*,\s*['"]([^'"]*)['"]\s*,\s*['"]([^'"]*)['"]\s*(,.*)?\)`)
	amavisNetworks = regexp.MustCompile(`@mynetworks\s*=\s*(?:qw)?\(([^)]*)\)`)
	amavisSigning  = regexp.MustCompile(`^\s*\$enable_dkim_signing\s*=\s*(\w+)`)
	amavisOptions  = regexp.MustCompile(`['"]([^'"]+)['"]\s*=>\s*\{([^{}]*)\}`)
	amavisOption   = regexp.MustCompile(`(\w+)\s*=>\s*(?:'([^']*)'|"([^"]*)"|([\d*\s]+))`)
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
	if c.value("sign", "canonicalization") == nil {
		c.set("sign", "canonicalization", "relaxed/simple", "as amavis does by default")
	}
	c.set("sign", "headers", strings.Fields(amavisHeaders), "as amavis does by default")
	c.set("sign", "oversign", []string{"From", "Date", "Subject", "Content-Type"}, "")
	c.set("sign", "identity_from", []string{"from", "sender", "envelope"}, "")
	c.set("sign", "networks", networks, "@mynetworks")
	c.set("sign", "daemon_names", []string{"ORIGINATING"}, "mail that the mail server calls so")
	p.Clients = networks
	o.writeSigning()
	p.sort()
	return p, nil
}

// amavisHeaders are the fields that amavis signs: Conf.pm, %signed_header_fields.
const amavisHeaders = "From Reply-To Subject Date Message-ID In-Reply-To References MIME-Version Content-Type Content-Transfer-Encoding Content-ID " +
	"Content-Description Resent-Date Resent-From Resent-Sender Resent-Message-ID List-Id List-Post List-Owner List-Subscribe List-Unsubscribe List-Help " +
	"List-Archive Received Precedence Original-Message-ID Message-Context PICS-Label Sensitivity Solicitation Content-Location Content-Features " +
	"Content-Disposition Content-Language Content-Alternative Content-Base Content-MD5 Content-Duration Content-Class Accept-Language Auto-Submitted " +
	"Archived-At VBR-Info Organization Organisation User-Agent X-Mailer"

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
		o.amavisKey(l, m)
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
			o.amavisOptions(l, m[1])
		case strings.HasPrefix(m[1], "$enable_dkim_verification"):
			p.note(Same, l.Place, m[1], strings.TrimSpace(l.text), "amavis goes on verifying")
		default:
			p.note(NotCarried, l.Place, m[1], strings.TrimSpace(l.text), "dkimd does not know it: see what was meant")
		}
	}
	return nil
}

// amavisKey reads a dkim_key: domain, selector, file and options of the record. The first key of a domain signs, and for
// no domain below it; a * in the domain stands for anything.
func (o *opendkim) amavisKey(l line, m []string) {
	p, name, written := o.plan, strings.ToLower(m[2]), m[2]+" "+m[3]
	address, signs := "*@"+name, name
	if strings.Contains(name, "*") {
		signs = "%"
	}
	if slices.ContainsFunc(o.signing.rows, func(r tableRow) bool { return r.address == address }) {
		p.note(Close, l.Place, "dkim_key", written, "left out: amavis signs with the first key of a domain only")
		return
	}
	key, wrong := o.tableKey(entry{l.Place, m[2] + "/" + m[3], signs + ":" + m[3] + ":" + m[4]})
	if wrong != "" {
		p.note(NotCarried, l.Place, "dkim_key", written, wrong+"; it does not sign")
		return
	}
	o.signing.add(key)
	o.signing.rows = append(o.signing.rows, tableRow{l.Place, address, key.name, ""})
	words := "key_table and signing_table; amavis signs no mail that it takes for spam or a virus"
	if m[5] != "" {
		words += "; its options " + strings.Trim(m[5], ", ") + " stand in the DNS record only"
	}
	p.note(Close, l.Place, "dkim_key", written, words)
}

// amavisOptions reads what signatures of some senders are like; '.' stands for all.
func (o *opendkim) amavisOptions(l line, name string) {
	c := &o.plan.config
	for _, m := range amavisOptions.FindAllStringSubmatch(l.text, -1) {
		if m[1] != "." {
			o.plan.note(NotCarried, l.Place, name, m[1], "domain.toml or [[sign.map]] says what differs for some senders")
			continue
		}
		for _, option := range amavisOption.FindAllStringSubmatch(m[2], -1) {
			text := option[2] + option[3] + strings.TrimSpace(option[4])
			switch s := (setting{l.Place, name + " " + option[1], text}); option[1] {
			case "ttl":
				seconds := 1
				for factor := range strings.SplitSeq(text, "*") {
					n, _ := strconv.Atoi(strings.TrimSpace(factor))
					seconds *= n
				}
				if seconds > 0 && seconds <= 3650*24*60*60 {
					c.set("sign", "expiry", strconv.Itoa(seconds)+"s", why(s))
					o.same(s, "[sign] expiry")
				} else {
					o.missed(s, "want up to 10 years: set [sign] expiry")
				}
			case "c":
				o.canonicalization(s)
			case "a":
				o.same(s, "the type of a key says how it signs")
			default:
				o.missed(s, "domain.toml or [[sign.map]] says it for some senders")
			}
		}
	}
}
