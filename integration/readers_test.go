//go:build integration

package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"

	"dkimd/internal/resolver/dnstest"
)

// openDMARCName is OpenDMARC's authserv-id.
const openDMARCName = "opendmarc.test"

// startOpenDMARC runs OpenDMARC behind dkimd, whose results it takes. It asks the server that /etc/resolv.conf names, and gets one of its own.
func startOpenDMARC(t *testing.T, milter, zone string) {
	t.Helper()
	harness.Need(t, "opendmarc", "unshare")
	const address = "127.0.0.79"
	server, err := dnstest.Start(address + ":53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	if err := server.SetZone(zone); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket, listen := strings.TrimPrefix(milter, "inet:"), ""
	if host, port, ok := strings.Cut(socket, ":"); ok {
		listen = "inet:" + port + "@" + host
	}
	for name, text := range map[string]string{
		"resolv.conf": "nameserver " + address + "\n",
		"opendmarc.conf": fmt.Sprintf("Socket %s\nUserID root\nBackground false\nAuthservID %s\nTrustedAuthservIDs %s\nRejectFailures false\n"+
			"SPFIgnoreResults false\nSPFSelfValidate false\n", listen, openDMARCName, harness.Hostname),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const script = `mount --bind "$0/resolv.conf" /etc/resolv.conf && exec opendmarc -f -c "$0/opendmarc.conf"`
	p, err := harness.StartProcess("opendmarc", exec.Command("unshare", "--mount", "sh", "-c", script, dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(syscall.SIGTERM, time.Second) })
	harness.Eventually(t, 10*time.Second, "OpenDMARC listens", func() bool { return harness.Accepts("tcp", socket) })
}

// TestResultsOfSPFAndDMARCAreRead: OpenDMARC, SpamAssassin, python3-authres and Mail::AuthenticationResults find what dkimd says, and
// nothing that a sender forged in its name.
func TestResultsOfSPFAndDMARCAreRead(t *testing.T) {
	t.Parallel()
	for _, module := range []string{"Mail::AuthenticationResults", "Mail::SpamAssassin"} {
		if exec.Command("/usr/bin/perl", "-M"+module, "-e", "1").Run() != nil {
			harness.SkipOrFail(t, "Perl has no "+module)
		}
	}
	if exec.Command("/usr/bin/python3", "-c", "import authres").Run() != nil {
		harness.SkipOrFail(t, "Debian's python3 has no authres")
	}
	w := harness.NewWorld(t, harness.Settings{})
	harness.PublishForeignKeys(w.DNS, "gmail.com")
	if err := w.DNS.SetZone(dmarcZone); err != nil {
		t.Fatal(err)
	}
	startOpenDMARC(t, w.Second, dmarcZone)
	forged := []string{
		"Authentication-Results: " + harness.Hostname + "; spf=pass smtp.mailfrom=forged.test; dmarc=pass header.from=forged.test; dkim=pass header.d=forged.test",
		"Authentication-Results: (x) " + harness.Hostname + " 1; spf=softfail; dmarc=none",
	}
	tests := map[string]struct {
		from, sender, helo string
		signed             bool
		want               []string // results as readers print them
		openDMARC          string   // empty: it is not asked: mail with a null sender got 451 in this chain
	}{
		"SPF passes":             {"sender.test", "joe@m.sender.test", "", false, []string{"spf=pass smtp.mailfrom=m.sender.test", "dmarc=pass header.from=sender.test", "dkim=none"}, "pass"},
		"null sender":            {"sender.test", "", "helo.sender.test", false, []string{"spf=pass smtp.helo=helo.sender.test", "dmarc=pass header.from=sender.test", "dkim=none"}, ""},
		"nothing passes":         {"strict.test", "joe@strict.test", "", false, []string{"spf=fail smtp.mailfrom=strict.test", "dmarc=fail header.from=strict.test policy.dmarc=reject", "dkim=none"}, "fail"},
		"SPF of another":         {"strict.test", "joe@sender.test", "", false, []string{"spf=pass smtp.mailfrom=sender.test", "dmarc=fail header.from=strict.test policy.dmarc=reject", "dkim=none"}, "fail"},
		"a signature":            {"gmail.com", "joe@strict.test", "", true, []string{"spf=fail smtp.mailfrom=strict.test", "dmarc=pass header.from=gmail.com", "dkim=pass"}, "pass"},
		"HELO that no name is":   {"soft.test", "", "[192.0.2.1]", false, []string{"spf=none smtp.helo=?192.0.2.1?", "dmarc=fail header.from=soft.test policy.dmarc=none", "dkim=none"}, ""},
		"a sender with trickery": {"soft.test", `"a; dmarc=pass"@soft.test`, "", false, []string{"spf=softfail smtp.mailfrom=soft.test", "dmarc=fail header.from=soft.test policy.dmarc=none", "dkim=none"}, "fail"},
	}
	for name, test := range tests {
		data := harness.NewMail("author@"+test.from, "read").Bytes()
		if test.signed {
			data = byGmail.sign(t, data)
		}
		data = append([]byte(strings.Join(forged, "\r\n")+"\r\n"), data...)
		port := w.Chained
		if test.openDMARC == "" {
			port = w.Outside
		}
		s := harness.Dial(t, port).As("client.test", "198.51.100.7")
		if test.helo != "" {
			s.Want(250, "EHLO %s", test.helo)
		}
		to := harness.Unique("read") + "@elsewhere.test"
		if got := s.Send(test.sender, to, data); got.Code != 250 {
			t.Errorf("%s: %s", name, got)
			continue
		}
		delivered := w.Stage.Sink.Wait(t, to).Data
		python := harness.Run(t, delivered, "/usr/bin/python3", harness.Repository("integration/harness/testdata/readers.py"))
		perl := harness.Run(t, delivered, "/usr/bin/perl", harness.Repository("integration/harness/testdata/readers.pl"), harness.Hostname)
		for reader, said := range map[string]string{"authres": string(python), "Mail::AuthenticationResults": string(perl)} {
			var got []string
			for line := range strings.Lines(said) {
				if result, ours := strings.CutPrefix(strings.TrimSpace(line), harness.Hostname+" "); ours {
					if strings.HasPrefix(result, "dkim=") {
						result, _, _ = strings.Cut(result, " ")
					}
					got = append(got, result)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%s: %s reads %q; want %q", name, reader, got, test.want)
			}
		}
		var wanted, found []string
		for _, result := range test.want {
			method, word, _ := strings.Cut(strings.Fields(result)[0], "=")
			wanted = append(wanted, method+" "+word)
		}
		for line := range strings.Lines(string(perl)) {
			if result, ok := strings.CutPrefix(strings.TrimSpace(line), "spamassassin "); ok {
				found = append(found, result)
			}
		}
		if !slices.Equal(found, wanted) {
			t.Errorf("%s: SpamAssassin finds %q; want %q", name, found, wanted)
		}
		if opendmarc := openDMARCSays(delivered); opendmarc != test.openDMARC {
			t.Errorf("%s: OpenDMARC says %q; want %q:\n%s", name, opendmarc, test.openDMARC, delivered)
		}
	}
}

// openDMARCSays is the result in the field of OpenDMARC.
func openDMARCSays(data []byte) string {
	for _, value := range harness.FieldValues(data, "Authentication-Results") {
		if results, ours := strings.CutPrefix(strings.TrimSpace(value), openDMARCName+"; dmarc="); ours {
			word, _, _ := strings.Cut(results, " ")
			return word
		}
	}
	return ""
}
