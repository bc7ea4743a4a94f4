package daemon_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"dkimd/internal/daemon"
	"dkimd/internal/logtest"
	"dkimd/internal/milter/client"
	"dkimd/keys"
)

// world is a daemon with its files, and an MTA beside it.
type world struct {
	t        *testing.T
	dir      string
	socket   string
	signals  chan os.Signal
	out, err *logtest.Lines
	served   chan error
}

// newWorld makes the files of a daemon that signs for example.org.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "dk") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{
		t: t, dir: dir, socket: filepath.Join(dir, "s"),
		signals: make(chan os.Signal, 8), out: new(logtest.Lines), err: new(logtest.Lines), served: make(chan error, 1),
	}
	w.key("example.org", "k1")
	w.write("rules/reject.example.toml", rejectRules)
	w.configure("")
	return w
}

const rejectRules = "mode = \"enforce\"\n[[rule]]\naction = \"reject\"\nreply = \"550 5.7.20 old rule\"\n"

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o750); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := os.Remove(w.path(name)); err != nil {
		w.t.Fatal(err)
	}
}

// configure writes dkimd.toml, with more at its end.
func (w *world) configure(more string) {
	w.t.Helper()
	w.write("dkimd.toml", fmt.Sprintf(`[milter]
listen = "unix:%s"
[sign]
directory = "%s"
[policy]
directory = "%s"
[dns]
servers = ["127.0.0.1:1"]
timeout = "100ms"
attempts = 1
[control]
listen = "unix:%s"
%s`, w.socket, w.path("keys"), w.path("rules"), w.path("c"), more))
}

// key makes a key that signs.
func (w *world) key(domain, selector string) {
	w.t.Helper()
	n := keys.New{Directory: w.path("keys"), Domain: domain, Selector: selector, Type: keys.Ed25519}
	if _, err := keys.Generate(n); err != nil {
		w.t.Fatal(err)
	}
	if _, err := keys.Activate(w.t.Context(), keys.Activation{Directory: n.Directory, Domain: domain, Selector: selector, Force: true}); err != nil {
		w.t.Fatal(err)
	}
}

// start runs the daemon until the test ends, or it does.
func (w *world) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ready := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.served <- daemon.Run(ctx, daemon.Options{
			Config: w.path("dkimd.toml"), Named: true, Version: "1.2.3", Stdout: w.out, Stderr: w.err,
			Signals: w.signals, Ready: func() { close(ready) },
		})
	}()
	w.t.Cleanup(func() { cancel(); <-ended })
	select {
	case <-ready:
	case err := <-w.served:
		w.t.Fatal(err)
	}
}

// hangup asks for a reload and waits for the answer.
func (w *world) hangup(answer string) {
	w.t.Helper()
	n := w.err.Count("msg=.?" + answer)
	w.signals <- syscall.SIGHUP
	w.err.Wait(w.t, n+1, "msg=.?"+answer)
}

// stop ends the daemon, which must not take it for a failure.
func (w *world) stop() {
	w.t.Helper()
	w.signals <- syscall.SIGTERM
	if err := <-w.served; err != nil {
		w.t.Error(err)
	}
}

// session connects an MTA to which every step is answered: what it has said has arrived.
func (w *world) session() *client.Session {
	w.t.Helper()
	s, err := client.Dial(w.t.Context(), "unix", w.socket, client.Options{
		Version: 6, Actions: client.AllActions, Protocol: client.LeadingSpace,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

func mail(from, id string) client.Mail {
	m := client.Mail{
		Peer:   client.Peer{Name: "here.example", Addr: netip.MustParseAddr("127.0.0.1"), Port: 4000},
		Sender: from, Recipients: []string{"ann@example.net"}, QueueID: id,
		Raw: []byte("From: " + from + "\r\nSubject: x\r\n\r\nHello\r\n"),
	}
	if !strings.HasSuffix(from, "@example.org") {
		m.Peer.Addr = netip.MustParseAddr("203.0.113.9")
	}
	return m
}

// send sends one message over a connection of its own. Mail from example.org is ours.
func (w *world) send(from, id string) client.Result {
	w.t.Helper()
	s := w.session()
	r, err := s.Send(w.t.Context(), mail(from, id))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Quit(); err != nil && err != io.EOF { //nolint:errorlint // the very value
		w.t.Error(err)
	}
	return r
}

// signers are the selectors that sign a message from example.org.
func (w *world) signers() string {
	w.t.Helper()
	r := w.send("joe@example.org", "Q")
	var selectors []string
	for _, e := range r.Edits {
		for _, m := range regexp.MustCompile(` s=(\w+);`).FindAllStringSubmatch(e.Value, -1) {
			selectors = append(selectors, m[1])
		}
	}
	slices.Sort(selectors)
	return strings.Join(selectors, " ")
}
