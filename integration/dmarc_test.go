//go:build integration

package integration_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"dkimd/integration/harness"

	"github.com/miekg/dns"
)

const dmarcRules = `mode = "enforce"
[[rule]]
name      = "DMARC asks for it"
dmarc     = "fail"
published = "reject"
not_list  = true
action    = "reject"
reply     = "550 5.7.1 DMARC asks for it"
[[rule]]
name   = "SPF is broken"
spf    = "permerror"
action = "tempfail"
reply  = "451 4.7.24 SPF is broken"
`

// dmarcZone lets the clients of all programs send for sender.test, by each kind of record that SPF looks up.
const dmarcZone = `
sender.test. TXT "v=spf1 ip4:127.0.0.2 ip4:127.0.0.9 ip4:198.51.100.7 ip6:2001:db8::7 ip6:::1 -all"
_dmarc.sender.test. TXT "v=DMARC1; p=reject; sp=quarantine; np=reject"
m.sender.test. TXT "v=spf1 a:hosts.sender.test -all"
hosts.sender.test. A 127.0.0.2
hosts.sender.test. A 127.0.0.9
hosts.sender.test. A 198.51.100.7
hosts.sender.test. AAAA ::1
hosts.sender.test. AAAA 2001:db8::7
helo.sender.test. TXT "v=spf1 include:_spf.sender.test -all"
_spf.sender.test. TXT "v=spf1 mx:sender.test ?all"
sender.test. MX 10 hosts.sender.test.
strict.test. TXT "v=spf1 -all"
_dmarc.strict.test. TXT "v=DMARC1; p=reject"
gmail.com. TXT "v=spf1 ~all"
_dmarc.gmail.com. TXT "v=DMARC1; p=reject"
soft.test. TXT "v=spf1 redirect=_spf.soft.test"
_spf.soft.test. TXT "v=spf1 ~all"
_dmarc.soft.test. TXT "v=DMARC1; p=none"
tests.test. TXT "v=spf1 -all"
_dmarc.tests.test. TXT "v=DMARC1; p=reject; t=y"
broken.test. TXT "v=spf1 +all junk"
a.several.test. TXT "x"
_dmarc.a.several.test. TXT "v=DMARC1; p=none"
_dmarc.a.several.test. TXT "v=DMARC1; p=none"
_dmarc.several.test. TXT "v=DMARC1; p=reject"
open.test. TXT "v=spf1 a:host.open.test -all"
_dmarc.open.test. TXT "v=DMARC1; p=reject"
m.t1.host.test. TXT "v=spf1 a:hosts.sender.test -all"
t2.host.test. TXT "v=spf1 a:hosts.sender.test -all"
_dmarc.host.test. TXT "v=DMARC1; p=reject; psd=y"
_dmarc.walk.test. TXT "v=DMARC1; p=reject"
x.b.walk.test. TXT "v=spf1 a:hosts.sender.test -all"
`

const dmarcReply = "550 5.7.1 DMARC asks for it"

// checked is one row of the table of SPF and DMARC. Where it is written as %s, a sender is unique to the message.
type checked struct {
	name, from, sender, helo string
	signed                   bool // by gmail.com
	fields                   []string
	reply                    string
	spf, dmarc               string // of the record: result and domain; result, policy and what it is aligned by
}

