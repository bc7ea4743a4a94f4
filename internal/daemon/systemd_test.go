package daemon_test

import (
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSystemdIsTold: ready once the sockets are open, reloading and ready again, stopping.
func TestSystemdIsTold(t *testing.T) {
	w := newWorld(t)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: w.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	t.Setenv("NOTIFY_SOCKET", w.path("notify"))
	next := func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	w.start()
	const ready = "READY=1\nSTATUS=1 domain signed for, 1 rules file"
	if got := next(); got != ready {
		t.Errorf("at the start: %q", got)
	}
	if probe, err := net.Dial("unix", w.socket); err != nil {
		t.Errorf("ready, but %v", err)
	} else {
		_ = probe.Close()
	}
	for text, after := range map[string]string{
		"":                             "",
		"[log]\nformat = \"syslog\"\n": "; the reload at .* was refused: .*dkimd.toml:1[0-9]: log.format: got ",
	} { // a reload that is refused ends, too
		w.configure(text)
		w.signals <- syscall.SIGHUP
		if got := next(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") || strings.HasSuffix(got, "=0") {
			t.Errorf("at a reload: %q", got)
		}
		if got := next(); !regexp.MustCompile("^"+ready+after).MatchString(got) || after == "" && got != ready {
			t.Errorf("after a reload: %q", got)
		}
	}
	w.signals <- syscall.SIGTERM
	if got := next(); got != "STOPPING=1" {
		t.Errorf("at the end: %q", got)
	}
}
