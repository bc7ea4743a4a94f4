package policy_test

import (
	"os"
	"path/filepath"
	"testing"

	"dkimd/internal/domain"
	"dkimd/policy"
	"dkimd/verifier"
)

func to(recipients ...string) world {
	return gmail().but(func(m *policy.Message) { m.Recipients = recipients })
}

func truncated(w world) world {
	return w.but(func(m *policy.Message) { m.RecipientsTruncated = true })
}

// One recipient is enough. Those past the limit may be among them for a rule that stops mail, not for another.
func TestAnyRecipient(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		action string
		msg    world
		holds  bool
	}{
		"the one":                {"quarantine", to("bob@mine.example"), true},
		"one of two":             {"quarantine", to("a@other.example", "BOB@mine.example"), true},
		"none":                   {"quarantine", to("a@other.example"), false},
		"no recipient":           {"quarantine", to(), false},
		"unknown ones, stops":    {"quarantine", truncated(to("a@other.example")), true},
		"unknown ones, does not": {"accept", truncated(to("a@other.example")), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules := load(t, map[string]string{"gmail.com.toml": enforced("[[rule]]\nname = \"held\"\nany_recipient = \"bob@mine.example\"\naction = \"" + tt.action + "\"")})
			if got := tt.msg.judge(rules).Rule == "held"; got != tt.holds {
				t.Errorf("holds: %v", got)
			}
		})
	}
}

const stopAll = "mode = \"enforce\"\n[[rule]]\naction = \"reject\"\n"

// A file in for/ judges mail of any sender all of whose recipients are in its domain.
func TestFilesOfRecipients(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		files map[string]string
		msg   world
		want  string // the file that decides; empty: accepted
	}{
		"to the domain":                     {map[string]string{"for/mine.example.toml": stopAll}, to("bob@Mine.Example"), "for/mine.example.toml"},
		"two recipients of it":              {map[string]string{"for/mine.example.toml": stopAll}, to("bob@mine.example", "joe@mine.example"), "for/mine.example.toml"},
		"one is of another domain":          {map[string]string{"for/mine.example.toml": stopAll}, to("bob@mine.example", "joe@other.example"), ""},
		"two domains with files":            {map[string]string{"for/mine.example.toml": stopAll, "for/other.example.toml": stopAll + "#"}, to("bob@mine.example", "joe@other.example"), ""},
		"more recipients than known":        {map[string]string{"for/mine.example.toml": stopAll}, truncated(to("bob@mine.example")), ""},
		"no recipient":                      {map[string]string{"for/mine.example.toml": stopAll}, to(), ""},
		"from the domain":                   {map[string]string{"for/gmail.com.toml": stopAll}, gmail(), ""},
		"below it":                          {map[string]string{"for/mine.example.toml": stopAll}, to("bob@a.mine.example"), ""},
		"below it, subdomains":              {map[string]string{"for/mine.example.toml": "subdomains = true\n" + stopAll}, to("bob@a.mine.example", "b@mine.example"), "for/mine.example.toml"},
		"the nearest":                       {map[string]string{"for/mine.example.toml": "subdomains = true\n" + stopAll, "for/a.mine.example.toml": stopAll}, to("bob@a.mine.example"), "for/a.mine.example.toml"},
		"the nearest accepts":               {map[string]string{"for/mine.example.toml": "subdomains = true\n" + stopAll, "for/a.mine.example.toml": ""}, to("bob@a.mine.example"), ""},
		"monitor":                           {map[string]string{"for/mine.example.toml": "[[rule]]\naction = \"reject\""}, to("bob@mine.example"), ""},
		"without From":                      {map[string]string{"for/mine.example.toml": stopAll}, to("bob@mine.example").but(func(m *policy.Message) { m.From = from(); m.From.Fields = 0 }), "for/mine.example.toml"},
		"the sender's is stricter":          {map[string]string{"for/mine.example.toml": enforced("[[rule]]\naction = \"quarantine\""), "gmail.com.toml": stopAll}, to("bob@mine.example"), "gmail.com.toml"},
		"the recipient's is stricter":       {map[string]string{"for/mine.example.toml": stopAll, "gmail.com.toml": enforced("[[rule]]\naction = \"quarantine\"")}, to("bob@mine.example"), "for/mine.example.toml"},
		"it accepts, the sender's does not": {map[string]string{"for/mine.example.toml": enforced("[[rule]]\naction = \"accept\""), "gmail.com.toml": stopAll}, to("bob@mine.example"), "gmail.com.toml"},
		"alone":                             {map[string]string{"for/mine.example.toml": enforced("alone = true"), "gmail.com.toml": stopAll, "_default.toml": stopAll}, to("bob@mine.example"), ""},
		"alone, with rules":                 {map[string]string{"for/mine.example.toml": "alone = true\n" + stopAll, "gmail.com.toml": stopAll}, to("bob@mine.example"), "for/mine.example.toml"},
		"alone, with another":               {map[string]string{"for/mine.example.toml": enforced("alone = true"), "gmail.com.toml": stopAll}, to("bob@mine.example", "joe@other.example"), "gmail.com.toml"},
		"alone, in monitor mode":            {map[string]string{"for/mine.example.toml": "alone = true", "gmail.com.toml": stopAll}, to("bob@mine.example"), "gmail.com.toml"},
		"alone, From past the limit":        {map[string]string{"for/mine.example.toml": enforced("alone = true"), "gmail.com.toml": stopAll}, to("bob@mine.example").but(func(m *policy.Message) { m.From.Incomplete = true }), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := tt.msg.judge(load(t, tt.files))
			if (v.Action == policy.Accept) != (tt.want == "") || tt.want != "" && v.File != tt.want {
				t.Errorf("%s, of %q; want %q", said(v), v.File, tt.want)
			}
		})
	}
}

