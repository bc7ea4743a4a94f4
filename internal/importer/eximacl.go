package importer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/domain"
)

// verifyOptions are main options about verification.
func (e *exim) verifyOptions() {
	for _, name := range []string{"dkim_verify_min_keysizes", "dkim_verify_hashes", "dkim_verify_keytypes", "dkim_verify_signers", "dkim_verify_minimal"} {
		s, set := e.main[name]
		switch {
		case !set:
		case name == "dkim_verify_min_keysizes":
			for word := range strings.FieldsSeq(s.value) {
				if bits, ok := strings.CutPrefix(word, "rsa="); ok {
					n, _ := within(bits, 1024, 4096)
					e.plan.config.set("verify", "min_rsa_bits", n, "dkim_verify_min_keysizes")
				}
			}
			e.plan.note(Same, s.Place, name, s.value, "[verify] min_rsa_bits")
		default:
			e.plan.note(Close, s.Place, name, s.value, "dkimd verifies every signature, rsa-sha256 and ed25519-sha256")
		}
	}
}

// eximVerb is one statement of an ACL.
type eximVerb struct {
	Place
	verb       string
	conditions []setting
}

// acl makes rules of acl_smtp_dkim.
func (e *exim) acl() {
	name, set := e.main["acl_smtp_dkim"]
	if !set {
		return
	}
	e.plan.note(Same, name.Place, "acl_smtp_dkim", name.value, "rules, as far as each statement says")
	files := map[string]string{}
	for _, v := range verbs(e.acls[name.value]) {
		e.statement(v, files)
	}
	for _, path := range sortedKeys(files) {
		e.plan.files = append(e.plan.files, file{path, []byte(files[path])})
	}
}

func sortedKeys(m map[string]string) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// verbs are the statements of an ACL.
func verbs(lines []line) []eximVerb {
	var all []eximVerb
	for _, l := range lines {
		text := strings.TrimSpace(l.text)
		verb, rest, _ := strings.Cut(text, " ")
		if slices.Contains([]string{"accept", "defer", "deny", "discard", "drop", "require", "warn"}, verb) {
			all = append(all, eximVerb{Place: l.Place, verb: verb})
			if text = strings.TrimSpace(rest); text == "" {
				continue
			}
		}
		if len(all) == 0 {
			continue
		}
		name, value, _ := strings.Cut(text, "=")
		last := &all[len(all)-1]
		last.conditions = append(last.conditions, setting{l.Place, strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	return all
}

// statement makes rules of one statement: deny or defer for some senders where some signers did not sign.
func (e *exim) statement(v eximVerb, files map[string]string) {
	action := map[string]string{"deny": "reject", "drop": "reject", "defer": "tempfail", "discard": "discard"}[v.verb]
	var senders, signers, results []string
	reply, odd := "", ""
	said := v.said()
	plain := func(c setting) bool { return !strings.ContainsAny(c.value, "$+!;*") }
	for _, c := range v.conditions {
		list := strings.FieldsFunc(c.value, func(r rune) bool { return r == ':' || r == ' ' })
		switch {
		case c.name == "sender_domains" && plain(c):
			senders = list
		case c.name == "dkim_signers" && plain(c):
			signers = list
		case c.name == "dkim_status":
			results = list
		case c.name == "message":
			reply = strings.Trim(c.value, `"`)
		case c.name == "log_message":
		default:
			odd = c.name
		}
	}
	switch {
	case v.verb == "accept" && odd == "" && len(senders) == 0 && len(signers) == 0:
		e.plan.note(Same, v.Place, "acl_smtp_dkim", said, "without a rule that holds mail is accepted")
		return
	case action == "" || odd != "" || len(senders) == 0 || len(results) == 0 || strings.Contains(reply, "$"):
		e.plan.note(NotCarried, v.Place, "acl_smtp_dkim", said, "write a rule for it: docs/policy.md")
		return
	}
	e.rules(v, files, senders, eximRule(v, action, reply, signers, results))
	e.plan.note(Close, v.Place, "acl_smtp_dkim", said, "rules/: also for mail without any signature, for which Exim asks the ACL only where dkim_verify_signers names the signer")
}

// said are the verb and what it asks for.
func (v eximVerb) said() string {
	words := []string{v.verb}
	for _, c := range v.conditions {
		words = append(words, c.name)
	}
	return strings.Join(words, " ")
}

// rules adds a rule to the file of each sender.
func (e *exim) rules(v eximVerb, files map[string]string, senders []string, text string) {
	for _, sender := range senders {
		name, err := domain.Parse(sender)
		if err != nil {
			e.plan.note(NotCarried, v.Place, "acl_smtp_dkim", sender, "no domain: write a rule for it")
			continue
		}
		path := "rules/" + string(name) + ".toml"
		if files[path] == "" {
			files[path] = "# Made by dkimd import exim from acl_smtp_dkim.\nsender     = \"envelope\"\nsubdomains = false\nmode       = \"enforce\"\n"
		}
		files[path] += text
	}
}

func eximRule(v eximVerb, action, reply string, signers, results []string) string {
	var b strings.Builder
	quote := func(list []string) string { return tomlText(list, "") }
	fmt.Fprintf(&b, "\n[[rule]]\nname    = %s\nresult  = %s\n", tomlQuote("acl_smtp_dkim, line "+strconv.Itoa(v.Line)), quote(results))
	if len(signers) > 0 {
		fmt.Fprintf(&b, "signers = %s\n", quote(signers))
	}
	fmt.Fprintf(&b, "action  = %q\n", action)
	if reply != "" && action != "discard" {
		code := map[string]string{"reject": "550 5.7.20 ", "tempfail": "451 4.7.5 "}[action]
		fmt.Fprintf(&b, "reply   = %s\n", tomlQuote(code+reply))
	}
	return b.String()
}
