//go:build integration

package integration_test

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"
)

// guideHeading opens the part of the README that an administrator follows.
const guideHeading = "## Postfix in ten minutes"

// step is one fenced block of the guide: commands, or a file to write.
type step struct {
	line  int    // of the README
	shell string // commands, or
	path  string // the file's name and
	text  string // its content
}

var quotedPath = regexp.MustCompile("`(/[^`]+)`")

// readGuide takes the steps out of the README. Blocks fenced as sh are commands;
// those fenced as toml go into the file that the text before them names last.
func readGuide(readme string) ([]step, error) {
	var steps []step
	var named, fence string
	inside := false
	for i, line := range strings.Split(readme, "\n") {
		switch {
		case fence == "" && strings.HasPrefix(line, "## "):
			inside = line == guideHeading
		case !inside:
		case fence == "" && strings.HasPrefix(line, "```"):
			fence = strings.TrimPrefix(line, "```")
			switch {
			case fence == "sh":
				steps = append(steps, step{line: i + 1})
			case fence == "toml" && named != "":
				steps = append(steps, step{line: i + 1, path: named})
			default:
				return nil, fmt.Errorf("README.md:%d: a block of %q; want sh, or toml after the file's name in backquotes", i+1, fence)
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
		return nil, fmt.Errorf("README.md has no steps under %q", guideHeading)
	}
	return steps, nil
}

// script is a step as a shell script.
func (s step) script() string {
	if s.path == "" {
		return s.shell
	}
	return fmt.Sprintf("mkdir -p '%s'\ncat >'%s' <<'END-OF-FILE'\n%sEND-OF-FILE\n", path.Dir(s.path), s.path, s.text)
}

// The guide is followed to the letter on a fresh Postfix. DNS publishes what
// the guide's commands print for the zone.
func TestReadmeGuideWorksOnAFreshPostfix(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := readGuide(string(readme))
	if err != nil {
		t.Fatal(err)
	}
	root := newFreshRoot(t)
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"/var/log/mail.log", "/var/log/dkimd.log", "/var/log/dkimd.json"} {
				t.Logf("%s:\n%s", name, root.read(t, name))
			}
		}
	})
	publish(root.dns, "gmail.com")
	monitored := false
	for _, s := range steps {
		out, err := root.run(t, s.script())
		if err != nil {
			t.Fatalf("README.md:%d: %v\n%s\nsaid: %s\n%s", s.line, err, s.script(), out, root.process.log)
		}
		if strings.Contains(out, "_domainkey") && strings.Contains(out, "TXT") {
			if err := root.dns.SetZone(out); err != nil {
				t.Fatalf("README.md:%d: what it prints is no zone: %v\n%s", s.line, err, out)
			}
		}
		// Between monitoring and enforcing, mail that breaks the rule still arrives.
		if strings.Contains(s.shell+s.text, `mode = "monitor"`) {
			monitored = true
		}
	}
	if !monitored {
		t.Error("the guide does not start its rules file in monitor mode")
	}
	eventually(t, waitLimit, "dkimd serves", func() bool { return strings.Contains(root.read(t, "/var/log/dkimd.log"), "serves") })
	root.checkGuide(t)
}

// checkGuide tests what the guide promises.
func (f *freshRoot) checkGuide(t *testing.T) {
	t.Helper()
	const to = "root@example.org"

	// Mail sent now leaves with two signatures, by SMTP and through sendmail.
	own := newMail("alice@example.org", "sent by SMTP").bytes()
	if got := f.dial(t, "127.0.0.1", "127.0.0.1").send("alice@example.org", to, own); got.code != 250 {
		t.Errorf("our mail: %s", got)
	}
	f.arrives(t, "sent by SMTP", 2)
	if out, err := f.run(t, "printf 'From: alice@example.org\\nTo: "+to+"\\nSubject: sent locally\\n\\nhello\\n' | sendmail -t\n"); err != nil {
		t.Errorf("sendmail: %v: %s", err, out)
	}
	f.arrives(t, "sent locally", 2)

	// Mail received carries Authentication-Results.
	outside := f.dial(t, outsideAddress, rootAddress)
	if got := outside.send("bob@theirs.example", to, newMail("bob@theirs.example", "received").bytes()); got.code != 250 {
		t.Errorf("mail of others: %s", got)
	}
	if fields := f.arrives(t, "received", 0); !strings.Contains(fields, "Authentication-Results: mail.example.org;") {
		t.Errorf("received without Authentication-Results:\n%s", fields)
	}
	signed := signWithPython(t, "gmail.com", newMail(gmailUser, "signed by gmail").bytes())
	if got := outside.send(gmailUser, to, signed); got.code != 250 {
		t.Errorf("mail signed by gmail.com: %s", got)
	}
	f.arrives(t, "signed by gmail", 1)

	// The rule is enforced.
	if got := outside.send(gmailUser, to, newMail(gmailUser, "a forgery").bytes()); got.code != 550 {
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
