//go:build integration

package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkimd/internal/publish"
)

const tsigSecret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"

// startBIND runs a name server for example.org that takes updates, and returns its address once it answers.
func startBIND(t *testing.T) string {
	t.Helper()
	named, err := exec.LookPath("named")
	if err != nil {
		if os.Getenv("DKIMD_REQUIRE_ALL") != "" {
			t.Fatal("named is not installed")
		}
		t.Skip("named is not installed")
	}
	dir := t.TempDir()
	port := 15000 + os.Getpid()%20000
	files := map[string]string{
		"zone": "$TTL 2\n@ IN SOA ns1 host 1 60 60 600 2\n@ IN NS ns1\nns1 IN A 127.0.0.1\n*._domainkey IN TXT \"wild\"\nother._domainkey IN TXT \"v=DKIM1; p=QUJD\"\n",
		"named.conf": fmt.Sprintf(`options { directory %q; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; pid-file "pid"; session-keyfile "session"; };
controls { };
key dkimd { algorithm hmac-sha256; secret %q; };
zone "example.org" { type primary; file "zone"; update-policy { grant dkimd wildcard *._domainkey.example.org. TXT; }; };
`, dir, port, tsigSecret),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), named, "-g", "-u", "root", "-c", filepath.Join(dir, "named.conf"))
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address := fmt.Sprintf("127.0.0.1:%d", port)
	probe := &publish.Update{Server: address}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for probe.Apply(ctx, publish.Change{Name: "none.example.org", Zone: "example.org", Old: "x"}) != nil {
		select {
		case <-ctx.Done():
			t.Fatalf("named does not answer: %s", log.String())
		case <-tick.C:
		}
	}
	return address
}

// A real BIND takes our updates, each only where it has what we say it has; a wildcard does not count.
func TestUpdatesOfBIND(t *testing.T) {
	t.Parallel()
	address := startBIND(t)
	right := publish.Update{Server: address, Key: "dkimd", Algorithm: "hmac-sha256", Secret: tsigSecret}
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
			Name: step.name + "._domainkey.example.org", Zone: "example.org", Old: step.old, New: step.text, TTL: 2 * time.Second,
		})
		if (err == nil) != (step.want == "") || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Errorf("step %d: got %v; want %q", i, err, step.want)
		}
	}
	outside := publish.Change{Name: "www.example.org", Zone: "example.org", New: "text", TTL: time.Second}
	if err := right.Apply(t.Context(), outside); err == nil || !strings.Contains(err.Error(), "REFUSED") {
		t.Errorf("a name that the key may not change: %v", err)
	}
	outside.Zone, outside.Name = "example.net", "a.example.net"
	if err := right.Apply(t.Context(), outside); err == nil || !strings.Contains(err.Error(), "REFUSED") && !strings.Contains(err.Error(), "NOTAUTH") {
		t.Errorf("a zone that the server does not have: %v", err)
	}
}
