//go:build integration

package integration_test

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// underWay sends a good message of gmail.com and returns when dkimd waits for
// its key. What Postfix answers in the end comes through the channel.
func (w *world) underWay(t *testing.T, to string) <-chan reply {
	t.Helper()
	const key = "rsa._domainkey.gmail.com"
	data := signWithPython(t, "gmail.com", newMail(gmailUser, "under way").bytes())
	c := w.fromGmail(t)
	c.envelope(gmailUser, to)
	answer := make(chan reply, 1)
	go func() {
		if r, err := c.try("DATA"); err != nil {
			answer <- reply{text: err.Error()}
			return
		} else if r.code != 354 {
			answer <- r
			return
		}
		dots := c.text.DotWriter()
		_, _ = dots.Write(data)
		_ = dots.Close()
		r, err := c.read()
		if err != nil {
			r.text += err.Error()
		}
		answer <- r
	}()
	eventually(t, waitLimit, "dkimd asks for the key", func() bool { return w.dns.Queries(key) > 0 })
	return answer
}

func TestStopLetsAMessageUnderWayEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{rules: map[string]string{"gmail.com": gmailRule}})
	publish(w.dns, "gmail.com")
	w.dns.SetDelay("rsa._domainkey.gmail.com", 2*time.Second)
	to := unique("stop") + "@elsewhere.test"
	answer := w.underWay(t, to)
	w.daemon.signal(syscall.SIGTERM)
	network, address := address(w.milter)
	eventually(t, waitLimit, "dkimd takes no more connections", func() bool {
		conn, err := net.Dial(network, address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	if got := <-answer; got.code != 250 {
		t.Errorf("Postfix answers %s; want 250", got)
	}
	checkPassed(t, w.stage.sink.wait(t, to).data)
	if code, err := w.daemon.exit(waitLimit); err != nil || code != 0 {
		t.Errorf("dkimd: exit code %d, %v; want 0", code, err)
	}
	w.daemon.stream.from(t, gmailUser)
}

func TestSecondSignalCuts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{rules: map[string]string{"gmail.com": gmailRule}, dns: "timeout = \"30s\""})
	publish(w.dns, "gmail.com")
	w.dns.Drop("rsa._domainkey.gmail.com")
	answer := w.underWay(t, "cut@elsewhere.test")
	started := time.Now()
	w.daemon.signal(syscall.SIGTERM)
	eventually(t, waitLimit, "dkimd says that it stops", func() bool { return strings.Contains(w.daemon.log.String(), "stopping") })
	w.daemon.signal(syscall.SIGTERM)
	if code, err := w.daemon.exit(15 * time.Second); err != nil || code != 0 {
		t.Errorf("dkimd: exit code %d, %v; want 0", code, err)
	}
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("dkimd took %s to be cut", took)
	}
	if got := <-answer; got.code != 451 {
		t.Errorf("Postfix answers %s; want 451", got)
	}
}
