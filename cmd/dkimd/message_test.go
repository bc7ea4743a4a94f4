package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/internal/resolver/dnstest"
	"dkimd/keys"
)

// desk is a configuration for commands that take one message. Mail of example.org can be signed.
type desk struct {
	t      *testing.T
	config string
	dns    *dnstest.Server
}

func newDesk(t *testing.T) desk {
	t.Helper()
	dir := t.TempDir()
	server, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	directory := filepath.Join(dir, "keys")
	g, err := keys.Generate(keys.New{Directory: directory, Domain: "example.org", Selector: "k1", Type: keys.Ed25519})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.SetZone(g.Record.String()); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Activate(t.Context(), keys.Activation{Directory: directory, Domain: string(g.Domain), Force: true}); err != nil {
		t.Fatal(err)
	}
	d := desk{t, filepath.Join(dir, "dkimd.toml"), server}
	text := fmt.Sprintf("hostname = \"mx.example.net\"\n[sign]\ndirectory = %q\n[dns]\nservers = %q\n", directory, server.Addr())
	if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// run takes a message through a command.
func (d desk) run(message string, args ...string) (status int, out, err string) {
	var stdout, stderr bytes.Buffer
	status = run(d.t.Context(), append(args, "--config", d.config), stdio{in: strings.NewReader(message), out: &stdout, err: &stderr})
	return status, stdout.String(), stderr.String()
}

// However a message is written, it comes out as it was below its new field, and verifies.
func TestSignAndVerifyOddMessages(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const from = "From: joe@example.org\n"
	for name, test := range map[string]struct {
		message string
		above   string // what stays above the new field
		eol     string
	}{
		"plain":                     {from + "Subject: x\n\nHello\n", "", "\n"},
		"CRLF":                      {"From: joe@example.org\r\nSubject: x\r\n\r\nHello\r\n", "", "\r\n"},
		"CRLF, then LF":             {"From: joe@example.org\r\nSubject: x\n\nHello\r\nyou\n", "", "\r\n"},
		"LF, then CRLF":             {from + "Subject: x\r\n\r\nHello\n", "", "\n"},
		"bare CR":                   {from + "\nHel\rlo\n", "", "\n"},
		"NUL":                       {from + "Subject: a\x00b\n\nHel\x00lo\n", "", "\n"},
		"8-bit":                     {from + "Subject: f\xfcr\n\nGr\xc3\xbc\xdfe\n", "", "\n"},
		"no body":                   {from + "\n", "", "\n"},
		"no empty line":             {from + "Subject: x\n", "", "\n"},
		"no line end":               {from + "Subject: x", "", "\n"},
		"no line end in the body":   {from + "\nHello", "", "\n"},
		"empty lines at the end":    {from + "\nHello\n\n\n\n", "", "\n"},
		"an mbox":                   {"From joe@example.org Mon Nov 23 10:00:00 2026\n" + from + "\n>From here\n", "From joe@example.org Mon Nov 23 10:00:00 2026\n", "\n"},
		"an mbox with CRLF":         {"From joe Mon\r\nFrom: joe@example.org\r\n\r\nx\r\n", "From joe Mon\r\n", "\r\n"},
		"a line that is no field":   {from + "what is this\nSubject: x\n\nHello\n", "", "\n"},
		"an empty field name":       {from + ": x\n\nHello\n", "", "\n"},
		"folded fields":             {"From: Joe\n <joe@example.org>\nSubject: a\n\tb\n \n c\n\nHello\n", "", "\n"},
		"a fold at the end":         {from + "Subject: a\n ", "", "\n"},
		"signed before":             {"DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=x; h=from; bh=; b=\n" + from + "\nHello\n", "", "\n"},
		"a long line":               {from + "\n" + strings.Repeat("x", 100_000) + "\n", "", "\n"},
		"a dot alone":               {from + "\n.\n..\n", "", "\n"},
		"a message of many lines":   {from + "\n" + strings.Repeat("Hello\n", 1_000_000), "", "\n"},
		"field names in odd letter": {"fROM: joe@example.org\nsUBJECT: x\n\nHello\n", "", "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := desk{t, d.config, d.dns}
			status, signed, said := d.run(test.message, "sign")
			field, rest, found := strings.Cut(strings.TrimPrefix(signed, test.above), test.eol+strings.TrimPrefix(test.message, test.above))
			if status != exitDone || !found || rest != "" || !strings.HasPrefix(field, "DKIM-Signature: v=1;") || !strings.HasPrefix(signed, test.above) {
				t.Fatalf("status %d, %s, %.1000q", status, said, signed)
			}
			if n := strings.Count(field, "\n"); n != strings.Count(field, test.eol) || n == 0 {
				t.Errorf("line ends of %q", field)
			}
			status, report, said := d.run(signed, "verify")
			if status != exitDone || !strings.Contains(report, "\nsignature d=example.org s=k1 a=ed25519-sha256: pass\n") || !strings.HasSuffix(report, "\nverdict: accept\n") {
				t.Errorf("verify: status %d, %s%s", status, report, said)
			}
			// RFC 6376 section 5.3: what was signed is the form in which SMTP carries it.
			carried := strings.ReplaceAll(strings.ReplaceAll(signed, "\r\n", "\n"), "\n", "\r\n")
			if status, report, said = d.run(carried, "verify"); status != exitDone || !strings.HasSuffix(report, "\nverdict: accept\n") {
				t.Errorf("verify with CRLF: status %d, %s%s", status, report, said)
			}
		})
	}
}

