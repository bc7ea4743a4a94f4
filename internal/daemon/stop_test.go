package daemon_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/internal/logtest"
	"dkimd/internal/milter/client"
)

// underWay begins a message and stops in the middle of its body. The function
// sends the rest.
func (w *world) underWay() func() (client.Result, error) {
	w.t.Helper()
	s := w.session()
	m := mail("joe@example.org", "")
	for _, step := range []func() (client.Result, error){
		func() (client.Result, error) { return s.Connect(m.Peer) },
		func() (client.Result, error) { return s.Helo("here.example") },
		func() (client.Result, error) { return s.Mail(m.Sender, nil) },
		func() (client.Result, error) { return s.Rcpt("ann@example.net") },
		s.Data,
		func() (client.Result, error) { return s.Header("From", " joe@example.org") },
		s.EndOfHeader,
		func() (client.Result, error) { return s.Body([]byte("first half\r\n")) },
	} {
		if _, err := step(); err != nil {
			w.t.Fatal(err)
		}
	}
	return func() (client.Result, error) {
		if _, err := s.Body([]byte("second half\r\n")); err != nil {
			return client.Result{}, err
		}
		return s.EndOfMessage()
	}
}

// refused waits until nobody listens any more.
func (w *world) refused() {
	w.t.Helper()
	w.err.Wait(w.t, 1, "msg=stopping")
	for {
		conn, err := net.Dial("unix", w.socket)
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}

// SIGTERM lets a message under way end and takes no other one; then the daemon
// ends well, with every record written and nothing left behind.
func TestStopLetsMessagesEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log := w.path("log")
	w.configure("[log]\noutput = \"" + log + "\"\n")
	w.start()
	for i := range 20 {
		w.send("joe@example.org", fmt.Sprint("BEFORE", i))
	}
	idle := w.session()
	finish := w.underWay()
	w.signals <- syscall.SIGTERM
	w.refused()
	w.signals <- syscall.SIGHUP // is not for the one that goes
	if _, err := idle.Send(t.Context(), mail("joe@example.org", "LATE")); err == nil {
		t.Error("a connection without a message was not closed")
	}
	r, err := finish()
	if err != nil || len(r.Edits) != 1 || r.Edits[0].Name != "DKIM-Signature" {
		t.Errorf("the message under way: %v %v", r, err)
	}
	if err := <-w.served; err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"mode":"sign"`); n != 21 || !strings.HasSuffix(string(text), "}\n") {
		t.Errorf("%d records of 21 in\n%s", n, text)
	}
	if said := w.err.String(); !strings.HasSuffix(said, " level=INFO msg=stopped\n") || strings.Contains(said, "reload") {
		t.Errorf("it said\n%s", said)
	}
	for _, name := range []string{"s", "s.new"} {
		if _, err := os.Lstat(w.path(name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

// The second signal cuts what is under way; there is a record of it all the same.
func TestSecondSignalCuts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	finish := w.underWay()
	w.signals <- syscall.SIGTERM
	w.refused()
	w.signals <- syscall.SIGINT
	if err := <-w.served; err != nil {
		t.Error(err)
	}
	if r, err := finish(); err == nil {
		t.Errorf("the message was answered %v", r)
	}
	w.err.Wait(t, 1, `level=WARN msg="connections closed before their messages ended" error="?context canceled`)
	if w.out.Count(`"mode":"aborted",.*"reason":"dkimd stops",`) != 1 {
		t.Errorf("no record of it in %s", w.out)
	}
}

// The end does not wait for a reload under way, nor call it refused.
func TestStopDuringAReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	key, err := os.ReadFile(w.path("keys/example.org/k1.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		w.write(fmt.Sprintf("keys/d%d.example/k1.pem", i), string(key))
	}
	w.signals <- syscall.SIGHUP
	w.stop()
	if said := w.err.String(); strings.Contains(said, "reload") || !strings.HasSuffix(said, " msg=stopped\n") {
		t.Errorf("it said\n%s", said)
	}
}

// A daemon that was killed leaves its socket, and perhaps the directory in which
// it was born. The next one starts over both.
func TestStartAfterAKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Bound, listening, closed and never removed: what SIGKILL makes of it.
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: w.socket}), syscall.Listen(fd, 1), syscall.Close(fd)); err != nil {
		t.Fatal(err)
	}
	w.write("s.new/s", "")
	w.start()
	if got := w.signers(); got != "k1" {
		t.Errorf("signed by %q", got)
	}
	w.stop()
}

// Whatever a daemon did in its life, nothing of it runs when it has ended.
func TestNothingRunsAfterTheEnd(t *testing.T) { //nolint:paralleltest // it counts goroutines
	w := newWorld(t)
	w.key("example.org", "k2")
	base := runtime.NumGoroutine()
	for i := range 3 {
		w.start()
		w.signers()
		w.hangup("reloaded")
		w.key("example.net", "n"+strconv.Itoa(i))
		w.hangup("reloaded")
		w.write("rules/_default.toml", "x")
		w.hangup("reload refused")
		w.remove("rules/_default.toml")
		w.underWay()
		w.signals <- syscall.SIGTERM
		w.refused()
		w.signals <- syscall.SIGTERM
		if err := <-w.served; err != nil {
			t.Error(err)
		}
		w.err = new(logtest.Lines)
	}
	late := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > base {
		if time.Now().After(late) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), base, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}
