//go:build integration

package integration_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"dkimd/integration/harness"

	"dkimd/internal/importer/proof"

	"github.com/rogpeppe/go-internal/txtar"
)

// importKey is a private key: one is enough, since selectors and domains tell what signed.
var importKey = sync.OnceValue(func() []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
})

// keyPaths are where the configurations of testdata/opendkim have private keys.
var keyPaths = regexp.MustCompile(`(?i)(?:KeyFile\s+|:)(/(?:etc|k|data|home)/[^\s,:]+)`)

// The signing of rspamd is imported and proved, of this system and of one below another root.
func TestImportRspamdSignsTheSame(t *testing.T) {
	harness.Need(t, "rspamd")
	dir := t.TempDir()
	write := func(name string, content []byte) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"keys/example.com.dkim.key", "keys/one.key"} {
		write(name, importKey())
	}
	for name, text := range map[string]string{
		"path":   `path = "DIR/keys/$domain.$selector.key"; domain { example.net { selectors [ { selector: one; path: "DIR/keys/one.key" }, { selector: two; path: "DIR/keys/one.key" } ] } }`,
		"fields": `use_domain = "example.net"; path = "/keys/one.key"; auth_only = false; sign_headers = [ "from", "(o)to", "x-foo" ]; allow_username_mismatch = true;`,
		"below":  `domain { example.com { path = "/keys/one.key"; } a.example.org { path = "/keys/one.key"; } b.lan { path = "/keys/one.key"; } }`,
		"tables": `signing_table = ["*@example.com one", "alice@example.net two"]; key_table = ["one example.com:one:/keys/one.key", "two %:two:/keys/one.key"];`,
	} {
		write(name+"/local.d/dkim_signing.conf", []byte(strings.ReplaceAll(text, "DIR", dir)))
		differs := ""
		if name == "tables" { // rspamd's patterns: as written, and also where more stands before
			differs = rspamdPatterns
		}
		args := []string{"rspamd", filepath.Join(dir, name)}
		if name != "path" {
			args = []string{"rspamd", "/" + name, "--root", dir}
		}
		proveImport(t, differs, append(args, "--to", filepath.Join(dir, name+"-dkimd"))...)
	}
}

// rspamdPatterns are the probes on which patterns of rspamd and dkimd differ.
const rspamdPatterns = `ALICE@EXAMPLE.COM logged in: who signs
ALICE@EXAMPLE.COM from inside: who signs
ALICE@EXAMPLE.COM from unknown [10.0.0.1]: who signs
ALICE@EXAMPLE.COM from unknown [127.0.0.1]: who signs
ALICE@EXAMPLE.COM from unknown [169.254.0.1]: who signs
ALICE@EXAMPLE.COM from unknown [172.16.0.1]: who signs
ALICE@EXAMPLE.COM from unknown [192.168.0.1]: who signs
ALICE@EXAMPLE.COM from unknown [::1]: who signs
ALICE@EXAMPLE.COM from unknown [fd00::1]: who signs
ALICE@EXAMPLE.COM from unknown [fe80::1]: who signs
ALICE@EXAMPLE.COM from unknown [fec0::]: who signs
ALICE@EXAMPLE.COM from unknown [fec0::1]: who signs
other-alice@example.net logged in: who signs
other-alice@example.net from inside: who signs
ALICE@EXAMPLE.NET logged in: who signs
ALICE@EXAMPLE.NET from inside: who signs`

// proveImport runs dkimd import --prove, and wants differences on these probes only.
func proveImport(t *testing.T, differs string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), harness.Binary(t), append(append([]string{"import"}, args...), "--prove", "--json")...)
	output, _ := command.Output()
	var answer struct {
		Proof  *proof.Result
		Faults []struct{ Text string }
	}
	if err := json.Unmarshal(output, &answer); err != nil || answer.Proof == nil || len(answer.Faults) > 0 {
		t.Fatalf("%v: %s", err, output)
	}
	var got []string
	for _, d := range answer.Proof.Differences {
		got = append(got, d.Probe+": "+strings.Join(d.What, ", "))
		if !strings.Contains(differs, d.Probe+": "+strings.Join(d.What, ", ")) {
			t.Errorf("%s: %v\n  before %v\n  dkimd  %v", d.Probe, d.What, d.Old, d.New)
		}
	}
	if strings.Join(got, "\n") != differs {
		t.Errorf("%d probes differ in\n%s", len(got), strings.Join(got, "\n"))
	}
	if answer.Proof.Probes < 2 {
		t.Errorf("%d probes only", answer.Proof.Probes)
	}
}

// Configurations as people have them are imported, and sign what OpenDKIM signs with them. A section "differs" names the probes
// on which the two differ, and the report says why.
func TestImportOpenDKIMSignsTheSame(t *testing.T) {
	harness.Need(t, "opendkim")
	archives, err := filepath.Glob("testdata/opendkim/*.txtar")
	if err != nil || len(archives) < 20 {
		t.Fatalf("%d configurations: %v", len(archives), err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			write := func(name string, content []byte) {
				name = filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			differs := ""
			for _, f := range archive.Files {
				if f.Name == "differs" {
					differs = strings.TrimSpace(string(f.Data))
					continue
				}
				write(f.Name, f.Data)
				if strings.HasSuffix(f.Name, "TrustedHosts") {
					continue
				}
				for _, m := range keyPaths.FindAllStringSubmatch(string(f.Data), -1) {
					if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
						write(m[1], importKey())
					}
				}
			}
			proveImport(t, differs, "opendkim", "--root", root, "--to", filepath.Join(root, "dkimd"))
		})
	}
}

// The signing of Exim is imported and proved: one domain for all mail, and a directory and a file of domains.
func TestImportEximSignsTheSame(t *testing.T) {
	harness.NeedExim(t)
	dir := t.TempDir()
	write := func(name, content string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"k/one", "k/example.com/dkim.pem"} {
		write(name, string(importKey()))
	}
	write("m/domains", "example.com: example.net\nexample.org: example.org\n")
	write("m/keys", "example.net: /k/one\nexample.org: /k/example.com/dkim.pem\n")
	t.Setenv("PATH", filepath.Dir(harness.EximBinary("heavy"))+":"+os.Getenv("PATH"))
	for name, options := range map[string]string{
		"fixed": "dkim_domain = example.com : example.net\n dkim_selector = a : b\n dkim_private_key = /k/one\n dkim_sign_headers = +From:=To:Subject\n dkim_timestamps = 3600\n",
		"directory": "dkim_domain = ${lookup{${lc:${domain:$h_from:}}}dsearch,filter=dir{/k}}\n dkim_selector = mail\n" +
			" dkim_private_key = ${if exists{/k/$dkim_domain/dkim.pem}{/k/$dkim_domain/dkim.pem}{0}}\n dkim_canon = simple\n",
		"file": "dkim_domain = ${lookup{${lc:${domain:$h_from:}}}lsearch{/m/domains}{$value}}\n dkim_selector = s\n dkim_private_key = ${lookup{$dkim_domain}lsearch{/m/keys}{$value}}\n",
	} {
		write(name+".conf", "domainlist local_domains = @ : lsearch;/etc/domains\nbegin transports\nremote_smtp:\n driver = smtp\n "+options)
		proveImport(t, "", "exim", "/"+name+".conf", "--root", dir, "--to", filepath.Join(dir, name+"-dkimd"))
	}
}
