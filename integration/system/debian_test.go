//go:build system

package system_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dkimd/integration/harness"
)

const (
	socketPath = "/var/spool/postfix/dkimd/milter.sock"
	ourMail    = "alice@example.org"
	mailbox    = "root@example.org"
)

// releases are the versions of Debian that dkimd has packages for.
var releases = map[string]string{"Debian 12": "bookworm", "Debian 13": "trixie"}

// withPostfix configures Postfix as an administrator would before dkimd comes.
const withPostfix = `postconf -e myhostname=mx.example.org 'mydestination = $myhostname, example.org, localhost' \
	inet_interfaces=all 'mynetworks = 127.0.0.0/8 [::1]/128' inet_protocols=ipv4
printf 'postmaster: root\n' >/etc/aliases
newaliases`

// lifetime is what happens to a system, in this order. first and second are two versions of the package.
var lifetime = []struct {
	name string
	do   func(t *testing.T, s *system, first, second string)
}{
	{"install", install},
	{"mail", mailFlows},
	{"journal", journalHasFields},
	{"reload", reloadTellsTheTruth},
	{"kill", killedComesBack},
	{"second daemon", secondDaemonIsRefused},
	{"hardening", unitIsHardened},
	{"restart", startsAtBoot},
	{"full disk", fullDiskLeavesTheOldBinary},
	{"upgrade", upgradeLosesNothing},
	{"upgrade with faults", faultsKeepTheOldProcess},
	{"purge", purgeLeavesKeys},
}

// TestBesidePostfix is the life of dkimd on a mail server, from its installation until it is purged.
func TestBesidePostfix(t *testing.T) {
	t.Parallel()
	for name, release := range releases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := debs(t)
			s := boot(t, release, withPostfix)
			t.Cleanup(func() {
				if t.Failed() && !s.process.Ended() {
					out, _ := s.run("journalctl -b --no-pager | grep -v ' systemd\\[' | tail -n 60")
					t.Logf("the journal:\n%s", out)
				}
			})
			for _, step := range lifetime {
				if !t.Run(step.name, func(t *testing.T) { step.do(t, s, first, second) }) {
					return // each step builds on those before it
				}
			}
		})
	}
}

var postconfLine = regexp.MustCompile(`(?m)^ +postconf -e .*$`)

// install installs a package: dkimd runs, and starts at boot; Postfix is as it was.
func install(t *testing.T, s *system, first, _ string) {
	t.Helper()
	before := s.must(t, "cat /etc/postfix/*.cf; ls -l /etc/postfix")
	s.put(t, first, "/root/dkimd.deb")
	out := s.must(t, "dpkg -i /root/dkimd.deb")
	if after := s.must(t, "cat /etc/postfix/*.cf; ls -l /etc/postfix"); after != before {
		t.Errorf("Postfix's files have changed:\n%s\nbefore:\n%s", after, before)
	}
	s.must(t, "systemctl is-active dkimd && systemctl is-enabled dkimd")
	if got, want := s.must(t, "stat -c '%A %U %G' /var/spool/postfix/dkimd "+socketPath), "drwxr-s--- dkimd postfix\nsrw-rw---- dkimd postfix\n"; got != want {
		t.Errorf("the socket and its directory: got\n%swant\n%s", got, want)
	}
	if got, want := s.must(t, "cd /etc/dkimd && stat -c '%n %A %U %G' . keys rules dkimd.toml rules/*"), `. drwxr-x--- root dkimd
keys drwxr-x--- root dkimd
rules drwxr-x--- root dkimd
dkimd.toml -rw-r----- root dkimd
rules/_default.toml -rw-r----- root dkimd
rules/gmail.com.toml -rw-r----- root dkimd
`; got != want {
		t.Errorf("the configuration: got\n%swant\n%s", got, want)
	}
	s.must(t, "runuser -u dkimd -- dkimd check")
	lines := postconfLine.FindAllString(out, -1)
	if len(lines) != 3 {
		t.Fatalf("the package prints %d postconf commands, want 3:\n%s", len(lines), out)
	}
	s.must(t, strings.Join(lines, "\n")+"\npostfix reload 2>&1")
}

