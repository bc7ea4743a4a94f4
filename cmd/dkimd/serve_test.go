package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"dkimd/internal/logtest"
	"dkimd/internal/milter/client"
)

// The daemon serves with a broken part, and its log has the very line that check prints.
func TestServeTellsWhatCheckTells(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "dk") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"keys/readable.example/s1.pem":     "no key",
		"keys/garbage.example/s1.pem":      "no key",
		"keys/options.example/s1.pem":      "",
		"keys/options.example/domain.toml": "subdomain = true\n",
		"keys/no domain/s1.pem":            "",
		"keys/stray.pem":                   "no key",
		"rules/reply.example.toml":         "[[rule]]\naction = \"reject\"\nreply = \"451 4.7.1 no\"\n",
		"rules/text.example.toml":          "mode: enforce\n",
		"rules/warned.example.toml":        "[[rule]]\naction = \"accept\"\n",
		"dkimd.toml": fmt.Sprintf("[milter]\nlisten = \"unix:%s\"\n[sign]\ndirectory = %q\n[policy]\ndirectory = %q\n[dns]\nservers = [\"127.0.0.1:1\"]\n",
			file("s"), file("keys"), file("rules")),
	} {
		if err := os.MkdirAll(filepath.Dir(file(name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(file("keys/readable.example/s1.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	told := new(logtest.Lines)
	if status := run(t.Context(), []string{"check", "--user", strconv.Itoa(os.Geteuid()), "--config", file("dkimd.toml")}, stdio{out: new(logtest.Lines), err: told}); status != exitFix {
		t.Fatalf("check ends with %d: %s", status, told)
	}

	ctx, stop := context.WithCancel(t.Context())
	log, ended := new(logtest.Lines), make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--config", file("dkimd.toml")}, stdio{out: new(logtest.Lines), err: log})
	}()
	log.Wait(t, 1, `msg=ready`)
	log.Wait(t, 1, `msg="keys checked"`)
	faults := 0
	for line := range strings.Lines(told.String()) {
		text := strings.TrimSuffix(strings.TrimPrefix(line, "dkimd: "), "\n")
		key := "fault="
		if warning, ok := strings.CutPrefix(text, "warning: "); ok {
			text, key = warning, "warning="
		}
		faults++
		if !strings.Contains(log.String(), key+strconv.Quote(text)) {
			t.Errorf("the daemon does not say: %s\nbut:\n%s", text, log)
		}
	}
	if faults != 8 {
		t.Errorf("check tells %d faults and warnings:\n%s", faults, told)
	}
	mta, err := client.Dial(t.Context(), "unix", file("s"), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := mta.Send(t.Context(), client.Mail{
		Peer: client.Peer{Name: "there.example", Addr: netip.MustParseAddr("203.0.113.9"), Port: 4000}, Helo: "there.example",
		Sender: "x@reply.example", Recipients: []string{"ann@example.net"}, QueueID: "Q", Raw: []byte("From: x@reply.example\r\n\r\nHello\r\n"),
	})
	if err != nil || r.Reply != "451 4.7.5 local policy for reply.example is broken, try again later" {
		t.Errorf("reply %q, %v", r.Reply, err)
	}
	stop()
	if status := <-ended; status != exitDone {
		t.Errorf("serve ends with %d:\n%s", status, log)
	}
}
