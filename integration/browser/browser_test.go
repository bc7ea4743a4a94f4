//go:build integration

// Package browser looks at the pages of dkimd in Chromium, as people see them.
package browser_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/integration/harness"
	"dkimd/internal/control"
	"dkimd/internal/domain"
	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
	"dkimd/internal/fault"
	"dkimd/internal/resolver/dnstest"
	"dkimd/internal/statuspage"
)

// Where scripts/install-browser puts playwright-core and axe-core.
const modules = "/var/cache/dkimd-test/browser"

func TestMain(m *testing.M) { harness.Main(m) }

// browse looks at pages with check.mjs, which prints what is wrong with them. It skips the test where there is no browser.
func browse(t *testing.T, screenshots string, urls ...string) string {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if _, absent := os.Stat(filepath.Join(modules, "node_modules", "axe-core")); err != nil || absent != nil {
		if os.Getenv("DKIMD_REQUIRE_ALL") != "" {
			t.Fatal("no Chromium: run scripts/install-browser")
		}
		t.Skip("no Chromium: run scripts/install-browser")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "node", append([]string{"check.mjs", program, screenshots}, urls...)...)
	c.Env = append(os.Environ(), "DKIMD_BROWSER="+modules)
	var errors bytes.Buffer
	c.Stderr = &errors
	out, err := c.Output()
	if err != nil {
		t.Fatal(err, errors.String())
	}
	return string(out)
}

type nowhere struct{}

func (nowhere) Write(*events.Event) {}

// shown is a page on a socket, and where its records come from.
func shown(t *testing.T, change func(c *statuspage.Config)) (url string, record statuspage.Recorder) {
	t.Helper()
	now := time.Now()
	c := statuspage.Config{
		History: statuspage.NewHistory(4<<20, time.Unix(0, 0), slog.New(slog.DiscardHandler)),
		Status: func() control.Status {
			return control.Status{
				Version: "1.4.0", Config: "/etc/dkimd/dkimd.toml", Ready: true, Started: now.Add(-100 * time.Hour), Loaded: now.Add(-time.Hour),
				Doors: []control.Door{{Front: "milter", Listen: []string{"unix:/run/dkimd/milter.sock"}, Connections: 4, Limit: 4096}},
				Keys:  control.Keys{Usable: 3, Domains: 2}, Rules: control.Rules{Files: 2},
				DNS: control.DNS{Servers: []string{"127.0.0.1:53"}, Cached: 812}, Log: control.Log{Outputs: []string{"stdout"}},
				Messages: []control.Count{{Front: "milter", Mode: "verify", Verdict: "accept", Count: 8123}},
			}
		},
		Rules: func() statuspage.Rules {
			return statuspage.Rules{Files: 2, Tests: "all 12 passed", Listed: []statuspage.Rule{
				{File: "gmail.com.toml", Mode: "enforce", Name: "gmail must be signed", Action: "reject"},
				{File: "bank.example.toml", Mode: "monitor", Name: "try", Action: "tempfail"},
				{File: "bank.example.toml", Mode: "monitor", Name: "old list server", Action: "quarantine"},
			}}
		},
		Keys: func(context.Context, domain.Name) statuspage.Keys {
			key := func(selector, state, kind, dns string) statuspage.Key {
				return statuspage.Key{Domain: "example.org", Selector: selector, State: state, Type: kind, DNS: dns, Unserved: dns == "missing", Since: now.Add(-50 * time.Hour), Made: now.Add(-90 * time.Hour)}
			}
			return statuspage.Keys{Compared: now.Add(-3 * time.Hour), Listed: []statuspage.Key{
				key("r1", "active", "RSA, 2048 bits", "published"), key("e1", "active", "Ed25519", "missing"), key("r2", "made", "RSA, 2048 bits", ""),
			}}
		},
	}
	if change != nil {
		change(&c)
	}
	page, err := statuspage.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(page)
	t.Cleanup(server.Close)
	return server.URL, c.History.Before(nowhere{})
}

// aDay writes the records of a usual day.
func aDay(record statuspage.Recorder) {
	now := time.Now()
	for i := range 2000 {
		e := eventstest.Sample()
		e.Time, e.ID, e.Verdict = now.Add(-time.Duration(2000-i)*43*time.Second), fmt.Sprintf("4Xyz8q%04d", i), "accept"
		e.From, e.Policy = []string{"news@" + []string{"gmail.com", "bank.example", "list.example", "shop.example"}[i*i%7%4]}, nil
		switch i % 9 {
		case 0, 1, 2:
			e = eventstest.Signed()
			e.Time, e.ID = now.Add(-time.Duration(2000-i)*43*time.Second), fmt.Sprintf("4Abc%04d", i)
			if i%90 == 0 {
				e.Mode, e.Signed, e.ReasonCode, e.Reason = events.ModeUnsigned, nil, "no_key", "no key for example.net"
				e.From = []string{"web@example.net"}
			}
		case 3:
			e.Policy, e.Verdict = eventstest.Sample().Policy[1:], "reject"
		case 4:
			e.Policy = []events.Decision{{File: "bank.example.toml", Rule: "try", Mode: "monitor", Action: "tempfail"}}
			e.Signatures = e.Signatures[:1]
		case 5:
			e.Signatures = nil
		case 6:
			if i%5 == 0 {
				e.Verdict = "tempfail"
			}
		}
		record.Write(e)
	}
}

