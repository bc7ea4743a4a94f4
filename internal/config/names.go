package config

import (
	"slices"
	"strconv"
	"strings"

	"dkimd/internal/dkim"
	"dkimd/internal/message"
	"dkimd/internal/tomlfile"
)

// maxFields bounds the names of headers and oversign: an h= of our own stays
// far from the 1000 names that verifiers are asked to look at.
const maxFields = 200

// readHostname reads a host's name; empty is allowed.
func readHostname(t *tomlfile.Table, key, def string) string {
	s := t.String(key, def)
	name := message.Domain(s)
	if s != "" && !isHostname(name) {
		t.Fault(key, "a host name such as mx.example.org", "")
		return def
	}
	return name
}

// readDomain reads a domain; empty is allowed.
func readDomain(t *tomlfile.Table, key, def string) string {
	s := t.String(key, def)
	name := message.Domain(s)
	if s != "" && !isDomain(name) {
		t.Fault(key, "a domain such as example.org", "")
		return def
	}
	return name
}

func readDomains(t *tomlfile.Table, key string, def []string) []string {
	domains := []string{}
	for i, s := range t.Strings(key, def) {
		name := message.Domain(s)
		switch {
		case !isDomain(name):
			t.FaultItem(key, i, "a domain such as example.org", "")
		case slices.Contains(domains, name):
			t.FaultItem(key, i, "each domain once", "remove one of the two")
		default:
			domains = append(domains, name)
		}
	}
	return domains
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
	if len(names) > maxFields {
		t.Fault(key, "at most "+strconv.Itoa(maxFields)+" field names", "")
		return def
	}
	for i, name := range names {
		switch {
		case !isFieldName(strings.TrimSuffix(name, "*")):
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

// isFieldName follows RFC 5322 section 3.6.8; ; and * would not survive in h= or in our own lists.
func isFieldName(s string) bool {
	if s == "" || len(s) > 76 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ':' || c == ';' || c == '*' {
			return false
		}
	}
	return true
}

// isHostname follows RFC 1123 section 2.1: letters, digits and inner hyphens.
func isHostname(s string) bool { return isDomain(s) && !strings.Contains(s, "_") }

// isDomain lets underscores through, which names in DNS may have. A last label
// of digits alone is that of an IPv4 address (RFC 1123 section 2.1).
func isDomain(s string) bool {
	if _, err := strconv.Atoi(s[strings.LastIndexByte(s, '.')+1:]); err == nil || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i] | 0x20
			if (c < 'a' || c > 'z') && (label[i] < '0' || label[i] > '9') && label[i] != '-' && label[i] != '_' {
				return false
			}
		}
	}
	return true
}
