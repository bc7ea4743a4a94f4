package keys

import (
	"strings"

	"dkimd/internal/message"
)

// suffix is between selector and domain in the name of a key record (RFC 6376 section 3.6.2.1).
const suffix = "._domainkey."

// maxName is the longest name DNS holds, written without its final dot (RFC 1035 section 2.3.4).
const maxName = 253

// DNSName is where a key's record is published, without a dot at its end.
func DNSName(domain, selector string) string { return selector + suffix + domain }

// domainName brings the name of a domain, as A-labels or U-labels, into the form
// in which domains are compared. The reason is empty when it is a domain.
func domainName(written string) (name, reason string) {
	name = message.Domain(written)
	if reason = flaw(name, true); reason != "" {
		return "", reason
	}
	if len(DNSName(name, "s")) > maxName {
		return "", "it leaves no room for a selector in a DNS name"
	}
	return name, ""
}

// selectorName does the same for a selector: one or more sub-domains, RFC 6376
// section 3.1. strict is that grammar; otherwise underscores pass too, since keys
// with such selectors are published and every verifier we know accepts them.
func selectorName(written, domain string, rule grammar) (name, reason string) {
	name = message.Domain(written)
	if reason = flaw(name, rule == asPublished); reason != "" {
		return "", reason
	}
	if len(DNSName(domain, name)) > maxName {
		return "", "with the domain it is too long for a DNS name"
	}
	return name, ""
}

// grammar is how strictly a selector is read.
type grammar uint8

const (
	asPublished grammar = iota // what is in use
	asSpecified                // RFC 6376 section 3.1
)

// flaw says what keeps a name from being a sequence of labels (RFC 5321 section 4.1.2, sub-domain).
func flaw(name string, underscores bool) string {
	if name == "" {
		return "it is empty"
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "it has an empty label"
		case len(label) > 63:
			return "it has a label of more than 63 characters"
		case label[0] == '-' || label[len(label)-1] == '-':
			return "a label begins or ends with a hyphen"
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_' && underscores:
			case c == '_':
				return "it has an underscore"
			default:
				return "it has a character that no domain has"
			}
		}
	}
	return ""
}