var dmarcTable = []checked{
	{"SPF passes", "sender.test", "%s@sender.test", "", false, nil, "250", "pass sender.test", "pass reject spf sender.test"},
	{"SPF of a subdomain passes, by address", "sender.test", "%s@m.sender.test", "", false, nil, "250", "pass m.sender.test", "pass reject spf m.sender.test"},
	{"capitals", "Sender.TEST", "%s@M.Sender.Test", "", false, nil, "250", "pass m.sender.test", "pass reject spf m.sender.test"},
	{"SPF of another passes", "strict.test", "%s@sender.test", "", false, nil, dmarcReply, "pass sender.test", "fail reject"},
	{"null sender, HELO passes", "sender.test", "", "Helo.Sender.test", false, nil, "250", "pass helo.sender.test", "pass reject spf helo.sender.test"},
	{"null sender, HELO of another", "strict.test", "", "helo.sender.test", false, nil, dmarcReply, "pass helo.sender.test", "fail reject"},
	{"null sender, HELO is an address", "strict.test", "", "[192.0.2.1]", false, nil, dmarcReply, "none [192.0.2.1]", "fail reject"},
	{"null sender, HELO of one label", "strict.test", "", "localhost", false, nil, dmarcReply, "none localhost", "fail reject"},
	{"HELO is not the sender", "strict.test", "%s@strict.test", "sender.test", false, nil, dmarcReply, "fail strict.test", "fail reject"},
	{"a quoted sender with another domain in it", "sender.test", `"%s@sender.test"@strict.test`, "", false, nil, dmarcReply, "fail strict.test", "fail reject"},
	{"SPF fails, a signature passes", "gmail.com", "%s@strict.test", "", true, nil, "250", "fail strict.test", "pass reject dkim gmail.com"},
	{"softfail, p=none", "soft.test", "%s@soft.test", "", false, nil, "250", "softfail soft.test", "fail none"},
	{"a policy that is tested", "tests.test", "%s@tests.test", "", false, nil, "250", "fail tests.test", "fail quarantine"},
	{"sp= of a name that exists", "helo.sender.test", "%s@strict.test", "", false, nil, "250", "fail strict.test", "fail quarantine"},
	{"np= of a name that does not", "nobody.sender.test", "%s@strict.test", "", false, nil, dmarcReply, "fail strict.test", "fail reject"},
	{"several records count as none", "a.several.test", "%s@strict.test", "", false, nil, dmarcReply, "fail strict.test", "fail reject"},
	{"no policy", "nothing.test", "%s@nothing.test", "", false, nil, "250", "none nothing.test", "none"},
	{"a list", "strict.test", "%s@strict.test", "", false, []string{"List-Id: <l.test>"}, "250", "fail strict.test", "fail reject"},
	{"SPF is broken", "nothing.test", "%s@broken.test", "", false, nil, "451 4.7.24 SPF is broken", "permerror broken.test", "none"},
	{"the policy is not known", "dark.test", "%s@sender.test", "", false, nil, "451 4.7.5 ", "pass sender.test", "temperror"},
	{"SPF is not known", "open.test", "%s@open.test", "", false, nil, "451 4.7.5 ", "temperror open.test", "temperror reject"},
	{"SPF is not known and cannot matter", "strict.test", "%s@open.test", "", false, nil, dmarcReply, "temperror open.test", "fail reject"},
	{"the policy is not known, halfway up", "a.b.walk.test", "%s@sender.test", "", false, nil, "451 4.7.5 ", "pass sender.test", "temperror"},
	{"alignment is not known", "walk.test", "%s@x.b.walk.test", "", false, nil, "451 4.7.5 ", "pass x.b.walk.test", "temperror reject"},
	{"a registry does not answer", "news.gmail.com", "%s@strict.test", "", true, nil, "250", "fail strict.test", "pass reject dkim gmail.com"},
	{"a tenant of a suffix", "t1.host.test", "%s@m.t1.host.test", "", false, nil, "250", "pass m.t1.host.test", "pass reject spf m.t1.host.test"},
	{"another tenant of it", "t1.host.test", "%s@t2.host.test", "", false, nil, dmarcReply, "pass t2.host.test", "fail reject"},
	{"what a relay told is forged", "strict.test", "%s@strict.test", "", false, []string{relayPass, "Received-SPF: pass identity=mailfrom; envelope-from=x@strict.test"}, dmarcReply, "fail strict.test", "fail reject"},
	// Tricks with From.
	{"a group of one author", "sender.test", "%s@sender.test", "", false, []string{"From: authors: x@sender.test;"}, "250", "pass sender.test", "pass reject spf sender.test"},
	{"a group of two", "sender.test", "%s@sender.test", "", false, []string{"From: authors: x@sender.test, y@strict.test;"}, dmarcReply, "pass sender.test", "permerror"},
	{"two authors, one with a pass", "sender.test", "%s@sender.test", "", false, []string{"From: x@sender.test, y@strict.test"}, dmarcReply, "pass sender.test", "permerror"},
	{"a name that shows another author", "sender.test", "%s@sender.test", "", false, []string{`From: "x@strict.test" <x@sender.test>`}, "250", "pass sender.test", "pass reject spf sender.test"},
	{"a subdomain of a suffix's registrant", "sender.test.strict.test", "%s@sender.test", "", false, nil, dmarcReply, "pass sender.test", "fail reject"},
}

const (
	relayPass = "Authentication-Results: relay.test; spf=pass smtp.mailfrom=strict.test"
	relayFail = "Authentication-Results: relay.test; spf=fail smtp.mailfrom=strict.test"
)

