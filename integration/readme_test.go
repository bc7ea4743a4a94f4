//go:build integration

package integration_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dkimd/integration/harness"
)

// step is one fenced block of the guide: commands, or a file to write.
type step struct {
	where string // file and line
	shell string // commands, or
	path  string // the file's name and
	text  string // its content
}

// mailbox is where the fresh Postfix delivers.
const mailbox = "root@example.org"

// fileFences mark blocks that are files.
var fileFences = []string{"toml", "conf", "yaml"}

var quotedPath = regexp.MustCompile("`(/[^`]+)`")

// readGuide takes the steps out of a chapter of a document. Blocks fenced as sh are
// commands; others go into the file that the text before them names last.
func readGuide(t *testing.T, file, chapter string) []step {
	t.Helper()
	text, err := os.ReadFile(harness.Repository(file))
	if err != nil {
		t.Fatal(err)
	}
	var steps []step
	var named, fence string
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case fence == "" && strings.HasPrefix(line, "## "):
			inside = line == "## "+chapter
		case !inside:
		case fence == "" && strings.HasPrefix(line, "```"):
			fence = strings.TrimPrefix(line, "```")
			switch {
			case fence == "sh":
				steps = append(steps, step{where: fmt.Sprintf("%s:%d", file, i+1)})
			case slices.Contains(fileFences, fence) && named != "":
				steps = append(steps, step{where: fmt.Sprintf("%s:%d", file, i+1), path: named})
			default:
				t.Fatalf("%s:%d: a block of %q; want sh, or one of %v after the file's name in backquotes", file, i+1, fence, fileFences)
			}
		case fence != "" && line == "```":
			fence = ""
		case fence == "sh":
			steps[len(steps)-1].shell += line + "\n"
		case fence != "":
			steps[len(steps)-1].text += line + "\n"
		default:
			if found := quotedPath.FindAllStringSubmatch(line, -1); found != nil {
				named = found[len(found)-1][1]
			}
		}
	}
	if len(steps) == 0 {
		t.Fatalf("%s has no steps under %q", file, chapter)
	}
	return steps
}

// script is a step as a shell script.
func (s step) script() string {
	if s.path == "" {
		return s.shell
	}
	return fmt.Sprintf("mkdir -p '%s'\ncat >'%s' <<'END-OF-FILE'\n%sEND-OF-FILE\n", path.Dir(s.path), s.path, s.text)
}

// follow carries out the steps of a guide. DNS publishes what they print for the zone.
func follow(t *testing.T, f *harness.FreshRoot, steps []step) {
	t.Helper()
	for _, s := range steps {
		before, servers := reloads(t, f), smtpServers(t, f)
		out, err := f.Run(t, s.script())
		if err != nil {
			t.Fatalf("%s: %v\n%s\nsaid: %s\n%s", s.where, err, s.script(), out, f.Process.Log)
		}
		if strings.Contains(out, "_domainkey") && strings.Contains(out, "TXT") {
			if err := f.DNS.SetZone(out); err != nil {
				t.Fatalf("%s: what it prints is no zone: %v\n%s", s.where, err, out)
			}
		}
		if strings.Contains(s.shell, "postfix reload") {
			harness.Eventually(t, harness.WaitLimit, "Postfix reloads", func() bool { return reloads(t, f) > before })
			// One that was idle may still take a connection, with the settings it began with.
			harness.Eventually(t, harness.WaitLimit, "the SMTP servers from before the reload are gone", func() bool {
				return !slices.ContainsFunc(smtpServers(t, f), func(pid string) bool { return slices.Contains(servers, pid) })
			})
		}
	}
}

// reloads is how often Postfix has been reloaded; the command does not wait for it.
func reloads(t *testing.T, f *harness.FreshRoot) int {
	t.Helper()
	return strings.Count(f.Read(t, "/var/log/mail.log"), ": reload -- ")
}

// smtpServers are the processes of Postfix that talk to clients.
func smtpServers(t *testing.T, f *harness.FreshRoot) []string {
	t.Helper()
	processes, err := filepath.Glob(f.Path(t, "/proc/[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, p := range processes {
		if name, err := os.ReadFile(filepath.Join(p, "comm")); err == nil && string(name) == "smtpd\n" {
			pids = append(pids, filepath.Base(p))
		}
	}
	return pids
}

// serving waits until dkimd has been started this many times.
func serving(t *testing.T, f *harness.FreshRoot, starts int) {
	t.Helper()
	harness.Eventually(t, harness.WaitLimit, "ready", func() bool {
		return strings.Count(f.Read(t, "/var/log/dkimd.log"), "msg=ready") == starts
	})
}

// The guide is followed to the letter on a fresh Postfix, and after it the
// chapter about unix sockets, which Debian's chroot makes difficult.
func TestGuidesWorkOnAFreshPostfix(t *testing.T) {
	t.Parallel()
	root := harness.NewFreshRoot(t)
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"/var/log/mail.log", "/var/log/dkimd.log", "/var/log/dkimd.json"} {
				t.Logf("%s:\n%s", name, root.Read(t, name))
			}
		}
	})
	harness.PublishForeignKeys(root.DNS, "gmail.com")
	follow(t, root, readGuide(t, "README.md", "Postfix in ten minutes"))
	serving(t, root, 1)
	checkGuide(t, root)

	root.HangUp() // a server that still talks outlives a reload
	follow(t, root, readGuide(t, "docs/postfix.md", "The socket"))
	serving(t, root, 2)
	checkSigns(t, root, "through the unix socket")
	checkSocket(t, root)
}

