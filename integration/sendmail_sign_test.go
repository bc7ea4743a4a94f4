//go:build integration

package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"
)

func TestSendmailSignsMailOfAnInsideClient(t *testing.T) {
	t.Parallel()
	for name, unixSocket := range map[string]bool{"over TCP": false, "through a unix socket": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewSendmailWorld(t, harness.SendmailSettings{UnixSocket: unixSocket})
			to := harness.Unique("inside") + "@elsewhere.test"
			got := w.Dial(t, harness.SendmailInside).Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "an inside client").Bytes())
			if got.Code != 250 {
				t.Fatal(got)
			}
			checkSigned(t, w.World, w.Stage.Sink.Wait(t, to).Data)
			r := w.Daemon.Stream.From(t, "alice@ours.test")
			checkRecord(t, r, harness.SendmailInside)
			if r.ID != got.QueueID() {
				t.Errorf("record id %q, Sendmail queued as %q", r.ID, got.QueueID())
			}
		})
	}
}

func TestSendmailSignsMailOfALogin(t *testing.T) {
	t.Parallel()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{})
	to := harness.Unique("login") + "@elsewhere.test"
	const login = "bob@ours.test"
	c := w.Dial(t, harness.SendmailOutside)
	if got := c.Command("AUTH PLAIN AGEAYg=="); got.Code != 535 {
		t.Errorf("wrong password: %s; want 535", got)
	}
	c.Login(login)
	if got := c.Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "a login from a café").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w.World, w.Stage.Sink.Wait(t, to).Data)
	r := w.Daemon.Stream.From(t, "alice@ours.test")
	checkRecord(t, r, harness.SendmailOutside)
	if r.Auth != login {
		t.Errorf("record's auth %q, want %q", r.Auth, login)
	}
}

func TestSendmailSignsLocalSubmissions(t *testing.T) {
	t.Parallel()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{})
	to := harness.Unique("submit") + "@elsewhere.test"
	// No Message-ID, no Date: the submission program adds them before dkimd signs.
	m := harness.NewMail("alice@ours.test", "sendmail -t").Without("To").Without("Date").Without("Message-ID").With("To: " + to)
	w.Submit(t, m.Bytes())
	checkSigned(t, w.World, w.Stage.Sink.Wait(t, to).Data)
	checkRecord(t, w.Daemon.Stream.Wait(t, "the local submission", func(harness.Record) bool { return true }), harness.SendmailInside)
}

func TestSendmailNeverSignsForAnOutsideClient(t *testing.T) {
	t.Parallel()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{})
	to := harness.Unique("forged") + "@elsewhere.test"
	got := w.Dial(t, harness.SendmailOutside).Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "not ours").Bytes())
	if got.Code != 250 {
		t.Fatal(got)
	}
	data := w.Stage.Sink.Wait(t, to).Data
	if got := harness.FieldValues(data, "DKIM-Signature"); len(got) > 0 {
		t.Errorf("an outside client got a signature of ours: %q", got)
	}
	if got := harness.FieldValues(data, "Authentication-Results"); len(got) != 1 || !strings.Contains(got[0], "dkim=none") {
		t.Errorf("Authentication-Results %q, want one with dkim=none", got)
	}
	r := w.Daemon.Stream.From(t, "alice@ours.test")
	if r.Mode != "verify" || len(r.Signed) > 0 || r.Client != harness.SendmailOutside || r.ID != got.QueueID() {
		t.Errorf("record %+v; want mode verify, nothing signed, client %s, id %s", r, harness.SendmailOutside, got.QueueID())
	}
}

func TestSendmailSignsMailOfAListedDaemon(t *testing.T) {
	t.Parallel()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{})
	to := harness.Unique("daemon") + "@elsewhere.test"
	c := harness.DialFrom(t, harness.SendmailOutside, fmt.Sprintf("127.0.0.1:%d", w.Originating))
	if got := c.Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "a daemon name").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w.World, w.Stage.Sink.Wait(t, to).Data)
}

// Sendmail tells the address as IPv6:0:0:0:0:0:0:0:1.
func TestSendmailSignsMailOfAnIPv6Client(t *testing.T) {
	t.Parallel()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{})
	if w.Port6 == 0 {
		t.Skip("this host has no IPv6")
	}
	to := harness.Unique("ipv6") + "@elsewhere.test"
	c := harness.DialFrom(t, "::1", fmt.Sprintf("[::1]:%d", w.Port6))
	if got := c.Send("alice@ours.test", to, harness.NewMail("alice@ours.test", "IPv6").Bytes()); got.Code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w.World, w.Stage.Sink.Wait(t, to).Data)
	checkRecord(t, w.Daemon.Stream.From(t, "alice@ours.test"), "::1")
}

