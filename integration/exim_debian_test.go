//go:build integration

package integration_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

// debianExim turns a fresh root into a host with Debian's Exim in place of
// Postfix: the packages' own files, configured as for an "internet site" by
// their own update-exim4.conf. The host's name has no dot, as Debian's installer leaves it.
// Arguments: where Exim is unpacked, the build, whether the configuration is split, packaging/exim,
// the dkimd binary, the kind of host, its smarthost, rules, dkimd-exim-sign, and what follows the build's name.
const debianExim = `
/etc/init.d/postfix stop >/dev/null 2>&1
hostname mail
printf '127.0.0.1 localhost\n127.0.1.1 mail.example.org mail\n' >/etc/hosts
for part in %[2]s%[10]s debian%[10]s; do
	tar -C %[1]s/$part -c . | tar -C / -x --keep-directory-symlink --no-overwrite-dir
done
rm -f /usr/sbin/sendmail
ln -s exim4 /usr/sbin/sendmail
chmod 4755 /usr/sbin/exim4
mkdir -p /var/lib/exim4 /var/log/exim4 /var/spool/exim4
chown Debian-exim:Debian-exim /var/log/exim4 /var/spool/exim4
cat >/etc/exim4/update-exim4.conf.conf <<-END
	dc_eximconfig_configtype='%[6]s'
	dc_other_hostnames='mail.example.org:example.org'
	dc_local_interfaces='203.0.113.1'
	dc_readhost=''
	dc_relay_domains=''
	dc_minimaldns='false'
	dc_relay_nets=''
	dc_smarthost='%[7]s'
	CFILEMODE='644'
	dc_use_split_config='%[3]s'
	dc_hide_mailname=''
	dc_mailname_in_oh='true'
	dc_localdelivery='mail_spool'
END
# From here on it is docs/exim.md.
install -m 0755 %[5]s /usr/local/bin/dkimd
install -m 0755 %[9]s /usr/local/bin/dkimd-exim-sign
mkdir -p /etc/exim4/dkimd
cp %[4]s/dkimd/* /etc/exim4/dkimd/
if [ %[3]s = true ]; then
	cp -r %[4]s/debian-split/conf.d /etc/exim4/
else
	cp %[4]s/debian-single/exim4.conf.localmacros /etc/exim4/
	(cd /etc/exim4 && patch -s -p1 <%[4]s/debian-single/exim4.conf.template.patch)
fi
mkdir -p /etc/dkimd/keys /etc/dkimd/rules /run/dkimd
cat >/etc/dkimd/dkimd.toml <<-END
	[milter]
	listen = []
	[exim]
	listen = ["unix:/run/dkimd/exim.sock"]
	socket_group = "Debian-exim"
	peers = ["Debian-exim", "root"]
END
cat >/etc/dkimd/rules/gmail.com.toml <<'END'
%[8]s
END
dkimd key generate example.org --selector r1 >/root/zone
dkimd key activate example.org r1 --force >/dev/null
dkimd check
dkimd serve >/var/log/dkimd.json 2>/var/log/dkimd.log &
update-exim4.conf
# A child of process 1 takes itself for a daemon already.
(exim4 -bd -q1h; true)
exim4 -bP transport remote_smtp | grep transport_filter
`

// TestDebianConfigurations drives Debian's own split and single configurations
// end to end with the packaged files.
func TestDebianConfigurations(t *testing.T) {
	t.Parallel()
	harness.NeedExim(t)
	harness.Need(t, "patch")
	harness.OnStage(t)
	packaging := harness.Repository("packaging/exim")
	type host struct{ build, split, kind, smarthost, version string }
	tests := map[string]host{
		"split-heavy":           {"heavy", "true", "internet", "", ""},
		"split-light-smarthost": {"light", "true", "smarthost", "203.0.113.9::2525", ""},
		"single-light":          {"light", "false", "internet", "", ""},
	}
	for _, version := range harness.NewerExims() {
		tests["split-heavy-"+version] = host{"heavy", "true", "internet", "", "-" + version}
		tests["single-light-"+version] = host{"light", "false", "internet", "", "-" + version}
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := harness.NewFreshRoot(t)
			out, err := f.Run(t, fmt.Sprintf(debianExim, harness.EximRoot(), c.build, c.split, packaging, harness.Binary(t), c.kind, c.smarthost, gmailRule, harness.EximSignBinary(t), c.version))
			if err != nil || !strings.Contains(out, "exim-sign") {
				t.Fatalf("%v\n%s\n%s\n%s", err, out, f.Process.Log, f.Read(t, "/var/log/dkimd.log"))
			}
			if err := f.DNS.SetZone(f.Read(t, "/root/zone")); err != nil {
				t.Fatal(err)
			}
			harness.PublishForeignKeys(f.DNS, "gmail.com")
			drive(t, f, c.smarthost != "")
			if t.Failed() {
				t.Logf("%s\n%s\n%s\n%s", out, f.Read(t, "/var/log/exim4/mainlog"), f.Read(t, "/var/log/dkimd.json"), f.Read(t, "/var/log/dkimd.log"))
			}
		})
	}
}