// Nobody is kept from reading the page: not by a browser of 360 px, by dark mode, by what axe finds, or by what others wrote.
func TestStatusPageInChromium(t *testing.T) {
	usual, record := shown(t, nil)
	aDay(record)
	empty, _ := shown(t, func(c *statuspage.Config) {
		c.Status = func() control.Status { return control.Status{} }
		c.Rules = func() statuspage.Rules { return statuspage.Rules{} }
		c.Keys = func(context.Context, domain.Name) statuspage.Keys { return statuspage.Keys{} }
	})
	crowded, record := shown(t, nil)
	for i := range 3000 {
		e := eventstest.Sample()
		e.Time, e.From = time.Now(), []string{fmt.Sprintf("x@%s%d.example", strings.Repeat("long-label-", 5), i%1000)}
		record.Write(e)
	}
	hostile, record := shown(t, func(c *statuspage.Config) {
		findings := []fault.Finding{{Text: strings.Repeat("x", 500)}, {Text: "<script>alert(1)</script>"}}
		c.Status = func() control.Status {
			return control.Status{Faults: findings, Warnings: findings, LastReload: &control.Refusal{Faults: findings}, Config: strings.Repeat("/long", 100)}
		}
	})
	values := eventstest.Hostile()
	values["script"], values["attribute"] = "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`
	for _, name := range slices.Sorted(maps.Keys(values)) {
		e := eventstest.Poisoned(values[name])
		e.Time, e.Client = time.Now(), "203.0.113.9"
		record.Write(e)
		e.Mode = events.ModeUnsigned
		record.Write(e)
	}
	urls := []string{
		usual + "/?refresh=0", usual + "/?span=1h", usual + "/?q=gmail.com", usual + "/?message=2", empty + "/", empty + "/?q=x.example", crowded + "/",
		hostile + "/", hostile + "/?q=203.0.113.9", hostile + "/?message=1", hostile + "/?message=5",
		hostile + "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
	}
	if wrong := browse(t, os.Getenv("DKIMD_SCREENSHOTS"), urls...); wrong != "" {
		t.Error(wrong)
	}
}

// So is the page that dkimd report makes of a message, in which everything is a stranger's.
func TestReportInChromium(t *testing.T) {
	dns, err := dnstest.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	config := filepath.Join(t.TempDir(), "dkimd.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "[dns]\nservers = [%q]\n", dns.Addr()), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `"><script>alert(1)</script><img src=http://192.0.2.1/x onerror=alert(1)>`
	signature := "DKIM-Signature: v=1; a=rsa-sha256; d=" + strings.Repeat("long-label-", 5) + ".example; s=" + strings.Repeat("s", 63) +
		"; h=From; l=3; bh=OiwwFQ7csEE9iRCUA9eX0zT4XH21nxRch7v4QvnPiIY=; b=AAAA\r\n"
	pages := http.NewServeMux()
	server := httptest.NewServer(pages)
	t.Cleanup(server.Close)
	var urls []string
	for i, message := range []string{
		"From: a@example.org\r\n\r\nx",
		strings.Repeat(signature, 20) + "From: " + script + " <a@example.org>\r\nFrom: b@" + strings.Repeat("x", 300) + "\r\nList-Unsubscribe: " + script + "\r\n" + script + ": x\r\n\r\n" + script,
	} {
		c := exec.CommandContext(t.Context(), harness.Binary(t), "report", "--html", "--config", config, "--client", "192.0.2.1", "--helo", script, "--sender", "a@example.org")
		c.Stdin = strings.NewReader(message)
		page, err := c.Output()
		if len(page) == 0 || c.ProcessState.ExitCode() != 1 {
			t.Fatalf("%v: %s", err, page)
		}
		path := fmt.Sprintf("/%d", i)
		pages.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })
		urls = append(urls, server.URL+path)
	}
	if wrong := browse(t, "", urls...); wrong != "" {
		t.Error(wrong)
	}
}

// What is wrong with a page is found.
func TestWrongPagesAreFound(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, `<body style="background:#fff"><p style="width:2000px;color:#ddd">wide</p><img src="/x"><script>alert(1)</script>`)
	}))
	t.Cleanup(server.Close)
	wrong := browse(t, "", server.URL)
	for _, want := range []string{"scrolls sideways", "axe: color-contrast", "axe: image-alt", "a script of a stranger ran", "it has a script", "style sheet does not apply"} {
		if !strings.Contains(wrong, want) {
			t.Errorf("%q is not among\n%s", want, wrong)
		}
	}
}
