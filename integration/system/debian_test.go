//go:build system

package system_test

import (
	"fmt"
	"os"
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
	{"readme", readmeIsRight},
	{"mail", mailFlows},
	{"report", answersReports},
	{"socket", socketIsForPostfixAlone},
	{"journal", journalHasFields},
	{"reload", reloadTellsTheTruth},
	{"kill", killedComesBack},
	{"second daemon", secondDaemonIsRefused},
	{"hardening", unitIsHardened},
	{"restart", startsAtBoot},
	{"full disk", fullDiskLeavesTheOldBinary},
	{"upgrade", upgradeLosesNothing},
	{"upgrade with faults", faultsKeepTheOldProcess},
	{"remove", removedAndBack},
	{"purge", purgeLeavesKeys},
}

// TestBesidePostfix is the life of dkimd on a mail server, from its installation until it is purged.
func TestBesidePostfix(t *testing.T) {
	t.Parallel()
	for name, release := range releases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := boot(t, release, withPostfix)
			first, second := debs(t)
			for _, step := range lifetime {
				if !t.Run(step.name, func(t *testing.T) { step.do(t, s, first, second) }) {
					return // each step builds on those before it
				}
			}
		})
	}
}

var postconfLine = regexp.MustCompile(`(?m)^ +postconf -e .*$`)

// install installs a package as the README says: dkimd runs, and starts at boot; Postfix is as it was. What it
// prints for Postfix is what the README says.
func install(t *testing.T, s *system, first, _ string) {
	t.Helper()
	before := s.must(t, "cat /etc/postfix/*.cf; ls -l /etc/postfix")
	out := s.install(t, first)
	if after := s.must(t, "cat /etc/postfix/*.cf; ls -l /etc/postfix"); after != before {
		t.Errorf("Postfix's files have changed:\n%s\nbefore:\n%s", after, before)
	}
	s.must(t, "systemctl is-active dkimd && systemctl is-enabled dkimd")
	if got, want := s.must(t, "stat -c '%A %U %G' /var/spool/postfix/dkimd "+socketPath), "drwx--s--- dkimd postfix\nsrw-rw---- dkimd postfix\n"; got != want {
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
	lines := strings.Join(postconfLine.FindAllString(out, -1), "\n")
	if strings.Count(lines, "\n") != 2 || !strings.Contains(tellPostfix(t), strings.ReplaceAll(lines+"\n", "    ", "")) {
		t.Errorf("the package prints these commands for Postfix:\n%s\nand the README has\n%s", lines, tellPostfix(t))
	}
}

// send hands over a message from an address, which decides whether it is ours.
func send(t *testing.T, s *system, from, sender string, data []byte) harness.Reply {
	t.Helper()
	session, err := s.dial(t, from, s.smtp)
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
	var all []string
	for _, name := range []string{"root", "mail"} { // Debian's Exim gives root's mail to the user mail
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/root/var/mail/%s", s.pid, name))
		all = append(all, strings.Split("\n"+string(text), "\nFrom ")...)
	}
	return all
}

// mailFlows: our mail is signed, and what others signed is verified.
func mailFlows(t *testing.T, s *system, _, _ string) {
	t.Helper()
	signs(t, s, "signed at first")
	if header := arrived(t, s, "signed at first"); strings.Count(header, "d=example.org") != 2 {
		t.Errorf("signed for somebody else, or not by both keys:\n%s", header)
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

// answersReports: an address answers, set up as docs/report.md says.
func answersReports(t *testing.T, s *system, _, _ string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "\n\n    dkimd-report unix")
	block, _, _ = strings.Cut(block, "\n\n")
	block = strings.ReplaceAll("dkimd-report unix"+strings.ReplaceAll(block, "\n    ", "\n"), "example.net", "example.org")
	s.must(t, "cat >>/etc/postfix/master.cf <<'END'\n"+block+`
END
echo 'check: root' >>/etc/aliases && newaliases
echo 'check@example.org dkimd-report:' >/etc/postfix/transport
postconf -e transport_maps=texthash:/etc/postfix/transport dkimd-report_destination_recipient_limit=1 && postfix reload`)
	session, err := s.dial(t, "127.0.0.1", s.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer session.HangUp()
	session.Want(250, "EHLO client.test")
	if reply := session.Send(mailbox, "check@example.org", harness.NewMail(mailbox, "how is it").Bytes()); reply.Code != 250 {
		t.Fatalf("mail for a report: %s", reply)
	}
	harness.Eventually(t, harness.WaitLimit, "the report arrives", func() bool {
		for _, m := range delivered(s) {
			if strings.Contains(m, "\nAuto-Submitted: auto-replied\n") && strings.Contains(m, "\nSignature 1: pass\n") && strings.Contains(m, "\nDKIM-Signature:") {
				return true
			}
		}
		return false
	})
	if got := s.must(t, "stat -c '%A %U' /var/lib/dkimd /var/lib/dkimd/report.state"); got != "drwx------ dkimd\n-rw------- dkimd\n" {
		t.Errorf("the state: %s", got)
	}
	// Postfix is as it was: what it made for the service has dkimd in its name, too.
	s.must(t, `postconf -MX dkimd-report/unix && postconf -X transport_maps dkimd-report_destination_recipient_limit && postfix reload
rm /var/spool/postfix/pid/unix.dkimd-report /var/spool/postfix/private/dkimd-report`)
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

// removedAndBack: without the package nothing of dkimd runs; installed again it goes on as before. With a
// configuration that has faults it says them, and that it does not run.
func removedAndBack(t *testing.T, s *system, _, second string) {
	t.Helper()
	if out := s.must(t, "dpkg -r dkimd 2>&1"); !strings.Contains(out, "Postfix defers mail until") {
		t.Errorf("nobody is told that Postfix still calls dkimd:\n%s", out)
	}
	s.must(t, "test -e /etc/dkimd/dkimd.toml && test ! -e "+socketPath+" && ! systemctl is-active dkimd")
	if code := submit(t, s); code/100 != 4 {
		t.Errorf("mail without dkimd: %d; want it deferred", code)
	}

	s.must(t, "cp -a /etc/dkimd/dkimd.toml /root/ && echo 'nonsense = 1' >/etc/dkimd/dkimd.toml")
	s.put(t, second, "/root/dkimd.deb")
	out := s.must(t, "dpkg -i /root/dkimd.deb 2>&1")
	if !strings.Contains(out, "/etc/dkimd/dkimd.toml:1: nonsense:") || !strings.Contains(out, "dkimd does not run") {
		t.Errorf("installed with faults in dkimd.toml:\n%s", out)
	}
	s.must(t, "! systemctl is-active dkimd && cp -a /root/dkimd.toml /etc/dkimd/ && systemctl start dkimd")
	signs(t, s, "signed by a dkimd that was away")
}

// purgeLeavesKeys: purging leaves the keys alone; a new installation signs with them.
func purgeLeavesKeys(t *testing.T, s *system, _, _ string) {
	t.Helper()
	keys := s.must(t, "cd /etc/dkimd/keys && sha256sum */*")
	s.must(t, "mkdir /etc/dkimd/dkimd.toml.d && touch /etc/dkimd/dkimd.toml.d/dns.toml /etc/dkimd/rules/of-ours.example.toml && dpkg -P dkimd")
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
	s.must(t, "dpkg -i /root/dkimd.deb")
	signs(t, s, "signed after a new installation")
}
