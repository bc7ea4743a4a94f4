//go:build integration

package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// logged is a dkimd without an MTA, whose log stream goes elsewhere.
type logged struct {
	dir string // its path is short: there are sockets in it
}

func newLogged(t *testing.T) logged {
	t.Helper()
	harness.OnStage(t) // dkimd is built there
	dir, err := os.MkdirTemp("", "log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return logged{dir}
}

func (l logged) path(name string) string { return filepath.Join(l.dir, name) }

func (l logged) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(l.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// configure writes dkimd.toml and a message to show to it.
func (l logged) configure(t *testing.T, outputs ...string) {
	t.Helper()
	quoted, err := json.Marshal(outputs)
	if err != nil {
		t.Fatal(err)
	}
	l.write(t, "dkimd.toml", fmt.Sprintf("[milter]\nlisten = \"unix:%s\"\n[dns]\nservers = [\"127.0.0.1:1\"]\n[log]\noutput = %s\n", l.path("milter"), quoted))
	l.write(t, "message.eml", string(harness.NewMail("bob@theirs.example", "logged").Bytes()))
}

// TestSyslogIsReadByRsyslogd: rsyslogd reads `syslog` whatever parser its socket has, and
// `syslog-rfc5424` where it is set up for it: there mmjsonparse takes the record apart. What comes while it is restarted is not lost.
func TestSyslogIsReadByRsyslogd(t *testing.T) {
	t.Parallel()
	harness.Need(t, "rsyslogd")
	l := newLogged(t)
	l.write(t, "rsyslog.conf", fmt.Sprintf(`global(workDirectory="%[1]s")
module(load="imuxsock" SysSock.Use="off")
module(load="mmjsonparse")
input(type="imuxsock" Socket="%[1]s/usual")
input(type="imuxsock" Socket="%[1]s/any" UseSpecialParser="off")
template(name="parts" type="string" string="%%pri-text%%|%%app-name%%|%%procid%%|%%msgid%%|%%$!mode%%|%%$!from%%|%%msg%%\n")
*.* action(type="mmjsonparse")
*.* action(type="omfile" file="%[1]s/out" template="parts")
`, l.dir))
	startRsyslogd := func() *harness.Process {
		t.Helper()
		p, err := harness.StartProcess("rsyslogd", exec.Command("rsyslogd", "-n", "-f", l.path("rsyslog.conf"), "-i", l.path("pid")))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Stop(syscall.SIGTERM, 5*time.Second) })
		return p
	}
	rsyslogd := startRsyslogd()
	harness.Eventually(t, harness.WaitLimit, "rsyslogd listens: "+rsyslogd.Log.String(), func() bool { return harness.Accepts("unixgram", l.path("any")) })

	l.configure(t, "syslog:"+l.path("usual"), "syslog:"+l.path("any"), "syslog-rfc5424:"+l.path("any"))
	dkimd, err := harness.StartProcess("dkimd", exec.Command(harness.Binary(t), "serve", "--config", l.path("dkimd.toml")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dkimd.Stop(syscall.SIGKILL, 0) })
	harness.Eventually(t, harness.WaitLimit, "ready", func() bool { return strings.Contains(dkimd.Log.String(), "msg=ready") || dkimd.Ended() })

	show := func() {
		harness.Run(t, nil, harness.Binary(t), "probe", "unix:"+l.path("milter"), l.path("message.eml"), "--client", "203.0.113.9")
	}
	out := func() []string {
		data, _ := os.ReadFile(l.path("out"))
		return regexp.MustCompile(`(?m)^mail\.info\|.*\n`).FindAllString(string(data), -1)
	}
	show()
	harness.Eventually(t, harness.WaitLimit, "three messages of one record", func() bool { return len(out()) == 3 })
	rsyslogd.Stop(syscall.SIGTERM, 5*time.Second)
	show()
	startRsyslogd()
	harness.Eventually(t, harness.WaitLimit, "those of the time between", func() bool { return len(out()) == 6 })

	pid := dkimd.Cmd.Process.Pid
	old := regexp.MustCompile(fmt.Sprintf(`^mail\.info\|dkimd\|%d\|-\|\|\| \S+ +ACCEPT +verify +from=bob@theirs\.example .*\n$`, pid))
	ietf := regexp.MustCompile(fmt.Sprintf(`^mail\.info\|dkimd\|%d\|verify\|verify\|\[ "bob@theirs\.example" \]\|@cee: \{.*"mode":"verify",.*\}\n$`, pid))
	count := map[bool]int{}
	for _, line := range out() {
		count[ietf.MatchString(line)]++
		if !ietf.MatchString(line) && !old.MatchString(line) {
			t.Errorf("rsyslogd wrote %q", line)
		}
	}
	if count[true] != 2 || count[false] != 4 {
		t.Errorf("%d messages of RFC 5424, %d of RFC 3164: %q", count[true], count[false], out())
	}
	dkimd.Signal(syscall.SIGTERM)
	if code, err := dkimd.Exit(harness.WaitLimit); err != nil || code != 0 || strings.Contains(dkimd.Log.String(), "lost") {
		t.Errorf("dkimd ends with %d, %v: %s", code, err, dkimd.Log)
	}
}

