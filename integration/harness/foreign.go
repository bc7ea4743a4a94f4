package harness

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dkimd/internal/resolver/dnstest"
)

// The programs that sign incoming mail and verify outgoing mail; dkimd must
// agree with all of them.

// Python is the interpreter that python3-dkim is installed for.
const Python = "/usr/bin/python3"

// imports tell whether the modules are there, too.
var (
	pythonImports = sync.OnceValue(func() error {
		return exec.Command(Python, "-c", "import dkim, dns.resolver, nacl").Run()
	})
	perlImports = sync.OnceValue(func() error {
		return exec.Command("perl", "-MMail::DKIM::Verifier", "-MMail::DKIM::Signer", "-MNet::DNS", "-e", "1").Run()
	})
)

func needPython(t *testing.T) {
	t.Helper()
	if Need(t, Python); pythonImports() != nil {
		SkipOrFail(t, "python3-dkim, python3-dnspython or python3-nacl is not installed; run scripts/install-test-deps")
	}
}

func needPerl(t *testing.T) {
	t.Helper()
	if Need(t, "perl"); perlImports() != nil {
		SkipOrFail(t, "libmail-dkim-perl or libnet-dns-perl is not installed; run scripts/install-test-deps")
	}
}

// ForeignKey is a key of a domain that is not ours.
type ForeignKey struct {
	PEM    []byte
	Record string
}

// ForeignRSA is the RSA key of every foreign domain, foreignEd25519 their other one.
var (
	ForeignRSA = sync.OnceValue(func() ForeignKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		public, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			panic(err)
		}
		block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
		return ForeignKey{pem.EncodeToMemory(block), "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)}
	})
	foreignEd25519 = sync.OnceValue(func() ForeignKey {
		public, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			panic(err)
		}
		// python3-dkim wants the seed alone, in base64.
		seed := base64.StdEncoding.EncodeToString(key.Seed())
		return ForeignKey{[]byte(seed), "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}
	})
)

// file writes the key where a program can read it.
func (k ForeignKey) file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, k.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// PublishForeignKeys announces the foreign keys of a domain: selectors rsa and ed.
func PublishForeignKeys(dns *dnstest.Server, domain string) {
	dns.SetTXT("rsa._domainkey."+domain, ForeignRSA().Record)
	dns.SetTXT("ed._domainkey."+domain, foreignEd25519().Record)
}

// A ForeignSigner signs a message for a domain with its published RSA key.
type ForeignSigner func(t *testing.T, domain string, message []byte) []byte

// SignWithPython signs with python3-dkim.
func SignWithPython(t *testing.T, domain string, message []byte) []byte {
	t.Helper()
	needPython(t)
	return Run(t, message, Python, testdata("sign.py"), domain, "rsa", ForeignRSA().file(t), "rsa-sha256")
}

// SignWithPythonEd25519 signs for gmail.com.
func SignWithPythonEd25519(t *testing.T, message []byte) []byte {
	t.Helper()
	needPython(t)
	return Run(t, message, Python, testdata("sign.py"), "gmail.com", "ed", foreignEd25519().file(t), "ed25519-sha256")
}

// SignWithPerl signs with Mail::DKIM.
func SignWithPerl(t *testing.T, domain string, message []byte) []byte {
	t.Helper()
	return SignExpiring(t, domain, time.Time{}, message)
}

// SignExpiring signs with Mail::DKIM, with x= if a time is given.
func SignExpiring(t *testing.T, domain string, expiration time.Time, message []byte) []byte {
	t.Helper()
	needPerl(t)
	x := "0"
	if !expiration.IsZero() {
		x = strconv.FormatInt(expiration.Unix(), 10)
	}
	return Run(t, message, "perl", testdata("sign.pl"), domain, "rsa", ForeignRSA().file(t), x)
}

var insertedField = regexp.MustCompile(`(?s)hname='(DKIM-Signature)' hvalue='([^']*)'`)

// SignWithOpenDKIM runs OpenDKIM's milter callbacks over the message in its test mode.
func SignWithOpenDKIM(t *testing.T, domain string, message []byte) []byte {
	t.Helper()
	Need(t, "opendkim")
	dir := t.TempDir()
	conf := fmt.Sprintf("Mode s\nDomain %s\nSelector rsa\nKeyFile %s\nRequireSafeKeys no\nSignatureAlgorithm rsa-sha256\n"+
		"Canonicalization relaxed/relaxed\nInternalHosts 0.0.0.0/0\n", domain, ForeignRSA().file(t))
	out := openDKIMTest(t, dir, conf, message)
	m := insertedField.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("opendkim did not sign:\n%s", out)
	}
	value := strings.ReplaceAll(strings.ReplaceAll(m[2], "\r\n", "\n"), "\n", "\r\n")
	return append([]byte(m[1]+": "+value+"\r\n"), message...)
}

