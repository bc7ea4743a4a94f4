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

// What of amavisd.conf, which is Perl, is read: statements of these forms.
const perlScalar = `('[^']*'|"[^"]*"|\$\w+)`

var (
	amavisKey      = regexp.MustCompile(`^\s*dkim_key\s*\(\s*` + perlScalar + `\s*,\s*` + perlScalar + `\s*,\s*` + perlScalar + `\s*(,.*)?\)`)
	amavisScalar   = regexp.MustCompile(`^\s*(?:our\s+|my\s+)?\$(\w+)\s*=\s*('[^']*'|"[^"]*")\s*;`)
	amavisNetworks = regexp.MustCompile(`@mynetworks\s*=\s*(?:qw)?\(([^)]*)\)`)
	amavisSigning  = regexp.MustCompile(`^\s*\$enable_dkim_signing\s*=\s*(\w+)`)
	amavisOptions  = regexp.MustCompile(perlScalar + `\s*=>\s*\{([^{}]*)\}`)
	amavisOption   = regexp.MustCompile(`(\w+)\s*=>\s*(?:` + perlScalar + `|([\d*\s]+))`)
	amavisField    = regexp.MustCompile(`^\s*\$signed_header_fields\{\s*(?:lc\s*\(\s*)?['"]?([\w-]+)['"]?[\s)]*\}\s*=\s*(\d+)\s*;`)
	amavisOther    = regexp.MustCompile(`^\s*([@$%]\w*(?:dkim|signed_header)\w*|dkim_key)`)
)

// amavis is a configuration of amavis being read.
type amavis struct {
	plan     *Plan
	tables   *opendkim // writes keys and tables
	scalars  map[string]string
	networks []string // nil: @mynetworks is not set
	keys     []*amavisKeyLine
	options  []amavisOptionsLine
	fields   []amavisFieldLine
	shared   map[string]string // the options that dkimd has for all signatures alike
	signs    bool              // $enable_dkim_signing
}

// amavisKeyLine is a dkim_key; a * in the domain stands for anything.
type amavisKeyLine struct {
	line
	domain, selector, path, more string // more: options of its record
	used                         bool
}

// amavisOptionsLine is what signatures of some senders are like.
type amavisOptionsLine struct {
	Place
	sender string // USER@DOMAIN, DOMAIN, .DOMAIN for it and those below, or . for all
	set    map[string]string
}

type amavisFieldLine struct {
	Place
	name   string
	weight int // 0: not signed, 2: oversigned
}

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
	a := &amavis{plan: p, tables: o, scalars: map[string]string{}}
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
	for _, path := range paths {
		data, err := r.read(path, Place{})
		if err != nil {
			return nil, err
		}
		for _, l := range perlLines(r.path(path), data) {
			a.statement(l)
		}
	}
	a.carry()
	p.sort()
	return p, nil
}

// carry makes dkimd's configuration.
func (a *amavis) carry() {
	c := &a.plan.config
	c.set("milter", "listen", []string{besideOpenDKIM}, "")
	c.set("verify", "enabled", false, "amavis goes on verifying")
	a.headers()
	c.set("sign", "identity_from", []string{"from", "sender", "envelope"}, "")
	if a.networks == nil {
		a.networks = strings.Fields(amavisMyNetworks)
		a.plan.note(Close, Place{a.plan.From, 0}, "@mynetworks", "", "is not set here: [sign] networks has amavis' default, which holds all private networks")
	}
	c.set("sign", "networks", a.networks, "@mynetworks")
	c.set("sign", "daemon_names", []string{"ORIGINATING"}, "mail that the mail server calls so")
	a.plan.Clients = a.networks
	a.signing()
	if !a.signs && len(a.keys) > 0 {
		a.plan.note(Close, a.keys[0].Place, "$enable_dkim_signing", "", "is not set to 1 here, without which amavis does not sign; dkimd will")
	}
	a.tables.writeSigning()
}

// amavisHeaders are the fields that amavis signs: Conf.pm, %signed_header_fields.
const amavisHeaders = "From Reply-To Subject Date Message-ID In-Reply-To References MIME-Version Content-Type Content-Transfer-Encoding Content-ID " +
	"Content-Description Resent-Date Resent-From Resent-Sender Resent-Message-ID List-Id List-Post List-Owner List-Subscribe List-Unsubscribe List-Help " +
	"List-Archive Received Precedence Original-Message-ID Message-Context PICS-Label Sensitivity Solicitation Content-Location Content-Features " +
	"Content-Disposition Content-Language Content-Alternative Content-Base Content-MD5 Content-Duration Content-Class Accept-Language Auto-Submitted " +
	"Archived-At VBR-Info Organization Organisation User-Agent X-Mailer"

// amavisMyNetworks is @mynetworks where nobody sets it: Conf.pm of amavis 2.13.
const amavisMyNetworks = "127.0.0.0/8 ::1 169.254.0.0/16 fe80::/10 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7"

