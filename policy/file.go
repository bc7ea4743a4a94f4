package policy

import (
	"regexp"
	"slices"
	"strconv"

	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/safetext"
	"dkimd/internal/smtpreply"
	"dkimd/internal/tomlfile"
	"dkimd/verifier"
)

// recipientDirectory is where the files of recipient domains are, beside those of senders.
const recipientDirectory = "for/"

// defaultName judges the mail that no other file claims.
const defaultName = "_default.toml"

// Modes of a file.
const (
	modeMonitor = "monitor"
	modeEnforce = "enforce"
)

// maxRules bounds one file.
const maxRules = 1000

// identity is where a sender domain was found; a set of it is what a file claims.
type identity uint8

const (
	fromHeader identity = 1 << iota // any address of any From field
	envelope                        // MAIL FROM
)

// kind is whose mail a file is about.
type kind uint8

const (
	ofSender    kind = iota // gmail.com.toml
	ofAnyone                // _default.toml
	ofRecipient             // for/example.net.toml
)

// program is a rules file, compiled. It knows neither its name nor its domain:
// files with the same content share one.
type program struct {
	kind       kind
	claims     identity
	subdomains bool
	exact      bool // subdomains = false is written: it is meant
	alone      bool // files of senders do not judge what this one does
	mode       string
	rules      []*rule
	plain      bool // no rule has a condition on the message
	stops      bool // a rule can keep a message from its recipients
	asksDMARC  bool // a rule asks for it, or for the policy
	asksSPF    bool
	broken     bool          // stands for a file that cannot be used
	aligned    bool          // a rule counts the signatures aligned with the sender
	signers    []domain.Name // domains that rules name, each once

	faults, warnings fault.Faults // without their path
}

// file is a program under the name of a domain.
type file struct {
	*program
	name   string      // gmail.com.toml, for/example.net.toml
	domain domain.Name // empty: _default.toml
}

// key tells the file from that of the same domain of the other kind.
func (f *file) key() domain.Name {
	if f.kind == ofRecipient {
		return recipientDirectory + f.domain
	}
	return f.domain
}

// compileFile reads the content of a rules file.
func compileFile(data []byte, kind kind, lists *tomlfile.Lists) *program {
	doc := tomlfile.Parse("", data)
	doc.Share(lists)
	root := doc.Root()
	p := &program{kind: kind, claims: fromHeader, plain: true}
	switch root.Enum("sender", "from", "from", "envelope", "either") {
	case "envelope":
		p.claims = envelope
	case "either":
		p.claims = fromHeader | envelope
	}
	p.subdomains = root.Bool("subdomains", false)
	p.exact = root.Has("subdomains") && !p.subdomains
	p.mode = root.Enum("mode", modeMonitor, modeMonitor, modeEnforce)
	switch kind {
	case ofAnyone:
		for _, key := range []string{"sender", "subdomains"} {
			if root.Has(key) {
				root.Fault(key, "no such key in "+defaultName, "remove it: "+defaultName+" judges every From domain that no other file claims")
			}
		}
		p.claims, p.subdomains = fromHeader, false
	case ofRecipient:
		if root.Has("sender") {
			root.Fault("sender", "no such key in "+recipientDirectory, "remove it: a file there judges mail by its recipients")
		}
		p.alone = root.Bool("alone", false)
	case ofSender:
	}
	tables := root.Tables("rule")
	if len(tables) > maxRules {
		root.Fault("rule", "at most "+strconv.Itoa(maxRules)+" rules", "")
	}
	for i, t := range tables {
		p.add(compileRule(t, i+1))
	}
	p.faults = doc.Faults()
	if len(p.faults) == 0 {
		p.warnings = p.warn(root, tables)
	}
	return p
}

func (p *program) add(r *rule) {
	p.rules = append(p.rules, r)
	p.plain = p.plain && r.plain()
	p.stops = p.stops || r.stops()
	p.asksDMARC = p.asksDMARC || r.asked.dmarc != 0 || r.asked.published != 0 || r.asked.testing != either
	p.asksSPF = p.asksSPF || r.asked.spf != 0
	if r.outcomes == 0 {
		return
	}
	p.aligned = p.aligned || r.selection.signers == nil && r.selection.aligned != verifier.AlignNone
	for signer, covers := range r.selection.signers {
		if covers&itself != 0 && !slices.Contains(p.signers, signer) {
			p.signers = append(p.signers, signer)
		}
	}
}

// deferring stands for a rules file that cannot be used: nobody knows what the
// operator wanted with this mail, so it has to come again. It claims the domain
// wherever it is found. Subdomains it claims only where the file could be read
// that far: a broken com.toml must not defer every .com.
func deferring(name string, sender domain.Name, subdomains bool) *file {
	where := safetext.Domain(string(sender))
	if sender == "" {
		where = "this mail"
	}
	return &file{name: name, domain: sender, program: &program{
		claims: fromHeader | envelope, subdomains: subdomains, mode: modeEnforce, plain: true, stops: true, broken: true,
		rules: []*rule{{
			name: ruleBroken, action: TempFail,
			reply: smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "local policy for " + where + " is broken, try again later"},
		}},
	}}
}

// subdomainsLine finds the key in a file that is not TOML any more.
var subdomainsLine = regexp.MustCompile(`(?m)^[ \t]*subdomains[ \t]*=[ \t]*true\b`)

// claimsSubdomains is what can be known of a file that has faults.
func claimsSubdomains(p *program, data []byte) bool {
	return p.subdomains || subdomainsLine.Match(data)
}

// open is the rules whose conditions on the message hold.
func (p *program) open(m *Message) []*rule {
	if p.plain {
		return p.rules
	}
	rules := make([]*rule, 0, len(p.rules))
	for _, r := range p.rules {
		if r.open(m) {
			rules = append(rules, r)
		}
	}
	return rules
}