// TestJournalHasFields: a systemd-journald of its own takes records by each way there is, and
// dkimd log reads those of stdout.
func TestJournalHasFields(t *testing.T) {
	t.Parallel()
	harness.Need(t, "unshare", "systemd-cat", "journalctl")
	if _, err := os.Stat("/lib/systemd/systemd-journald"); err != nil {
		harness.SkipOrFail(t, "systemd-journald is not installed")
	}
	if os.Geteuid() != 0 {
		harness.SkipOrFail(t, "a journal of its own needs root")
	}
	l := newLogged(t)
	l.configure(t, "stdout", "journal", "syslog:/run/systemd/journal/dev-log")
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "testdata/journald.sh", harness.Binary(t), l.path("dkimd.toml"), l.path("milter"), l.path("message.eml"))
	output := new(harness.Transcript)
	cmd.Stdout = output
	p, err := harness.StartProcess("journal", cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(syscall.SIGKILL, 0) })
	if code, err := p.Exit(2 * harness.WaitLimit); err != nil || code != 0 {
		if strings.Contains(p.Log.String(), "unshare failed") || strings.Contains(p.Log.String(), "permission denied") {
			harness.SkipOrFail(t, "namespaces and mounts are not allowed here: "+p.Log.String())
		}
		t.Fatalf("exit %d, %v: %s\n%s", code, err, p.Log, output)
	}
	entries, summary, _ := strings.Cut(output.String(), "-- summary\n")

	got := map[string]map[string]any{}
	for line := range bytes.SplitSeq([]byte(entries), []byte("\n")) {
		var e map[string]any
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		message := fmt.Sprint(e["MESSAGE"])
		switch {
		case strings.HasPrefix(message, "{"):
			got["stdout"] = e
		case e["DKIMD_MODE"] != nil:
			got["journal"] = e
		case e["_TRANSPORT"] == "syslog":
			got["syslog"] = e
		case strings.Contains(message, `msg=ready`):
			got["stderr"] = e
		}
	}
	for name, want := range map[string]map[string]any{
		"stdout":  {"DKIMD_FROM": "bob@theirs.example", "DKIMD_VERDICT": "accept", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "dkimd", "SYSLOG_FACILITY": "2", "_TRANSPORT": "journal"},
		"journal": {"DKIMD_FROM": "bob@theirs.example", "DKIMD_CLIENT": "203.0.113.9", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "dkimd", "_TRANSPORT": "journal"},
		"syslog":  {"SYSLOG_IDENTIFIER": "dkimd", "SYSLOG_FACILITY": "2", "PRIORITY": "6"},
		"stderr":  {"PRIORITY": "6", "_TRANSPORT": "stdout"},
	} {
		for field, value := range want {
			if got[name][field] != value {
				t.Errorf("%s: %s is %v, want %v", name, field, got[name][field], value)
			}
		}
	}
	if a, b := got["journal"]["MESSAGE"], got["syslog"]["MESSAGE"]; a == nil || a != b {
		t.Errorf("journal has %v\nsyslog has %v", a, b)
	}
	if strings.HasPrefix(fmt.Sprint(got["stderr"]["MESSAGE"]), "<") {
		t.Errorf("the priority was not read: %v", got["stderr"]["MESSAGE"])
	}
	if !strings.HasPrefix(summary, "1 message, ") {
		t.Errorf("dkimd log says %q", summary)
	}
	if t.Failed() {
		t.Log(p.Log, output)
	}
}
