package daemon_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/internal/milter"
	"dkimd/internal/milter/client"

	"github.com/google/go-cmp/cmp"
)

// monitored is a world whose daemon is to serve metrics, too.
func monitored(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.monitor("")
	return w
}

// monitor writes dkimd.toml with [metrics], and more at its end. SPF and DMARC have lookups of their own, and are asked
// only where more says so.
func (w *world) monitor(more string) {
	w.t.Helper()
	w.configure("[metrics]\nlisten = \"unix:" + w.path("m") + "\"\n[verify]\nspf = false\n" + more)
}

// get asks the daemon what monitoring asks.
func (w *world) get(path string) (status int, body string) {
	w.t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", w.path("m"))
		},
	}}
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://dkimd"+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it is read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// counted are the metrics that are not zero, without histograms, limits and times.
func (w *world) counted() map[string]string {
	w.t.Helper()
	status, text := w.get("/metrics")
	if status != http.StatusOK {
		w.t.Fatalf("%d %s", status, text)
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(name, "dkimd_") || value == "0" || slices.ContainsFunc([]string{
			"_bucket", "_sum", "_limit", "_seconds{", "timestamp", "build_info", "dkimd_log_messages",
		}, func(part string) bool { return strings.Contains(name, part) }) {
			continue
		}
		values[name] = value
	}
	return values
}

// ready fails the test unless /readyz says this.
func (w *world) ready(status int, parts ...string) {
	w.t.Helper()
	got, body := w.get("/readyz")
	if got != status {
		w.t.Errorf("%d %s", got, body)
	}
	for _, part := range parts {
		if !strings.Contains(body, part) {
			w.t.Errorf("%q is not in\n%s", part, body)
		}
	}
}

