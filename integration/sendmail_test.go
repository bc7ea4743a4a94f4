//go:build integration

package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sendmailRoot is where scripts/install-test-deps unpacks Debian's Sendmail.
func sendmailRoot() string { return filepath.Join(eximRoot(), "sendmail") }

func needSendmail(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(sendmailRoot(), "complete")); err != nil {
		missing(t, fmt.Sprintf("%v; run scripts/install-test-deps", err))
	}
	need(t, "m4", "unshare")
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "--uts", "mount", "-t", "tmpfs", "tmpfs", t.TempDir()).CombinedOutput(); err != nil {
		missing(t, fmt.Sprintf("namespaces and mounts are not allowed here: %v: %s", err, out))
	}
}

// sendmailWorld is a Sendmail of its own with a dkimd behind it: configuration,
// queues and log in one directory, a host name and resolver of its own.
type sendmailWorld struct {
	*world
	sendmail    *process
	syslog      *transcript
	port, port6 int // on 127.0.0.1 and on ::1; port6 is 0 where the host has no IPv6
	originating int // a daemon of that name
}

// sendmailSettings is what a test changes.
type sendmailSettings struct {
	rules      map[string]string
	sign, dns  string              // lines of these tables
	unixSocket bool                // reach dkimd through one
	filterFlag string              // F= of the filter; empty: as the guide has it
	filters    func(string) string // what to make of the guide's line
	keys       string              // directory; empty: that of ours.test
}

// sendmailDir is what Sendmail sees the world's directory as: below /tmp, which
// everybody can write to, it trusts no socket and no file about logins.
const sendmailDir = "/mnt"

// Clients of Sendmail. dkimd signs for the first.
const (
	sendmailInside  = "127.0.0.1"
	sendmailOutside = "127.0.0.9"
)

var filterSocket = regexp.MustCompile(`S=[^,]*`)

// guideLine is the first line of docs/sendmail.md that begins so and has these words.
func guideLine(t *testing.T, begin, words string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/sendmail.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, begin) && strings.Contains(line, words) {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("docs/sendmail.md has no %s with %s", begin, words)
	return ""
}