// send hands over a message from an address, which decides whether it is ours.
func send(t *testing.T, s *system, from, sender string, data []byte) harness.Reply {
	t.Helper()
	session, err := s.dial(t, from, "203.0.113.1")
	if err != nil {
		t.Fatal(err)
	}
	defer session.HangUp()
	session.Want(250, "EHLO client.test")
	return session.Send(sender, mailbox, data)
}

// arrived waits for a message in the mailbox and returns it.
func arrived(t *testing.T, s *system, subject string) string {
	t.Helper()
	var found string
	harness.Eventually(t, harness.WaitLimit, subject+" arrives", func() bool {
		for _, m := range delivered(s) {
			if strings.Contains(m, "\nSubject: "+subject+"\n") {
				found = m
			}
		}
		return found != ""
	})
	return found
}

// delivered are the messages in the mailbox.
func delivered(s *system) []string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/root/var/mail/root", s.pid))
	return strings.Split("\n"+string(text), "\nFrom ")
}

// mailFlows: with a key our mail is signed, and what others signed is verified.
func mailFlows(t *testing.T, s *system, _, _ string) {
	t.Helper()
	zone := s.must(t, "dkimd key generate example.org --selector e1 --type ed25519")
	if err := s.DNS.SetZone(zone); err != nil {
		t.Fatalf("what key generate prints is no zone: %v\n%s", err, zone)
	}
	s.must(t, "dkimd key activate example.org e1 && systemctl reload dkimd")
	signs(t, s, "signed at first")
	if header := arrived(t, s, "signed at first"); !strings.Contains(header, "d=example.org") {
		t.Errorf("signed for somebody else:\n%s", header)
	}
	// The same message again, from the world: then it is mail of others, with a signature.
	_, whole, _ := strings.Cut(arrived(t, s, "signed at first"), "\nDKIM-Signature:")
	whole = "DKIM-Signature:" + whole
	for result, text := range map[string]string{
		"pass": strings.Replace(whole, "\nSubject:", "\nX-Result: pass\nSubject:", 1),
		"fail": strings.Replace(whole, "Subject: signed at first", "X-Result: fail\nSubject: another", 1),
	} {
		reply := send(t, s, "203.0.113.9", ourMail, []byte(strings.ReplaceAll(strings.TrimRight(text, "\n")+"\n", "\n", "\r\n")))
		if reply.Code != 250 {
			t.Fatalf("mail of others: %s", reply)
		}
		harness.Eventually(t, harness.WaitLimit, "Authentication-Results say dkim="+result, func() bool {
			for _, m := range delivered(s) {
				if strings.Contains(m, "X-Result: "+result) && strings.Contains(m, "Authentication-Results: mx.example.org;") &&
					strings.Contains(m, "dkim="+result) {
					return true
				}
			}
			return false
		})
	}
}

// signs tests that mail sent now is signed.
func signs(t *testing.T, s *system, subject string) {
	t.Helper()
	if reply := send(t, s, "127.0.0.1", ourMail, harness.NewMail(ourMail, subject).Bytes()); reply.Code != 250 {
		t.Fatalf("our mail: %s", reply)
	}
	if header := arrived(t, s, subject); !strings.Contains(header, "\nDKIM-Signature:") {
		t.Errorf("not signed:\n%s", header)
	}
}

// journalHasFields: records are found by their fields.
func journalHasFields(t *testing.T, s *system, _, _ string) {
	t.Helper()
	for query, want := range map[string]string{
		"DKIMD_MODE=sign DKIMD_SIGNED=example.org":                        `"mode":"sign"`,
		"DKIMD_MODE=verify DKIMD_RESULT=fail DKIMD_SIGNATURE=example.org": `"result":"fail"`,
		"DKIMD_FROM=" + ourMail + " DKIMD_VERDICT=accept":                 `"verdict":"accept"`,
	} {
		if got := s.must(t, "journalctl -u dkimd -o cat --no-pager "+query); !strings.Contains(got, want) {
			t.Errorf("journalctl %s has no record with %s: %q", query, want, got)
		}
	}
	if got := s.must(t, "journalctl -u dkimd -o cat --no-pager | dkimd log - --domain example.org"); !strings.Contains(got, "sign") {
		t.Errorf("dkimd log knows of no signed mail:\n%s", got)
	}
}

