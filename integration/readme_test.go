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

var quotedPath = regexp.MustCompile("`(/[^`]+)`")

// readGuide takes the steps out of a chapter of a document. Blocks fenced as sh are
// commands; those fenced as toml go into the file that the text before them names last.
func readGuide(t *testing.T, file, chapter string) []step {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", file))
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
			case fence == "toml" && named != "":
				steps = append(steps, step{where: fmt.Sprintf("%s:%d", file, i+1), path: named})
			default:
				t.Fatalf("%s:%d: a block of %q; want sh, or toml after the file's name in backquotes", file, i+1, fence)
			}
		case fence != "" && line == "```":
			fence = ""
		case fence == "sh":
			steps[len(steps)-1].shell += line + "\n"
		case fence == "toml":
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
func (f *freshRoot) follow(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		reloads, servers := f.reloads(t), f.smtpServers(t)
		out, err := f.run(t, s.script())
		if err != nil {
			t.Fatalf("%s: %v\n%s\nsaid: %s\n%s", s.where, err, s.script(), out, f.process.log)
		}
		if strings.Contains(out, "_domainkey") && strings.Contains(out, "TXT") {
			if err := f.dns.SetZone(out); err != nil {
				t.Fatalf("%s: what it prints is no zone: %v\n%s", s.where, err, out)
			}
		}
		if strings.Contains(s.shell, "postfix reload") {
			eventually(t, waitLimit, "Postfix reloads", func() bool { return f.reloads(t) > reloads })
			// One that was idle may still take a connection, with the settings it began with.
			eventually(t, waitLimit, "the SMTP servers from before the reload are gone", func() bool {
				return !slices.ContainsFunc(f.smtpServers(t), func(pid string) bool { return slices.Contains(servers, pid) })
			})
		}
	}
}

// reloads is how often Postfix has been reloaded; the command does not wait for it.
func (f *freshRoot) reloads(t *testing.T) int {
	t.Helper()
	return strings.Count(f.read(t, "/var/log/mail.log"), ": reload -- ")
}

// smtpServers are the processes of Postfix that talk to clients.
func (f *freshRoot) smtpServers(t *testing.T) []string {
	t.Helper()
	processes, err := filepath.Glob(f.path(t, "/proc/[0-9]*"))
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
func (f *freshRoot) serving(t *testing.T, starts int) {
	t.Helper()
	eventually(t, waitLimit, "dkimd serves", func() bool {
		return strings.Count(f.read(t, "/var/log/dkimd.log"), "dkimd serves") == starts
	})
}

// The guide is followed to the letter on a fresh Postfix, and after it the
// chapter about unix sockets, which Debian's chroot makes difficult.
func TestGuidesWorkOnAFreshPostfix(t *testing.T) {
	t.Parallel()
	root := newFreshRoot(t)
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"/var/log/mail.log", "/var/log/dkimd.log", "/var/log/dkimd.json"} {
				t.Logf("%s:\n%s", name, root.read(t, name))
			}
		}
	})
	publish(root.dns, "gmail.com")
	root.follow(t, readGuide(t, "README.md", "Postfix in ten minutes"))
	root.serving(t, 1)
	root.checkGuide(t)

	root.hangUp() // a server that still talks outlives a reload
	root.follow(t, readGuide(t, "docs/postfix.md", "A unix socket"))
	root.serving(t, 2)
	root.checkSigns(t, "through the unix socket")
}

// checkSigns tests that mail sent now leaves with two signatures, whether it
// comes by SMTP or through sendmail.
func (f *freshRoot) checkSigns(t *testing.T, subject string) {
	t.Helper()
	data := newMail("alice@example.org", "SMTP "+subject).bytes()
	if got := f.dial(t, "127.0.0.1", "127.0.0.1").send("alice@example.org", mailbox, data); got.code != 250 {
		t.Errorf("our mail: %s", got)
	}
	f.arrives(t, "SMTP "+subject, 2)
	script := fmt.Sprintf("printf 'From: alice@example.org\\nTo: %s\\nSubject: sendmail %s\\n\\nhello\\n' | sendmail -t\n", mailbox, subject)
	if out, err := f.run(t, script); err != nil {
		t.Errorf("sendmail: %v: %s", err, out)
	}
	f.arrives(t, "sendmail "+subject, 2)
}

// checkGuide tests what the guide promises.
func (f *freshRoot) checkGuide(t *testing.T) {
	t.Helper()
	f.checkSigns(t, "as the guide says")

	// Mail received carries Authentication-Results.
	outside := f.dial(t, outsideAddress, rootAddress)
	if got := outside.send("bob@theirs.example", mailbox, newMail("bob@theirs.example", "received").bytes()); got.code != 250 {
		t.Errorf("mail of others: %s", got)
	}
	if fields := f.arrives(t, "received", 0); !strings.Contains(fields, "Authentication-Results: mail.example.org;") {
		t.Errorf("received without Authentication-Results:\n%s", fields)
	}
	signed := signWithPython(t, "gmail.com", newMail(gmailUser, "signed by gmail").bytes())
	if got := outside.send(gmailUser, mailbox, signed); got.code != 250 {
		t.Errorf("mail signed by gmail.com: %s", got)
	}
	f.arrives(t, "signed by gmail", 1)

	// The rule is enforced.
	if got := outside.send(gmailUser, mailbox, newMail(gmailUser, "a forgery").bytes()); got.code != 550 {
		t.Errorf("a forgery: %s; want 550", got)
	}
	if !poll(waitLimit, func() bool { return strings.Count(f.read(t, "/var/log/dkimd.json"), "\n") == 5 }) {
		t.Error("the log stream has not one record for each of five messages")
	}
}

// arrives waits for a message in root's mailbox and returns its header. It must
// have this many signatures.
func (f *freshRoot) arrives(t *testing.T, subject string, signatures int) string {
	t.Helper()
	var header string
	found := poll(waitLimit, func() bool {
		for m := range strings.SplitSeq(f.read(t, "/var/mail/root"), "\nFrom ") {
			header, _, _ = strings.Cut(m, "\n\n")
			if strings.Contains(header, "Subject: "+subject+"\n") || strings.HasSuffix(header, "Subject: "+subject) {
				return true
			}
		}
		return false
	})
	if !found {
		t.Errorf("%q does not arrive within %s", subject, waitLimit.Round(time.Second))
		return ""
	}
	if got := strings.Count(header, "DKIM-Signature:"); got != signatures {
		t.Errorf("%q has %d signatures, want %d:\n%s", subject, got, signatures, header)
	}
	return header
}
