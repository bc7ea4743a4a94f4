package harness

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

// SendmailRoot is where scripts/install-test-deps unpacks Debian's Sendmail.
func SendmailRoot() string { return filepath.Join(EximRoot(), "sendmail") }

// NeedSendmail skips the test where Sendmail cannot run.
func NeedSendmail(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(SendmailRoot(), "complete")); err != nil {
		SkipOrFail(t, fmt.Sprintf("%v; run scripts/install-test-deps", err))
	}
	Need(t, "m4", "unshare")
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "--uts", "mount", "-t", "tmpfs", "tmpfs", t.TempDir()).CombinedOutput(); err != nil {
		SkipOrFail(t, fmt.Sprintf("namespaces and mounts are not allowed here: %v: %s", err, out))
	}
}

// SendmailWorld is a Sendmail of its own with a dkimd behind it: configuration,
// queues and log in one directory, a host name and resolver of its own.
type SendmailWorld struct {
	*World
	sendmail    *Process
	syslog      *Transcript
	Port, Port6 int // on 127.0.0.1 and on ::1; port6 is 0 where the host has no IPv6
	Originating int // a daemon of that name
}

// SendmailSettings is what a test changes.
type SendmailSettings struct {
	Rules      map[string]string
	Sign, DNS  string              // lines of these tables
	UnixSocket bool                // reach dkimd through one
	FilterFlag string              // F= of the filter; empty: as the guide has it
	Filters    func(string) string // what to make of the guide's line
	keys       string              // directory; empty: that of ours.test
}

// SendmailDir is what Sendmail sees the world's directory as: below /tmp, which
// everybody can write to, it trusts no socket and no file about logins.
const SendmailDir = "/mnt"

// Clients of Sendmail. dkimd signs for the first.
const (
	SendmailInside  = "127.0.0.1"
	SendmailOutside = "127.0.0.9"
)

// FilterSocket is the socket in a line of INPUT_MAIL_FILTER.
var FilterSocket = regexp.MustCompile(`S=[^,]*`)

