package dkim

import "strings"

// Unstable says what becomes on the way of a field that a name, or with * at its
// end the beginning of names, selects for signing; empty: nothing. A signature
// over such a field breaks at the next hop (RFC 6376 section 5.4).
func Unstable(selected string) string {
	for _, field := range [...]struct{ name, becomes string }{
		{"DKIM-Signature", "is what signing adds"},
		{"Return-Path", "is replaced at delivery"},
		{"Bcc", "is removed in transit"},
		{"Authentication-Results", "is removed and added in transit"},
	} {
		prefix, wild := strings.CutSuffix(selected, "*")
		if strings.EqualFold(selected, field.name) ||
			wild && prefix != "" && len(prefix) <= len(field.name) && strings.EqualFold(field.name[:len(prefix)], prefix) {
			return field.name + " " + field.becomes
		}
	}
	return ""
}
