package policy

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"
	"strconv"

	"dkimd/internal/dmarc"
	"dkimd/internal/domain"
	"dkimd/internal/fault"
	"dkimd/internal/tomlfile"
	"dkimd/verifier"
)

// warn finds what a file allows but its author cannot want.
func (p *program) warn(root *tomlfile.Table, tables []*tomlfile.Table) fault.Faults {
	var found fault.Faults
	warn := func(t *tomlfile.Table, key, got, want, hint string) {
		found = append(found, fault.Fault{Line: t.LineOf(key), Key: t.KeyPath(key), Got: got, Want: want, Hint: hint})
	}
	tags := false
	end := 0 // the unconditional rule that ends the file, counted from 1
	for i, r := range p.rules {
		t := tables[i]
		tags = tags || r.isTag
		switch {
		case !r.isTag && r.action == Accept && r.forgeable():
			warn(t, "action", "accept for mail that anybody can send", "a condition that only the real sender meets",
				`add result = ["pass"] or clients`)
		case r.rejectsAlone() && !slices.ContainsFunc(p.rules[:i], (*rule).spares):
			warn(t, "action", r.action.String()+" because of DMARC alone", "quarantine, or a second condition such as not_list, not_clients or signers",
				"RFC 9989 section 7.4 forbids to reject only because a domain publishes reject: mail of its users through lists and forwarders fails too")
		}
		switch {
		case end > 0:
			warn(t, "action", "a rule that is never reached", "no rule after rule "+strconv.Itoa(end)+", which holds for every message",
				"give that rule a condition, or remove this one")
		case !r.isTag && r.unconditional():
			end = i + 1
		}
		if j := slices.IndexFunc(p.rules[:i], func(earlier *rule) bool { return earlier.name == r.name }); j >= 0 {
			warn(t, "name", "the name of rule "+strconv.Itoa(j+1), "a name of its own", "the log tells rules apart by their names")
		}
	}
	p.warnOfFile(tags, func(key, got, want, hint string) { warn(root, key, got, want, hint) })
	return found
}

// warnOfFile finds what does not stand in any one rule. tags says that a rule tags.
func (p *program) warnOfFile(tags bool, warn func(key, got, want, hint string)) {
	switch {
	case p.alone && p.mode == modeMonitor:
		warn("alone", "true in monitor mode", `mode = "enforce"`, "until then the files of senders judge as well")
	case p.alone: // to let pass what files of senders stop is a purpose
	case len(p.rules) == 0 && p.kind == ofRecipient:
		warn("rule", "no rule", "at least one [[rule]], or alone = true", "this file does nothing")
	case len(p.rules) == 0:
		warn("rule", "no rule", "at least one [[rule]]", "this file accepts all mail it claims, and keeps it from "+defaultName)
	case p.mode == modeEnforce && !p.stops && !tags:
		warn("mode", `"enforce"`, "a rule that does something", "every rule accepts")
	case p.missesUnsigned():
		warn("rule", "rules that stop broken signatures and not absent ones", `a rule for result = ["none"]`,
			"a forger just leaves the signature out")
	}
}

// gaps are the ways past files that stop mail in enforce mode: through a subdomain, and through a From that names nobody
// or several authors. Only From is shown to people, so a file for MAIL FROM alone has none.
func (r *Rules) gaps(dir string) fault.Faults {
	var found fault.Faults
	var first domain.Name
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		f := r.files[name]
		if f.broken || f.mode != modeEnforce || !f.stops || f.claims&fromHeader == 0 {
			continue
		}
		first = cmp.Or(first, name)
		if !f.subdomains && !f.exact {
			found = append(found, fault.Fault{
				Path: filepath.Join(dir, f.name), Key: "subdomains", Got: "rules that stop mail of " + string(name) + " alone", Want: "subdomains = true",
				Hint: "mail of login." + string(name) + " and any other subdomain passes; write subdomains = false if that is meant",
			})
		}
	}
	if first != "" && !r.fallback.refusesFaultyFrom() {
		found = append(found, fault.Fault{
			Path: filepath.Join(dir, defaultName), Key: "from", Got: "no rule in enforce mode that stops mail without From and with several",
			Want: `a rule with from = ["missing", "multiple"] and action = "reject"`, Hint: "a forger passes " + r.files[first].name + " with a From that cannot be read; docs/policy.md has the rule",
		})
	}
	return found
}

// refusesFaultyFrom reports whether rules that ask for nothing else stop mail whose From is missing or not the only one.
func (f *file) refusesFaultyFrom() bool {
	if f == nil || f.broken {
		return f != nil // it defers everything
	}
	left := missing | multiple
	for _, r := range f.rules {
		only := *r
		only.from = 0
		if f.mode != modeEnforce || r.isTag || !only.unconditional() {
			continue
		}
		if !r.stops() {
			break
		}
		if r.from == 0 {
			return true
		}
		left &^= r.from
	}
	return left == 0
}

// rejectsAlone reports whether a rule refuses mail for no other reason than what DMARC says. That SPF fails is none, as forwarders
// break it, nor is who receives the mail.
func (r *rule) rejectsAlone() bool {
	asks := r.asked.dmarc&(1<<dmarc.Fail) != 0 || r.asked.dmarc == 0 && r.asked.published&(1<<dmarc.PolicyReject) != 0
	knows := r.clients != nil || r.notClients != nil || r.list == no || r.from != 0 || r.selection.signers != nil || r.selection.notSigners != nil
	return !r.isTag && (r.action == Reject || r.action == Discard) && asks && !knows
}

// spares reports whether a rule lets mail past those below it that lists or forwarders bring, or that somebody in particular signed.
func (r *rule) spares() bool {
	return !r.isTag && r.action != Reject && r.action != Discard && (r.clients != nil || r.list == yes || r.selection.signers != nil)
}

// forgeable reports whether a message can meet the rule's conditions without
// its sender having a key or an address that strangers do not have.
func (r *rule) forgeable() bool {
	for _, network := range r.clients {
		if network.Bits() == 0 {
			return true
		}
	}
	if r.clients != nil {
		return false
	}
	if r.outcomes != outcome(verifier.Pass) {
		return true
	}
	// Anybody passes with a signature of his own.
	return r.selection.signers == nil && r.selection.aligned == verifier.AlignNone
}

// missesUnsigned: Exim's rule acts on fail and invalid, and never sees mail that is not signed.
func (p *program) missesUnsigned() bool {
	broken := outcome(verifier.Fail) | outcome(verifier.PermError)
	misses := false
	for _, r := range p.rules {
		if !r.stops() {
			continue
		}
		if r.outcomes == 0 || r.outcomes&outcome(verifier.None) != 0 {
			return false
		}
		misses = misses || r.outcomes&broken != 0
	}
	return misses
}
