package signer_test

import (
	"strings"
	"testing"
)

// RFC 6376 section 5.4: what is changed or removed on the way is not signed by a
// star, and DKIM-Signature is not in h=.
func TestStarsSelectNothingUnstable(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"DKIM-Signature", "Return-Path", "Received", "Authentication-Results", "Bcc", "Resent-Bcc", "Delivered-To", "X-Original-To",
		"ARC-Seal", "ARC-Message-Signature", "dkim-signature",
	} {
		w := newWorld(t)
		w.config.Headers = []string{"R*", "A*", "B*", "D*", "X*"}
		w.fields = append(w.fields, name+": x")
		names := ":" + strings.ToLower(tag(t, w.mustSign().Fields[0], "h")) + ":"
		if strings.Contains(names, ":"+strings.ToLower(name)+":") {
			t.Errorf("%s is in h=%s", name, names)
		}
	}
}