// TestPlainConfigurationIsValid: Exim takes packaging/exim/exim.conf as it is,
// but for the place of the files.
func TestPlainConfigurationIsValid(t *testing.T) {
	t.Parallel()
	harness.NeedExim(t)
	packaging := harness.Repository("packaging/exim")
	text, err := os.ReadFile(packaging + "/exim.conf")
	if err != nil {
		t.Fatal(err)
	}
	for name, macros := range map[string]string{
		"as it is":  "",
		"fail-open": "DKIMD_FAIL_OPEN = yes\n",
		"TCP":       "DKIMD_SOCKET = inet:127.0.0.1:11335\nDKIMD_SPAMD = 127.0.0.1 11335\n",
		"two":       "DKIMD_OTHER_SPAMD = 127.0.0.1 783\n",
	} {
		for _, build := range harness.EximBuilds {
			conf := filepath.Join(t.TempDir(), "exim.conf")
			full := macros + strings.ReplaceAll(string(text), "/etc/exim4/dkimd", packaging+"/dkimd")
			if err := os.WriteFile(conf, []byte(full), 0o644); err != nil {
				t.Fatal(err)
			}
			out, complaint, err := harness.TryRun(t, nil, harness.EximBinary(build), "-C", conf, "-bP", "transport", "remote_smtp")
			if err != nil || !strings.Contains(string(out), "exim-sign") {
				t.Errorf("%s, %s: %v\n%s%s", build, name, err, out, complaint)
			}
		}
	}
}

// drive sends mail in and out through the Exim of a fresh root.
func drive(t *testing.T, f *harness.FreshRoot, smarthost bool) {
	t.Helper()
	plain := harness.NewMail(gmailUser, "to Debian").Bytes()
	if got := f.Dial(t, harness.OutsideAddress, harness.RootAddress).Send(gmailUser, mailbox, plain); got.String() != gmailReply {
		t.Errorf("unsigned: %q", got)
	}
	const forged = "; dkim=pass header.d=forged.example"
	signed := harness.NewMail(gmailUser, "to Debian").With(
		"Authentication-Results: mail.example.org"+forged, "Authentication-Results: (x) Mail.Example.(y)Org"+forged).Bytes()
	if got := f.Dial(t, harness.OutsideAddress, harness.RootAddress).Send(gmailUser, mailbox, byGmail.sign(t, signed)); got.Code != 250 {
		t.Errorf("signed: %q", got)
	}
	var inbox string
	harness.Eventually(t, harness.WaitLimit, "mail in the mailbox", func() bool {
		for _, user := range []string{"mail", "root"} {
			if inbox = f.Read(t, "/var/mail/"+user); strings.Contains(inbox, "to Debian") {
				return true
			}
		}
		return false
	})
	if !strings.Contains(inbox, "Authentication-Results: mail.example.org;") || !strings.Contains(inbox, "dkim=pass") || strings.Contains(inbox, "forged.example") {
		t.Errorf("delivered:\n%s", inbox)
	}

	// A local program's mail leaves signed.
	var sink *harness.Sink
	port := 25
	if smarthost {
		port = 2525
	}
	f.Within(t, func() error { sink = harness.StartSink(t, fmt.Sprintf("203.0.113.9:%d", port)); return nil })
	f.DNS.SetZone("far.example. 300 IN MX 10 mx.far.example.\nmx.far.example. 300 IN A 203.0.113.9\n") //nolint:errcheck // seen below
	script := "sendmail -f joe@example.org x@[203.0.113.9] y@far.example <<'END'\nFrom: joe@example.org\nTo: x@far.example\nSubject: from Debian\n\n.hello\nEND\n"
	if out, err := f.Run(t, script); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := sink.Wait(t, "y@far.example")
	if signed := harness.FieldValues(got.Data, "DKIM-Signature"); len(signed) != 1 || !bytes.Contains(got.Data, []byte("\r\n.hello\r\n")) {
		t.Errorf("left as:\n%s", got.Data)
	}
	if v := verify(t, f, got.Data); v != "pass example.org rsa-sha256" {
		t.Errorf("python3-dkim: %s", v)
	}
	// While dkimd is down nothing leaves and nothing comes in.
	if out, err := f.Run(t, "pkill -TERM -x dkimd; while pgrep -x dkimd >/dev/null; do sleep 0.1; done\n"+strings.ReplaceAll(script, "from Debian", "later")+"exim4 -bp\n"); err != nil || !strings.Contains(out, "joe@example.org") {
		t.Errorf("%v: nothing waits in the queue:\n%s", err, out)
	}
	if got := f.Dial(t, harness.OutsideAddress, harness.RootAddress).Send(gmailUser, mailbox, byGmail.sign(t, plain)); !strings.HasPrefix(got.String(), "451 4.7.1 DKIM service unavailable") {
		t.Errorf("dkimd is down: %q", got)
	}
}

// verify asks python3-dkim in the fresh root, where its DNS server is.
func verify(t *testing.T, f *harness.FreshRoot, data []byte) string {
	t.Helper()
	if err := os.WriteFile(f.Path(t, "/root/message"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := f.Run(t, harness.Python+" integration/harness/testdata/verify.py 127.0.0.1 53 </root/message\n")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}
