//go:build system

package system_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dkimd/integration/harness"

	"github.com/emersion/go-msgauth/dkim"
)

// withOpenDKIM has Debian's OpenDKIM sign for Postfix, as Debian's wiki has it set up.
const withOpenDKIM = withPostfix + `
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
DEBIAN_FRONTEND=noninteractive dpkg -i /var/cache/opendkim/*.deb >/dev/null
rm /usr/sbin/policy-rc.d
cat >/etc/opendkim.conf <<'END'
Syslog			yes
SyslogSuccess		yes
Canonicalization	relaxed/simple
Mode			sv
SubDomains		no
OversignHeaders		From
UserID			opendkim
UMask			007
Socket			local:/var/spool/postfix/opendkim/opendkim.sock
PidFile			/run/opendkim/opendkim.pid
TrustAnchorFile		/usr/share/dns/root.key
KeyTable		/etc/opendkim/key.table
SigningTable		refile:/etc/opendkim/signing.table
ExternalIgnoreList	/etc/opendkim/trusted.hosts
InternalHosts		/etc/opendkim/trusted.hosts
END
mkdir -p /etc/opendkim/keys/example.org
cat >/etc/opendkim/keys/example.org/mail.private <<'END'
%sEND
chown -R opendkim:opendkim /etc/opendkim/keys
chmod -R go-rwx /etc/opendkim/keys
echo 'mail._domainkey.example.org example.org:mail:/etc/opendkim/keys/example.org/mail.private' >/etc/opendkim/key.table
echo '*@example.org mail._domainkey.example.org' >/etc/opendkim/signing.table
printf '127.0.0.1\n::1\nlocalhost\n' >/etc/opendkim/trusted.hosts
install -d -o opendkim -g postfix -m 750 /var/spool/postfix/opendkim
usermod -aG opendkim postfix
postconf -e smtpd_milters=local:opendkim/opendkim.sock 'non_smtpd_milters=$smtpd_milters' milter_default_action=accept milter_protocol=6`

// TestFromOpenDKIM follows the guide from OpenDKIM to dkimd and back, while mail is sent every 100 ms: all of it is
// taken at once, and arrives with a signature that verifies.
func TestFromOpenDKIM(t *testing.T) {
	t.Parallel()
	key, record := newKey(t)
	s := boot(t, "trixie", fmt.Sprintf(withOpenDKIM, key))
	s.DNS.SetTXT("mail._domainkey.example.org", record)
	deb, _ := debs(t)
	before := s.must(t, "postconf -n; find /etc/opendkim* -type f | xargs sha256sum")
	mail := sendSteadily(t, s)
	signedBy(t, s, "OpenDKIM")
	s.put(t, deb, "/root/"+filepath.Base(deb))
	s.follow(t, harness.ReadGuide(t, "README.md", "Install"))

	steps := harness.ReadGuide(t, "docs/from-opendkim.md", "The path")
	over, back := len(steps)-2, len(steps)-1
	out := s.follow(t, steps[:over])
	for _, want := range []string{"proof: 0 differences of", "no faults", "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example.org; s=mail;"} {
		if !strings.Contains(out, want) {
			t.Errorf("following the guide prints nothing of %q:\n%s", want, out)
		}
	}
	signedBy(t, s, "OpenDKIM")
	s.follow(t, steps[over:back])
	mail.goesOn(t)
	signedBy(t, s, "dkimd")
	if out := s.must(t, "dkimd log --since 10m && dkimd log --why --limit 3"); !strings.Contains(out, "example.org") {
		t.Errorf("dkimd log knows nothing of the mail:\n%s", out)
	}
	s.follow(t, steps[back:])
	mail.goesOn(t)
	signedBy(t, s, "OpenDKIM")
	if after := s.must(t, "postconf -n; find /etc/opendkim* -type f | xargs sha256sum"); after != before {
		t.Errorf("after the way back:\n%s\nand before:\n%s", after, before)
	}
	mail.allSigned(t, record)
}

// newKey is a private key as opendkim-genkey writes it, and its record.
func newKey(t *testing.T) (private, record string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return string(pem.EncodeToMemory(block)), "v=DKIM1; h=sha256; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
}

// signedBy tests who signs a message that is sent now.
func signedBy(t *testing.T, s *system, want string) {
	t.Helper()
	subject := harness.Unique("signed")
	signs(t, s, subject)
	got := "dkimd" // which folds with a space
	if strings.Contains(arrived(t, s, subject), "; s=mail;\n\tt=") {
		got = "OpenDKIM"
	}
	if got != want {
		t.Errorf("%s has signed, want %s", got, want)
	}
}

// steadyMail is sent all the time, and counted by the server's answers.
type steadyMail struct {
	system          *system
	accepted, other atomic.Int64
	stop            func()
}

func sendSteadily(t *testing.T, s *system) *steadyMail {
	t.Helper()
	m := &steadyMail{system: s}
	done := make(chan struct{})
	var sender sync.WaitGroup
	m.stop = sync.OnceFunc(func() { close(done); sender.Wait() })
	t.Cleanup(m.stop)
	sender.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if submit(t, s) == 250 {
					m.accepted.Add(1)
				} else {
					m.other.Add(1)
				}
			}
		}
	})
	return m
}

// goesOn waits for some more messages.
func (m *steadyMail) goesOn(t *testing.T) {
	t.Helper()
	from := m.accepted.Load()
	harness.Eventually(t, harness.WaitLimit, "mail is taken", func() bool { return m.accepted.Load() >= from+10 })
}

// allSigned ends it: each message was taken and has arrived, with a signature that verifies by another's verifier.
func (m *steadyMail) allSigned(t *testing.T, record string) {
	t.Helper()
	m.stop()
	if n := m.other.Load(); n != 0 {
		t.Errorf("%d of %d messages were not taken", n, n+m.accepted.Load())
	}
	var arrived []string
	harness.Poll(harness.WaitLimit, func() bool {
		arrived = nil
		for _, text := range delivered(m.system) {
			if strings.Contains(text, "\nSubject: under load\n") {
				arrived = append(arrived, text)
			}
		}
		return len(arrived) >= int(m.accepted.Load())
	})
	if len(arrived) != int(m.accepted.Load()) {
		t.Errorf("%d messages arrived of %d", len(arrived), m.accepted.Load())
	}
	lookup := func(name string) ([]string, error) {
		if name != "mail._domainkey.example.org" {
			return nil, os.ErrNotExist
		}
		return []string{record}, nil
	}
	for _, text := range arrived {
		_, whole, _ := strings.Cut(text, "\n") // after the line that begins a message in a mailbox
		whole = strings.ReplaceAll(strings.TrimRight(whole, "\n")+"\n", "\n", "\r\n")
		results, err := dkim.VerifyWithOptions(strings.NewReader(whole), &dkim.VerifyOptions{LookupTXT: lookup})
		if err != nil || len(results) == 0 || results[0].Err != nil {
			t.Fatalf("not signed as it should be: %v: %+v\n%s", err, results, text)
		}
	}
	t.Logf("%d messages, all signed", len(arrived))
}
