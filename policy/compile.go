package policy

import (
	"strconv"
	"strings"
	"unicode"

	"dkimd/internal/smtpreply"
	"dkimd/internal/tomlfile"
	"dkimd/verifier"
)

// compileRule reads one [[rule]], number n counted from 1.
func compileRule(t *tomlfile.Table, n int) *rule {
	r := &rule{name: ruleName(t, n)}
	r.compileAction(t)
	r.compileMessage(t)
	r.compileSignatures(t)
	r.compileAsked(t)
	return r
}

func ruleName(t *tomlfile.Table, n int) string {
	name := t.String("name", "rule "+strconv.Itoa(n))
	switch {
	case strings.TrimSpace(name) == "" || len(name) > 200 || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		t.Fault("name", "a name of at most 200 printable characters", "")
	case name[0] == '(':
		t.Fault("name", "a name", "names in parentheses are what dkimd itself decides")
	}
	return name
}

const actions = "accept, reject, tempfail, quarantine, discard or tag"

func (r *rule) compileAction(t *tomlfile.Table) {
	if !t.Has("action") {
		t.Fault("action", actions, "say what becomes of a message for which the rule holds")
	}
	action := t.Enum("action", "", "accept", "reject", "tempfail", "quarantine", "discard", "tag")
	switch action {
	case "reject":
		r.action = Reject
	case "tempfail":
		r.action = TempFail
	case "quarantine":
		r.action = Quarantine
	case "discard":
		r.action = Discard
	case "tag":
		r.isTag = true
	}
	text := t.String("reply", "")
	switch {
	case !t.Has("reply") || action == "":
	case r.action == Reject || r.action == TempFail:
		class, want := smtpreply.Permanent, `a reply like "550 5.7.20 TEXT"`
		if r.action == TempFail {
			class, want = smtpreply.Transient, `a reply like "451 4.7.5 TEXT"`
		}
		var err error
		if r.reply, err = smtpreply.Parse(text, class); err != nil {
			t.Fault("reply", want, err.Error())
		}
	default:
		t.Fault("reply", "no reply with "+action, "only reject and tempfail answer the client")
	}
	field := t.String("tag", "")
	switch {
	case r.isTag && !t.Has("tag"):
		t.Fault("tag", "the header field to add", `write it like "X-DKIM-Policy: unsigned"`)
	case r.isTag:
		var hint string
		if r.tag, hint = parseTag(field); hint != "" {
			t.Fault("tag", "a header field", hint)
		}
	case t.Has("tag") && action != "":
		t.Fault("tag", "no tag with "+action, `use action = "tag" in a rule before this one: it goes on with the next rule`)
	}
}

func (r *rule) compileMessage(t *tomlfile.Table) {
	r.clients = t.Prefixes("clients", nil)
	r.notClients = t.Prefixes("not_clients", nil)
	r.recipients = CompileRecipients(t, "recipients")
	r.anyRecipient = CompileRecipients(t, "any_recipient")
	list, notList := fact(t, "list"), fact(t, "not_list")
	r.list = list
	switch notList {
	case yes:
		r.list = no
	case no:
		r.list = yes
	case either:
	}
	if list != either && notList != either && list != r.list {
		t.Fault("not_list", "no contradiction of list", "one of the two is enough")
	}
	for _, word := range t.EnumList("from", nil, "missing", "multiple", "misleading") {
		r.from |= map[string]author{"missing": missing, "multiple": multiple, "misleading": misleading}[word]
	}
	for _, key := range []string{"clients", "not_clients", "recipients", "any_recipient", "from"} {
		refuseEmpty(t, key)
	}
}

