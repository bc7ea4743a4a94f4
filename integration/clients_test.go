//go:build integration

package integration_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"dkimd/integration/harness"

	"github.com/miekg/dns"
)

// forgedResult claims to be of the mail server under test.
const forgedResult = "Authentication-Results: " + harness.Hostname + "; dkim=pass header.d=gmail.com"

// Whose mail is ours by networks with exclusions, hosts and domains: Postfix says what the client is called, DNS what its addresses are.
func TestClientsByName(t *testing.T) {
	t.Parallel()
	w := harness.NewWorld(t, harness.Settings{Sign: "networks = []", DNS: "timeout = \"1s\"\nattempts = 1"})
	if err := w.DNS.SetZone(`mx.lan2.test. A 198.51.100.1
mx.lan2.test. AAAA 2001:db8::1
a.lan.test. A 198.51.100.2
a.lan.test. AAAA 2001:db8::2
b.guests.lan.test. A 198.51.100.3
4.100.51.198.in-addr.arpa. PTR c.lan.test.
c.lan.test. A 198.51.100.4
5.100.51.198.in-addr.arpa. PTR a.lan.test.
`); err != nil {
		t.Fatal(err)
	}
	w.DNS.SetRcode("broken.lan.test", dns.RcodeServerFailure)
	w.Write(t, "TrustedHosts", "# as OpenDKIM has it\r\n192.0.2.0/24\r\n!192.0.2.7 # the guests' wireless\r\nmx.lan2.test\r\n*.lan.test\r\n")
	config, err := os.ReadFile(w.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	w.Write(t, "dkimd.toml", strings.Replace(string(config), "networks = []", `networks = ["@`+w.Dir+`/TrustedHosts", "!.guests.lan.test"]`, 1))
	w.Reload(t, "reloaded")
	for name, test := range map[string]struct {
		client, address string
		ours            bool
		reason          string
	}{
		"in a network":              {"x.elsewhere.test", "192.0.2.6", true, "in sign.networks"},
		"excluded from it":          {"x.elsewhere.test", "192.0.2.7", false, "not in sign.networks"},
		"a host":                    {"[UNAVAILABLE]", "198.51.100.1", true, "in sign.networks"},
		"a host, by IPv6":           {"x.elsewhere.test", "IPv6:2001:db8::1", true, "in sign.networks"},
		"the name of the host only": {"mx.lan2.test", "198.51.100.9", false, "not in sign.networks"},
		"below a domain":            {"a.lan.test", "198.51.100.2", true, "in sign.networks"},
		"below it, by IPv6":         {"A.LAN.test", "IPv6:2001:db8::2", true, "in sign.networks"},
		"the name only":             {"a.lan.test", "198.51.100.9", false, "not in sign.networks"},
		"excluded by name":          {"b.guests.lan.test", "198.51.100.3", false, "not in sign.networks"},
		"a name from DNS":           {"[UNAVAILABLE]", "198.51.100.4", true, "in sign.networks"},
		"another's name from DNS":   {"[UNAVAILABLE]", "198.51.100.5", false, "not in sign.networks"},
		"DNS fails":                 {"broken.lan.test", "198.51.100.6", false, "its name could not be looked up"},
		"nobody":                    {"[UNAVAILABLE]", "203.0.113.9", false, "not in sign.networks"},
	} {
		to := harness.Unique("client") + "@elsewhere.test"
		r := harness.Dial(t, w.Outside).As(test.client, test.address).Send("alice@ours.test", to, harness.NewMail("alice@ours.test", name).Bytes())
		if r.Code != 250 {
			t.Fatalf("%s: %s", name, r)
		}
		record := w.Daemon.Stream.Wait(t, name, func(rec harness.Record) bool { return rec.ID == r.QueueID() })
		if (record.Mode == "sign") != test.ours || (record.ReasonCode == "network") != test.ours || !strings.Contains(record.Reason, test.reason) {
			t.Errorf("%s: %+v", name, record)
		}
		if signed := len(harness.FieldValues(w.Stage.Sink.Wait(t, to).Data, "DKIM-Signature")); (signed > 0) != test.ours {
			t.Errorf("%s: %d signatures", name, signed)
		}
	}
}

// Mail that is skipped reaches its recipient as it came, whatever the rules say, and nothing is looked up for it.
func TestSkippedMail(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		verify string
		code   string
		others string // what the reply to another client begins with
	}{
		"sign only":  {"enabled = false", "verify_off", "250"},
		"left alone": {`leave_alone = ["209.85.220.41"]`, "leave_alone", "550 5.7.20"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.NewWorld(t, harness.Settings{Verify: test.verify, Rules: map[string]string{"gmail.com": gmailRule}})
			data := append([]byte(forgedResult+"\r\nDKIM-Signature: v=1; a=rsa-sha256; d=gmail.com; s=rsa; h=From; bh=AA==; b=AA==\r\n"), harness.NewMail(gmailUser, name).Bytes()...)
			to := harness.Unique("skipped") + "@elsewhere.test"
			r := fromGmail(t, w).Send(gmailUser, to, data)
			if r.Code != 250 {
				t.Fatal(r)
			}
			record := w.Daemon.Stream.Wait(t, name, func(rec harness.Record) bool { return rec.ID == r.QueueID() })
			if record.Mode != "skipped" || record.ReasonCode != test.code || record.Verdict != "accept" || record.Stripped+len(record.Signatures)+len(record.Policy) > 0 {
				t.Errorf("%+v", record)
			}
			if got := w.Stage.Sink.Wait(t, to).Data; !bytes.HasSuffix(got, data) || !slices.Equal(harness.FieldValues(got, "Authentication-Results"), harness.FieldValues(data, "Authentication-Results")) {
				t.Errorf("it arrived as\n%s", got)
			}
			if n := w.DNS.Queries("rsa._domainkey.gmail.com"); n > 0 {
				t.Errorf("%d lookups of its key", n)
			}
			if r := harness.Dial(t, w.Outside).As("x.elsewhere.test", "203.0.113.9").Send(gmailUser, harness.Unique("other")+"@elsewhere.test", data); !strings.HasPrefix(r.String(), test.others) {
				t.Errorf("to another client: %s", r)
			}
			ours := harness.Unique("ours") + "@elsewhere.test"
			if r := harness.Dial(t, w.Submission).Login("alice@ours.test").Send("alice@ours.test", ours, harness.NewMail("alice@ours.test", name).Bytes()); r.Code != 250 {
				t.Fatal(r)
			}
			checkSigned(t, w, w.Stage.Sink.Wait(t, ours).Data)
		})
	}
}

