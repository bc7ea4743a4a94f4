package importer

import (
	"regexp"
	"strings"
)

// How an expansion was reduced: the domain of From, that of MAIL FROM, and the domain that signs.
const (
	ofFrom     = "{from}"
	ofEnvelope = "{envelope}"
	ofDomain   = "{domain}"
)

var (
	fromHeader = regexp.MustCompile(`(?i)\$[rb]?h(?:eader)?_from:`)
	withoutWWW = regexp.MustCompile(`^sg *\{(.*)\} *\{(?:\\N)?\^www\\+\.(?:\\N)?\} *\{\}$`)
	dsearch    = regexp.MustCompile(`^dsearch([,=a-z]*) *\{([^{}$]*)\} *(?:\{\$value\} *)?(?:\{[^{}$]*\}|fail)? *$`)
	ifExists   = regexp.MustCompile(`^if *exists *\{`)
	ifEqual    = regexp.MustCompile(`^if *eq *\{`)
	ifElse     = regexp.MustCompile(`^(?:0|false|no)?$`)
	lookupOf   = regexp.MustCompile(`^lookup *\{`)
)

// reduce takes off an expansion what makes no difference here: letters in lower case, www., whether a file exists, and a search
// in a directory, which finds what is named like the key.
func (e *exim) reduce(s string) string {
	s = fromHeader.ReplaceAllString(strings.TrimSpace(s), "$$h_from:")
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		b.WriteString(before)
		if !found {
			break
		}
		inner := balanced(rest)
		s = strings.TrimPrefix(rest[len(inner):], "}")
		b.WriteString(e.reduced(inner))
	}
	return strings.NewReplacer("$sender_address_domain", ofEnvelope, "$dkim_domain", ofDomain).Replace(b.String())
}

// reduced is what stands between ${ and }.
func (e *exim) reduced(inner string) string {
	operator, argument, _ := strings.Cut(inner, ":")
	switch operator {
	case "lc", "address":
		return e.reduce(argument)
	case "domain":
		switch of := e.reduce(argument); of {
		case "$h_from:":
			return ofFrom
		case "$sender_address", "$return_path":
			return ofEnvelope
		}
	case "h_from", "sender_address", "sender_address_domain", "return_path", "dkim_domain", "dkim_selector", "value":
		return e.reduce("$" + inner)
	}
	if m := withoutWWW.FindStringSubmatch(inner); m != nil {
		return e.reduce(m[1])
	}
	if m := ifExists.FindString(inner); m != "" {
		groups := grouped(inner[len(m)-1:])
		if len(groups) == 2 || len(groups) == 3 && ifElse.MatchString(groups[2]) {
			e.tested = append(e.tested, e.reduce(groups[0]))
			return e.reduce(groups[1])
		}
	}
	if m := ifEqual.FindString(inner); m != "" { // a message without an author
		if groups := grouped(inner[len(m)-1:]); len(groups) == 4 && groups[1] == "" && e.reduce(groups[0]) == ofFrom {
			return e.reduce(groups[3])
		}
	}
	if rest, ok := strings.CutPrefix(inner, "perl{untaint}{"); ok {
		return e.reduce(strings.TrimSuffix(rest, "}"))
	}
	if m := lookupOf.FindString(inner); m != "" {
		rest := inner[len(m):]
		key := balanced(rest)
		after := strings.ReplaceAll(strings.TrimSpace(strings.TrimPrefix(rest[len(key):], "}")), "${value}", "$value")
		if m := dsearch.FindStringSubmatch(after); m != nil && strings.Contains(m[1], "ret=full") {
			return strings.TrimSuffix(m[2], "/") + "/" + e.reduce(key)
		} else if m != nil {
			return e.reduce(key)
		}
		return "${lookup{" + e.reduce(key) + "}" + after + "}"
	}
	return "${" + inner + "}"
}

// grouped are the texts in { } one behind the other.
func grouped(s string) (groups []string) {
	for s = strings.TrimSpace(s); strings.HasPrefix(s, "{"); s = strings.TrimSpace(s) {
		group := balanced(s[1:])
		groups, s = append(groups, group), strings.TrimPrefix(s[1+len(group):], "}")
	}
	return groups
}

// balanced is a text up to the } that closes it.
func balanced(s string) string {
	depth := 0
	for i, c := range s {
		switch {
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return s[:i]
		case c == '}':
			depth--
		}
	}
	return ""
}

var lsearch = regexp.MustCompile(`^\$\{lookup\{ *(\{[a-z]+\}) *\}lsearch(,ret=key)? *\{(/[^{}$]+)\} *(?:\{([^{}]*)\} *)?(?:\{([^{}$]*)\}|fail)? *\}$`)

// eximLookup is a file that a lookup by a domain searches.
type eximLookup struct {
	lines     []entry // a domain and what it stands for
	otherwise string  // what others stand for
	signer    bool    // it is asked for the domain that signs, not for the sender's
}

// of is what is found for a sender's domain that another one signs for.
func (l *eximLookup) of(sender, signer string) string {
	for _, e := range l.lines {
		if l.signer && e.key == signer || !l.signer && e.key == sender {
			return e.value
		}
	}
	return l.otherwise
}

// eximLookups are those of the three options; nil: none.
type eximLookups struct{ domains, keys, selectors *eximLookup }

// searched is the lookup that an expansion is, or nil.
func (e *exim) searched(expansion string, at Place) *eximLookup {
	m := lsearch.FindStringSubmatch(expansion)
	if m == nil || strings.Contains(strings.ReplaceAll(m[4], "$value", ""), "$") {
		return nil
	}
	d, err := e.root.dataset(setting{at, "lsearch", "file:" + m[3]}, "/")
	if err != nil {
		return nil
	}
	for i := range d.entries {
		l := &d.entries[i]
		l.key = strings.ToLower(strings.TrimSuffix(l.key, ":"))
		if l.value = strings.TrimSpace(strings.TrimPrefix(l.value, ":")); m[2] != "" {
			l.value = l.key
		}
		if m[4] != "" {
			l.value = strings.ReplaceAll(m[4], "$value", l.value)
		}
	}
	return &eximLookup{d.entries, m[5], m[1] == ofDomain}
}

// eximPathOf says how dkimd finds a key that Exim does not, where the sender's domain is part of its path.
func eximPathOf(domain, key string) (words string) {
	direct := strings.Contains(key, "$sender_address") || strings.Contains(strings.ToLower(key), "h_from:")
	through := strings.Contains(key, "dkim_domain") && !strings.Contains(domain, "lookup")
	searched := strings.Contains(key, "lookup") || strings.Contains(key, "{untaint}")
	if (direct || through) && !searched {
		words = "; since 4.94 Exim reads no file whose name comes from a message without a lookup between (tainted), and does not sign"
	}
	if !strings.Contains(domain+key, "{lc:") {
		words += "; dkimd takes the letters of a domain in any case, Exim finds a file as they are written"
	}
	return words
}