// reloadTellsTheTruth: a reload of a broken file fails, and says why; dkimd goes on.
func reloadTellsTheTruth(t *testing.T, s *system, _, _ string) {
	t.Helper()
	pid := mainPID(t, s)
	s.must(t, "cp -a /etc/dkimd/dkimd.toml /root/ && printf 'hostnam = \"x\"\\n' >/etc/dkimd/dkimd.toml")
	if out, err := s.run("systemctl reload dkimd"); err == nil {
		t.Errorf("a reload of a broken file succeeds: %s", out)
	}
	if got := s.must(t, "journalctl -u dkimd -n 20 -o cat --no-pager"); !strings.Contains(got, "/etc/dkimd/dkimd.toml:1: hostnam:") {
		t.Errorf("the journal does not name the fault:\n%s", got)
	}
	if got := mainPID(t, s); got != pid {
		t.Errorf("process %s became %s", pid, got)
	}
	signs(t, s, "signed while a file is broken")
	s.must(t, "cp -a /root/dkimd.toml /etc/dkimd/ && systemctl reload dkimd")
}

func mainPID(t *testing.T, s *system) string {
	t.Helper()
	s.must(t, "systemctl is-active dkimd")
	return strings.TrimSpace(s.must(t, "systemctl show -P MainPID dkimd"))
}

// killedComesBack: systemd starts it again, without a limit, and the socket left behind is replaced.
func killedComesBack(t *testing.T, s *system, _, _ string) {
	t.Helper()
	for range 6 { // systemd's own limit is 5 in 10 seconds
		before := s.must(t, "systemctl show -P MainPID dkimd")
		s.must(t, "systemctl kill --signal=KILL dkimd")
		harness.Eventually(t, 10*time.Second, "it runs again", func() bool {
			out, _ := s.run("systemctl is-active dkimd && systemctl show -P MainPID dkimd")
			return strings.HasPrefix(out, "active\n") && out != "active\n"+before
		})
	}
	signs(t, s, "signed after SIGKILL")
}

// secondDaemonIsRefused: who holds the socket is named.
func secondDaemonIsRefused(t *testing.T, s *system, _, _ string) {
	t.Helper()
	pid := mainPID(t, s)
	out, err := s.run("runuser -u dkimd -- dkimd serve 2>&1")
	if err == nil || !strings.Contains(out, socketPath) || !strings.Contains(out, "process "+pid) {
		t.Errorf("a second daemon: %v: %s; want a refusal that names process %s", err, out, pid)
	}
	signs(t, s, "signed beside a second daemon")
}

var exposure = regexp.MustCompile(`Overall exposure level for dkimd.service: ([0-9.]+)`)

// unitIsHardened: as systemd rates it.
func unitIsHardened(t *testing.T, s *system, _, _ string) {
	t.Helper()
	out := s.must(t, "systemd-analyze security --no-pager dkimd.service")
	found := exposure.FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze says no level:\n%s", out)
	}
	t.Logf("exposure level %s", found[1])
	if level, err := strconv.ParseFloat(found[1], 64); err != nil || level > 1.5 {
		t.Errorf("exposure level %s, want at most 1.5:\n%s", found[1], out)
	}
}

// startsAtBoot: after a restart of the system mail is signed at once.
func startsAtBoot(t *testing.T, s *system, _, _ string) {
	t.Helper()
	s.restart(t)
	mainPID(t, s)
	signs(t, s, "signed after a restart of the system")
}

const binarySum = "sha256sum /usr/bin/dkimd"

// fullDiskLeavesTheOldBinary: an upgrade that does not fit changes nothing.
func fullDiskLeavesTheOldBinary(t *testing.T, s *system, _, second string) {
	t.Helper()
	s.put(t, second, "/root/dkimd.deb")
	before := s.must(t, binarySum) + mainPID(t, s)
	// Room for dpkg's own notes, not for the program.
	s.must(t, `free=$(df --output=avail -B1 / | tail -n 1); head -c $((free - 6000000)) /dev/zero >/filler`)
	if out, err := s.run("dpkg -i /root/dkimd.deb 2>&1"); err == nil || !strings.Contains(out, "No space left") {
		t.Errorf("an upgrade on a full disk: %v: %s", err, out)
	}
	s.must(t, "rm /filler")
	if after := s.must(t, binarySum) + mainPID(t, s); after != before {
		t.Errorf("program and process:\n%s\nbefore:\n%s", after, before)
	}
	signs(t, s, "signed after an upgrade that did not fit")
}