// Through Exim, which does not look up the names of clients: dkimd does.
func TestSkippedMailThroughExim(t *testing.T) {
	t.Parallel()
	e := harness.NewEximWorld(t, "heavy", harness.EximSettings{
		Sign: "[verify]\nleave_alone = [\".lan.test\"]", Rules: map[string]string{"gmail.com": gmailRule},
	})
	if err := e.DNS.SetZone("3.0.0.127.in-addr.arpa. PTR a.lan.test.\na.lan.test. A 127.0.0.3\n4.0.0.127.in-addr.arpa. PTR a.lan.test.\n"); err != nil {
		t.Fatal(err)
	}
	data := append([]byte(forgedResult+"\r\n"), harness.NewMail(gmailUser, "through Exim").Bytes()...)
	to := harness.Unique("skipped") + "@inbox.test"
	r := e.Dial(t, "127.0.0.3").Send(gmailUser, to, data)
	if r.Code != 250 {
		t.Fatal(r)
	}
	if record := e.RecordOf(t, "skipped", r.EximID()); record.ReasonCode != "leave_alone" || record.Stripped > 0 {
		t.Errorf("%+v", record)
	}
	if got := e.Sink.Wait(t, to).Data; !slices.Equal(harness.FieldValues(got, "Authentication-Results"), harness.FieldValues(data, "Authentication-Results")) {
		t.Errorf("it arrived as\n%s", got)
	}
	if r := e.Dial(t, "127.0.0.4").Send(gmailUser, to, data); !strings.HasPrefix(r.String(), "550") {
		t.Errorf("a client with another's name: %s", r)
	}
}
