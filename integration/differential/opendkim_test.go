//go:build integration

package differential_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"

	"dkimd/internal/milter/client"
	"dkimd/internal/resolver/dnstest"
)

// openDKIM is an OpenDKIM of our own, spoken to as an MTA would, many messages on one connection.
type openDKIM struct {
	mu      sync.Mutex
	session *client.Session
	dns     *dnstest.Server
	known   map[string]string // what dns holds
}

// startOpenDKIM runs OpenDKIM on a unix socket with this configuration.
func startOpenDKIM(t *testing.T, conf string) *openDKIM {
	t.Helper()
	need(t, "opendkim", "-V")
	dir, err := os.MkdirTemp("", "od") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	server := harness.StartDNS(t)
	unbound := "server:\n do-not-query-localhost: no\n module-config: \"iterator\"\n local-zone: \"test.\" nodefault\n" +
		"forward-zone:\n name: \".\"\n forward-addr: " + strings.Replace(server.Addr(), ":", "@", 1) + "\n"
	socket := filepath.Join(dir, "s")
	text := fmt.Sprintf("Socket local:%s\nBackground no\nUserID root\nRequireSafeKeys no\nMaximumHeaders 0\nResolverConfiguration %s\n%s",
		socket, filepath.Join(dir, "unbound.conf"), strings.ReplaceAll(conf, "DIR", dir))
	files := map[string][]byte{"unbound.conf": []byte(unbound), "opendkim.conf": []byte(text)}
	for selector, k := range keyring() {
		files[selector] = k.pkcs8
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("opendkim", "-f", "-x", filepath.Join(dir, "opendkim.conf"))
	var complaints strings.Builder
	cmd.Stderr = &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("opendkim on stderr: %s", complaints.String())
		}
	})
	o := &openDKIM{dns: server, known: map[string]string{}}
	o.session = dial(t, socket)
	t.Cleanup(func() { _ = o.session.Close() })
	return o
}

// skip (SMFIP_SKIP) would let it answer body packets in a way that our client does not know.
const skip = 0x400

func dial(t *testing.T, socket string) *client.Session {
	t.Helper()
	if !harness.Poll(20*time.Second, func() bool { return harness.Accepts("unix", socket) }) {
		t.Fatal("OpenDKIM does not listen")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	session, err := client.New(conn, client.Options{MTA: client.Postfix, Version: 6, Actions: client.AllActions, Protocol: client.AllProtocol &^ skip})
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func startOpenDKIMVerifier(t *testing.T) *openDKIM {
	t.Helper()
	return startOpenDKIM(t, "Mode v\nAlwaysAddARHeader yes\nAuthservID judge.test\nMaximumSignaturesToVerify 100\nDNSTimeout 10\n")
}

func (*openDKIM) name() string { return "OpenDKIM" }

var (
	dkimResult = regexp.MustCompile(`\bdkim=(\w+)( reason="[^"]*")?( \([^()]*\))?([^;]*)`)
	headerB    = regexp.MustCompile(`header\.b="?([^ "]+)`)
)

func (o *openDKIM) verify(t *testing.T, s *sample) []judgement {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.publish(s.records)
	result := o.send(t, s.raw, "judge@elsewhere.test")
	if result.Action != client.Continue && result.Action != client.Accept {
		class := broken
		if result.Action == client.TempFail {
			class = temperror
		}
		return []judgement{{class: class, detail: string(result.Action) + " " + result.Reply}}
	}
	for _, e := range result.Edits {
		if e.Name != "Authentication-Results" || e.Kind == client.Remove {
			continue
		}
		value := strings.Join(strings.Fields(e.Value), " ")
		var found []judgement
		for _, m := range dkimResult.FindAllStringSubmatch(value, -1) {
			j := judgement{detail: strings.TrimSpace(m[2] + m[3]), class: class(m[1])}
			if b := headerB.FindStringSubmatch(m[4]); b != nil {
				j.b = b[1]
			}
			found = append(found, j)
		}
		return found
	}
	return nil
}

// publish puts records into DNS. OpenDKIM's resolver has a cache, so that a name never changes its meaning.
func (o *openDKIM) publish(records map[string][]string) {
	for name, list := range records {
		text := strings.Join(list, "\n")
		if o.known[name] == text {
			continue
		}
		o.known[name] = text
		if list[0] == "!" {
			o.dns.SetRcode(name, 2)
			continue
		}
		o.dns.SetTXT(name, list[0])
		for _, more := range list[1:] {
			o.dns.AddTXT(name, more)
		}
	}
}

func (o *openDKIM) send(t *testing.T, raw []byte, to string) client.Result {
	t.Helper()
	result, err := o.session.Send(t.Context(), client.Mail{
		Peer:   client.Peer{Name: "client.test", Addr: netip.MustParseAddr("203.0.113.9"), Port: 1025},
		Sender: "joe@example.org", Recipients: []string{to}, QueueID: "1", Raw: raw,
	})
	if err != nil {
		t.Fatalf("OpenDKIM: %v\n%q", err, raw)
	}
	return result
}

// sign returns the fields that OpenDKIM adds; none where it declines, as it does
// with a body without a final CRLF under relaxed, and with some that are odd.
func (o *openDKIM) sign(t *testing.T, raw []byte, to string) []byte {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	result := o.send(t, raw, to)
	var fields []byte
	for _, e := range result.Edits {
		if e.Name == "DKIM-Signature" {
			value := strings.ReplaceAll(strings.ReplaceAll(e.Value, "\r\n", "\n"), "\n", "\r\n")
			fields = append([]byte(e.Name+":"+value+"\r\n"), fields...) // each goes on top
		}
	}
	return fields
}
