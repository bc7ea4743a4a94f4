package importer

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"
)

// signing makes keys and tables: for each kind of sender that an option or a key names, the more particular first, the key that
// amavis finds.
func (a *amavis) signing() {
	a.common()
	for _, sender := range a.senders() {
		a.row(sender)
	}
	for _, k := range a.keys {
		if strings.Contains(k.domain, "*") {
			a.wildcard(k)
		}
	}
	if _, set := a.effective(".")["d"]; set {
		a.row(".")
	}
	for _, k := range a.keys {
		words := "left out: the options have no mail signed with it"
		if slices.ContainsFunc(a.keys, func(other *amavisKeyLine) bool { return other.used && other.domain == k.domain }) {
			words = "left out: amavis signs with the first key of a domain only"
		}
		if !k.used {
			a.plan.note(Close, k.Place, "dkim_key", k.domain+" "+k.selector, words)
		}
	}
}

// senders are the kinds of senders but the one for all, the more particular first.
func (a *amavis) senders() []string {
	var all []string
	for _, k := range a.keys {
		if !strings.Contains(k.domain, "*") {
			all = append(all, k.domain)
		}
	}
	for _, o := range a.options {
		if o.sender != "." {
			all = append(all, o.sender)
		}
	}
	rank := func(sender string) int {
		switch {
		case strings.Contains(sender, "@"):
			return 0
		case strings.HasPrefix(sender, "."):
			return 1000 - len(sender)
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	var once []string
	for _, sender := range all {
		if !slices.Contains(once, sender) {
			once = append(once, sender)
		}
	}
	return once
}

// effective are the options of a kind of sender: each from the most particular entry that has it.
func (a *amavis) effective(sender string) map[string]string {
	set := map[string]string{}
	merge := func(name string) {
		for _, o := range a.options {
			if o.sender != name { // most are not, and there may be thousands
				continue
			}
			for option, value := range o.set {
				if _, known := set[option]; !known {
					set[option] = value
				}
			}
		}
	}
	merge(sender)
	name := sender
	if local, of, isAddress := strings.Cut(sender, "@"); isAddress {
		merge(local + "@")
		merge(of)
		name = of
	}
	for name = strings.TrimPrefix(name, "."); name != ""; _, name, _ = strings.Cut(name, ".") {
		merge("." + name)
	}
	merge(".")
	return set
}

// row makes the lines of the tables for a kind of sender.
func (a *amavis) row(sender string) {
	of := a.effective(sender)
	own := sender[strings.IndexByte(sender, '@')+1:]
	d, at := strings.ToLower(of["d"]), a.placeOf(sender)
	switch {
	case own == "":
		a.plan.note(NotCarried, at, amavisMaps, sender, "a user of any domain: [[sign.map]] has such senders")
		return
	case d == "" && strings.HasPrefix(sender, "."):
		return // each domain below signs with its own name, if it has a key
	case d == "":
		d = own
	}
	k := a.keyOf(d, of)
	switch {
	case k == nil:
		a.plan.note(Close, at, amavisMaps, sender, "no dkim_key fits d="+d+", so that amavis does not sign this mail, nor does dkimd")
		return
	case strings.Contains(k.domain, "*") && d == own:
		return // it has a line of its own
	case strings.Contains(k.domain, "*"):
		a.plan.note(NotCarried, at, amavisMaps, sender, "a key for several domains: [[sign.map]] says which signs")
		return
	}
	name := a.added(k, k.domain)
	if name == "" {
		return
	}
	for _, address := range addressesOf(sender, own) {
		a.tables.signing.rows = append(a.tables.signing.rows, tableRow{at, address, name, identityOf(of, own, k)})
	}
	a.report(at, sender, of)
}

// addressesOf are the patterns for a kind of sender.
func addressesOf(sender, own string) []string {
	switch {
	case strings.Contains(sender, "@"):
		return []string{sender}
	case sender == ".":
		return []string{"*"}
	case strings.HasPrefix(sender, "."):
		return []string{"*@" + own[1:], "*@*" + own}
	}
	return []string{"*@" + own}
}

// identityOf is i=: the sender's own domain where it lies within d=, if nothing else is said.
func identityOf(of map[string]string, own string, k *amavisKeyLine) string {
	i, set := of["i"]
	switch {
	case set && strings.Contains(i, "@"), set && i == "":
		return i
	case set:
		return "@" + i
	case own != k.domain && !strings.Contains(k.more, "'s'"):
		return "@%"
	}
	return ""
}

// amavisMaps is the name of the options.
const amavisMaps = "@dkim_signature_options_bysender_maps"

// placeOf is where a kind of sender is named.
func (a *amavis) placeOf(sender string) Place {
	for _, o := range a.options {
		if o.sender == sender {
			return o.Place
		}
	}
	for _, k := range a.keys {
		if k.domain == sender {
			return k.Place
		}
	}
	return Place{a.plan.From, 0}
}

// keyOf is the first key of a domain that has the selector and the type that the options ask for.
func (a *amavis) keyOf(d string, of map[string]string) *amavisKeyLine {
	kind, _, _ := strings.Cut(cmp.Or(of["a"], "rsa-sha256"), "-")
	for _, k := range a.keys {
		isEd25519 := strings.Contains(k.more, "ed25519")
		match, _ := path.Match(k.domain, d)
		if match && (of["s"] == "" || strings.EqualFold(of["s"], k.selector)) && isEd25519 == (kind == "ed25519") {
			return k
		}
	}
	return nil
}

// added takes a key into the key table, signing as d, and returns its name there; empty: it cannot be used.
func (a *amavis) added(k *amavisKeyLine, d string) string {
	o := a.tables
	name := k.domain + "/" + k.selector
	if k.used {
		if o.signing.key(name) == nil {
			return ""
		}
		return name
	}
	k.used = true
	key, wrong := o.tableKey(entry{k.Place, name, d + ":" + k.selector + ":" + k.path})
	if wrong != "" {
		a.plan.note(NotCarried, k.Place, "dkim_key", k.domain+" "+k.selector, wrong+"; it does not sign")
		return ""
	}
	o.signing.add(key)
	words := "key_table and signing_table; amavis signs no mail that it takes for spam or a virus"
	if k.more != "" {
		words += "; its options " + strings.Trim(k.more, ", ") + " stand in the DNS record only"
	}
	a.plan.note(Close, k.Place, "dkim_key", k.domain+" "+k.selector, words)
	return name
}

// wildcard is a key for domains with a * in their name, which signs as each of them.
func (a *amavis) wildcard(k *amavisKeyLine) {
	if name := a.added(k, "%"); name != "" {
		a.tables.signing.rows = append(a.tables.signing.rows, tableRow{k.Place, "*@" + k.domain, name, ""})
	}
}

// common sets what dkimd has for all signatures alike: what most senders have that are signed.
func (a *amavis) common() {
	most := func(option, unset string) (best string) {
		count := map[string]int{}
		best = unset
		for _, sender := range append(a.senders(), ".") {
			of := a.effective(sender)
			if sender == "." && of["d"] == "" {
				continue
			}
			value := cmp.Or(of[option], unset)
			if count[value]++; count[value] > count[best] {
				best = value
			}
		}
		return best
	}
	a.shared = map[string]string{"c": most("c", "relaxed/simple"), "ttl": most("ttl", "")}
	if len(a.options) == 0 {
		a.plan.config.set("sign", "canonicalization", a.shared["c"], "as amavis does by default")
		return
	}
	s := setting{a.options[0].Place, amavisMaps + " c", a.shared["c"]}
	a.tables.canonicalization(s)
	if s.name, s.value = amavisMaps+" ttl", a.shared["ttl"]; s.value == "" {
		return
	}
	if seconds := product(s.value); seconds > 0 && seconds <= 3650*24*60*60 {
		a.plan.config.set("sign", "expiry", strconv.Itoa(seconds)+"s", why(s))
		a.tables.same(s, "[sign] expiry")
		return
	}
	a.tables.missed(s, "want up to 10 years: set [sign] expiry")
}

// product is that of numbers with * between, as in 21*24*3600.
func product(text string) int {
	n := 1
	for factor := range strings.SplitSeq(text, "*") {
		f, _ := strconv.Atoi(strings.TrimSpace(factor))
		n *= f
	}
	return n
}

// report says what became of the options of a kind of sender.
func (a *amavis) report(at Place, sender string, of map[string]string) {
	for _, option := range []string{"c", "ttl"} {
		value, shared := cmp.Or(of[option], map[string]string{"c": "relaxed/simple", "ttl": "0"}[option]), cmp.Or(a.shared[option], "0")
		if value != shared && (option == "c" || product(value) != product(shared)) {
			a.tables.near(setting{at, amavisMaps + " " + sender, option + " => " + value}, "dkimd has one for all signatures, "+shared)
		}
	}
	for _, option := range sortedKeys(of) {
		switch s := (setting{at, amavisMaps + " " + sender, option + " => " + of[option]}); option {
		case "d", "s", "i":
			a.tables.same(s, "signing_table")
		case "a":
			a.tables.algorithm(setting{at, s.name, of[option]})
		case "c", "ttl", "l", "z", "q": // said above, or amavis passes over them
		default:
			a.tables.missed(s, "dkimd does not know it: see what was meant")
		}
	}
}
