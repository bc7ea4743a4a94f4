//go:build integration

package integration_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// senderZone has a domain below test that has all that receivers ask for, and others that lack one thing each.
func senderZone(t *testing.T) (records []string, lacking map[string]string) {
	t.Helper()
	record := func(bits int) string {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		text := base64.StdEncoding.EncodeToString(der)
		return fmt.Sprintf(`"v=DKIM1; p=" "%s" "%s"`, text[:200], text[200:])
	}
	good := map[string]string{"spf": `@ TXT "v=spf1 mx -all"`, "dmarc": `_dmarc TXT "v=DMARC1; p=reject"`, "key": "s1._domainkey TXT " + record(2048), "mx": "@ MX 10 mail"}
	lacking = map[string]string{}
	for _, one := range []struct{ domain, what, instead, demand string }{
		{"good", "mx", good["mx"], ""},
		{"no-spf", "spf", "", "spf"},
		{"two-spf", "spf", good["spf"] + "\n@ TXT \"v=spf1 -all\"", "spf"},
		{"broken-spf", "spf", `@ TXT "v=spf1 ip4:300.0.0.1 -all"`, "spf"},
		{"long-spf", "spf", `@ TXT "v=spf1` + strings.Repeat(" a", 11) + ` -all"`, "spf"},
		{"open-spf", "spf", `@ TXT "v=spf1 +all"`, "spf"},
		{"no-dmarc", "dmarc", "", "dmarc"},
		{"two-dmarc", "dmarc", good["dmarc"] + "\n_dmarc TXT \"v=DMARC1; p=none\"", "dmarc"},
		{"no-key", "key", "", "key"},
		{"revoked", "key", `s1._domainkey TXT "v=DKIM1; p="`, "key"},
		{"short", "key", "s1._domainkey TXT " + record(1024), "key_bits"},
		{"testing", "key", strings.Replace(good["key"], "v=DKIM1;", "v=DKIM1; t=y;", 1), "key_testing"},
		{"no-mx", "mx", "", "mx"},
		{"null-mx", "mx", "@ MX 0 .", "mx"},
	} {
		lacking[one.domain+".test"] = one.demand
		records = append(records, "$ORIGIN "+one.domain+".test.", "mail A 192.0.2.1", one.instead)
		for what, line := range good {
			if what != one.what {
				records = append(records, line)
			}
		}
	}
	return records, lacking
}

// What check --sender says of a domain hangs on what a real name server has of it, and on nothing else.
func TestCheckSender(t *testing.T) {
	t.Parallel()
	address := harness.NewInternet(t).Address()
	records, lacking := senderZone(t)
	harness.StartBIND(t, harness.Zone{Name: "test", Address: address, Static: true, Records: zoneText("test", []string{address}, records...)})
	config := filepath.Join(t.TempDir(), "dkimd.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "[dns]\nservers = [%q]\n[sign]\ndirectory = %q\n", address, t.TempDir()), 0o600); err != nil {
		t.Fatal(err)
	}
	for domain, want := range lacking {
		out, err := exec.Command(harness.Binary(t), "check", "--sender", domain, "--selector", "s1", "--json", "--config", config).Output()
		var got struct {
			Demands []struct {
				Name, State, Found string
				Required           bool
			}
			Todo []string
		}
		if broken := json.Unmarshal(out, &got); broken != nil {
			t.Fatalf("%s: %v, %v: %s", domain, err, broken, out)
		}
		var wants []string
		required := false
		for _, d := range got.Demands {
			if required = required || d.Required && d.Name == want; d.Name == want {
				wants = []string{want}
			}
			if known := []string{"key", "spf", "dmarc", "key_bits", "key_testing", "mx"}; slices.Contains(known, d.Name) && d.State == "unknown" && want != "key" {
				t.Errorf("%s: %s is not known: %s", domain, d.Name, d.Found)
			}
		}
		if !slices.Equal(got.Todo, wants) || len(wants) == 0 && want != "" || (err != nil) != required {
			t.Errorf("%s lacks %q: to do %q, %v", domain, want, got.Todo, err)
		}
	}
}