func (r *rule) compileSignatures(t *tomlfile.Table) {
	sel := &r.selection
	sel.signers = compileSigners(t, "signers")
	sel.notSigners = compileSigners(t, "not_signers")
	// Whose signatures count: those aligned with the sender, or those named.
	sel.aligned = verifier.AlignRelaxed
	if sel.signers != nil {
		sel.aligned = verifier.AlignNone
	}
	switch t.Enum("aligned", "", "strict", "relaxed", "any") {
	case "strict":
		sel.aligned = verifier.AlignStrict
	case "relaxed":
		sel.aligned = verifier.AlignRelaxed
	case "any":
		sel.aligned = verifier.AlignNone
	}
	if names := t.EnumList("algorithms", nil, "rsa-sha256", "ed25519-sha256", "rsa-sha1"); len(names) > 0 {
		sel.algorithms = names
	}
	// RFC 8301 section 3.2: 1024 to 4096 bits must verify; nobody needs to ask for less.
	sel.bits = int(t.Int("min_key_bits", 0, 1024, 16384))
	sel.testing = fact(t, "testing")
	sel.duplicates = fact(t, "duplicates")

	wanted, excluded := compileOutcomes(t, "result", r.action), compileOutcomes(t, "not_result", Accept)
	switch {
	case t.Has("result") && t.Has("not_result"):
		r.outcomes = wanted &^ excluded
		if r.outcomes == 0 && wanted != 0 {
			t.Fault("not_result", "something of result left over", "the rule can never hold: leave out not_result")
		}
	case t.Has("result"):
		r.outcomes = wanted
	case t.Has("not_result"):
		r.outcomes = everyOutcome() &^ excluded
		if r.outcomes == 0 {
			t.Fault("not_result", "some result left out", "the rule can never hold")
		}
	default:
		r.needResult(t)
	}
	for _, key := range []string{"result", "not_result", "signers", "not_signers", "algorithms"} {
		refuseEmpty(t, key)
	}
}

// needResult refuses a rule that picks signatures and does not ask what became
// of them: it would read as a condition, and be none.
func (r *rule) needResult(t *tomlfile.Table) {
	for _, key := range []string{"signers", "not_signers", "aligned", "algorithms", "min_key_bits", "testing", "duplicates"} {
		if t.Has(key) {
			t.Fault(key, "result or not_result beside it",
				key+` only picks the signatures that count: add not_result = ["pass"] for mail that none of them vouches for, result = ["pass"] for mail that one does`)
			return
		}
	}
}

func compileSigners(t *tomlfile.Table, key string) domainSet {
	entries := t.Entries(key) // asked for even where it is absent: the key is a known one
	if !t.Has(key) {
		return nil
	}
	set := domainSet{}
	for i, entry := range entries {
		if hint := set.add(entry); hint != "" {
			t.FaultItem(key, i, "a domain", hint)
		}
	}
	return set
}

// CompileRecipients reads a list of patterns; nil: there is none.
func CompileRecipients(t *tomlfile.Table, key string) *Recipients {
	patterns := t.Entries(key)
	if len(patterns) == 0 {
		return nil
	}
	return NewRecipients(patterns, func(i int, hint string) { t.FaultItem(key, i, "an address or a domain", hint) })
}

func everyOutcome() outcomes {
	return outcome(verifier.None) | outcome(verifier.Pass) | outcome(verifier.Fail) | invalid()
}

// invalid is Exim's word for what is neither a pass nor a failed check of the hashes.
func invalid() outcomes {
	return outcome(verifier.PermError) | outcome(verifier.Policy) | outcome(verifier.Neutral)
}

// compileOutcomes reads a list of results. A key that could not be looked up may only have the message come again.
func compileOutcomes(t *tomlfile.Table, key string, action Action) outcomes {
	const words = "none, pass, invalid, fail, permerror, policy or neutral"
	var set outcomes
	for i, word := range t.Strings(key, nil) {
		switch word {
		case "none":
			set |= outcome(verifier.None)
		case "pass":
			set |= outcome(verifier.Pass)
		case "fail":
			set |= outcome(verifier.Fail)
		case "invalid":
			set |= invalid()
		case "permerror":
			set |= outcome(verifier.PermError)
		case "policy":
			set |= outcome(verifier.Policy)
		case "neutral":
			set |= outcome(verifier.Neutral)
		case "temperror":
			if action == TempFail {
				set |= outcome(verifier.TempError)
				continue
			}
			t.FaultItem(key, i, words, `a key that could not be looked up decides nothing: where it matters the message is answered 451 4.7.5, and comes again; with action = "tempfail", result may name temperror, so that it always comes again`)
		default:
			t.FaultItem(key, i, words, "")
		}
	}
	return set
}

// fact reads a condition that is true, false or not there.
func fact(t *tomlfile.Table, key string) ternary {
	value := t.Bool(key, false)
	switch {
	case !t.Has(key):
		return either
	case value:
		return yes
	}
	return no
}

// refuseEmpty: an empty list could mean nothing or everything.
func refuseEmpty(t *tomlfile.Table, key string) {
	if t.Has(key) && len(t.Strings(key, []string{""})) == 0 {
		t.Fault(key, "at least one", "leave out the key if it is not a condition")
	}
}
