//go:build integration

package integration_test

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// underWay sends a good message of gmail.com and returns when dkimd waits for
// its key. What Postfix answers in the end comes through the channel.
func underWay(t *testing.T, w *harness.World, to string) <-chan harness.Reply {
	t.Helper()
	const key = "rsa._domainkey.gmail.com"
	data := harness.SignWithPython(t, "gmail.com", harness.NewMail(gmailUser, "under way").Bytes())
	c := fromGmail(t, w)
	c.Envelope(gmailUser, to)
	answer := make(chan harness.Reply, 1)
	go func() {
		if r, err := c.Try("DATA"); err != nil {
			answer <- harness.Reply{Text: err.Error()}
			return
		} else if r.Code != 354 {
			answer <- r
			return
		}
		dots := c.Text.DotWriter()
		_, _ = dots.Write(data)
		_ = dots.Close()
		r, err := c.Read()
		if err != nil {
			r.Text += err.Error()
		}
		answer <- r
	}()
	harness.Eventually(t, harness.WaitLimit, "dkimd asks for the key", func() bool { return w.DNS.Queries(key) > 0 })
	return answer
}

func TestStopLetsAMessageUnderWayEnd(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{Rules: map[string]string{"gmail.com": gmailRule}})
	harness.PublishForeignKeys(w.DNS, "gmail.com")
	w.DNS.SetDelay("rsa._domainkey.gmail.com", 2*time.Second)
	to := harness.Unique("stop") + "@elsewhere.test"
	answer := underWay(t, w, to)
	w.Daemon.Signal(syscall.SIGTERM)
	network, address := harness.Address(w.Milter)
	harness.Eventually(t, harness.WaitLimit, "dkimd takes no more connections", func() bool {
		conn, err := net.Dial(network, address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	if got := <-answer; got.Code != 250 {
		t.Errorf("Postfix answers %s; want 250", got)
	}
	checkPassed(t, w.Stage.Sink.Wait(t, to).Data)
	if code, err := w.Daemon.Exit(harness.WaitLimit); err != nil || code != 0 {
		t.Errorf("dkimd: exit code %d, %v; want 0", code, err)
	}
	w.Daemon.Stream.From(t, gmailUser)
}

func TestSecondSignalCuts(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{Rules: map[string]string{"gmail.com": gmailRule}, DNS: "timeout = \"30s\""})
	harness.PublishForeignKeys(w.DNS, "gmail.com")
	w.DNS.Drop("rsa._domainkey.gmail.com")
	answer := underWay(t, w, "cut@elsewhere.test")
	started := time.Now()
	w.Daemon.Signal(syscall.SIGTERM)
	harness.Eventually(t, harness.WaitLimit, "dkimd says that it stops", func() bool { return strings.Contains(w.Daemon.Log.String(), "stopping") })
	w.Daemon.Signal(syscall.SIGTERM)
	if code, err := w.Daemon.Exit(15 * time.Second); err != nil || code != 0 {
		t.Errorf("dkimd: exit code %d, %v; want 0", code, err)
	}
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("dkimd took %s to be cut", took)
	}
	if got := <-answer; got.Code != 451 {
		t.Errorf("Postfix answers %s; want 451", got)
	}
}