// What cannot be signed comes out as it came in, and the reason is told.
func TestSignRefuses(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const from = "From: joe@example.org\n"
	for name, test := range map[string]struct{ message, want string }{
		"no header":       {"\nHello\n", "from_missing: the header has no From field"},
		"only a body":     {"Hello\n", "from_missing: the header has no From field"},
		"only a line end": {"\n", "from_missing: the header has no From field"},
		"a folded start":  {" " + from + "\nHello\n", "from_missing: the header has no From field"},
		"two From":        {from + from + "\nHello\n", "multiple_from: the header has 2 From fields"},
		"no key":          {"From: joe@example.net\n\nHello\n", "no_key: no key for example.net: neither it nor a domain above it that signs for its subdomains has one"},
		"too many fields": {from + strings.Repeat("X: y\n", 2001) + "\nHello\n", "limit: the header is over the limit of header fields"},
		"a large header":  {from + "X: " + strings.Repeat("y", 1<<20) + "\n\nHello\n", "limit: the header is over the limit of header bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, out, said := desk{t, d.config, d.dns}.run(test.message, "sign")
			if status != exitFailed || out != test.message || said != "dkimd: not signed: "+test.want+"\n" {
				t.Errorf("status %d, %s", status, said)
			}
			status, out, said = desk{t, d.config, d.dns}.run(test.message, "verify")
			if status != exitFailed || !strings.HasSuffix(out, "verdict: accept\n") || said != "" {
				t.Errorf("verify: status %d, %s%s", status, out, said)
			}
		})
	}
}

// With --explain, too, DNS is asked once for a key, whatever it says: the result and
// its explanation rest on the same answer.
func TestExplainAsksOnce(t *testing.T) {
	t.Parallel()
	const key = "k1._domainkey.example.org"
	for name, spoil := range map[string]func(dns *dnstest.Server, signed string) string{
		"passes":       func(_ *dnstest.Server, signed string) string { return signed },
		"body changed": func(_ *dnstest.Server, signed string) string { return signed + "more\n" },
		"no key":       func(dns *dnstest.Server, signed string) string { dns.Delete(key); return signed },
		"another key": func(dns *dnstest.Server, signed string) string {
			dns.SetTXT(key, "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
			return signed
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			status, signed, said := d.run("From: joe@example.org\n\nHello\n", "sign")
			if status != exitDone {
				t.Fatalf("sign: status %d, %s", status, said)
			}
			message := spoil(d.dns, signed)
			before := d.dns.Queries(key)
			_, report, said := d.run(message, "verify", "--explain")
			if !strings.Contains(report, "\nsignature 1, d=example.org s=k1:\n") {
				t.Errorf("no explanation in %s%s", report, said)
			}
			if asked := d.dns.Queries(key) - before; asked != 1 {
				t.Errorf("DNS was asked %d times for the key:\n%s", asked, report)
			}
		})
	}
}
