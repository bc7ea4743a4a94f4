//go:build integration

package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSendmailSignsMailOfAnInsideClient(t *testing.T) {
	t.Parallel()
	for name, unixSocket := range map[string]bool{"over TCP": false, "through a unix socket": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newSendmailWorld(t, sendmailSettings{unixSocket: unixSocket})
			to := unique("inside") + "@elsewhere.test"
			got := w.dial(t, sendmailInside).send("alice@ours.test", to, newMail("alice@ours.test", "an inside client").bytes())
			if got.code != 250 {
				t.Fatal(got)
			}
			checkSigned(t, w.world, w.stage.sink.wait(t, to).data)
			r := w.daemon.stream.from(t, "alice@ours.test")
			checkRecord(t, r, sendmailInside)
			if r.ID != got.queueID() {
				t.Errorf("record id %q, Sendmail queued as %q", r.ID, got.queueID())
			}
		})
	}
}

func TestSendmailSignsMailOfALogin(t *testing.T) {
	t.Parallel()
	w := newSendmailWorld(t, sendmailSettings{})
	to := unique("login") + "@elsewhere.test"
	const login = "bob@ours.test"
	c := w.dial(t, sendmailOutside)
	if got := c.command("AUTH PLAIN AGEAYg=="); got.code != 535 {
		t.Errorf("wrong password: %s; want 535", got)
	}
	c.login(login)
	if got := c.send("alice@ours.test", to, newMail("alice@ours.test", "a login from a café").bytes()); got.code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w.world, w.stage.sink.wait(t, to).data)
	r := w.daemon.stream.from(t, "alice@ours.test")
	checkRecord(t, r, sendmailOutside)
	if r.Auth != login {
		t.Errorf("record's auth %q, want %q", r.Auth, login)
	}
}

func TestSendmailSignsLocalSubmissions(t *testing.T) {
	t.Parallel()
	w := newSendmailWorld(t, sendmailSettings{})
	to := unique("submit") + "@elsewhere.test"
	// No Message-ID, no Date: the submission program adds them before dkimd signs.
	m := newMail("alice@ours.test", "sendmail -t").without("To").without("Date").without("Message-ID").with("To: " + to)
	w.submit(t, m.bytes())
	checkSigned(t, w.world, w.stage.sink.wait(t, to).data)
	checkRecord(t, w.daemon.stream.wait(t, "the local submission", func(record) bool { return true }), sendmailInside)
}

func TestSendmailNeverSignsForAnOutsideClient(t *testing.T) {
	t.Parallel()
	w := newSendmailWorld(t, sendmailSettings{})
	to := unique("forged") + "@elsewhere.test"
	got := w.dial(t, sendmailOutside).send("alice@ours.test", to, newMail("alice@ours.test", "not ours").bytes())
	if got.code != 250 {
		t.Fatal(got)
	}
	data := w.stage.sink.wait(t, to).data
	if got := named(data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("an outside client got a signature of ours: %q", got)
	}
	if got := named(data, "Authentication-Results"); len(got) != 1 || !strings.Contains(got[0], "dkim=none") {
		t.Errorf("Authentication-Results %q, want one with dkim=none", got)
	}
	r := w.daemon.stream.from(t, "alice@ours.test")
	if r.Mode != "verify" || len(r.Signed) > 0 || r.Client != sendmailOutside || r.ID != got.queueID() {
		t.Errorf("record %+v; want mode verify, nothing signed, client %s, id %s", r, sendmailOutside, got.queueID())
	}
}

func TestSendmailSignsMailOfAListedDaemon(t *testing.T) {
	t.Parallel()
	w := newSendmailWorld(t, sendmailSettings{})
	to := unique("daemon") + "@elsewhere.test"
	c := dialFrom(t, sendmailOutside, fmt.Sprintf("127.0.0.1:%d", w.originating))
	if got := c.send("alice@ours.test", to, newMail("alice@ours.test", "a daemon name").bytes()); got.code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w.world, w.stage.sink.wait(t, to).data)
}

// Sendmail tells the address as IPv6:0:0:0:0:0:0:0:1.
func TestSendmailSignsMailOfAnIPv6Client(t *testing.T) {
	t.Parallel()
	w := newSendmailWorld(t, sendmailSettings{})
	if w.port6 == 0 {
		t.Skip("this host has no IPv6")
	}
	to := unique("ipv6") + "@elsewhere.test"
	c := dialFrom(t, "::1", fmt.Sprintf("[::1]:%d", w.port6))
	if got := c.send("alice@ours.test", to, newMail("alice@ours.test", "IPv6").bytes()); got.code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w.world, w.stage.sink.wait(t, to).data)
	checkRecord(t, w.daemon.stream.from(t, "alice@ours.test"), "::1")
}