// GuideLine is the first line of docs/sendmail.md that begins so and has these words.
func GuideLine(t *testing.T, begin, words string) string {
	t.Helper()
	text, err := os.ReadFile(Repository("docs/sendmail.md"))
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

// NewSendmailWorld starts a Sendmail, and a dkimd behind it.
func NewSendmailWorld(t *testing.T, s SendmailSettings) *SendmailWorld {
	t.Helper()
	NeedSendmail(t)
	stage := OnStage(t)
	dir, err := os.MkdirTemp(stage.dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	w := &SendmailWorld{Port: FreePort(), Originating: FreePort(), syslog: new(Transcript)}
	w.World = &World{Stage: stage, DNS: StartDNS(t), Dir: dir, Lane: &Lane{Milter: fmt.Sprintf("inet:127.0.0.1:%d", FreePort()), Reinjection: FreePort()}}
	if hasIPv6() {
		w.Port6 = FreePort()
	}
	line := GuideLine(t, "INPUT_MAIL_FILTER(", "S=inet:")
	_, address := Address(w.Milter)
	host, port, _ := net.SplitHostPort(address)
	socket, peers := "S=inet:"+port+"@"+host, ""
	if s.UnixSocket {
		peers = GuideLine(t, "peers = ", "")
		line, w.Milter, socket = GuideLine(t, "INPUT_MAIL_FILTER(", "S=local:"), "unix:"+dir+"/dkimd.sock", "S=local:"+SendmailDir+"/dkimd.sock"
	}
	line = FilterSocket.ReplaceAllString(line, socket)
	if s.FilterFlag != "" {
		line = strings.Replace(line, "F=T", s.FilterFlag, 1)
	}
	if s.Filters != nil {
		line = s.Filters(line)
	}
	if s.keys == "" {
		keys := ours(t)
		s.keys = keys.dir
		if err := w.DNS.SetZone(keys.zone); err != nil {
			t.Fatal(err)
		}
	}
	w.Write(t, "dkimd.toml", fmt.Sprintf("hostname = %q\n[milter]\nlisten = [%q]\n%s\n[sign]\ndirectory = %q\nnetworks = [\"127.0.0.1\", \"::1\"]\n%s\n"+
		"[dns]\nservers = [%q]\n%s\n[policy]\ndirectory = %q\n", Hostname, w.Milter, peers, s.keys, s.Sign, w.DNS.Addr(), s.DNS, dir+"/rules"))
	if err := os.Mkdir(dir+"/rules", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range s.Rules {
		w.Rule(t, name, text)
	}
	w.Start(t)
	w.lay(t, line+"\n"+GuideLine(t, "define(`confMUST_QUOTE_CHARS'", ""))
	w.serve(t)
	return w
}

// lay makes Sendmail's directories and files; guide is what the guide has for sendmail.mc.
func (w *SendmailWorld) lay(t *testing.T, guide string) {
	t.Helper()
	if err := os.Chmod(w.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"mail": 0o755, "dev": 0o755, "sasl": 0o755, "queue": 0o700, "clientqueue": 0o700} {
		if err := os.Mkdir(filepath.Join(w.Dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	owner, err := user.Lookup("mail")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	if err := os.Chown(w.Dir+"/clientqueue", uid, gid); err != nil {
		t.Fatal(err)
	}
	w.Write(t, "hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 "+Hostname+"\n"+SendmailOutside+" mail.theirs.example\n")
	w.Write(t, "resolv.conf", "nameserver 127.0.0.1\n")
	w.Write(t, "switch", "hosts files\naliases files\n")
	w.Write(t, "sasl/Sendmail.conf", "pwcheck_method: saslauthd\nmech_list: PLAIN\nsaslauthd_path: "+SendmailDir+"/logins\n")
	values := strings.NewReplacer("@DIR@", SendmailDir, "@CF@", SendmailRoot()+"/usr/share/sendmail/cf", "@SINK@", strconv.Itoa(w.Stage.Sink.addr().Port),
		"@PORT@", strconv.Itoa(w.Port), "@PORT6@", strconv.Itoa(w.Port6), "@ORIGINATING@", strconv.Itoa(w.Originating),
		"@REINJECT@", strconv.Itoa(w.Reinjection), "@GUIDE@", guide)
	for _, name := range []string{"sendmail", "submit"} {
		var mc strings.Builder
		for _, part := range []string{"head", name} {
			text, err := os.ReadFile(testdata("sendmail/" + part + ".mc"))
			if err != nil {
				t.Fatal(err)
			}
			mc.Write(text)
		}
		lines := values.Replace(mc.String())
		if w.Port6 == 0 {
			lines = strings.ReplaceAll(lines, "DAEMON_OPTIONS(`Family=inet6", "dnl DAEMON_OPTIONS(`Family=inet6")
		}
		w.Write(t, name+".mc", lines)
		cf := SendmailRoot() + "/usr/share/sendmail/cf/"
		w.Write(t, name+".cf", string(Run(t, nil, "m4", "-D_CF_DIR_="+cf, cf+"m4/cf.m4", w.Dir+"/"+name+".mc")))
	}
	w.takeSyslog(t, w.Dir+"/dev/log")
	startLogins(t, w.Dir+"/logins")
}

// takeSyslog takes what Sendmail logs.
func (w *SendmailWorld) takeSyslog(t *testing.T, path string) {
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
func (w *SendmailWorld) command(args ...string) *exec.Cmd {
	program := SendmailRoot() + "/usr/libexec/sendmail/sendmail"
	return exec.Command("unshare", append([]string{"--mount", "--uts", "sh", testdata("sendmail/enter.sh"), w.Dir, program}, args...)...)
}

// serve starts Sendmail.
func (w *SendmailWorld) serve(t *testing.T) {
	t.Helper()
	var err error
	if w.sendmail, err = StartProcess("sendmail", w.command("-C", SendmailDir+"/sendmail.cf", "-bD", "-q1h")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.sendmail.Stop(syscall.SIGTERM, 5*time.Second)
		w.Stop(t)
		if t.Failed() {
			w.tell(t)
			t.Logf("sendmail said:\n%s\n%s", w.sendmail.Log, w.syslog)
		}
	})
	if up := Poll(20*time.Second, func() bool { return Accepts("tcp", fmt.Sprintf("127.0.0.1:%d", w.Originating)) || w.sendmail.Ended() }); !up || w.sendmail.Ended() {
		t.Fatalf("sendmail does not start: %s%s", w.sendmail.Log, w.syslog)
	}
}

// Run runs Sendmail as a command.
func (w *SendmailWorld) Run(t *testing.T, input []byte, args ...string) string {
	t.Helper()
	cmd := w.command(args...)
	return string(Run(t, input, cmd.Args[0], cmd.Args[1:]...))
}

// Dial connects to Sendmail from an address of this host.
func (w *SendmailWorld) Dial(t *testing.T, from string) *Session {
	t.Helper()
	return DialFrom(t, from, fmt.Sprintf("127.0.0.1:%d", w.Port))
}

// WaitSyslog waits for a line in Sendmail's log that has all of these words.
func (w *SendmailWorld) WaitSyslog(t *testing.T, words ...string) {
	t.Helper()
	Eventually(t, WaitLimit, fmt.Sprintf("in Sendmail's log: %q", words), func() bool { return HasLine(w.syslog.String(), words...) })
}

// Submit hands in a message as local programs do, with sendmail -t.
func (w *SendmailWorld) Submit(t *testing.T, data []byte) {
	t.Helper()
	w.Run(t, []byte(strings.ReplaceAll(string(data), "\r\n", "\n")), "-C", SendmailDir+"/submit.cf", "-Ac", "-t")
}