// The rules are tried on the sender: which signatures count, and what the reply says.
func TestFilesOfRecipientsJudgeTheSender(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{"for/mine.example.toml": enforced("[[rule]]\nnot_result = \"pass\"\naction = \"reject\"\nsigners = [\"esp.example\"]")})
	for want, w := range map[string]world{
		"accept": gmail(sig("esp.example", pass)),
		"reject by rule 1: 550 5.7.22 this message from gmail.com has no valid DKIM signature of its author's domain": gmail(sig("other.example", pass)),
		unsigned: gmail(),
	} {
		if got := said(w.judge(rules)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	signers := rules.Select(gmail().msg).Signers()
	if len(signers) != 1 || signers[0] != "esp.example" {
		t.Errorf("the verifier looks first for %v", signers)
	}
	if v := rules.Select(gmail().msg).Fault(); v.Action != policy.TempFail {
		t.Errorf("our own fault: %s", said(v))
	}
	if v := rules.FaultUnknown(); v.Action != policy.TempFail {
		t.Errorf("our own fault, early: %s", said(v))
	}
}

func TestFaultsInFilesOfRecipients(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"sender = \"from\"":              `for/mine.example.toml:1: sender: got "from"; want no such key in for/ (hint: remove it: a file there judges mail by its recipients)`,
		"alone = 1":                      `for/mine.example.toml:1: alone: got 1 (integer); want true or false`,
		"[[rule]]\nany_recipient = []\n": "for/mine.example.toml:1: rule[1].action: got nothing; want accept, reject, tempfail, quarantine, discard or tag (hint: say what becomes of a message for which the rule holds)\nfor/mine.example.toml:2: rule[1].any_recipient: got []; want at least one (hint: leave out the key if it is not a condition)",
	} {
		dir := write(t, map[string]string{"for/mine.example.toml": content})
		rules, faults := policy.Load(dir, nil)
		if got := texts(dir, faults); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got := said(to("bob@mine.example").judge(rules)); got != "tempfail by (rules file broken): 451 4.7.5 local policy for mine.example is broken, try again later" {
			t.Error(got)
		}
		if got := said(to("bob@mine.example", "joe@other.example").judge(rules)); got != "accept" {
			t.Errorf("mail of others: %s", got)
		}
	}
	for name, want := range map[string]string{
		"for/_default.toml":     `for/_default.toml: got "_default.toml"; want the name of a domain and .toml, or _default.toml (hint: names with _ in front are reserved; the rules for all other mail are in _default.toml)`,
		"gmail.com.toml":        `gmail.com.toml:1: alone: got an unknown key; want one of mode, rule, sender, subdomains`,
		"for/a@b.toml":          `for/a@b.toml: got "a@b.toml"; want the name of a domain and .toml, or _default.toml (hint: rules are for whole domains: leave out what stands before and with the @)`,
		"for/MINE.example.toml": "",
	} {
		dir := write(t, map[string]string{name: "alone = true\nmode = \"enforce\""})
		if _, faults := policy.Load(dir, nil); texts(dir, faults) != want {
			t.Errorf("%s: %s", name, texts(dir, faults))
		}
	}
	same := "alone = true\nmode = \"enforce\""
	dir := write(t, map[string]string{"for/a.example.toml": same, "gmail.com.toml": same})
	if _, faults := policy.Load(dir, nil); len(faults) != 1 || filepath.Base(faults[0].Path) != "gmail.com.toml" {
		t.Errorf("the same content under for/ and outside: %v", faults)
	}
	dir = write(t, map[string]string{"for": "a file"})
	if rules, faults := policy.Load(dir, nil); !rules.DefaultBroken() || len(faults) != 1 {
		t.Errorf("for is a file: %v", faults)
	}
}

