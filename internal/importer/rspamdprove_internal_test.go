package importer

import (
	"strings"
	"testing"
)

// A selector of digits is a text: rspamd does not sign with a number.
func TestRspamdProofQuotesDigits(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	emit(&b, &ucl{kind: uclList, list: []*ucl{{kind: uclText, text: "2024"}, {kind: uclText, text: "true"}}})
	if got := b.String(); got != `["2024", true, ]` {
		t.Errorf("got %s", got)
	}
}