// relayTable is what a client says that is named in spf_trusted_from as relay.test.
var relayTable = []checked{
	{"the relay says pass", "strict.test", "%s@strict.test", "", false, []string{relayPass}, "250", "pass strict.test", "pass reject spf strict.test"},
	{"in folds, with a comment", "strict.test", "%s@strict.test", "", false, []string{"Authentication-Results: relay.test;\r\n\tspf=pass (the\r\n\tclient may) smtp.mailfrom=strict.test"}, "250", "pass strict.test", "pass reject spf strict.test"},
	{"it says fail", "strict.test", "%s@strict.test", "", false, []string{relayFail}, dmarcReply, "fail strict.test", "fail reject"},
	{"a field that it did not remove", "strict.test", "%s@strict.test", "", false, []string{relayFail, relayPass}, dmarcReply, "fail strict.test", "fail reject"},
	{"pass in a comment", "strict.test", "%s@strict.test", "", false, []string{"Authentication-Results: relay.test; spf=fail (; spf=pass) smtp.mailfrom=strict.test"}, dmarcReply, "fail strict.test", "fail reject"},
	{"of another sender", "strict.test", "%s@sender.test", "", false, []string{relayPass}, dmarcReply, " ", "reject"},
	{"in another name", "strict.test", "%s@strict.test", "", false, []string{strings.Replace(relayPass, "relay", "other", 1)}, dmarcReply, " ", "reject"},
}

// The same by Received-SPF, which counts above the relay's own Received field.
const (
	receivedSPF = "Received-SPF: %s (relay.test: says so) identity=mailfrom; client-ip=192.0.2.9; envelope-from=joe@strict.test; receiver=relay.test"
	relayHop    = "Received: from outside.test (outside.test [192.0.2.9]) by relay.test with ESMTP id x; Mon, 23 Nov 2026 10:00:00 +0000"
)

var receivedSPFTable = []checked{
	{"Received-SPF: pass", "strict.test", "joe@strict.test", "", false, []string{fmt.Sprintf(receivedSPF, "Pass"), relayHop}, "250", "pass strict.test", "pass reject spf strict.test"},
	{"Received-SPF: fail", "strict.test", "joe@strict.test", "", false, []string{fmt.Sprintf(receivedSPF, "Fail"), fmt.Sprintf(receivedSPF, "Pass"), relayHop}, dmarcReply, "fail strict.test", "fail reject"},
	{"Received-SPF of another sender", "strict.test", "%s@sender.test", "", false, []string{fmt.Sprintf(receivedSPF, "Pass"), relayHop}, dmarcReply, " ", "reject"},
	{"Received-SPF from before the relay", "strict.test", "joe@strict.test", "", false, []string{relayHop, fmt.Sprintf(receivedSPF, "Pass"), relayHop}, dmarcReply, " ", "reject"},
}

var trustedSetting = regexp.MustCompile(`(?m)^spf_trusted_from = .*\n`)

