package pipeline

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dkimd/internal/dmarc"
	"dkimd/internal/events"
	"dkimd/internal/message"
	"dkimd/internal/spf"
	"dkimd/policy"
	"dkimd/verifier"
)

// chance makes messages and rules by chance, of a few domains, so that they meet.
type chance struct{ *rand.Rand }

func (c chance) one(list ...string) string { return list[c.IntN(len(list))] }

func (c chance) domain() string {
	return c.one("a.example", "b.a.example", "gmail.example", "esp.example", "list.esp.example", "mine.example")
}

func (c chance) address() string { return c.one("alice", "bob", "x.y") + "@" + c.domain() }

// some is a list of TOML of up to three words.
func (c chance) some(words ...string) string {
	var list []string
	for range 1 + c.IntN(3) {
		if word := `"` + c.one(words...) + `"`; !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// conditions are those of the rule language, with values by chance. result comes with those that pick signatures.
func (c chance) conditions() map[string]string {
	return map[string]string{
		"result": c.some("none", "pass", "fail", "invalid", "policy", "neutral", "permerror"), "not_result": c.some("pass", "none", "fail"),
		"signers": c.some("gmail.example", "*.esp.example", "a.example", "mine.example"), "not_signers": c.some("esp.example", "*.a.example"),
		"aligned": `"` + c.one("strict", "relaxed", "any") + `"`, "algorithms": c.some("rsa-sha256", "ed25519-sha256"), "min_key_bits": c.one("1024", "2048"),
		"testing": c.one("true", "false"), "duplicates": c.one("true", "false"),
		"clients": c.some("203.0.113.0/24", "2001:db8::/32"), "not_clients": c.some("203.0.113.0/25", "192.0.2.1"),
		"recipients": c.some("@mine.example", "alice@a.example", "@*.a.example"), "any_recipient": c.some("bob@mine.example", "@esp.example"),
		"list": c.one("true", "false"), "not_list": c.one("true", "false"), "from": c.some("missing", "multiple", "misleading"),
		"dmarc": c.some("pass", "fail", "none", "permerror"), "not_dmarc": c.some("pass", "fail", "none"), "spf": c.some("none", "neutral", "pass", "fail", "softfail", "permerror"),
		"published": c.some("none", "quarantine", "reject"), "published_testing": c.one("true", "false"),
	}
}

func (c chance) rules() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mode = %q\n", c.one("enforce", "enforce", "monitor"))
	for range 1 + c.IntN(4) {
		all := c.conditions()
		keys := slices.Sorted(func(yield func(string) bool) {
			for key := range all {
				if c.IntN(6) == 0 && !yield(key) {
					return
				}
			}
		})
		has := func(key string) bool { return slices.Contains(keys, key) }
		keys = slices.DeleteFunc(keys, func(key string) bool {
			return key == "not_result" && has("result") || key == "not_list" && has("list") || key == "not_dmarc" && has("dmarc")
		})
		picks := slices.ContainsFunc(keys, func(key string) bool {
			return slices.Contains([]string{"signers", "not_signers", "aligned", "algorithms", "min_key_bits", "testing", "duplicates"}, key)
		})
		if picks && !has("result") && !has("not_result") {
			keys = append(keys, "result")
		}
		fmt.Fprintf(&b, "[[rule]]\n")
		switch action := c.one("accept", "quarantine", "discard", "tempfail", "reject", "tag"); action {
		case "tag":
			fmt.Fprintf(&b, "action = \"tag\"\ntag = \"X-Rule: %d\"\n", c.IntN(3))
		default:
			fmt.Fprintf(&b, "action = %q\n", action)
		}
		for _, key := range keys {
			fmt.Fprintf(&b, "%s = %s\n", key, all[key])
		}
	}
	return b.String()
}

// loaded are the rules of files.
func loaded(t *testing.T, files map[string]string) *policy.Rules {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rules, faults := policy.Load(dir, nil)
	if len(faults) > 0 {
		t.Fatal(faults.Err(), files)
	}
	return rules
}

func (c chance) directory(t *testing.T) *policy.Rules {
	t.Helper()
	files := map[string]string{}
	if c.IntN(2) == 0 {
		files["_default.toml"] = c.rules()
	}
	for range c.IntN(4) {
		files[c.domain()+".toml"] = fmt.Sprintf("sender = %q\nsubdomains = %s\n", c.one("from", "envelope", "either"), c.one("true", "false")) + c.rules()
	}
	if c.IntN(3) == 0 {
		files["for/"+c.domain()+".toml"] = fmt.Sprintf("subdomains = %s\nalone = %s\n", c.one("true", "false"), c.one("true", "false")) + c.rules()
	}
	return loaded(t, files)
}

// message is one at the end of its header.
func (c chance) message(p *Pipeline) *Message {
	env := &message.Envelope{
		Front: message.Milter, QueueID: "4X", Sender: c.one("", c.address(), c.address(), "<"+c.address()+">"),
		Client: message.NewClient("", c.one("203.0.113.9", "203.0.113.200", "2001:db8::1", "192.0.2.1", "", "?")),
	}
	for range c.IntN(4) {
		env.AddRecipient(c.address())
	}
	m := &Message{p: p, env: env, route: foreign}
	for range c.IntN(8) / 3 {
		m.header.Add("From", " "+c.one(c.address(), "Alice <"+c.address()+">", `"boss@gmail.example" <`+c.address()+">", c.address()+", "+c.address(), "nobody", "a@b <"+c.address(), "=?utf-8?q?=40?= <"+c.address()+">"))
	}
	if c.IntN(3) == 0 {
		m.header.Add("Sender", " "+c.address())
	}
	if c.IntN(3) == 0 {
		m.header.Add("List-Id", " <x.list.example>")
	}
	m.from = message.ReadFrom(&m.header)
	return m
}

// report is what a verifier might have found that was asked for SPF and DMARC or not.
func (c chance) report(m *Message, askedSPF, askedDMARC bool) *verifier.Report {
	r := &verifier.Report{}
	for range c.IntN(4) {
		r.Results = append(r.Results, verifier.Result{
			Status: verifier.Status(1 + c.IntN(6)), Domain: c.domain(), Algorithm: c.one("rsa-sha256", "ed25519-sha256", "rsa-sha1"), KeyBits: c.IntN(3) * 1024,
			Testing: c.IntN(4) == 0, Aligned: verifier.Alignment(c.IntN(3)), AlignmentOpen: c.IntN(8) == 0, Duplicates: strings.Fields(c.one("", "", "Subject")),
		})
	}
	if askedSPF && m.env.Client.Kind == message.ClientAddress {
		r.SPF.Result, _ = spf.Parse(c.one("none", "neutral", "pass", "fail", "softfail", "permerror", "temperror"))
	}
	switch {
	case !askedDMARC:
	case len(m.from.Claimed) != 1 || m.from.Incomplete:
		r.DMARC.Result = dmarc.PermError
	default:
		r.DMARC.Author = m.from.Claimed[0]
		r.DMARC.Result = dmarc.Result(1 + c.IntN(5))
		known := r.DMARC.Result == dmarc.Pass || r.DMARC.Result == dmarc.Fail || r.DMARC.Result == dmarc.TempError && c.IntN(2) == 0
		if known {
			r.DMARC.Policy, r.DMARC.Testing = dmarc.PolicyNone+dmarc.Policy(c.IntN(3)), c.IntN(3) == 0
		}
		if r.DMARC.Result == dmarc.Fail && r.SPF.Result == spf.Unasked {
			r.DMARC.Result = dmarc.Unknown
		}
	}
	return r
}

type kept struct{ e *events.Event }

func (k *kept) Write(e *events.Event) { k.e = e }

// recorded is the record of a message as it is read.
func recorded(t *testing.T, m *Message, rec *record) *events.Event {
	t.Helper()
	m.write(&Outcome{Action: rec.verdict.Action}, rec)
	line, err := m.p.Events.(*kept).e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	e, err := events.NewReader(strings.NewReader(string(line))).Next()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestReplayIsExact: judged again by the same rules, the record of a message gives the verdict that the message had.
func TestReplayIsExact(t *testing.T) {
	t.Parallel()
	c := chance{rand.New(rand.NewPCG(16, 2))}
	p := &Pipeline{Config: Config{Events: &kept{}, Now: time.Now}}
	directories := make([]*policy.Rules, 200)
	for i := range directories {
		directories[i] = c.directory(t)
	}
	actions := map[policy.Action]int{}
	for i := range 10_000 {
		m := c.message(p)
		rules := directories[c.IntN(len(directories))]
		m.rules = rules.Select(m.question())
		m.judged = true
		m.readShortNames()
		always := c.IntN(2) == 0
		report := c.report(m, always || m.rules.NeedsSPF(), always || m.rules.NeedsDMARC())
		want := m.rules.Judge(report)
		actions[want.Action]++
		again, found := Recorded(recorded(t, m, &record{report: report, verdict: want}))
		got := rules.Select(again).Judge(found)
		if want.Unknown != 0 || got.Unknown != 0 {
			t.Fatalf("message %d: live %s, replayed %s are not known", i, want.Unknown, got.Unknown)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("message %d, %+v (-live +replayed):\n%s", i, m.from, d)
		}
	}
	for action := policy.Accept; action <= policy.Reject; action++ {
		if actions[action] < 100 {
			t.Errorf("%d messages with %s: they say little", actions[action], action)
		}
	}
}

// lossy are what records lack: those that older versions wrote, and those that had no room.
func lossy(e *events.Event) map[string]string {
	line, _ := e.MarshalJSON()
	without := func(line string, members string) string {
		return regexp.MustCompile(`,"(`+members+`)":(\[[^\]]*\]|\{[^}]*\}|true|false)`).ReplaceAllString(line, "")
	}
	syslog := string((&events.Syslog{Format: events.JSON, IETF: true, Host: "mx", PID: 1}).Append(nil, e))
	before := without(string(line), "originator|rcpt_to|list|aligned_open")
	first := without(before, "spf|dmarc")
	return map[string]string{
		"whole": string(line), "through syslog": syslog[strings.Index(syslog, "{"):], "before RFC 9989": first,
		"before replay": before,
	}
}

// lengthen makes the record of some messages longer than it may be. What is cut matters: it stands at the end.
func (c chance) lengthen(m *Message) {
	switch c.IntN(6) {
	case 0:
		for range 150 {
			m.env.AddRecipient("bob@mine.example")
		}
		m.env.AddRecipient(c.address())
	case 1:
		m.env.Sender = strings.Repeat("x", []int{20, 300, 1200}[c.IntN(3)]) + "@" + c.domain()
	case 2:
		var list []string
		for n := range 150 {
			list = append(list, fmt.Sprintf("a@d%d.example", n))
		}
		m.header.Add("From", " "+strings.Join(append(list, c.address()), ", "))
		m.from = message.ReadFrom(&m.header)
	}
}

// TestLossyRecordsAreNeverJudgedWrongly: whatever a record lacks, replay says the verdict that the message had, or that it does not know.
func TestLossyRecordsAreNeverJudgedWrongly(t *testing.T) {
	t.Parallel()
	c := chance{rand.New(rand.NewPCG(16, 3))}
	p := &Pipeline{Config: Config{Events: &kept{}, Now: time.Now}}
	directories := make([]*policy.Rules, 100)
	for i := range directories {
		directories[i] = c.directory(t)
	}
	known, unknown := map[string]int{}, map[string]int{}
	for i := range 2000 {
		m := c.message(p)
		c.lengthen(m)
		rules := directories[c.IntN(len(directories))]
		m.rules = rules.Select(m.question())
		m.judged = true
		m.readShortNames()
		report := c.report(m, true, true)
		if c.IntN(6) == 0 {
			for range 110 {
				report.Results = append(report.Results, c.report(m, false, false).Results...)
			}
		}
		want := m.rules.Judge(report)
		recorded(t, m, &record{report: report, verdict: want})
		lines := lossy(p.Events.(*kept).e)
		for name, line := range lines {
			e, err := events.NewReader(strings.NewReader(line)).Next()
			if err != nil {
				t.Fatalf("%s: %v: %s", name, err, line)
			}
			if open := strings.Contains(lines["whole"], `"aligned_open":true`); e.Originator.Domains == nil && (open || len(e.From) < 2 && m.from.Fields > 1) {
				continue // older records know no open alignment, and do not tell of a field without an address
			}
			again, found := Recorded(e)
			got := rules.Select(again).Judge(found)
			if got.Unknown != 0 {
				unknown[name]++
				continue
			}
			if known[name]++; got.Action != want.Action {
				t.Fatalf("%s: message %d: live %s by %q of %s, replayed %s by %q of %s\n%s", name, i, want.Action, want.Rule, want.File, got.Action, got.Rule, got.File, line)
			}
		}
	}
	for name := range lossy(&events.Event{}) {
		if t.Logf("%s: %d known, %d not", name, known[name], unknown[name]); known[name] < 150 || unknown[name] < 30 {
			t.Errorf("%s: %d known and %d unknown say little", name, known[name], unknown[name])
		}
	}
}

// TestReplaySaysWhatItDoesNotKnow: where a record lacks what a condition asks for, the verdict is unknown, and never a wrong one.
func TestReplaySaysWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	whole := func() *events.Event {
		return &events.Event{
			Mode: events.ModeVerify, Client: "203.0.113.9", Sender: "alice@a.example", From: []string{"alice@a.example"}, RcptTo: []string{"bob@mine.example"}, Recipients: 1,
			Originator: events.Originator{Domains: []string{"a.example"}}, SPF: events.SPF{Result: "pass"}, DMARC: events.DMARC{Result: "pass", Policy: "none"},
		}
	}
	old := func(e *events.Event) { e.Originator.Domains, e.RcptTo, e.List = nil, nil, false }
	tests := map[string]struct {
		rule string
		lose func(*events.Event)
		want policy.Gap
	}{
		"recipients":        {`recipients = "@mine.example"`, old, policy.GapRecipients},
		"any_recipient":     {`any_recipient = "bob@mine.example"`, old, policy.GapRecipients},
		"list":              {`list = true`, old, policy.GapList},
		"not_list":          {`not_list = true`, old, policy.GapList},
		"from":              {`from = ["multiple"]`, old, policy.GapFrom},
		"from, names":       {`from = ["misleading"]`, func(e *events.Event) { e.Originator.Faults = []string{events.FromUnread} }, policy.GapNames},
		"spf":               {`spf = ["fail"]`, func(e *events.Event) { e.SPF.Result = "" }, policy.GapSPF},
		"dmarc":             {`dmarc = ["fail"]`, func(e *events.Event) { e.DMARC = events.DMARC{} }, policy.GapDMARC},
		"not_dmarc":         {`not_dmarc = ["pass"]`, func(e *events.Event) { e.DMARC = events.DMARC{} }, policy.GapDMARC},
		"published":         {`published = ["reject"]`, func(e *events.Event) { e.DMARC = events.DMARC{} }, policy.GapDMARC},
		"published_testing": {`published_testing = true`, func(e *events.Event) { e.DMARC = events.DMARC{} }, policy.GapDMARC},
		"dmarc without spf": {`dmarc = ["fail"]`, func(e *events.Event) { e.SPF.Result, e.DMARC.Result = "", "" }, policy.GapSPF},
		"result":            {`result = "pass"`, func(e *events.Event) { e.Warnings = []string{"dkimd: this record leaves out 1 of 101 signatures"} }, policy.GapSignatures},
		"authors":           {`clients = "192.0.2.1"`, func(e *events.Event) { e.Warnings = []string{"dkimd: this record leaves out 1 of 101 domains"} }, policy.GapAuthors},
		"a fault":           {`clients = "192.0.2.1"`, func(e *events.Event) { e.Error = "panic" }, policy.GapSignatures},
		"not asked for":     {`clients = "203.0.113.9"`, old, 0},
		"decided before":    {"clients = \"203.0.113.9\"\n[[rule]]\naction = \"accept\"\nlist = true", old, 0},
		"the same":          {"list = true\n[[rule]]\naction = \"reject\"", old, 0},
		"no such client":    {"list = true\nclients = \"192.0.2.1\"", old, 0},
		"nothing to stop":   {"list = true\nresult = \"pass\"", old, 0},
	}
	for name, test := range tests {
		rules := loaded(t, map[string]string{"a.example.toml": "subdomains = true\nmode = \"enforce\"\n[[rule]]\naction = \"reject\"\n" + test.rule})
		e := whole()
		if m, report := Recorded(e); rules.Select(m).Judge(report).Unknown != 0 {
			t.Errorf("%s: the whole record does not tell", name)
		}
		test.lose(e)
		m, report := Recorded(e)
		if got := rules.Select(m).Judge(report).Unknown; got&test.want != test.want || (got == 0) != (test.want == 0) {
			t.Errorf("%s: unknown for %q; want %q", name, got, test.want)
		}
	}
	e := whole()
	old(e)
	m, report := Recorded(e)
	rules := loaded(t, map[string]string{"for/mine.example.toml": "mode = \"enforce\"\n[[rule]]\naction = \"reject\""})
	if v := rules.Select(m).Judge(report); v.Unknown != policy.GapRecipients {
		t.Errorf("whose rules judge it hangs on the recipients: %q", v.Unknown)
	}
}

// TestEveryConditionIsReplayed: the messages of TestReplayIsExact meet every condition that there is.
func TestEveryConditionIsReplayed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.example.toml"), []byte("[[rule]]\nno_such = 1\naction = \"accept\""), 0o600); err != nil {
		t.Fatal(err)
	}
	_, faults := policy.Load(dir, nil)
	known := chance{rand.New(rand.NewPCG(1, 1))}.conditions()
	n := 0
	for _, f := range faults {
		for key := range strings.SplitSeq(strings.TrimPrefix(f.Want, "one of "), ", ") {
			n++
			if _, tried := known[key]; !tried && !slices.Contains([]string{"action", "reply", "tag", "name"}, key) {
				t.Errorf("no message is replayed under %s", key)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d keys: %v", n, faults)
	}
}

// TestPublished: what receivers make of mail if its author publishes a policy.
func TestPublished(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change  func(*events.Event)
		action  policy.Action
		unknown policy.Gap
	}{
		"neither":        {func(*events.Event) {}, policy.Reject, 0},
		"DKIM":           {func(e *events.Event) { e.Signatures[0].Result = "pass" }, policy.Accept, 0},
		"DKIM of others": {func(e *events.Event) { e.Signatures[0].Result, e.Signatures[0].Aligned = "pass", "none" }, policy.Reject, 0},
		"DKIM, alignment open": {func(e *events.Event) {
			e.Signatures[0] = events.Signature{Result: "pass", Aligned: "none", AlignedOpen: true}
		}, policy.Accept, policy.GapDMARC},
		"key not there": {func(e *events.Event) { e.Signatures[0].Result = "temperror" }, policy.Accept, policy.GapDMARC},
		"SPF":           {func(e *events.Event) { e.SPF = events.SPF{Result: "pass", Domain: "bounce.a.example"} }, policy.Accept, 0},
		"SPF of others": {func(e *events.Event) { e.SPF = events.SPF{Result: "pass", Domain: "esp.example"} }, policy.Reject, 0},
		"SPF not asked": {func(e *events.Event) { e.SPF = events.SPF{} }, policy.Accept, policy.GapSPF},
		"it passed":     {func(e *events.Event) { e.DMARC.Result = "pass" }, policy.Accept, 0},
		"two authors have no policy": {func(e *events.Event) {
			e.Originator.Domains = []string{"a.example", "b.example"}
			e.DMARC.Result = "permerror"
		}, policy.Accept, 0},
	}
	reject, err := NewPublished("reject")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		e := &events.Event{
			Mode: events.ModeVerify, Client: "203.0.113.9", From: []string{"a@a.example"}, Originator: events.Originator{Domains: []string{"a.example"}},
			Signatures: []events.Signature{{Domain: "a.example", Result: "fail", Aligned: "strict"}}, SPF: events.SPF{Result: "fail", Domain: "a.example"}, DMARC: events.DMARC{Result: "none"},
		}
		test.change(e)
		m, report := Recorded(e)
		reject.Assume(&m, report)
		if action, unknown := reject.Disposition(report); action != test.action || unknown != test.unknown {
			t.Errorf("%s: %s, unknown for %q; want %s, %q", name, action, unknown, test.action, test.unknown)
		}
	}
	if _, err := NewPublished("p=reject"); err == nil {
		t.Error("no policy is one")
	}
}
