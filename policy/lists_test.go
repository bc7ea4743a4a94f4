package policy_test

import (
	"os"
	"path/filepath"
	"testing"

	"dkimd/internal/message"
	"dkimd/internal/tomlfile"
	"dkimd/policy"
)

// lists are those of a dkimd.toml.
func lists(content string) *tomlfile.Lists {
	return tomlfile.Parse("dkimd.toml", []byte("[lists]\n"+content)).Root().Table("lists").Lists()
}

const shared = `forwarders = ["192.0.2.0/24", "198.51.100.7"]
customers = ["vip@mine.example", "@other.example"]
services = ["esp.example", "*.list.example"]
`

func TestRulesTakeInLists(t *testing.T) {
	t.Parallel()
	from := func(client string) world {
		return gmail().but(func(m *policy.Message) { m.Client = message.NewClient("", client) })
	}
	to := func(recipients ...string) world {
		return gmail().but(func(m *policy.Message) { m.Recipients = recipients })
	}
	tests := map[string]struct {
		condition string
		msg       world
		holds     bool
	}{
		"a client in the list":              {`clients = "@forwarders"`, from("192.0.2.77"), true},
		"its last entry":                    {`clients = ["203.0.113.1", "@forwarders"]`, from("198.51.100.7"), true},
		"an entry beside it":                {`clients = ["203.0.113.1", "@forwarders"]`, from("203.0.113.1"), true},
		"a client outside":                  {`clients = "@forwarders"`, from("203.0.113.9"), false},
		"not_clients, inside":               {`not_clients = ["@forwarders"]`, from("192.0.2.77"), false},
		"not_clients, outside":              {`not_clients = ["@forwarders"]`, from("203.0.113.9"), true},
		"recipients":                        {`recipients = ["@customers"]`, to("vip@mine.example", "a@other.example"), true},
		"recipients, one is another":        {`recipients = ["@customers"]`, to("vip@mine.example", "bob@mine.example"), false},
		"two lists":                         {`recipients = ["@customers", "@services"]`, to("vip@mine.example", "b@esp.example"), true},
		"signers":                           {"result = \"pass\"\nsigners = \"@services\"", gmail(sig("a.list.example", pass)), true},
		"signers, another":                  {"result = \"pass\"\nsigners = \"@services\"", gmail(sig("list.example", pass)), false},
		"not_signers":                       {"result = \"pass\"\naligned = \"any\"\nnot_signers = \"@services\"", gmail(sig("esp.example", pass)), false},
		"@ and a name with a dot, a domain": {`recipients = ["@mine.example"]`, to("bob@mine.example"), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"gmail.com.toml": enforced("[[rule]]\naction = \"quarantine\"\n" + tt.condition)})
			rules, faults := policy.Load(dir, lists(shared))
			if faults != nil {
				t.Fatal(faults)
			}
			if got := tt.msg.judge(rules).Action == policy.Quarantine; got != tt.holds {
				t.Errorf("holds: %v", got)
			}
		})
	}
}

// A list that does not fit, or is not there, is a mistake of the file that uses it.
func TestFaultsInUsesOfLists(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`recipients = ["a@b.example", "@forwarders"]`: `rule[1].recipients[2]: got "192.0.2.0/24" of lists.forwarders (dkimd.toml:2); want an address or a domain (hint: write it like "user@example.com", "@example.com" or "@*.example.com")`,
		"result = \"pass\"\nsigners = \"@customers\"": `rule[1].signers: got "vip@mine.example" of lists.customers (dkimd.toml:3); want a domain (hint: a signature is made by a domain, not by an address: write "mine.example")`,
		`clients = "@services"`:                       `rule[1].clients: got "esp.example" of lists.services (dkimd.toml:4); want an address or a network in CIDR form (hint: write it like "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32")`,
		`clients = ["192.0.2.1", "@forwarder"]`:       `rule[1].clients[2]: got "@forwarder"; want a list of [lists] in dkimd.toml (hint: did you mean "@forwarders"?)`,
		`recipients = ["@localhost"]`:                 `rule[1].recipients[1]: got "@localhost"; want a list of [lists] in dkimd.toml (hint: there are customers, forwarders, services)`,
		"result = \"pass\"\nsigners = \"192.0.2.1\"":  `rule[1].signers: got "192.0.2.1"; want a domain (hint: this is the address of a client)`,
	} {
		dir := write(t, map[string]string{"gmail.com.toml": "[[rule]]\naction = \"accept\"\n" + line})
		rules, faults := policy.Load(dir, lists(shared))
		number := "3: "
		if line[0] == 'r' && line[1] == 'e' && line[2] == 's' {
			number = "4: "
		}
		if got := texts(dir, faults); got != "gmail.com.toml:"+number+want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if v := gmail().judge(rules); v.Action != policy.TempFail {
			t.Errorf("the domain is not deferred: %v", said(v))
		}
	}
}

// A reload takes what a list holds now. A file whose list is gone, or fits no more, stays as it was; others change.
func TestReloadTakesLists(t *testing.T) {
	t.Parallel()
	const rule = "[[rule]]\naction = \"quarantine\"\nclients = \"@forwarders\""
	dir := write(t, map[string]string{"gmail.com.toml": enforced(rule), "esp.example.toml": enforced(rule)})
	rules, faults := policy.Load(dir, lists(`forwarders = "203.0.113.9"`))
	if got := said(gmail().judge(rules)); faults != nil || got != "quarantine by rule 1" {
		t.Fatal(got, faults)
	}
	rules, faults = policy.Reload(dir, lists(`forwarders = "203.0.113.8"`), rules)
	if got := said(gmail().judge(rules)); faults != nil || got != "accept" {
		t.Error(got, faults)
	}
	before := rules
	if err := os.WriteFile(filepath.Join(dir, "esp.example.toml"), []byte("[[rule]]\naction = \"accept\""), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, broken := range []*tomlfile.Lists{nil, lists(`other = "203.0.113.9"`), lists(`forwarders = "example.org"`)} {
		rules, faults = policy.Reload(dir, broken, before)
		kept := rules.Kept()
		if len(faults) > 0 || len(kept) != 1 || kept[0].Domain != "gmail.com" || len(kept[0].Faults) != 1 || len(rules.Enforced()) != 1 {
			t.Errorf("%v: kept %v, enforced %v", faults, kept, rules.Enforced())
		}
		v := gmail().but(func(m *policy.Message) { m.Client = message.NewClient("", "203.0.113.8") }).judge(rules)
		if got := said(v); got != "quarantine by rule 1" {
			t.Error(got)
		}
	}
}