func newSendmailWorld(t *testing.T, s sendmailSettings) *sendmailWorld {
	t.Helper()
	needSendmail(t)
	stage := onStage(t)
	dir, err := os.MkdirTemp(stage.dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	w := &sendmailWorld{port: freePort(), originating: freePort(), syslog: new(transcript)}
	w.world = &world{stage: stage, dns: startDNS(t), dir: dir, lane: &lane{milter: fmt.Sprintf("inet:127.0.0.1:%d", freePort()), reinjection: freePort()}}
	if listener, err := net.Listen("tcp", "[::1]:0"); err == nil {
		_ = listener.Close()
		w.port6 = freePort()
	}
	line := guideLine(t, "INPUT_MAIL_FILTER(", "S=inet:")
	_, address := address(w.milter)
	host, port, _ := net.SplitHostPort(address)
	socket := "S=inet:" + port + "@" + host
	if s.unixSocket {
		line, w.milter, socket = guideLine(t, "INPUT_MAIL_FILTER(", "S=local:"), "unix:"+dir+"/dkimd.sock", "S=local:"+sendmailDir+"/dkimd.sock"
	}
	line = filterSocket.ReplaceAllString(line, socket)
	if s.filterFlag != "" {
		line = strings.Replace(line, "F=T", s.filterFlag, 1)
	}
	if s.filters != nil {
		line = s.filters(line)
	}
	if s.keys == "" {
		keys := ours(t)
		s.keys = keys.dir
		if err := w.dns.SetZone(keys.zone); err != nil {
			t.Fatal(err)
		}
	}
	w.write(t, "dkimd.toml", fmt.Sprintf("hostname = %q\n[milter]\nlisten = [%q]\n[sign]\ndirectory = %q\nnetworks = [\"127.0.0.1\", \"::1\"]\n%s\n"+
		"[dns]\nservers = [%q]\n%s\n[policy]\ndirectory = %q\n", mailName, w.milter, s.keys, s.sign, w.dns.Addr(), s.dns, dir+"/rules"))
	if err := os.Mkdir(dir+"/rules", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range s.rules {
		w.rule(t, name, text)
	}
	w.start(t)
	w.lay(t, line+"\n"+guideLine(t, "define(`confMUST_QUOTE_CHARS'", ""))
	w.serve(t)
	return w
}

// lay makes Sendmail's directories and files; guide is what the guide has for sendmail.mc.
func (w *sendmailWorld) lay(t *testing.T, guide string) {
	t.Helper()
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"mail": 0o755, "dev": 0o755, "sasl": 0o755, "queue": 0o700, "clientqueue": 0o700} {
		if err := os.Mkdir(filepath.Join(w.dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	owner, err := user.Lookup("mail")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	if err := os.Chown(w.dir+"/clientqueue", uid, gid); err != nil {
		t.Fatal(err)
	}
	w.write(t, "hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 "+mailName+"\n"+sendmailOutside+" mail.theirs.example\n")
	w.write(t, "resolv.conf", "nameserver 127.0.0.1\n")
	w.write(t, "switch", "hosts files\naliases files\n")
	w.write(t, "sasl/Sendmail.conf", "pwcheck_method: saslauthd\nmech_list: PLAIN\nsaslauthd_path: "+sendmailDir+"/logins\n")
	values := strings.NewReplacer("@DIR@", sendmailDir, "@CF@", sendmailRoot()+"/usr/share/sendmail/cf", "@SINK@", strconv.Itoa(w.stage.sink.addr().Port),
		"@PORT@", strconv.Itoa(w.port), "@PORT6@", strconv.Itoa(w.port6), "@ORIGINATING@", strconv.Itoa(w.originating),
		"@REINJECT@", strconv.Itoa(w.reinjection), "@GUIDE@", guide)
	for _, name := range []string{"sendmail", "submit"} {
		var mc strings.Builder
		for _, part := range []string{"head", name} {
			text, err := os.ReadFile("testdata/sendmail/" + part + ".mc")
			if err != nil {
				t.Fatal(err)
			}
			mc.Write(text)
		}
		lines := values.Replace(mc.String())
		if w.port6 == 0 {
			lines = strings.ReplaceAll(lines, "DAEMON_OPTIONS(`Family=inet6", "dnl DAEMON_OPTIONS(`Family=inet6")
		}
		w.write(t, name+".mc", lines)
		cf := sendmailRoot() + "/usr/share/sendmail/cf/"
		w.write(t, name+".cf", string(command(t, nil, "m4", "-D_CF_DIR_="+cf, cf+"m4/cf.m4", w.dir+"/"+name+".mc")))
	}
	w.takeSyslog(t, w.dir+"/dev/log")
	startLogins(t, w.dir+"/logins")
}

// takeSyslog takes what Sendmail logs.
func (w *sendmailWorld) takeSyslog(t *testing.T, path string) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		line := make([]byte, 64<<10)
		for {
			n, err := conn.Read(line)
			if err != nil {
				return
			}
			_, _ = w.syslog.Write(append(line[:n:n], '\n'))
		}
	}()
}

// command is one of Sendmail's, as it runs in this world.
func (w *sendmailWorld) command(args ...string) *exec.Cmd {
	program := sendmailRoot() + "/usr/libexec/sendmail/sendmail"
	return exec.Command("unshare", append([]string{"--mount", "--uts", "sh", "testdata/sendmail/enter.sh", w.dir, program}, args...)...)
}

// serve starts Sendmail.
func (w *sendmailWorld) serve(t *testing.T) {
	t.Helper()
	var err error
	if w.sendmail, err = startProcess("sendmail", w.command("-C", sendmailDir+"/sendmail.cf", "-bD", "-q1h")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.sendmail.stop(syscall.SIGTERM, 5*time.Second)
		w.stop(t)
		if t.Failed() {
			t.Logf("dkimd said:\n%s", w.daemon.log)
			for _, r := range w.daemon.stream.all() {
				t.Logf("record: %+v", r)
			}
			t.Logf("sendmail said:\n%s\n%s", w.sendmail.log, w.syslog)
		}
	})
	if up := poll(20*time.Second, func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.originating))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil || w.sendmail.ended()
	}); !up || w.sendmail.ended() {
		t.Fatalf("sendmail does not start: %s%s", w.sendmail.log, w.syslog)
	}
}

// run runs Sendmail as a command.
func (w *sendmailWorld) run(t *testing.T, input []byte, args ...string) string {
	t.Helper()
	cmd := w.command(args...)
	return string(command(t, input, cmd.Args[0], cmd.Args[1:]...))
}

// dial connects to Sendmail from an address of this host.
func (w *sendmailWorld) dial(t *testing.T, from string) *session {
	t.Helper()
	return dialFrom(t, from, fmt.Sprintf("127.0.0.1:%d", w.port))
}

// waitSyslog waits for a line in Sendmail's log that has all of these words.
func (w *sendmailWorld) waitSyslog(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, waitLimit, fmt.Sprintf("in Sendmail's log: %q", words), func() bool {
		for line := range strings.Lines(w.syslog.String()) {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				return true
			}
		}
		return false
	})
}

// submit hands in a message as local programs do, with sendmail -t.
func (w *sendmailWorld) submit(t *testing.T, data []byte) {
	t.Helper()
	w.run(t, []byte(strings.ReplaceAll(string(data), "\r\n", "\n")), "-C", sendmailDir+"/submit.cf", "-Ac", "-t")
}