func TestWarningsOfFilesOfRecipients(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"alone = true":                     `for/a.example.toml:1: alone: got true in monitor mode; want mode = "enforce" (hint: until then the files of senders judge as well)`,
		"alone = true\nmode = \"enforce\"": "",
		"mode = \"enforce\"":               `for/a.example.toml:1: rule: got no rule; want at least one [[rule]], or alone = true (hint: this file does nothing)`,
		"mode = \"enforce\"\n" + "[[rule]]\naction = \"quarantine\"": "",
	} {
		dir := write(t, map[string]string{"for/a.example.toml": content})
		rules, faults := policy.Load(dir, nil)
		if got := texts(dir, rules.Warnings()); got != want || faults != nil {
			t.Errorf("%q, %v\ngot  %s\nwant %s", content, faults, got, want)
		}
	}
}

// A file for a recipient and one for a sender of the same domain are two, also when one of them breaks.
func TestReloadKeepsFilesOfRecipients(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"for/mine.example.toml": stopAll, "mine.example.toml": enforced("[[rule]]\naction = \"quarantine\"")})
	rules, faults := policy.Load(dir, nil)
	if len(faults) > 0 || rules.Len() != 2 || len(rules.Enforced()) != 2 || !rules.Has("for/mine.example") || !rules.Has("mine.example") || rules.Has("for/gmail.com") {
		t.Fatal(faults, rules.Enforced())
	}
	if err := os.WriteFile(filepath.Join(dir, "for/mine.example.toml"), []byte("mode = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, faults = policy.Reload(dir, nil, rules)
	kept := rules.Kept()
	if len(faults) > 0 || len(kept) != 1 || kept[0].Domain != "for/mine.example" || len(kept[0].Faults) != 1 {
		t.Errorf("%v: kept %v", faults, kept)
	}
	if got := said(to("bob@mine.example").judge(rules)); got[:16] != "reject by rule 1" {
		t.Error(got)
	}
	if err := os.Remove(filepath.Join(dir, "for/mine.example.toml")); err != nil {
		t.Fatal(err)
	}
	rules, _ = policy.Reload(dir, nil, rules)
	if got := said(to("bob@mine.example").judge(rules)); got != "accept" || rules.Len() != 1 || len(rules.Kept()) != 0 {
		t.Error(got, rules.Kept())
	}
}

func TestCasesForRecipients(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"for/mine.example.toml":      enforced("[[rule]]\naction = \"quarantine\""),
		"for/mine.example.test.toml": "[[case]]\naction = \"quarantine\"\n[[case]]\nrecipients = \"a@other.example\"\naction = \"accept\"\n[[case]]\naction = \"accept\"\n",
	})
	rules, faults := policy.Load(dir, nil)
	if len(faults) > 0 || len(rules.Tests()) != 1 {
		t.Fatal(faults, rules.Tests())
	}
	n, failed := rules.RunTest(rules.Tests()[0])
	if want := `for/mine.example.test.toml:6: case[3] "": got quarantine by rule 1 of for/mine.example.toml; want accept (hint: dkimd policy explain)`; n != 3 || texts(dir, failed) != want {
		t.Errorf("%d: %s", n, texts(dir, failed))
	}
	if got := policy.DirectoryOf(rules.Tests()[0]); got != dir {
		t.Error(got)
	}
	list, _ := rules.Explain(gmail().msg, &verifier.Report{})
	if len(list) != 1 || list[0].Decision.File != "for/mine.example.toml" || domain.Name(list[0].Decision.Sender) != "gmail.com" {
		t.Errorf("%+v", list)
	}
}
