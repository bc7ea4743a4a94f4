//go:build integration

package integration_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dkimd/integration/harness"

	"dkimd/internal/publish"
)

// zoneText is a zone with name servers at these addresses. What it says is remembered for 2 seconds.
func zoneText(name string, servers []string, records ...string) string {
	text := fmt.Sprintf("$ORIGIN %s.\n$TTL 2\n@ SOA ns1 host 1 1 1 600 2\n", name)
	for i, address := range servers {
		text += fmt.Sprintf("@ NS ns%d\nns%[1]d A %s\n", i+1, address)
	}
	return text + strings.Join(append(records, ""), "\n")
}

// Real name servers take our updates, each only where it has what we say it has; a wildcard does not count.
func TestUpdatesOfNameServers(t *testing.T) {
	t.Parallel()
	for kind, start := range map[string]func(*testing.T, harness.Zone) *harness.NameServer{
		"BIND": harness.StartBIND, "Knot": harness.StartKnot, "PowerDNS": harness.StartPowerDNS,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			address := harness.NewInternet(t).Address()
			start(t, harness.Zone{Name: "example.test", Address: address, Records: zoneText("example.test", []string{address},
				`*._domainkey TXT "wild"`, `other._domainkey TXT "v=DKIM1; p=QUJD"`, `www A 127.0.0.1`)})
			testUpdates(t, kind, address+":53")
		})
	}
}

func testUpdates(t *testing.T, kind, address string) {
	t.Helper()
	right := publish.Update{Server: address, Key: "dkimd", Algorithm: "hmac-sha256", Secret: harness.TSIGSecret}
	wrong := right
	wrong.Secret = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcg=="
	long := "v=DKIM1; p=" + strings.Repeat("A", 400)
	for i, step := range []struct {
		method    publish.Update
		name      string
		old, text string
		want      string // of the error
	}{
		{wrong, "s1", "", long, "NOTAUTH"},
		{right, "s1", "", long, ""},
		{right, "s1", "", long, ""},
		{right, "s1", "", "v=DKIM1; p=QUJD", "there is another record"},
		{right, "other", "", long, "there is another record"},
		{right, "s1", "v=DKIM1; p=WFla", "v=DKIM1; p=", "there is another record"},
		{right, "s1", long, "v=DKIM1; p=", ""},
		{right, "s1", "v=DKIM1; p=", "", ""},
	} {
		err := step.method.Apply(t.Context(), publish.Change{
			Name: step.name + "._domainkey.example.test", Zone: "example.test", Old: step.old, New: step.text, TTL: 2 * time.Second,
		})
		if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Errorf("step %d: got %v; want %q", i, err, step.want)
		}
	}
	outside := publish.Change{Name: "web.example.test", Zone: "example.test", New: "text", TTL: time.Second}
	if err := right.Apply(t.Context(), outside); kind != "PowerDNS" && (err == nil || !strings.Contains(err.Error(), "change the name")) {
		t.Errorf("a name that the key may not change: %v", err) // to PowerDNS a key is for a whole zone
	}
	outside.Zone, outside.Name = "example.net", "a.example.net"
	if err := right.Apply(t.Context(), outside); err == nil || !strings.Contains(err.Error(), "REFUSED") && !strings.Contains(err.Error(), "NOTAUTH") {
		t.Errorf("a zone that the server does not have: %v", err)
	}
}
