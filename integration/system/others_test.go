//go:build system

package system_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// withoutPostfix takes it away before dkimd comes.
const withoutPostfix = "dpkg --purge --force-depends postfix postfix-lmdb >/dev/null 2>&1\n"

// withExim has Debian's Exim in its place, as an administrator configures it.
const withExim = withoutPostfix + `printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
DEBIAN_FRONTEND=noninteractive dpkg -i /var/cache/mta/*.deb >/dev/null 2>&1
rm /usr/sbin/policy-rc.d
sed -i -e "s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='internet'/" \
	-e "s/^dc_other_hostnames=.*/dc_other_hostnames='mx.example.org:example.org'/" \
	-e "s/^dc_local_interfaces=.*/dc_local_interfaces='127.0.0.1 ; 203.0.113.1'/" /etc/exim4/update-exim4.conf.conf`

// TestBesideExim: on a Debian with Exim, what the package and the guide say has mail verified and signed, in a
// single configuration and in a split one.
func TestBesideExim(t *testing.T) {
	t.Parallel()
	s := boot(t, "trixie", withExim)
	deb, _ := debs(t)
	if out := s.install(t, deb); !strings.Contains(out, "/run/dkimd/exim.sock") || strings.Contains(out, "postconf") {
		t.Errorf("the package says:\n%s", out)
	}
	s.must(t, "systemctl is-active dkimd && systemctl is-enabled dkimd && runuser -u dkimd -- dkimd check")
	const ask = "printf 'DKIMD/1 PING\\n' | runuser -u %s -- timeout 5 perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Peer => \"/run/dkimd/exim.sock\") or exit 3; print $s <STDIN>; shutdown($s, 1); print <$s>'"
	for user, want := range map[string]bool{"Debian-exim": true, "nobody": false} {
		if out, err := s.run(fmt.Sprintf(ask, user)); (err == nil && out == "PONG\n") != want {
			t.Errorf("an answer for %s: %v: %q", user, err, out)
		}
	}
	keys, _ := tenMinutes(t)
	s.follow(t, keys)
	var sink *harness.Sink
	harness.InNetwork(t, s.process.Cmd.Process.Pid, func() error {
		sink = harness.StartSink(t, harness.OutsideAddress+":25")
		return nil
	})
	if err := s.DNS.SetZone("far.example. 300 IN MX 10 mx.far.example.\nmx.far.example. 300 IN A 203.0.113.9\n"); err != nil {
		t.Fatal(err)
	}

	var split, others []harness.GuideStep
	for _, step := range harness.ReadGuide(t, "docs/exim.md", "Set up on Debian") {
		if strings.Contains(step.Shell, "debian-split") {
			split = append(split, step)
		} else {
			others = append(others, step)
		}
	}
	if len(split) != 1 {
		t.Fatalf("the guide has %d steps for a split configuration", len(split))
	}
	s.follow(t, others)
	throughExim(t, s, sink, "single")
	s.must(t, "sed -i \"s/^dc_use_split_config=.*/dc_use_split_config='true'/\" /etc/exim4/update-exim4.conf.conf")
	s.follow(t, split)
	throughExim(t, s, sink, "split")

	if out := s.must(t, "dpkg -r dkimd 2>&1"); !strings.Contains(out, "Exim defers mail until") {
		t.Errorf("nobody is told that Exim still calls dkimd:\n%s", out)
	}
}

// throughExim sends a message of ours, which leaves with two signatures; it comes back as mail of others, and is verified.
func throughExim(t *testing.T, s *system, sink *harness.Sink, subject string) {
	t.Helper()
	s.must(t, fmt.Sprintf(`printf 'From: %s\nTo: %s@far.example\nSubject: %[2]s\n\nhello\n' | sendmail -f %[1]s %[2]s@far.example`, ourMail, subject))
	left := sink.Wait(t, subject+"@far.example").Data
	if n := len(harness.FieldValues(left, "DKIM-Signature")); n != 2 {
		t.Errorf("%s: left with %d signatures:\n%s", subject, n, left)
	}
	if reply := send(t, s, harness.OutsideAddress, "bob@theirs.example", left); reply.Code != 250 {
		t.Fatalf("%s: mail of others: %s", subject, reply)
	}
	if header := arrived(t, s, subject); !strings.Contains(header, "\nAuthentication-Results: mx.example.org;") || strings.Count(header, "dkim=pass") != 2 {
		t.Errorf("%s: delivered as\n%s", subject, header)
	}
}

