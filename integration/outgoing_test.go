//go:build integration

package integration_test

import (
	"slices"
	"strings"
	"testing"
)

// The RSA and the Ed25519 key of ours.test.
var bothKeys = []string{"ed25519-sha256", "rsa-sha256"}

// checkSigned tests what left Postfix: two signatures of ours.test, which every
// foreign verifier accepts as far as it knows the algorithm.
func checkSigned(t *testing.T, w *world, data []byte) {
	t.Helper()
	fields := named(data, "DKIM-Signature")
	if len(fields) != 2 {
		t.Fatalf("%d signatures, want 2:\n%s", len(fields), data)
	}
	for line := range strings.Lines(string(data)) {
		if len(line) > 1000 {
			t.Errorf("a line of %d octets, RFC 5322 section 2.1.1 allows 998", len(line)-2)
		}
	}
	var algorithms []string
	for _, v := range verifyWithPython(t, w.dns, data) {
		if !v.pass || v.domain != "ours.test" {
			t.Errorf("python3-dkim: %+v", v)
		}
		algorithms = append(algorithms, v.algorithm)
	}
	if slices.Sort(algorithms); !slices.Equal(algorithms, bothKeys) {
		t.Errorf("python3-dkim saw %q, want %q", algorithms, bothKeys)
	}
	// Debian 12's Mail::DKIM knows no Ed25519 (RFC 8463).
	if !slices.Contains(verifyWithPerl(t, w.dns, data), verdict{"ours.test", "rsa-sha256", true}) {
		t.Error("Mail::DKIM does not accept the RSA signature")
	}
	if pass, said := verifyWithOpenDKIM(t, w.dns, data); !pass {
		t.Errorf("OpenDKIM: %s", said)
	}
}

// checkRecord tests the record of a signed message.
func checkRecord(t *testing.T, r record, client string) {
	t.Helper()
	var algorithms []string
	for _, s := range r.Signed {
		algorithms = append(algorithms, s.Algorithm)
	}
	slices.Sort(algorithms)
	if r.Mode != "sign" || r.Client != client || !slices.Equal(algorithms, bothKeys) || r.Verdict != "accept" {
		t.Errorf("record %+v; want mode sign, client %s, signed with %q", r, client, bothKeys)
	}
}

func TestSignsMailFromALoopbackClient(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]laneKind{"over TCP": overTCP, "through a unix socket": overUnix} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{lane: kind})
			to := unique("loopback") + "@elsewhere.test"
			got := dial(t, w.outside).send("alice@ours.test", to, newMail("alice@ours.test", "a loopback client").bytes())
			if got.code != 250 {
				t.Fatal(got)
			}
			checkSigned(t, w, w.stage.sink.wait(t, to).data)
			r := w.daemon.stream.from(t, "alice@ours.test")
			checkRecord(t, r, "127.0.0.1")
			if r.ID != got.queueID() {
				t.Errorf("record id %q, Postfix queued as %q", r.ID, got.queueID())
			}
		})
	}
}

func TestSignsMailOfALogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	to := unique("login") + "@elsewhere.test"
	c := dial(t, w.submission).as("cafe.theirs.example", "203.0.113.9").login(loginOrg)
	if got := c.send("alice@ours.test", to, newMail("alice@ours.test", "a login from a café").bytes()); got.code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.stage.sink.wait(t, to).data)
	r := w.daemon.stream.from(t, "alice@ours.test")
	checkRecord(t, r, "203.0.113.9")
	if r.Auth != loginOrg {
		t.Errorf("record's auth %q, want %q", r.Auth, loginOrg)
	}
}

func TestSignsLocalSubmissions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{lane: andLocal})
	to := unique("sendmail") + "@elsewhere.test"
	// No Message-ID, no Date: Postfix adds them before dkimd signs.
	m := newMail("alice@ours.test", "sendmail -t").without("To").without("Date").without("Message-ID").with("To: " + to)
	w.postfix.sendmail(t, m.bytes())
	checkSigned(t, w, w.stage.sink.wait(t, to).data)
	// Postfix says of local programs that they are the client 127.0.0.1.
	checkRecord(t, w.daemon.stream.wait(t, "the local submission", func(record) bool { return true }), "127.0.0.1")
}

func TestSignsMailOfAListedDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	to := unique("daemon") + "@elsewhere.test"
	c := dial(t, w.originating).as("app.theirs.example", "203.0.113.9")
	if got := c.send("alice@ours.test", to, newMail("alice@ours.test", "a daemon name").bytes()); got.code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.stage.sink.wait(t, to).data)
}

// An old Postfix, or one that is told so, sends less and in another form.
func TestSignsWithMilterProtocol2(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	to := unique("version2") + "@elsewhere.test"
	if got := dial(t, w.version2).send("alice@ours.test", to, newMail("alice@ours.test", "protocol version 2").bytes()); got.code != 250 {
		t.Fatal(got)
	}
	checkSigned(t, w, w.stage.sink.wait(t, to).data)
}

func TestTrustedClientIsVerifiedAndNotJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{rules: map[string]string{"gmail.com": gmailRule}, verify: `trusted = ["209.85.220.0/24"]`})
	to := unique("trusted") + "@elsewhere.test"
	if got := w.fromGmail(t).send(gmailUser, to, newMail(gmailUser, "a backup MX").bytes()); got.code != 250 {
		t.Fatal(got)
	}
	if got := named(w.stage.sink.wait(t, to).data, "Authentication-Results"); len(got) != 1 || !strings.Contains(got[0], "dkim=none") {
		t.Errorf("Authentication-Results %q, want one with dkim=none", got)
	}
	if r := w.daemon.stream.from(t, gmailUser); r.Mode != "trusted" || len(r.Policy) != 0 {
		t.Errorf("record %+v; want mode trusted, no policy", r)
	}
}

func TestNeverSignsForAnOutsideClient(t *testing.T) {
	t.Parallel()
	for name, port := range map[string]func(*lane) int{
		"on port 25":         func(l *lane) int { return l.outside },
		"without logging in": func(l *lane) int { return l.submission },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{})
			for _, address := range []string{"203.0.113.9", "IPV6:2001:db8::7"} {
				to := unique("forged") + "@elsewhere.test"
				c := dial(t, port(w.lane)).as("mail.evil.test", address)
				if got := c.send("alice@ours.test", to, newMail("alice@ours.test", "not ours").bytes()); got.code != 250 {
					t.Fatal(got)
				}
				data := w.stage.sink.wait(t, to).data
				if got := named(data, "DKIM-Signature"); len(got) > 0 {
					t.Errorf("client %s got a signature of ours: %q", address, got)
				}
				client := strings.ToLower(strings.TrimPrefix(address, "IPV6:"))
				r := w.daemon.stream.wait(t, "from "+client, func(r record) bool { return r.Client == client })
				if r.Mode != "verify" || len(r.Signed) > 0 {
					t.Errorf("record %+v; want mode verify, nothing signed", r)
				}
				if got := named(data, "Authentication-Results"); len(got) != 1 || !strings.Contains(got[0], "dkim=none") {
					t.Errorf("Authentication-Results %q, want one with dkim=none", got)
				}
			}
		})
	}
}
