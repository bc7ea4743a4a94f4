package pipeline_test

import (
	"net/netip"
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/verifier"
)

const (
	byName  = "192.0.2.33" // writes Authentication-Results as mx1.example.net
	byField = "192.0.2.34" // writes Received-SPF
	hop     = "Received: from a by b; Mon, 30 Nov 2026 12:00:00 +0000"
)

// What a relay says of SPF counts in place of a check, and nothing that a sender could have written or bent does.
func TestRelaysTellOfSPF(t *testing.T) {
	t.Parallel()
	const ar = "Authentication-Results: mx1.example.net; "
	const own = "spf=pass smtp.mailfrom=other.example" // of a sender's own domain
	tests := map[string]struct {
		client string
		sender string
		fields string // in front, a line each
		want   string // SPF and DMARC; empty: none of SPF, so the message may fail DMARC or not
	}{
		// As dkimd, python3-spf and others write it.
		"dkimd":            {byName, "joe@sender.example", hop + "\n" + ar + "\r\n\tspf=pass smtp.mailfrom=sender.example;\r\n\tdkim=none", "pass sender.example pass"},
		"an address":       {byName, "joe@sender.example", ar + "dkim=none; spf=pass (mx1: domain of joe@sender.example designates 198.51.100.7) smtp.mailfrom=joe@sender.example smtp.helo=x.example", "pass sender.example pass"},
		"fail":             {byName, "joe@sender.example", ar + "spf=fail smtp.mailfrom=sender.example", "fail sender.example fail"},
		"below the sender": {byName, "joe@m.sender.example", ar + "spf=Pass smtp.mailfrom=M.Sender.example", "pass m.sender.example pass"},
		"capitals":         {byName, "joe@sender.example", "authentication-results: MX1.example.net ; SPF/1=PASS SMTP.MailFrom=sender.example", "pass sender.example pass"},
		"null sender":      {byName, "", ar + "spf=pass smtp.helo=mx.sender.example", "pass mx.sender.example pass"},
		"two identities":   {byName, "joe@sender.example", ar + "spf=none smtp.helo=x.example; spf=pass smtp.mailfrom=sender.example", "pass sender.example pass"},
		"Received-SPF":     {byField, "joe@sender.example", "Received-SPF: Pass (mailfrom) identity=mailfrom; client-ip=198.51.100.7; helo=x.example; envelope-from=joe@sender.example; receiver=<UNKNOWN>\n" + hop, "pass sender.example pass"},
		"RFC 7208 9.1":     {byField, "joe@sender.example", "Received-SPF: fail (mx1: domain of joe@sender.example does not\r\n  designate 198.51.100.7 as permitted sender) receiver=mx1; client-ip=198.51.100.7; envelope-from=\"joe@sender.example\"\n" + hop, "fail sender.example fail"},
		"null Received":    {byField, "", "Received-SPF: pass identity=helo; helo=mx.sender.example; envelope-from=<>\n" + hop, "pass mx.sender.example pass"},
		// Said by others, or elsewhere.
		"another client":                   {outside, "joe@sender.example", ar + "spf=pass smtp.mailfrom=sender.example", "none sender.example fail"},
		"another client, Received-SPF":     {outside, "joe@sender.example", "Received-SPF: pass envelope-from=joe@sender.example\n" + hop, "none sender.example fail"},
		"another name":                     {byName, "joe@sender.example", "Authentication-Results: mx2.example.net; spf=pass smtp.mailfrom=sender.example", ""},
		"a field of the other kind":        {byName, "joe@sender.example", "Received-SPF: pass envelope-from=joe@sender.example\n" + hop, ""},
		"a name where it does not count":   {byField, "joe@sender.example", ar + "spf=pass smtp.mailfrom=sender.example\n" + hop, ""},
		"nothing":                          {byName, "joe@sender.example", hop, ""},
		"a second field in its name":       {byName, "joe@sender.example", ar + "dkim=none\n" + ar + "spf=pass smtp.mailfrom=sender.example", ""},
		"the first of two":                 {byName, "joe@sender.example", ar + "spf=fail smtp.mailfrom=sender.example\n" + ar + "spf=pass smtp.mailfrom=sender.example", "fail sender.example fail"},
		"Received-SPF below Received":      {byField, "joe@sender.example", hop + "\nReceived-SPF: pass envelope-from=joe@sender.example\n" + hop, ""},
		"Received-SPF without Received":    {byField, "joe@sender.example", "Received-SPF: pass envelope-from=joe@sender.example", ""},
		"a second Received-SPF":            {byField, "joe@sender.example", "Received-SPF: fail envelope-from=joe@sender.example\nReceived-SPF: pass envelope-from=joe@sender.example\n" + hop, "fail sender.example fail"},
		"an odd field in its name above":   {byName, "joe@sender.example", "Authentication-Results: (x) mx1.example.net; " + own + "\n" + ar + "spf=pass smtp.mailfrom=sender.example", ""},
		"a name in quotes":                 {byName, "joe@sender.example", "Authentication-Results: \"mx1.example.net\"; spf=pass smtp.mailfrom=sender.example", ""},
		"a name with more behind it":       {byName, "joe@sender.example", "Authentication-Results: mx1.example.net evil; spf=pass smtp.mailfrom=sender.example", ""},
		"a version":                        {byName, "joe@sender.example", "Authentication-Results: mx1.example.net 1; spf=pass smtp.mailfrom=sender.example", ""},
		"of another sender":                {byName, "joe@sender.example", ar + own, ""},
		"of another sender, Received-SPF":  {byField, "joe@sender.example", "Received-SPF: pass envelope-from=joe@other.example\n" + hop, ""},
		"of HELO":                          {byName, "joe@sender.example", ar + "spf=pass smtp.helo=sender.example", ""},
		"of HELO, Received-SPF":            {byField, "joe@sender.example", "Received-SPF: pass identity=helo; helo=sender.example; envelope-from=joe@sender.example\n" + hop, ""},
		"of a sender where there is none":  {byName, "", ar + "spf=pass smtp.mailfrom=sender.example", ""},
		"no domain":                        {byName, "joe@sender.example", ar + "spf=pass smtp.mailfrom=joe@", ""},
		"HELO of one label":                {byName, "", ar + "spf=pass smtp.helo=example", ""},
		"HELO that is an address":          {byName, "", ar + "spf=pass smtp.helo=[192.0.2.1]", ""},
		"no word of SPF":                   {byName, "joe@sender.example", ar + "spf=good smtp.mailfrom=sender.example", ""},
		"a lookup of the relay failed":     {byName, "joe@sender.example", ar + "spf=temperror smtp.mailfrom=sender.example", ""},
		"none of its results":              {byName, "joe@sender.example", "Authentication-Results: mx1.example.net; none", ""},
		"empty":                            {byName, "joe@sender.example", "Authentication-Results: mx1.example.net", ""},
		"empty Received-SPF":               {byField, "joe@sender.example", "Received-SPF:\n" + hop, ""},
		"two results":                      {byName, "joe@sender.example", ar + "spf=fail smtp.mailfrom=sender.example; spf=pass smtp.mailfrom=sender.example", ""},
		"two properties":                   {byName, "joe@sender.example", ar + "spf=pass smtp.mailfrom=other.example smtp.mailfrom=sender.example", ""},
		"a local part that ends a result":  {byName, `"; spf=pass smtp.mailfrom=x"@sender.example`, ar + `spf=fail smtp.mailfrom="; spf=pass smtp.mailfrom=x"@sender.example`, ""},
		"a local part that ends, unquoted": {byName, `";spf=pass smtp.mailfrom=x"@sender.example`, ar + `spf=fail smtp.mailfrom=;spf=pass smtp.mailfrom=x@sender.example`, ""},
		"a local part in a comment":        {byName, `"x) smtp.mailfrom=a@sender.example ("@other.example`, ar + `spf=pass (domain of x) smtp.mailfrom=a@sender.example (@other.example) smtp.mailfrom=other.example`, ""},
		"a result in a comment":            {byName, "joe@sender.example", ar + "spf=fail (; spf=pass) smtp.mailfrom=sender.example", "fail sender.example fail"},
		"comments in comments":             {byName, "joe@sender.example", ar + "spf=fail (a (b) ; spf=pass smtp.mailfrom=sender.example ()) smtp.mailfrom=sender.example", ""},
		"a comment that ends early":        {byName, "joe@sender.example", ar + "spf=fail (domain of x); spf=pass smtp.mailfrom=sender.example (@sender.example)", ""},
		"a name with a comment":            {byName, "joe@sender.example", "Authentication-Results: mx1.example.net (x); spf=pass smtp.mailfrom=sender.example", ""},
		"a comment not closed":             {byName, "joe@sender.example", ar + "spf=pass smtp.mailfrom=sender.example (", ""},
		"HELO that brings another":         {byField, "", "Received-SPF: pass identity=helo; helo=other.example;helo=sender.example; envelope-from=<>\n" + hop, ""},
		"two of one sender":                {byField, "joe@sender.example", "Received-SPF: pass envelope-from=x;envelope-from=joe@sender.example\n" + hop, ""},
		"control characters":               {byName, "joe@sender.example", ar + "spf=fa\x00il\x00spf=pass smtp.mailfrom=sender.example", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.config.SPF, w.config.Hostname = true, "mx.example.org"
			for client, id := range map[string]string{byName: "mx1.example.net", byField: ""} {
				w.relays = append(w.relays, verifier.Relay{Network: netip.MustParsePrefix(client + "/32"), AuthservID: id})
			}
			asked := w.answer("_dmarc.sender.example: v=DMARC1; p=reject")
			m := from(test.client)
			m.head = []string{}
			for field := range strings.SplitSeq(strings.ReplaceAll(test.fields, "\r\n", "\x01"), "\n") {
				m.head = append(m.head, strings.ReplaceAll(field, "\x01", "\r\n"))
			}
			m.head = append(m.head, "From: joe@sender.example")
			m.env.Sender = test.sender
			_, e := w.run(w.pipeline(), m)
			got := strings.TrimSpace(e.SPF.Result + " " + e.SPF.Domain + " " + e.DMARC.Result)
			if got != test.want {
				t.Errorf("got %q (%s); want %q", got, e.SPF.Reason, test.want)
			}
			for _, name := range asked() {
				if test.client != outside && !strings.HasPrefix(name, "_dmarc.") {
					t.Errorf("the relay's address was checked at %s", name)
				}
			}
		})
	}
}

// A name that relay and we share is ours: the field is read, and then removed.
func TestRelayWithOurName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.SPF = true
	w.relays = []verifier.Relay{{Network: netip.MustParsePrefix(byName + "/32"), AuthservID: "mx.example.net"}}
	w.answer("")
	m := from(outside).with("Authentication-Results: mx.example.net; spf=pass smtp.mailfrom=sender.example")
	m.head[1], m.env.Sender = "From: joe@sender.example", "joe@sender.example"
	m.env.Client = message.NewClient("", byName)
	out, e := w.run(w.pipeline(), m)
	if e.SPF.Result != "pass" || e.SPF.Reason != "told in Authentication-Results of mx.example.net" || len(out.RemoveAuthRes) != 1 ||
		!strings.Contains(out.Add[0].Value, "spf=pass smtp.mailfrom=sender.example") {
		t.Errorf("%+v\n%+v", e.SPF, out)
	}
}
