package config

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"dkimd/internal/dkim"
	"dkimd/internal/domain"
	"dkimd/internal/tomlfile"
	"dkimd/keys"
	"dkimd/policy"
	"dkimd/signer"
)

// readHostname reads a host's name; empty is allowed.
func readHostname(t *tomlfile.Table, key, def string) string {
	s := t.String(key, def)
	name, err := domain.ParseHost(s)
	if s != "" && err != nil {
		t.Fault(key, "a host name such as mx.example.org", "")
		return def
	}
	return string(name)
}

// readHostnames reads the names of hosts, each once.
func readHostnames(t *tomlfile.Table, key string, def []string) []string {
	names := t.Strings(key, def)
	for i, s := range names {
		name, err := domain.ParseHost(s)
		switch {
		case err != nil:
			t.FaultItem(key, i, "a host name such as mx.example.org", err.Error())
		case slices.Contains(names[:i], string(name)):
			t.FaultItem(key, i, "each name once", "remove one of the two")
		default:
			names[i] = string(name)
		}
	}
	return names
}

// readIdentities reads what says who signs, each once.
func readIdentities(t *tomlfile.Table, key string, def []signer.Identity) []signer.Identity {
	var words []string
	for _, identity := range signer.Identities() {
		words = append(words, string(identity))
	}
	t.EnumList(key, nil, words...) // its faults
	list := []signer.Identity{}
	written := t.Strings(key, words)
	for i, word := range written {
		if slices.Contains(written[:i], word) {
			t.FaultItem(key, i, "each word once", "remove one of the two")
		}
		list = append(list, signer.Identity(word))
	}
	switch {
	case !t.Has(key):
		return slices.Clone(def)
	case len(list) == 0:
		t.Fault(key, "at least one of "+strings.Join(words, ", "), "")
	}
	return list
}

// readRecipients reads the patterns of recipients, as rules have them.
func readRecipients(t *tomlfile.Table, key string, _ []string) []string {
	policy.CompileRecipients(t, key)
	return t.Entries(key)
}

const wantDomain = "a domain such as example.org"

// readDomain reads a domain that is to sign; empty is allowed.
func readDomain(t *tomlfile.Table, key string, def domain.Name) domain.Name {
	s := t.String(key, string(def))
	if s == "" {
		return ""
	}
	name, err := dkim.ParseSDID(s)
	if err != nil {
		t.Fault(key, wantDomain, err.Error())
		return def
	}
	return name
}

func readDomains(t *tomlfile.Table, key string, _ []domain.Name) []domain.Name {
	names := []domain.Name{}
	for i, s := range t.Strings(key, nil) {
		name, err := dkim.ParseSDID(s)
		switch {
		case err != nil:
			t.FaultItem(key, i, wantDomain, err.Error())
		case slices.Contains(names, name):
			t.FaultItem(key, i, "each domain once", "remove one of the two")
		default:
			names = append(names, name)
		}
	}
	return names
}

func readDaemonNames(t *tomlfile.Table, key string, def []string) []string {
	names := t.Strings(key, def)
	for i, name := range names {
		// A daemon without a name must not make everybody's mail ours.
		if strings.TrimSpace(name) == "" {
			t.FaultItem(key, i, "the name of a daemon", "what Postfix sets with milter_macro_daemon_name, Sendmail with Name=")
		}
	}
	return names
}

func readTLSClients(t *tomlfile.Table, key string, def []string) []string {
	clients := t.Strings(key, def)
	for i, entry := range clients {
		subject, issuer, named := strings.Cut(entry, "|")
		if !isCommonName(subject) || named && !isCommonName(issuer) {
			t.FaultItem(key, i, "the common name of a certificate, or NAME|ISSUER", "openssl x509 -noout -subject -issuer -in FILE")
		}
	}
	return clients
}

// isCommonName reports whether an MTA could give this as a name of a certificate.
func isCommonName(s string) bool {
	const most = 256 // of Postfix
	return s != "" && len(s) <= most && strings.TrimSpace(s) == s && s[0] != '/' && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '|' || unicode.IsControl(r)
	})
}

func readHeaders(t *tomlfile.Table, key string, def []string) []string {
	headers := readNames(t, key, def)
	if !covers(headers, "From") {
		// RFC 6376 section 5.4: the From field MUST be signed.
		t.Fault(key, "From among them", `add "From"`)
	}
	for i, name := range headers {
		if never := dkim.Unstable(name); never != "" {
			t.FaultItem(key, i, "fields that reach the recipient as they were signed", never+"; remove "+strconv.Quote(name))
		}
	}
	return headers
}

// readNames reads field names, each once.
func readNames(t *tomlfile.Table, key string, def []string) []string {
	names := t.Strings(key, def)
	if len(names) > keys.MaxFields {
		t.Fault(key, "at most "+strconv.Itoa(keys.MaxFields)+" field names", "")
		return def
	}
	for i, name := range names {
		_, _, ok := dkim.ParsePattern(name)
		switch {
		case !ok:
			t.FaultItem(key, i, "a field name", `write it like "Subject" or "List-*", without a colon`)
		case slices.ContainsFunc(names[:i], func(other string) bool { return strings.EqualFold(name, other) }):
			t.FaultItem(key, i, "each field once", "remove one of the two")
		}
	}
	return names
}

// covers reports whether a list of names, some ending in *, includes name.
func covers(names []string, name string) bool {
	return slices.ContainsFunc(names, func(pattern string) bool {
		prefix, wild := strings.CutSuffix(pattern, "*")
		if wild && prefix != "" {
			return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
		}
		return strings.EqualFold(name, pattern)
	})
}