// upgradeLosesNothing: mail comes in all the while; what was accepted arrives, signed. A client that is told
// to try again does so.
func upgradeLosesNothing(t *testing.T, s *system, _, second string) {
	t.Helper()
	configuration := "cat /etc/dkimd/dkimd.toml /etc/dkimd/rules/*; cat /etc/dkimd/keys/*/*"
	s.must(t, "echo '# edited' >>/etc/dkimd/dkimd.toml; echo '# edited' >>/etc/dkimd/rules/gmail.com.toml")
	before, kept := s.must(t, binarySum)+mainPID(t, s), s.must(t, configuration)
	var stop atomic.Bool
	var accepted, deferred atomic.Int64
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for !stop.Load() {
				switch submit(t, s) {
				case 250:
					accepted.Add(1)
				default:
					deferred.Add(1)
				}
			}
		})
	}
	arrives := func(more int64) {
		from := accepted.Load()
		harness.Eventually(t, harness.WaitLimit, "mail is taken", func() bool { return accepted.Load() >= from+more })
	}
	arrives(5)
	s.put(t, second, "/root/dkimd.deb")
	s.must(t, "dpkg -i /root/dkimd.deb </dev/null")
	arrives(5)
	stop.Store(true)
	clients.Wait()
	if after := s.must(t, binarySum) + mainPID(t, s); after == before {
		t.Error("program and process are as before the upgrade")
	}
	if got := s.must(t, configuration); got != kept {
		t.Errorf("the configuration is now:\n%s\nand was:\n%s", got, kept)
	}
	t.Logf("%d messages accepted, %d told to try again", accepted.Load(), deferred.Load())
	count := func() (all, signed int64) {
		for _, m := range delivered(s) {
			if strings.Contains(m, "\nSubject: under load\n") {
				all++
				if strings.Contains(m, "\nDKIM-Signature:") {
					signed++
				}
			}
		}
		return all, signed
	}
	harness.Poll(harness.WaitLimit, func() bool { all, _ := count(); return all >= accepted.Load() })
	if all, signed := count(); all != accepted.Load() || signed != all {
		t.Errorf("%d messages were accepted, %d arrived, %d of them signed", accepted.Load(), all, signed)
	}
}

// submit tries to hand over one message, and returns the code of the last answer; 0 where the connection broke.
func submit(t *testing.T, s *system) int {
	t.Helper()
	session, err := s.dial(t, "127.0.0.1", "127.0.0.1")
	if err != nil {
		return 0
	}
	defer session.HangUp()
	data := strings.TrimSuffix(string(harness.NewMail(ourMail, "under load").Bytes()), "\r\n")
	reply, err := session.Try("EHLO client.test", "MAIL FROM:<"+ourMail+">", "RCPT TO:<"+mailbox+">", "DATA", data+"\r\n.")
	if err != nil {
		return 0
	}
	return reply.Code
}

// faultsKeepTheOldProcess: a version that cannot read the configuration does not take the place of one that
// works with it; the next upgrade does.
func faultsKeepTheOldProcess(t *testing.T, s *system, first, second string) {
	t.Helper()
	pid := mainPID(t, s)
	s.must(t, "cp -a /etc/dkimd/dkimd.toml /root/ && echo 'nonsense = 1' >/etc/dkimd/dkimd.toml")
	s.put(t, first, "/root/dkimd.deb")
	if out := s.must(t, "dpkg -i /root/dkimd.deb 2>&1"); !strings.Contains(out, "/etc/dkimd/dkimd.toml:1: nonsense:") {
		t.Errorf("the upgrade does not name the fault:\n%s", out)
	}
	if got := mainPID(t, s); got != pid {
		t.Errorf("process %s became %s", pid, got)
	}
	signs(t, s, "signed by the old process")
	s.must(t, "cp -a /root/dkimd.toml /etc/dkimd/")
	s.put(t, second, "/root/dkimd.deb")
	s.must(t, "dpkg -i /root/dkimd.deb")
	if got := mainPID(t, s); got == pid {
		t.Error("the process is still the old one")
	}
}