// What is oddly written must reach dkimd and the next host alike.
func TestSendmailDeliversWhatWasSigned(t *testing.T) {
	t.Parallel()
	for canonicalization, more := range map[string]string{
		"relaxed/relaxed": "", "relaxed/simple": "",
		"simple/simple": harness.GuideLine(t, "headers = ", ""), // Sendmail folds To anew
	} {
		w := harness.NewSendmailWorld(t, harness.SendmailSettings{Sign: fmt.Sprintf("canonicalization = %q\n%s", canonicalization, more)})
		plain := func() *harness.Mail { return harness.NewMail("alice@ours.test", "bytes") }
		folded := plain().Without("Subject").Without("To").With("Subject: folded\r\n\tinto\r\n   three  lines ", "To: <reader@elsewhere.test>,\r\n\t\"Second, B\" <second@elsewhere.test>")
		binary := plain().With("X-Latin: caf\xe9").Without("Subject").With("Subject: Gr\xc3\xb6\xc3\x9fe")
		binary.Body = "8-bit \xe9\xff\r\n..dot\r\n. \r\ntrailing \t \r\n" + strings.Repeat("x", 900) + "\r\n\r\n\r\n"
		bare := plain().Without("Date").Without("Message-ID")
		noBody := plain()
		noBody.Body = ""
		for name, m := range map[string]*harness.Mail{"plain": plain(), "folded": folded, "8-bit": binary, "neither Date nor Message-ID": bare, "no body": noBody} {
			t.Run(canonicalization+" "+name, func(t *testing.T) {
				t.Parallel()
				to := harness.Unique("bytes") + "@elsewhere.test"
				if got := w.Dial(t, harness.SendmailInside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
					t.Fatal(got)
				}
				checkSigned(t, w.World, w.Stage.Sink.Wait(t, to).Data)
			})
		}
	}
}

func TestSendmailSignsFieldsWithLongLines(t *testing.T) {
	t.Parallel()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{})
	mails := longLines("reader@elsewhere.test")
	delete(mails, "a quoted name") // Sendmail writes a long quoted name anew: docs/sendmail.md
	for name, m := range mails {
		t.Run(name, func(t *testing.T) {
			to := harness.Unique("long") + "@elsewhere.test"
			if got := w.Dial(t, harness.SendmailInside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
				t.Fatal(got)
			}
			checkSigned(t, w.World, w.Stage.Sink.Wait(t, to).Data)
		})
	}
}

// With the settings of docs/sendmail.md a signature outlives what Sendmail
// writes anew when it delivers.
func TestSendmailRewritesNothingThatWasSigned(t *testing.T) {
	t.Parallel()
	w := harness.NewSendmailWorld(t, harness.SendmailSettings{Sign: harness.GuideLine(t, "headers = ", "")})
	tests := map[string]struct{ written, delivered string }{
		"a list":             {"To: a@x.test,b@y.test", "a@x.test, b@y.test"},
		"a name with a dot":  {"Cc: A.B <a@x.test> , b@y.test", "A.B <a@x.test>, b@y.test"},
		"no domain":          {"Reply-To: root", "root@" + harness.Hostname},
		"an author":          {"From: Dr. O'Brien <alice@ours.test>", "Dr. O'Brien <alice@ours.test>"},
		"an author's remark": {"From: alice@ours.test (Dr. O'Brien)", "alice@ours.test (Dr. O'Brien)"},
		"a mailing list":     {"List-Unsubscribe: <a@x.test>,<mailto:b@y.test>", "<a@x.test>,<mailto:b@y.test>"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := harness.Unique("rewritten") + "@elsewhere.test"
			field, _, _ := strings.Cut(test.written, ":")
			m := harness.NewMail("alice@ours.test", "rewriting").Without(field).With(test.written)
			if got := w.Dial(t, harness.SendmailInside).Send("alice@ours.test", to, m.Bytes()); got.Code != 250 {
				t.Fatal(got)
			}
			data := w.Stage.Sink.Wait(t, to).Data
			if got := harness.FieldValues(data, field); !slices.Equal(got, []string{test.delivered}) {
				t.Errorf("Sendmail delivers %s: %q, want %q", field, got, test.delivered)
			}
			checkSigned(t, w.World, data)
		})
	}
}

// The guide's lines do what it says in the sendmail.mc that Debian installs.
func TestGuideFitsDebiansSendmailMC(t *testing.T) {
	t.Parallel()
	harness.NeedSendmail(t)
	cf := harness.SendmailRoot() + "/usr/share/sendmail/cf/"
	text, err := os.ReadFile(cf + "debian/sendmail.mc")
	if err != nil {
		t.Fatal(err)
	}
	mc := "divert(-1)\ninclude(`" + cf + "debian/autoconf.m4')\n" + strings.ReplaceAll(string(text), "/usr/share/sendmail/cf/", cf)
	mc = strings.ReplaceAll(mc, "include(`/etc/mail/", "dnl include(`/etc/mail/") // dial-up hosts' own
	filter := harness.GuideLine(t, "INPUT_MAIL_FILTER(", "S=inet:")
	before, after, found := strings.Cut(mc, "\nMAILER_DEFINITIONS")
	if !found {
		t.Fatalf("Debian's sendmail.mc has no MAILER_DEFINITIONS:\n%s", mc)
	}
	mc = before + "\n" + filter + "\n" + harness.GuideLine(t, "define(`confMUST_QUOTE_CHARS'", "") + "\nMAILER_DEFINITIONS" + after
	file := filepath.Join(t.TempDir(), "sendmail.mc")
	if err := os.WriteFile(file, []byte(mc), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(harness.Run(t, nil, "m4", "-D_CF_DIR_="+cf, file)), "\n")
	_, equates, _ := strings.Cut(filter, "`dkimd', `")
	equates, _, _ = strings.Cut(equates, "'")
	for _, want := range []string{"Xdkimd, " + equates, "O InputMailFilters=dkimd", "O MustQuoteChars"} {
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.TrimSpace(line) == want }) {
			t.Errorf("sendmail.cf has no line %s", want)
		}
	}
}