// checkSocket tests that Postfix alone may use dkimd's socket: others are kept out by modes, and,
// where those are wrong, by peers.
func checkSocket(t *testing.T, f *harness.FreshRoot) {
	t.Helper()
	run := func(script string) string {
		out, err := f.Run(t, script)
		if err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		return out
	}
	run("printf 'From: alice@example.org\\nTo: bob@theirs.example\\n\\nhello\\n' >/tmp/message && chmod 644 /tmp/message\n")
	probe := func(user string) string {
		return run("cd /; runuser -u " + user + " -- dkimd probe unix:/var/spool/postfix/dkimd/milter.sock /tmp/message --client 127.0.0.1 2>&1 || true\n")
	}
	if out := probe("postfix"); !strings.Contains(out, "DKIM-Signature: v=1;") {
		t.Errorf("postfix gets no signature:\n%s", out)
	}
	if out := probe("games"); !strings.Contains(out, "connect: permission denied") {
		t.Errorf("another user enters the directory:\n%s", out)
	}
	if out := run("chmod 2711 /var/spool/postfix/dkimd && stat -c '%a %G' /var/spool/postfix/dkimd/milter.sock\n"); out != "660 postfix\n" {
		t.Errorf("mode and group of the socket: %s", out)
	}
	if out := probe("games"); !strings.Contains(out, "connect: permission denied") {
		t.Errorf("another user opens the socket:\n%s", out)
	}
	run("chmod 666 /var/spool/postfix/dkimd/milter.sock\n")
	if out := probe("games"); strings.Contains(out, "negotiated") || !strings.Contains(out, "is this user among its peers") {
		t.Errorf("another user is served:\n%s", out)
	}
	harness.Eventually(t, harness.WaitLimit, "the refusal in dkimd's log", func() bool {
		return strings.Contains(f.Read(t, "/var/log/dkimd.log"), "connection refused: its user is not among the peers")
	})
	run("chmod 2710 /var/spool/postfix/dkimd && chmod 660 /var/spool/postfix/dkimd/milter.sock\n")
}

// checkSigns tests that mail sent now leaves with two signatures, whether it
// comes by SMTP or through sendmail.
func checkSigns(t *testing.T, f *harness.FreshRoot, subject string) {
	t.Helper()
	data := harness.NewMail("alice@example.org", "SMTP "+subject).Bytes()
	if got := f.Dial(t, "127.0.0.1", "127.0.0.1").Send("alice@example.org", mailbox, data); got.Code != 250 {
		t.Errorf("our mail: %s", got)
	}
	arrives(t, f, "SMTP "+subject, 2)
	script := fmt.Sprintf("printf 'From: alice@example.org\\nTo: %s\\nSubject: sendmail %s\\n\\nhello\\n' | sendmail -t\n", mailbox, subject)
	if out, err := f.Run(t, script); err != nil {
		t.Errorf("sendmail: %v: %s", err, out)
	}
	arrives(t, f, "sendmail "+subject, 2)
}

// checkGuide tests what the guide promises.
func checkGuide(t *testing.T, f *harness.FreshRoot) {
	t.Helper()
	checkSigns(t, f, "as the guide says")

	// Mail received carries Authentication-Results.
	outside := f.Dial(t, harness.OutsideAddress, harness.RootAddress)
	if got := outside.Send("bob@theirs.example", mailbox, harness.NewMail("bob@theirs.example", "received").Bytes()); got.Code != 250 {
		t.Errorf("mail of others: %s", got)
	}
	if fields := arrives(t, f, "received", 0); !strings.Contains(fields, "Authentication-Results: mail.example.org;") {
		t.Errorf("received without Authentication-Results:\n%s", fields)
	}
	signed := harness.SignWithPython(t, "gmail.com", harness.NewMail(gmailUser, "signed by gmail").Bytes())
	if got := outside.Send(gmailUser, mailbox, signed); got.Code != 250 {
		t.Errorf("mail signed by gmail.com: %s", got)
	}
	arrives(t, f, "signed by gmail", 1)

	// The rule is enforced.
	if got := outside.Send(gmailUser, mailbox, harness.NewMail(gmailUser, "a forgery").Bytes()); got.Code != 550 {
		t.Errorf("a forgery: %s; want 550", got)
	}
	if !harness.Poll(harness.WaitLimit, func() bool { return strings.Count(f.Read(t, "/var/log/dkimd.json"), "\n") == 5 }) {
		t.Error("the log stream has not one record for each of five messages")
	}
}

// arrives waits for a message in root's mailbox and returns its header. It must
// have this many signatures.
func arrives(t *testing.T, f *harness.FreshRoot, subject string, signatures int) string {
	t.Helper()
	var header string
	found := harness.Poll(harness.WaitLimit, func() bool {
		for m := range strings.SplitSeq(f.Read(t, "/var/mail/root"), "\nFrom ") {
			header, _, _ = strings.Cut(m, "\n\n")
			if strings.Contains(header, "Subject: "+subject+"\n") || strings.HasSuffix(header, "Subject: "+subject) {
				return true
			}
		}
		return false
	})
	if !found {
		t.Errorf("%q does not arrive within %s", subject, harness.WaitLimit.Round(time.Second))
		return ""
	}
	if got := strings.Count(header, "DKIM-Signature:"); got != signatures {
		t.Errorf("%q has %d signatures, want %d:\n%s", subject, got, signatures, header)
	}
	return header
}