// Who opens connections for metrics and asks for nothing does not delay who does.
func TestHealthBesideHalfOpenConnections(t *testing.T) {
	t.Parallel()
	w := monitored(t)
	w.start()
	for i := range 300 {
		conn, err := net.Dial("unix", w.path("m"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		parts := []string{"", "GET /heal", "GET /healthz HTTP/1.1\r\nHost: x\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"}
		_, _ = io.WriteString(conn, parts[i%len(parts)]) // it may be closed already
	}
	began := time.Now()
	if status, body := w.get("/healthz"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	// Less than what it takes for any of them to be closed for its silence.
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("answered after %s", took)
	}
}

// What goes through the daemon is what a scrape shows.
func TestMetricsOfADaemon(t *testing.T) {
	t.Parallel()
	w := monitored(t)
	w.start()
	w.signers()
	w.signers()
	w.send("x@reject.example", "Q") // refused by its rules file
	w.send("x@other.example", "Q")  // has none
	s := w.session()                // stays
	if _, err := s.Connect(mail("", "").Peer); err != nil {
		t.Fatal(err)
	}
	w.out.Wait(t, 4, `^{"time":`)
	w.hangup("reloaded")
	want := map[string]string{
		`dkimd_messages_total{front="milter",mode="sign",verdict="accept"}`:   "2",
		`dkimd_messages_total{front="milter",mode="verify",verdict="reject"}`: "1",
		`dkimd_messages_total{front="milter",mode="verify",verdict="accept"}`: "1",
		`dkimd_message_duration_seconds_count`:                                "4",
		`dkimd_end_of_message_duration_seconds_count`:                         "4",
		`dkimd_signatures_made_total{algorithm="ed25519-sha256"}`:             "2",
		`dkimd_signature_results_total{result="none"}`:                        "2",
		`dkimd_policy_decisions_total{action="reject",mode="enforce"}`:        "1",
		`dkimd_connections_open{front="milter"}`:                              "1",
		`dkimd_connections_total{front="milter"}`:                             "5",
		`dkimd_keys{state="usable"}`:                                          "1",
		`dkimd_signing_domains{state="usable"}`:                               "1",
		`dkimd_rules_domains`:                                                 "1",
		`dkimd_reloads_total{result="taken"}`:                                 "1",
	}
	// A connection is counted as ended a moment after its MTA has seen the end.
	got := w.counted()
	for n := got[`dkimd_connections_open{front="milter"}`]; n != "1" && n != ""; n = got[`dkimd_connections_open{front="milter"}`] {
		got = w.counted()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w.stop()
	if _, err := os.Lstat(w.path("m")); err == nil {
		t.Error("the socket is left behind")
	}
}

// A signature is looked up over DNS, which does not answer here. That is not kept: DNS is asked each time.
func TestMetricsOfLookups(t *testing.T) {
	t.Parallel()
	w := monitored(t)
	w.start()
	m := mail("x@other.example", "Q")
	m.Raw = append([]byte("DKIM-Signature: v=1; a=rsa-sha256; d=other.example; s=s; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=YQ==\r\n"), m.Raw...)
	for range 2 {
		if _, err := w.session().Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	got := w.counted()
	for name, want := range map[string]string{
		`dkimd_signature_results_total{result="temperror"}`: "2",
		`dkimd_dns_lookups_total{outcome="network"}`:        "2",
		`dkimd_dns_lookup_duration_seconds_count`:           "2",
		`dkimd_dns_cache_requests_total{result="miss"}`:     "2",
		`dkimd_dns_cache_requests_total{result="hit"}`:      "",
		`dkimd_dns_cache_entries`:                           "",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %s, in %v", name, got[name], want, got)
		}
	}
}

// An MTA that offers nothing shows, whatever mail it brings.
func TestMetricsOfWhatIsWithheld(t *testing.T) {
	t.Parallel()
	w := monitored(t)
	w.start()
	s, err := client.Dial(t.Context(), "unix", w.socket, client.Options{Version: 6, Protocol: client.LeadingSpace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	got := w.counted()
	for _, action := range []string{milter.WithheldQuarantine, milter.WithheldEdits} {
		if name := `dkimd_milter_withheld_total{action="` + action + `"}`; got[name] != "1" {
			t.Errorf("%s is %q", name, got[name])
		}
	}
}

// A refused reload takes the daemon out of a load balancer, says why, and what mends it.
func TestReadinessAfterARefusedReload(t *testing.T) {
	t.Parallel()
	w := monitored(t)
	w.start()
	w.ready(200, "ready\n")
	w.write("rules/_default.toml", "mode = \"enforced\"")
	w.ready(200, "ready\n") // nobody asked for it yet
	for range 2 {
		w.hangup("reload refused")
	}
	w.ready(503, "not ready\n", "was refused", "hint: fix what dkimd check prints, then send SIGHUP",
		"\nfault: "+w.path("rules/_default.toml")+":1: mode: got \"enforced\"; want monitor or enforce")
	got := w.counted()
	if got["dkimd_config_stale"] != "1" || got[`dkimd_reloads_total{result="refused"}`] != "2" {
		t.Errorf("%v", got)
	}
	w.remove("rules/_default.toml")
	w.hangup("reloaded")
	w.ready(200, "ready\n")
	if got = w.counted(); got["dkimd_config_stale"] != "" || got[`dkimd_reloads_total{result="taken"}`] != "1" {
		t.Errorf("%v", got)
	}
	if status, body := w.get("/healthz"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

// A domain that is as it was before a reload is a warning that says since when.
func TestReadinessWithAKeptDomain(t *testing.T) {
	t.Parallel()
	w := monitored(t)
	w.start()
	w.err.Wait(t, 1, `msg="keys checked"`) // what was never good cannot stay as it was
	w.write("rules/reject.example.toml", "mode = \"enforced\"")
	w.write("keys/example.org/k1.pem", "junk")
	w.hangup("reloaded.*kept=2")
	w.ready(200, "ready\nwarning: reject.example is as it was before 20", "Z, for the file is broken: "+w.path("rules/reject.example.toml")+":1: mode: got",
		"\nwarning: example.org is as it was before 20", w.path("keys/example.org/k1.pem")+": got no PEM block")
	got := w.counted()
	for _, name := range []string{`dkimd_kept_domains{what="keys"}`, `dkimd_kept_domains{what="rules"}`, `dkimd_keys{state="usable"}`} {
		if got[name] != "1" {
			t.Errorf("%s is %q", name, got[name])
		}
	}
}

// The fault of one domain is a warning: the mail of all others is in good hands here.
func TestReadinessWithOneBrokenDomain(t *testing.T) {
	t.Parallel()
	w := monitored(t)
	w.write("keys/example.net/k1.pem", "junk")
	w.write("rules/broken.example.toml", "mode = \"enforced\"")
	w.start()
	w.err.Wait(t, 1, `msg="keys checked"`)
	w.ready(200, "ready\nwarning: "+w.path("rules/broken.example.toml")+":1: mode", "\nwarning: "+w.path("keys/example.net/k1.pem")+": got no PEM block")
	got := w.counted()
	for _, name := range []string{
		`dkimd_keys{state="usable"}`, `dkimd_keys{state="unusable"}`,
		`dkimd_signing_domains{state="usable"}`, `dkimd_signing_domains{state="unusable"}`, "dkimd_rules_files_broken",
	} {
		if got[name] != "1" {
			t.Errorf("%s is %q", name, got[name])
		}
	}
}

// With keys of which none can sign, mail of ours should leave through another dkimd.
func TestReadinessWithoutAnyUsableKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(w *world)
		fault string
	}{
		"the only key": {func(w *world) { w.write("keys/example.org/k1.pem", "junk") }, "k1.pem: got no PEM block"},
		"the options":  {func(w *world) { w.write("keys/example.org/domain.toml", "expiry = 7") }, "domain.toml:1: expiry: got 7"},
		"the name": {func(w *world) {
			if err := os.Rename(w.path("keys/example.org/k1.pem"), w.path("keys/example.org/k1.private")); err != nil {
				w.t.Fatal(err)
			}
		}, "k1.private: got a file that does not sign because of its name"},
		"the only key, with a stray one": {func(w *world) {
			w.write("keys/example.org/k1.pem", "junk")
			w.write("keys/k2.pem", "junk")
		}, "k1.pem: got no PEM block"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := monitored(t)
			test.spoil(w)
			w.start()
			w.err.Wait(t, 1, `msg="keys checked"`)
			w.ready(503, "fault: there are keys, and none of them can sign", test.fault)
			_, body := w.get("/readyz")
			if strings.Count(body, test.fault) != 1 {
				t.Errorf("said twice:\n%s", body)
			}
		})
	}
}

// What lies beside the domains makes no mail ours to sign: who only verifies is ready.
func TestReadinessWithAStrayKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ stray, warning string }{
		"a key":       {"keys/k1.pem", "k1.pem: got a key that belongs to no domain"},
		"a directory": {"keys/example..org/k1.pem", "example..org: got a directory whose name cannot sign"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := monitored(t)
			if err := os.Rename(w.path("keys/example.org/k1.pem"), w.path("k1.pem")); err != nil {
				t.Fatal(err)
			}
			w.write(test.stray, "junk")
			w.start()
			w.err.Wait(t, 1, `msg="keys checked"`)
			w.ready(200, "ready\nwarning: ", test.warning)
		})
	}
}

// Who only verifies is ready without a key.
func TestReadinessWithoutKeys(t *testing.T) {
	t.Parallel()
	w := monitored(t)
	if err := os.RemoveAll(w.path("keys/example.org")); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.ready(200, "ready\n")
}

// While messages under way end, monitoring still gets its answers.
func TestReadinessWhileDkimdStops(t *testing.T) {
	t.Parallel()
	w := monitored(t)
	w.start()
	s := w.session()
	m := mail("joe@example.org", "Q")
	for _, step := range []func() error{
		func() error { _, err := s.Connect(m.Peer); return err },
		func() error { _, err := s.Helo("here.example"); return err },
		func() error { _, err := s.Mail(m.Sender, nil); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	w.signals <- syscall.SIGTERM
	w.err.Wait(t, 1, "msg=stopping")
	status, body := w.get("/readyz")
	for status == 200 { // said a moment before it is so
		status, body = w.get("/readyz")
	}
	if status != 503 || !strings.Contains(body, "fault: dkimd stops") || w.counted()[`dkimd_connections_open{front="milter"}`] != "1" {
		t.Errorf("%d %s", status, body)
	}
	_ = s.Close()
	if err := <-w.served; err != nil {
		t.Error(err)
	}
}