func openDKIMTest(t *testing.T, dir, conf string, message []byte) string {
	t.Helper()
	for name, data := range map[string][]byte{"opendkim.conf": []byte(conf), "message": message} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "opendkim", "-x", filepath.Join(dir, "opendkim.conf"), "-v", "-v", "-t", filepath.Join(dir, "message"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("opendkim -t: %v\n%s", err, out)
	}
	return string(out)
}

// Verdict is what a foreign verifier says of one signature.
type Verdict struct {
	Domain, Algorithm string
	Pass              bool
}

// VerifyWithPython and VerifyWithPerl report every signature, top first.
func VerifyWithPython(t *testing.T, dns *dnstest.Server, message []byte) []Verdict {
	t.Helper()
	needPython(t)
	return verify(t, dns, message, Python, testdata("verify.py"))
}

// VerifyWithPerl is VerifyWithPython with Mail::DKIM.
func VerifyWithPerl(t *testing.T, dns *dnstest.Server, message []byte) []Verdict {
	t.Helper()
	needPerl(t)
	return verify(t, dns, message, "perl", testdata("verify.pl"))
}

func verify(t *testing.T, dns *dnstest.Server, message []byte, program, script string) []Verdict {
	t.Helper()
	host, port, err := net.SplitHostPort(dns.Addr())
	if err != nil {
		t.Fatal(err)
	}
	out := Run(t, message, program, script, host, port)
	t.Logf("%s: %s", script, out)
	var verdicts []Verdict
	for line := range bytes.Lines(out) {
		words := strings.Fields(string(line))
		if len(words) < 3 {
			t.Fatalf("%s: %q", script, out)
		}
		verdicts = append(verdicts, Verdict{Domain: words[1], Algorithm: words[2], Pass: words[0] == "pass"})
	}
	return verdicts
}

// VerifyWithOpenDKIM reports whether OpenDKIM takes the message for verified,
// and what it said. (unbound keeps .test for itself unless told otherwise.)
func VerifyWithOpenDKIM(t *testing.T, dns *dnstest.Server, message []byte) (pass bool, said string) {
	t.Helper()
	Need(t, "opendkim")
	dir := t.TempDir()
	unbound := filepath.Join(dir, "unbound.conf")
	forward := "server:\n do-not-query-localhost: no\n module-config: \"iterator\"\n local-zone: \"test.\" nodefault\n" +
		"forward-zone:\n name: \".\"\n forward-addr: " + strings.Replace(dns.Addr(), ":", "@", 1) + "\n"
	if err := os.WriteFile(unbound, []byte(forward), 0o600); err != nil {
		t.Fatal(err)
	}
	said = openDKIMTest(t, dir, "Mode v\nLogWhy yes\nMaximumHeaders 0\nResolverConfiguration "+unbound+"\n", message)
	return strings.Contains(said, " succeeded"), said
}

// StartOpenDKIM runs OpenDKIM as a milter that adds Authentication-Results: a
// stand-in for dkimd that shows the harness by itself.
func StartOpenDKIM(t *testing.T, milter string) {
	t.Helper()
	Need(t, "opendkim")
	socket, network := strings.TrimPrefix(milter, "unix:"), "unix"
	listen := "local:" + socket
	if host, found := strings.CutPrefix(milter, "inet:"); found {
		socket, network = host, "tcp"
		address, port, _ := net.SplitHostPort(host)
		listen = "inet:" + port + "@" + address
	}
	conf := filepath.Join(t.TempDir(), "opendkim.conf")
	text := "Mode v\nAlwaysAddARHeader yes\nAuthservID standin.test\nUserID postfix\nUMask 007\nSocket " + listen + "\nBackground no\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := StartProcess("opendkim", exec.Command("opendkim", "-f", "-x", conf))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(syscall.SIGTERM, time.Second); _ = os.Remove(socket) })
	Eventually(t, 10*time.Second, "OpenDKIM listens", func() bool { return Accepts(network, socket) })
}