// trustRelay has dkimd take the client's word on SPF: by Received-SPF, or by Authentication-Results with the name after a bar.
func (p program) trustRelay(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(p.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(trustedSetting.ReplaceAllString(string(text), ""), "[verify]\n")
	if !found {
		before, after = before+"\n", ""
	}
	p.Write(t, "dkimd.toml", before+fmt.Sprintf("[verify]\nspf_trusted_from = [%q]\n", p.client+name)+after)
	p.Reload(t, "reloaded")
}

// program is one mail server with a dkimd.
type program struct {
	*harness.World
	client    string
	dial      func(t *testing.T) *harness.Session
	delivered func(t *testing.T, to string) []byte
}

// dmarcPrograms are all of them, each with a client of IPv4, and one of IPv6 where the host has it.
func dmarcPrograms() map[string]func(t *testing.T) []program {
	rules := map[string]string{"_default": dmarcRules}
	const quick = "timeout = \"1s\"\nattempts = 1"
	programs := map[string]func(t *testing.T) []program{
		"postfix": func(t *testing.T) []program {
			t.Helper()
			w := harness.NewWorld(t, harness.Settings{Rules: rules, DNS: quick})
			delivered := func(t *testing.T, to string) []byte { t.Helper(); return w.Stage.Sink.Wait(t, to).Data }
			as := func(address string) func(t *testing.T) *harness.Session {
				return func(t *testing.T) *harness.Session {
					t.Helper()
					return harness.Dial(t, w.Outside).As("client.test", address)
				}
			}
			return []program{{w, "198.51.100.7", as("198.51.100.7"), delivered}, {w, "2001:db8::7", as("IPV6:2001:db8::7"), delivered}}
		},
		"sendmail": func(t *testing.T) []program {
			t.Helper()
			w := harness.NewSendmailWorld(t, harness.SendmailSettings{Rules: rules, DNS: quick})
			delivered := func(t *testing.T, to string) []byte { t.Helper(); return w.Stage.Sink.Wait(t, to).Data }
			list := []program{{w.World, harness.SendmailOutside, func(t *testing.T) *harness.Session { t.Helper(); return w.Dial(t, harness.SendmailOutside) }, delivered}}
			if w.Port6 == 0 {
				return list
			}
			text, err := os.ReadFile(w.ConfigFile())
			if err != nil {
				t.Fatal(err)
			}
			w.Write(t, "dkimd.toml", strings.Replace(string(text), `, "::1"]`, "]", 1)) // it is an outside client here
			w.Reload(t, "reloaded")
			return append(list, program{w.World, "::1", func(t *testing.T) *harness.Session {
				t.Helper()
				return harness.DialFrom(t, "::1", fmt.Sprintf("[::1]:%d", w.Port6))
			}, delivered})
		},
	}
	for _, build := range harness.EximBuilds {
		programs["exim "+build] = func(t *testing.T) (list []program) {
			t.Helper()
			e := harness.NewEximWorld(t, build, harness.EximSettings{Rules: rules, DNS: quick})
			for _, client := range e.Outsiders() {
				list = append(list, program{
					e.World, client,
					func(t *testing.T) *harness.Session { t.Helper(); return e.Dial(t, client) },
					func(t *testing.T, to string) []byte { t.Helper(); return e.Sink.Wait(t, to).Data },
				})
			}
			return list
		}
	}
	return programs
}

// TestSPFAndDMARCAreTheSameEverywhere: the same mail has the same verdict through each program, and the same results.
func TestSPFAndDMARCAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	harness.NeedExim(t)
	for name, open := range dmarcPrograms() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			programs := open(t)
			server := programs[0].DNS
			harness.PublishForeignKeys(server, "gmail.com")
			if err := server.SetZone(dmarcZone); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"_dmarc.dark.test", "host.open.test", "_dmarc.b.walk.test", "_dmarc.com"} {
				server.SetRcode(name, dns.RcodeServerFailure)
			}
			for _, p := range programs {
				for _, row := range dmarcTable {
					if strings.Contains(p.client, ":") && !strings.HasPrefix(row.spf, "pass ") {
						continue // its family does not matter
					}
					row.check(t, name+", "+p.client+", "+row.name, p)
				}
			}
			programs[0].trustRelay(t, "|relay.test")
			for _, row := range relayTable {
				row.check(t, name+", "+row.name, programs[0])
			}
			programs[0].trustRelay(t, "")
			for _, row := range receivedSPFTable {
				row.check(t, name+", "+row.name, programs[0])
			}
		})
	}
}

func (c checked) check(t *testing.T, name string, p program) {
	t.Helper()
	m := harness.NewMail("author@"+c.from, "a check")
	if len(c.fields) > 0 && strings.HasPrefix(c.fields[0], "From:") {
		m = m.Without("From")
	}
	data := m.With(c.fields...).Bytes()
	if c.signed {
		data = byGmail.sign(t, data)
	}
	id := harness.FieldValues(data, "Message-ID")[0]
	s := p.dial(t)
	defer s.HangUp()
	if c.helo != "" {
		s.Want(250, "EHLO %s", c.helo)
	}
	sender, to := c.sender, harness.Unique("check")+"@inbox.test"
	if strings.Contains(sender, "%s") {
		sender = fmt.Sprintf(sender, harness.Unique("sender"))
	}
	got := s.Send(sender, to, data)
	if !strings.HasPrefix(got.String(), c.reply) {
		t.Errorf("%s: answer %q; want %q", name, got, c.reply)
	}
	r := p.Daemon.Stream.Wait(t, name, func(r harness.Record) bool { return r.MessageID == id && r.Mode == "verify" })
	spf := r.SPF.Result + " " + r.SPF.Domain
	dmarc := strings.Join(strings.Fields(r.DMARC.Result+" "+r.DMARC.Policy+" "+r.DMARC.AlignedBy), " ")
	if spf != c.spf || dmarc != c.dmarc || r.Client != p.client {
		t.Errorf("%s: got SPF %q, DMARC %q, client %s; want %q, %q, %s", name, spf, dmarc, r.Client, c.spf, c.dmarc, p.client)
	}
	if got.Code != 250 {
		return
	}
	values := harness.FieldValues(p.delivered(t, to), "Authentication-Results")
	want := []string{"spf=" + r.SPF.Result + " ", "dmarc=" + r.DMARC.Result + " header.from=" + strings.ToLower(c.from)}
	folded := bytes.Join(bytes.Fields([]byte(strings.Join(values, " "))), []byte(" "))
	for _, word := range want {
		if !bytes.Contains(folded, []byte(word)) {
			t.Errorf("%s: delivered with %q; want %q", name, folded, word)
		}
	}
}
