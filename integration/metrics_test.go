//go:build integration

package integration_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// get asks dkimd over HTTP.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it is read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// What Postfix brings shows in a scrape, and a refused reload in /readyz until it is mended.
func TestMetricsBesidePostfix(t *testing.T) {
	t.Parallel()
	at := fmt.Sprintf("127.0.0.1:%d", harness.FreePort())
	w := harness.NewWorld(t, harness.Settings{
		Metrics: `listen = "inet:` + at + `"`,
		Rules:   map[string]string{"theirs.example": fmt.Sprintf(unsignedRule, "enforce", `action = "reject"`)},
	})
	for range 2 {
		if got := sendUnsigned(t, w, harness.Unique("metrics")+"@elsewhere.test"); got.Code != 550 {
			t.Fatal(got)
		}
	}
	to := harness.Unique("metrics") + "@elsewhere.test"
	if got := harness.Dial(t, w.Outside).Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "signed").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	signed := len(harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "DKIM-Signature"))
	scrape := func(want ...string) {
		t.Helper()
		status, text := get(t, "http://"+at+"/metrics")
		for _, line := range want {
			if status != http.StatusOK || !strings.Contains(text, "\n"+line+"\n") {
				t.Errorf("%d, no %s in\n%s", status, line, text)
			}
		}
	}
	scrape(
		`dkimd_messages_total{front="milter",mode="verify",verdict="reject"} 2`,
		`dkimd_messages_total{front="milter",mode="sign",verdict="accept"} 1`,
		`dkimd_signature_results_total{result="none"} 2`,
		`dkimd_policy_decisions_total{action="reject",mode="enforce"} 2`,
		fmt.Sprintf(`dkimd_keys{state="usable"} %d`, signed),
		`dkimd_message_duration_seconds_count 3`,
		`dkimd_milter_withheld_total{action="quarantine"} 0`,
		`dkimd_panics_total 0`,
		`dkimd_config_stale 0`,
	)
	w.Write(t, "rules/_default.toml", "mode = \"enforced\"\n")
	w.Reload(t, "reload refused")
	if status, body := get(t, "http://"+at+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "_default.toml:1: mode: got") {
		t.Errorf("%d %s", status, body)
	}
	scrape(`dkimd_config_stale 1`, `dkimd_reloads_total{result="refused"} 1`)
	if err := os.Remove(filepath.Join(w.Dir, "rules/_default.toml")); err != nil {
		t.Fatal(err)
	}
	w.Reload(t, "reloaded")
	if status, body := get(t, "http://"+at+"/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("%d %s", status, body)
	}
	scrape(`dkimd_config_stale 0`, `dkimd_reloads_total{result="taken"} 1`)
}