// purgeLeavesKeys: removing leaves the configuration, purging the keys alone.
func purgeLeavesKeys(t *testing.T, s *system, _, _ string) {
	t.Helper()
	keys := s.must(t, "cd /etc/dkimd/keys && sha256sum */*")
	if out := s.must(t, "dpkg -r dkimd 2>&1"); !strings.Contains(out, "Postfix defers mail until") {
		t.Errorf("nobody is told that Postfix still calls dkimd:\n%s", out)
	}
	s.must(t, "test -e /etc/dkimd/dkimd.toml && test ! -e "+socketPath+" && ! systemctl is-active dkimd")
	s.must(t, "dpkg -P dkimd")
	if got := s.must(t, "cd /etc/dkimd/keys && sha256sum */*"); got != keys {
		t.Errorf("keys:\n%s\nbefore:\n%s", got, keys)
	}
	left := s.must(t, `find / -xdev -path /proc -prune -o -iname '*dkimd*' -print | grep -v '^/root/\|^/var/lib/dpkg/\|^/var/cache/\|^/var/log/journal/' || true`)
	if left != "/etc/dkimd\n" {
		t.Errorf("what is left:\n%s", left)
	}
	if got := s.must(t, "ls -A /etc/dkimd"); got != "keys\n" {
		t.Errorf("what is left in /etc/dkimd:\n%s", got)
	}
}

// TestWithoutPostfix: on a host without a mail server dkimd runs, and says where.
func TestWithoutPostfix(t *testing.T) {
	t.Parallel()
	deb, _ := debs(t)
	s := boot(t, "bookworm", "dpkg --purge --force-depends postfix >/dev/null 2>&1")
	s.put(t, deb, "/root/dkimd.deb")
	out := s.must(t, "dpkg -i /root/dkimd.deb")
	if !strings.Contains(out, "/run/dkimd/milter.sock") || strings.Contains(out, "postconf") {
		t.Errorf("the package says:\n%s", out)
	}
	s.must(t, "systemctl is-active dkimd && systemctl is-enabled dkimd && test -S /run/dkimd/milter.sock")
	s.must(t, "dpkg -P dkimd && test ! -e /etc/dkimd && test ! -e /run/dkimd")

	// The tarball does the same below /usr/local.
	s.put(t, filepath.Join(built.dir, "dkimd-1.0.0-linux-amd64.tar.gz"), "/root/dkimd.tar.gz")
	out = s.must(t, "tar -C / --strip-components=1 -xzf /root/dkimd.tar.gz && /usr/local/libexec/dkimd/setup --start 2>&1")
	if !strings.Contains(out, "/run/dkimd/milter.sock") {
		t.Errorf("setup says:\n%s", out)
	}
	s.must(t, "systemctl is-active dkimd && systemctl is-enabled dkimd && test -S /run/dkimd/milter.sock")
	if got := s.must(t, "readlink /proc/$(systemctl show -P MainPID dkimd)/exe"); got != "/usr/local/bin/dkimd\n" {
		t.Errorf("what runs is %s", got)
	}

	// Once Exim is here, what setup chooses is for Exim. A name and a program stand for it.
	s.must(t, "useradd --system Debian-exim && printf '#!/bin/sh\\n' >/usr/sbin/exim4 && chmod 755 /usr/sbin/exim4 && rm /etc/dkimd/dkimd.toml")
	if out := s.must(t, "/usr/local/libexec/dkimd/setup --start 2>&1"); !strings.Contains(out, "/run/dkimd/exim.sock") {
		t.Errorf("setup says:\n%s", out)
	}
	s.must(t, "systemctl is-active dkimd && test -S /run/dkimd/exim.sock && test ! -e /run/dkimd/milter.sock && runuser -u dkimd -- /usr/local/bin/dkimd check")
	const ask = "printf 'DKIMD/1 PING\\n' | runuser -u %s -- timeout 5 perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Peer => \"/run/dkimd/exim.sock\") or exit 3; print $s <STDIN>; shutdown($s, 1); print <$s>'"
	for user, want := range map[string]bool{"Debian-exim": true, "nobody": false} {
		if out, err := s.run(fmt.Sprintf(ask, user)); (err == nil && out == "PONG\n") != want {
			t.Errorf("an answer for %s: %v: %q", user, err, out)
		}
	}
}

// debs are two versions of the package for Debian, built of the sources as they are.
func debs(t *testing.T) (first, second string) {
	t.Helper()
	if built.err != nil {
		t.Fatalf("scripts/package: %v", built.err)
	}
	return filepath.Join(built.dir, "dkimd_1.0.0_amd64.deb"), filepath.Join(built.dir, "dkimd_1.0.1_amd64.deb")
}