// maxStatement is how many lines one may have; a domain of a hoster takes one.
const maxStatement = 10_000

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
		if strings.HasSuffix(strings.TrimSpace(held), ";") || n-begun > maxStatement {
			all = append(all, line{Place{path, begun}, held})
			held = ""
		}
	}
	if held != "" {
		all = append(all, line{Place{path, begun}, held})
	}
	return all
}

// statement reads one.
func (a *amavis) statement(l line) {
	p := a.plan
	if m := amavisScalar.FindStringSubmatch(l.text); m != nil {
		a.scalars[m[1]] = a.text(m[2])
	}
	if m := amavisKey.FindStringSubmatch(l.text); m != nil {
		a.keys = append(a.keys, &amavisKeyLine{line: l, domain: strings.ToLower(a.text(m[1])), selector: a.text(m[2]), path: a.text(m[3]), more: m[4]})
		return
	}
	if m := amavisNetworks.FindStringSubmatch(l.text); m != nil {
		a.mynetworks(l, m[1])
		return
	}
	if m := amavisSigning.FindStringSubmatch(l.text); m != nil {
		a.signs = m[1] == "1"
		p.note(Same, l.Place, "$enable_dkim_signing", m[1], "dkimd signs where there are keys")
		return
	}
	if m := amavisField.FindStringSubmatch(l.text); m != nil {
		weight, _ := strconv.Atoi(m[2])
		if weight == 0 && strings.EqualFold(m[1], "From") {
			p.note(Close, l.Place, "$signed_header_fields{"+m[1]+"}", m[2], "left out: dkimd signs From always, since no receiver takes a signature without it")
			return
		}
		a.fields = append(a.fields, amavisFieldLine{l.Place, m[1], weight})
		p.note(Same, l.Place, "$signed_header_fields{"+m[1]+"}", m[2], "[sign] headers and oversign")
		return
	}
	if m := amavisOther.FindStringSubmatch(l.text); m != nil {
		switch found := amavisOptions.FindAllStringSubmatch(l.text, -1); {
		case strings.HasPrefix(m[1], "@dkim_signature_options") && len(found) > 0:
			a.options = nil // the last one counts
			for _, o := range found {
				a.options = append(a.options, amavisOptionsLine{l.Place, strings.ToLower(a.text(o[1])), a.optionsOf(o[2])})
			}
		case strings.HasPrefix(m[1], "$enable_dkim_verification"):
			p.note(Same, l.Place, m[1], strings.TrimSpace(l.text), "amavis goes on verifying")
		default:
			p.note(NotCarried, l.Place, m[1], strings.TrimSpace(l.text), "dkimd does not know it: see what was meant")
		}
	}
}

// text is what a scalar of Perl stands for; a variable that is not known stays.
func (a *amavis) text(scalar string) string {
	if inner, single := strings.CutPrefix(scalar, "'"); single {
		return strings.TrimSuffix(inner, "'")
	}
	return os.Expand(strings.ReplaceAll(strings.Trim(scalar, `"`), `\@`, "@"), func(name string) string {
		if value, known := a.scalars[name]; known {
			return value
		}
		return "$" + name
	})
}

func (a *amavis) optionsOf(text string) map[string]string {
	set := map[string]string{}
	for _, o := range amavisOption.FindAllStringSubmatch(text, -1) {
		set[o[1]] = a.text(o[2]) + strings.TrimSpace(o[3])
	}
	return set
}

func (a *amavis) mynetworks(l line, list string) {
	a.networks = []string{"127.0.0.0/8", "::1"} // the last one counts
	for word := range strings.FieldsSeq(strings.NewReplacer(",", " ", "'", " ", `"`, " ").Replace(list)) {
		prefix, err := netip.ParsePrefix(strings.NewReplacer("[", "", "]", "").Replace(word))
		if err != nil {
			if addr, err := netip.ParseAddr(strings.Trim(word, "[]")); err == nil {
				if addr.String() != "::1" {
					a.networks = append(a.networks, addr.String())
				}
			} else {
				a.plan.note(NotCarried, l.Place, "@mynetworks", word, "no address and no network; left out")
			}
			continue
		}
		if text := prefix.Masked().String(); text != "127.0.0.0/8" {
			a.networks = append(a.networks, text)
		}
	}
	a.plan.note(Same, l.Place, "@mynetworks", strings.TrimSpace(list), "[sign] networks")
}

// headers are those of amavis, with what $signed_header_fields changes.
func (a *amavis) headers() {
	signed, oversigned := strings.Fields(amavisHeaders), []string{"From", "Date", "Subject", "Content-Type"}
	for _, f := range a.fields {
		named := func(name string) bool { return strings.EqualFold(name, f.name) }
		if at := slices.IndexFunc(signed, named); at >= 0 {
			f.name = signed[at]
		}
		signed, oversigned = slices.DeleteFunc(signed, named), slices.DeleteFunc(oversigned, named)
		if f.weight > 0 {
			signed = append(signed, f.name)
		}
		if f.weight > 1 {
			oversigned = append(oversigned, f.name)
		}
	}
	a.plan.config.set("sign", "headers", signed, "as amavis does by default")
	a.plan.config.set("sign", "oversign", oversigned, "")
}
