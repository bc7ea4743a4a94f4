package policy

import (
	"strconv"
	"strings"

	"dkimd/internal/message"
	"dkimd/internal/safetext"
)

// Tag is a header field that a tag rule adds. Value has no white space around it.
type Tag struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// maxTag bounds a header field: the lines of SMTP have room for what an MTA adds.
const maxTag = 400

// parseTag reads "Name: value". A hint says what is wrong with it.
func parseTag(s string) (tag Tag, hint string) {
	name, value, found := strings.Cut(s, ":")
	value = strings.TrimSpace(value)
	switch {
	case !found || name == "" || value == "":
		return tag, `write it like "X-DKIM-Policy: unsigned"`
	case len(s) > maxTag:
		return tag, "at most 400 characters"
	case !safetext.IsASCII(s):
		return tag, "printable ASCII only, on one line"
	case strings.Contains(name, " "):
		return tag, "no space before the colon" // RFC 5322 section 3.6.8
	case !message.IsFieldName(name) || len(name) > message.MaxFieldName:
		return tag, "a field name has at most " + strconv.Itoa(message.MaxFieldName) + " characters and no semicolon"
	case structural(name):
		return tag, name + " is a field that other software relies on: choose a name of your own, such as X-DKIM-Policy"
	}
	return Tag{Name: name, Value: value}, ""
}

// structural reports whether a second field of this name would change what a
// message says or where it came from.
func structural(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "from", "sender", "reply-to", "to", "cc", "bcc", "date", "subject", "message-id", "in-reply-to", "references",
		"return-path", "received", "dkim-signature", "domainkey-signature", "authentication-results", "mime-version":
		return true
	}
	return strings.HasPrefix(name, "resent-") || strings.HasPrefix(name, "content-") || strings.HasPrefix(name, "arc-")
}
