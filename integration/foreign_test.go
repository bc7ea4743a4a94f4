//go:build integration

package integration_test

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

// debianPython is the interpreter that python3-dkim is installed for.
const debianPython = "/usr/bin/python3"

// imports tell whether the modules are there, too.
var (
	pythonImports = sync.OnceValue(func() error {
		return exec.Command(debianPython, "-c", "import dkim, dns.resolver, nacl").Run()
	})
	perlImports = sync.OnceValue(func() error {
		return exec.Command("perl", "-MMail::DKIM::Verifier", "-MMail::DKIM::Signer", "-MNet::DNS", "-e", "1").Run()
	})
)

func needPython(t *testing.T) {
	t.Helper()
	if need(t, debianPython); pythonImports() != nil {
		missing(t, "python3-dkim, python3-dnspython or python3-nacl is not installed; run scripts/install-test-deps")
	}
}

func needPerl(t *testing.T) {
	t.Helper()
	if need(t, "perl"); perlImports() != nil {
		missing(t, "libmail-dkim-perl or libnet-dns-perl is not installed; run scripts/install-test-deps")
	}
}

// foreignKey is a key of a domain that is not ours.
type foreignKey struct {
	pem    []byte
	record string
}

// foreignRSA is the RSA key of every foreign domain, foreignEd25519 their other one.
var (
	foreignRSA = sync.OnceValue(func() foreignKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		public, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			panic(err)
		}
		block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
		return foreignKey{pem.EncodeToMemory(block), "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)}
	})
	foreignEd25519 = sync.OnceValue(func() foreignKey {
		public, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			panic(err)
		}
		// python3-dkim wants the seed alone, in base64.
		seed := base64.StdEncoding.EncodeToString(key.Seed())
		return foreignKey{[]byte(seed), "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}
	})
)

// file writes the key where a program can read it.
func (k foreignKey) file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, k.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// publish announces the foreign keys of a domain: selectors rsa and ed.
func publish(dns *dnstest.Server, domain string) {
	dns.SetTXT("rsa._domainkey."+domain, foreignRSA().record)
	dns.SetTXT("ed._domainkey."+domain, foreignEd25519().record)
}

// A foreignSigner signs a message for a domain with its published RSA key.
type foreignSigner func(t *testing.T, domain string, message []byte) []byte

func signWithPython(t *testing.T, domain string, message []byte) []byte {
	t.Helper()
	needPython(t)
	return command(t, message, debianPython, "testdata/sign.py", domain, "rsa", foreignRSA().file(t), "rsa-sha256")
}

// signWithPythonEd25519 signs for gmail.com.
func signWithPythonEd25519(t *testing.T, message []byte) []byte {
	t.Helper()
	needPython(t)
	return command(t, message, debianPython, "testdata/sign.py", "gmail.com", "ed", foreignEd25519().file(t), "ed25519-sha256")
}

func signWithPerl(t *testing.T, domain string, message []byte) []byte {
	t.Helper()
	return signExpiring(t, domain, time.Time{}, message)
}

// signExpiring signs with Mail::DKIM, with x= if a time is given.
func signExpiring(t *testing.T, domain string, expiration time.Time, message []byte) []byte {
	t.Helper()
	needPerl(t)
	x := "0"
	if !expiration.IsZero() {
		x = strconv.FormatInt(expiration.Unix(), 10)
	}
	return command(t, message, "perl", "testdata/sign.pl", domain, "rsa", foreignRSA().file(t), x)
}

var insertedField = regexp.MustCompile(`(?s)hname='(DKIM-Signature)' hvalue='([^']*)'`)

// signWithOpenDKIM runs OpenDKIM's milter callbacks over the message in its test mode.
func signWithOpenDKIM(t *testing.T, domain string, message []byte) []byte {
	t.Helper()
	need(t, "opendkim")
	dir := t.TempDir()
	conf := fmt.Sprintf("Mode s\nDomain %s\nSelector rsa\nKeyFile %s\nRequireSafeKeys no\nSignatureAlgorithm rsa-sha256\n"+
		"Canonicalization relaxed/relaxed\nInternalHosts 0.0.0.0/0\n", domain, foreignRSA().file(t))
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

// verdict is what a foreign verifier says of one signature.
type verdict struct {
	domain, algorithm string
	pass              bool
}

// verifyWithPython and verifyWithPerl report every signature, top first.
func verifyWithPython(t *testing.T, dns *dnstest.Server, message []byte) []verdict {
	t.Helper()
	needPython(t)
	return verify(t, dns, message, debianPython, "testdata/verify.py")
}

func verifyWithPerl(t *testing.T, dns *dnstest.Server, message []byte) []verdict {
	t.Helper()
	needPerl(t)
	return verify(t, dns, message, "perl", "testdata/verify.pl")
}

func verify(t *testing.T, dns *dnstest.Server, message []byte, program, script string) []verdict {
	t.Helper()
	host, port, err := net.SplitHostPort(dns.Addr())
	if err != nil {
		t.Fatal(err)
	}
	out := command(t, message, program, script, host, port)
	t.Logf("%s: %s", script, out)
	var verdicts []verdict
	for line := range bytes.Lines(out) {
		words := strings.Fields(string(line))
		if len(words) < 3 {
			t.Fatalf("%s: %q", script, out)
		}
		verdicts = append(verdicts, verdict{domain: words[1], algorithm: words[2], pass: words[0] == "pass"})
	}
	return verdicts
}

// verifyWithOpenDKIM reports whether OpenDKIM takes the message for verified,
// and what it said. (unbound keeps .test for itself unless told otherwise.)
func verifyWithOpenDKIM(t *testing.T, dns *dnstest.Server, message []byte) (pass bool, said string) {
	t.Helper()
	need(t, "opendkim")
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

// startOpenDKIM runs OpenDKIM as a milter that adds Authentication-Results: a
// stand-in for dkimd that shows the harness by itself.
func startOpenDKIM(t *testing.T, milter string) {
	t.Helper()
	need(t, "opendkim")
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
	p, err := startProcess("opendkim", exec.Command("opendkim", "-f", "-x", conf))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(syscall.SIGTERM, time.Second); _ = os.Remove(socket) })
	eventually(t, 10*time.Second, "OpenDKIM listens", func() bool {
		conn, err := net.Dial(network, socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}
