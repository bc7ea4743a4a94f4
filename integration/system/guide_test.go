//go:build system

package system_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

const gmailUser = "someone@gmail.com"

// follow carries out steps of a guide, and returns what they printed. DNS publishes what is for the zone.
func (s *system) follow(t *testing.T, steps []harness.GuideStep) string {
	t.Helper()
	var all strings.Builder
	for _, step := range steps {
		out, err := s.run("cd /root\n" + step.Script())
		if err != nil {
			t.Fatalf("%s: %v\n%s\nsaid: %s", step.Where, err, step.Script(), out)
		}
		if strings.Contains(out, "_domainkey") && strings.Contains(out, "TXT") {
			if err := s.DNS.SetZone(out); err != nil {
				t.Fatalf("%s: what it prints is no zone: %v\n%s", step.Where, err, out)
			}
		}
		all.WriteString(out)
	}
	return all.String()
}

// install installs a package as the README says, and returns what that printed.
func (s *system) install(t *testing.T, deb string) string {
	t.Helper()
	s.put(t, deb, "/root/"+filepath.Base(deb))
	out := s.follow(t, harness.ReadGuide(t, "README.md", "Install"))
	return strings.ReplaceAll(out, "\r", "") // apt-get has dpkg write to a terminal
}

// tenMinutes are the steps of the README, before dkimd is told of by the mail server, and from there on.
func tenMinutes(t *testing.T) (keys, rest []harness.GuideStep) {
	t.Helper()
	steps := harness.ReadGuide(t, "README.md", "Postfix in ten minutes")
	for i, step := range steps {
		if strings.Contains(step.Shell, "postconf") {
			return steps[:i], steps[i:]
		}
	}
	t.Fatal("the README does not say how Postfix is told")
	return nil, nil
}

// tellPostfix are the README's commands for Postfix.
func tellPostfix(t *testing.T) string {
	t.Helper()
	_, rest := tenMinutes(t)
	return rest[0].Shell
}

// readmeIsRight follows the README to the letter, and sees what it promises.
func readmeIsRight(t *testing.T, s *system, _, _ string) {
	t.Helper()
	harness.PublishForeignKeys(s.DNS, "gmail.com")
	keys, rest := tenMinutes(t)
	s.follow(t, append(keys, rest[0]))

	// Mail that is ours is signed, from SMTP and from local programs; mail received carries results.
	signs(t, s, "by SMTP")
	s.must(t, fmt.Sprintf(`printf 'From: %s\nTo: %s\nSubject: by sendmail\n\nhello\n' | sendmail -t`, ourMail, mailbox))
	for _, subject := range []string{"by SMTP", "by sendmail"} {
		if header := arrived(t, s, subject); strings.Count(header, "\nDKIM-Signature:") != 2 {
			t.Errorf("%q has not two signatures:\n%s", subject, header)
		}
	}
	forgery := func(subject string) harness.Reply {
		return send(t, s, harness.OutsideAddress, gmailUser, harness.NewMail(gmailUser, subject).Bytes())
	}
	if got := forgery("a forgery that is only recorded"); got.Code != 250 {
		t.Errorf("a forgery under monitor: %s", got)
	}
	if header := arrived(t, s, "a forgery that is only recorded"); !strings.Contains(header, "\nAuthentication-Results: mx.example.org;") {
		t.Errorf("received without results:\n%s", header)
	}

	if out := s.follow(t, rest[1:]); !strings.Contains(out, "gmail must be signed by gmail") {
		t.Errorf("nobody is told of the forgery:\n%s", out)
	}
	if got := forgery("a forgery"); got.Code != 550 {
		t.Errorf("a forgery: %s; want 550", got)
	}
	twice := append([]byte("From: bob@theirs.example\r\n"), harness.NewMail(gmailUser, "two authors").Bytes()...)
	if got := send(t, s, harness.OutsideAddress, "bob@theirs.example", twice); got.Code != 550 {
		t.Errorf("two From fields: %s; want 550", got)
	}
	signed := harness.SignWithPython(t, "gmail.com", harness.NewMail(gmailUser, "signed by gmail").Bytes())
	if got := send(t, s, harness.OutsideAddress, gmailUser, signed); got.Code != 250 {
		t.Errorf("mail signed by gmail.com: %s", got)
	}
	arrived(t, s, "signed by gmail")
}

// socketIsForPostfixAlone follows the chapter about the socket; then others are kept out by its directory, by its
// mode, and by peers, each alone.
func socketIsForPostfixAlone(t *testing.T, s *system, _, _ string) {
	t.Helper()
	s.follow(t, harness.ReadGuide(t, "docs/postfix.md", "The socket"))
	signs(t, s, "through the socket of the guide")
	s.must(t, "printf 'From: alice@example.org\\nTo: bob@theirs.example\\n\\nhello\\n' >/tmp/message && chmod 644 /tmp/message")
	probe := func(user string) string {
		return s.must(t, "cd /; runuser -u "+user+" -- dkimd probe unix:"+socketPath+" /tmp/message --client 127.0.0.1 2>&1 || true")
	}
	for _, user := range []string{"postfix", "root"} {
		if out := probe(user); !strings.Contains(out, "DKIM-Signature: v=1;") {
			t.Errorf("%s gets no signature:\n%s", user, out)
		}
	}
	if out := probe("games"); !strings.Contains(out, "connect: permission denied") {
		t.Errorf("another user enters the directory:\n%s", out)
	}
	if out := s.must(t, "chmod 2711 /var/spool/postfix/dkimd && stat -c '%a %G' "+socketPath); out != "660 postfix\n" {
		t.Errorf("mode and group of the socket: %s", out)
	}
	if out := probe("games"); !strings.Contains(out, "connect: permission denied") {
		t.Errorf("another user opens the socket:\n%s", out)
	}
	s.must(t, "chmod 666 "+socketPath)
	if out := probe("games"); strings.Contains(out, "negotiated") || !strings.Contains(out, "is this user among its peers") {
		t.Errorf("another user is served:\n%s", out)
	}
	harness.Eventually(t, harness.WaitLimit, "the refusal in dkimd's log", func() bool {
		return strings.Contains(s.must(t, "journalctl -u dkimd -o cat --no-pager"), "connection refused: its user is not among the peers")
	})
	s.must(t, "chmod 2710 /var/spool/postfix/dkimd && chmod 660 "+socketPath)
}