// What is oddly written must reach dkimd and the next host alike.
func TestSendmailDeliversWhatWasSigned(t *testing.T) {
	t.Parallel()
	for canonicalization, more := range map[string]string{
		"relaxed/relaxed": "", "relaxed/simple": "",
		"simple/simple": guideLine(t, "headers = ", ""), // Sendmail folds To anew
	} {
		w := newSendmailWorld(t, sendmailSettings{sign: fmt.Sprintf("canonicalization = %q\n%s", canonicalization, more)})
		plain := func() *mail { return newMail("alice@ours.test", "bytes") }
		folded := plain().without("Subject").without("To").with("Subject: folded\r\n\tinto\r\n   three  lines ", "To: <reader@elsewhere.test>,\r\n\t\"Second, B\" <second@elsewhere.test>")
		binary := plain().with("X-Latin: caf\xe9").without("Subject").with("Subject: Gr\xc3\xb6\xc3\x9fe")
		binary.body = "8-bit \xe9\xff\r\n..dot\r\n. \r\ntrailing \t \r\n" + strings.Repeat("x", 900) + "\r\n\r\n\r\n"
		bare := plain().without("Date").without("Message-ID")
		noBody := plain()
		noBody.body = ""
		for name, m := range map[string]*mail{"plain": plain(), "folded": folded, "8-bit": binary, "neither Date nor Message-ID": bare, "no body": noBody} {
			t.Run(canonicalization+" "+name, func(t *testing.T) {
				t.Parallel()
				to := unique("bytes") + "@elsewhere.test"
				if got := w.dial(t, sendmailInside).send("alice@ours.test", to, m.bytes()); got.code != 250 {
					t.Fatal(got)
				}
				checkSigned(t, w.world, w.stage.sink.wait(t, to).data)
			})
		}
	}
}

// With the settings of docs/sendmail.md a signature outlives what Sendmail
// writes anew when it delivers.
func TestSendmailRewritesNothingThatWasSigned(t *testing.T) {
	t.Parallel()
	w := newSendmailWorld(t, sendmailSettings{sign: guideLine(t, "headers = ", "")})
	tests := map[string]struct{ written, delivered string }{
		"a list":             {"To: a@x.test,b@y.test", "a@x.test, b@y.test"},
		"a name with a dot":  {"Cc: A.B <a@x.test> , b@y.test", "A.B <a@x.test>, b@y.test"},
		"no domain":          {"Reply-To: root", "root@" + mailName},
		"an author":          {"From: Dr. O'Brien <alice@ours.test>", "Dr. O'Brien <alice@ours.test>"},
		"an author's remark": {"From: alice@ours.test (Dr. O'Brien)", "alice@ours.test (Dr. O'Brien)"},
		"a mailing list":     {"List-Unsubscribe: <a@x.test>,<mailto:b@y.test>", "<a@x.test>,<mailto:b@y.test>"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := unique("rewritten") + "@elsewhere.test"
			field, _, _ := strings.Cut(test.written, ":")
			m := newMail("alice@ours.test", "rewriting").without(field).with(test.written)
			if got := w.dial(t, sendmailInside).send("alice@ours.test", to, m.bytes()); got.code != 250 {
				t.Fatal(got)
			}
			data := w.stage.sink.wait(t, to).data
			if got := named(data, field); !slices.Equal(got, []string{test.delivered}) {
				t.Errorf("Sendmail delivers %s: %q, want %q", field, got, test.delivered)
			}
			checkSigned(t, w.world, data)
		})
	}
}

// The README's lines for sendmail.mc are the guide's, which every test here uses.
func TestReadmeHasTheLinesForSendmail(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{guideLine(t, "INPUT_MAIL_FILTER(", "S=inet:"), guideLine(t, "define(`confMUST_QUOTE_CHARS'", "")} {
		if !strings.Contains(string(readme), "\n"+line+"\n") {
			t.Errorf("README.md has no line %s", line)
		}
	}
}

// The guide's lines do what it says in the sendmail.mc that Debian installs.
func TestGuideFitsDebiansSendmailMC(t *testing.T) {
	t.Parallel()
	needSendmail(t)
	cf := sendmailRoot() + "/usr/share/sendmail/cf/"
	text, err := os.ReadFile(cf + "debian/sendmail.mc")
	if err != nil {
		t.Fatal(err)
	}
	mc := "divert(-1)\ninclude(`" + cf + "debian/autoconf.m4')\n" + strings.ReplaceAll(string(text), "/usr/share/sendmail/cf/", cf)
	mc = strings.ReplaceAll(mc, "include(`/etc/mail/", "dnl include(`/etc/mail/") // dial-up hosts' own
	filter := guideLine(t, "INPUT_MAIL_FILTER(", "S=inet:")
	before, after, found := strings.Cut(mc, "\nMAILER_DEFINITIONS")
	if !found {
		t.Fatalf("Debian's sendmail.mc has no MAILER_DEFINITIONS:\n%s", mc)
	}
	mc = before + "\n" + filter + "\n" + guideLine(t, "define(`confMUST_QUOTE_CHARS'", "") + "\nMAILER_DEFINITIONS" + after
	file := filepath.Join(t.TempDir(), "sendmail.mc")
	if err := os.WriteFile(file, []byte(mc), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(command(t, nil, "m4", "-D_CF_DIR_="+cf, file)), "\n")
	_, equates, _ := strings.Cut(filter, "`dkimd', `")
	equates, _, _ = strings.Cut(equates, "'")
	for _, want := range []string{"Xdkimd, " + equates, "O InputMailFilters=dkimd", "O MustQuoteChars"} {
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.TrimSpace(line) == want }) {
			t.Errorf("sendmail.cf has no line %s", want)
		}
	}
}