// TestWithoutPostfix: on a host without a mail server dkimd runs, and says where; dkimd-static takes its place; when
// Sendmail comes, dkimd is for Sendmail. The tarball does the same below /usr/local.
func TestWithoutPostfix(t *testing.T) {
	t.Parallel()
	s := boot(t, "bookworm", withoutPostfix)
	deb, _ := debs(t)
	// In a chroot no systemd runs: what is installed there starts when it is booted.
	s.put(t, deb, "/root/dkimd.deb")
	s.must(t, "unshare --mount sh -ec 'mount -t tmpfs tmpfs /run && dpkg -i /root/dkimd.deb'")
	s.must(t, "systemctl daemon-reload && ! systemctl is-active dkimd && systemctl is-enabled dkimd && test -e /etc/dkimd/dkimd.toml && dpkg -P dkimd && test ! -e /etc/dkimd")

	if out := s.install(t, deb); !strings.Contains(out, "/run/dkimd/milter.sock") || strings.Contains(out, "postconf") {
		t.Errorf("the package says:\n%s", out)
	}
	s.must(t, "systemctl is-active dkimd && systemctl is-enabled dkimd && test -S /run/dkimd/milter.sock")
	s.put(t, filepath.Join(packages(t), "dkimd-static_1.0.1_amd64.deb"), "/root/static.deb")
	for _, change := range []string{"apt-get install -y /root/static.deb && dpkg -P dkimd", "apt-get install -y /root/dkimd.deb && dpkg -P dkimd-static"} {
		s.must(t, change+" && cat /etc/dkimd/dkimd.toml /etc/dkimd/rules/*.toml >/dev/null")
		s.must(t, "systemctl is-active dkimd && systemctl is-enabled dkimd && test -S /run/dkimd/milter.sock")
	}
	besideSendmail(t, s)
	if out := s.must(t, "dpkg -P dkimd 2>&1"); !strings.Contains(out, "Sendmail defers mail until") {
		t.Errorf("nobody is told that Sendmail still calls dkimd:\n%s", out)
	}
	s.must(t, "test ! -e /run/dkimd && rm -r /etc/dkimd")

	s.put(t, filepath.Join(packages(t), "dkimd-1.0.0-linux-amd64.tar.gz"), "/root/dkimd.tar.gz")
	out := s.must(t, "tar -C / --strip-components=1 -xzf /root/dkimd.tar.gz && /usr/local/libexec/dkimd/setup --start 2>&1")
	if !strings.Contains(out, "Sendmail is here") {
		t.Errorf("setup says:\n%s", out)
	}
	s.must(t, "systemctl is-active dkimd && systemctl is-enabled dkimd && test -S /run/dkimd/milter.sock && runuser -u dkimd -- /usr/local/bin/dkimd check")
	if got := s.must(t, "readlink /proc/$(systemctl show -P MainPID dkimd)/exe"); got != "/usr/local/bin/dkimd\n" {
		t.Errorf("what runs is %s", got)
	}
}

// besideSendmail installs Sendmail after dkimd, and follows the guides.
func besideSendmail(t *testing.T, s *system) {
	t.Helper()
	s.smtp = "127.0.0.1" // all that Debian's Sendmail listens on
	s.must(t, "dpkg -i /var/cache/mta/*.deb >/dev/null 2>&1 && echo example.org >>/etc/mail/local-host-names")
	for _, limit := range []string{"QUEUE", "REFUSE", "DELAY"} { // the load of this machine is not Sendmail's business
		s.must(t, "sed -i '/^MAILER_DEFINITIONS/i define(`conf"+limit+"_LA'\\'', `1000'\\'')dnl' /etc/mail/sendmail.mc")
	}
	out := s.follow(t, harness.ReadGuide(t, "docs/install.md", "What installing does"))
	steps := harness.ReadGuide(t, "docs/sendmail.md", "The lines in sendmail.mc")
	if printed := strings.ReplaceAll(out, "    ", ""); !strings.Contains(printed, "\n"+steps[0].Text) {
		t.Errorf("the package prints\n%s\nwithout the lines of the guide:\n%s", out, steps[0].Text)
	}
	keys, _ := tenMinutes(t)
	s.follow(t, keys)
	if err := s.DNS.SetZone("example.org. IN A 203.0.113.1\ntheirs.example. IN A 203.0.113.9\n"); err != nil {
		t.Fatal(err)
	}
	s.follow(t, steps)
	signs(t, s, "through Sendmail")
	if header := arrived(t, s, "through Sendmail"); strings.Count(header, "\nDKIM-Signature:") != 2 {
		t.Errorf("has not two signatures:\n%s", header)
	}
	s.must(t, fmt.Sprintf(`printf 'From: %s\nTo: %s\nSubject: by sendmail\n\nhello\n' | sendmail -t -f %[1]s`, ourMail, mailbox))
	if header := arrived(t, s, "by sendmail"); strings.Count(header, "\nDKIM-Signature:") != 2 {
		t.Errorf("mail of a local program has not two signatures:\n%s", header)
	}
	if reply := send(t, s, harness.OutsideAddress, "bob@theirs.example", harness.NewMail("bob@theirs.example", "of others").Bytes()); reply.Code != 250 {
		t.Fatalf("mail of others: %s", reply)
	}
	if header := arrived(t, s, "of others"); !strings.Contains(header, "\nAuthentication-Results: mx.example.org;") || !strings.Contains(header, "dkim=none") {
		t.Errorf("received without results:\n%s", header)
	}
}
