package policy_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/policy"
	"dkimd/verifier"
)

// judges lists which files judge a message, as FILE<SENDER.
func judges(v policy.Verdict) string {
	list := make([]string, 0, len(v.Decisions))
	for _, d := range v.Decisions {
		list = append(list, strings.TrimSuffix(d.File, ".toml")+"<"+d.Sender)
	}
	return strings.Join(list, " ")
}

// TestSelect: which files judge a message.
func TestSelect(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{
		"from.example.toml":          `sender = "from"`,
		"plain.example.toml":         ``,
		"envelope.example.toml":      `sender = "envelope"`,
		"either.example.toml":        `sender = "either"`,
		"tree.example.toml":          "sender = \"either\"\nsubdomains = true",
		"leaf.tree.example.toml":     `sender = "either"`,
		"bounce.tree.example.toml":   `sender = "envelope"`,
		"sub.tree.example.toml":      "sender = \"either\"\nsubdomains = true",
		"xn--bcher-kva.example.toml": ``,
		"_default.toml":              ``,
	})
	without := load(t, map[string]string{"either.example.toml": `sender = "either"`})
	long := strings.Repeat("x.", 200_000)
	tests := map[string]struct {
		from   message.Originator
		sender string
		want   string
	}{
		"From":                                  {from("a@from.example"), "", "from.example<from.example"},
		"sender is From by default":             {from("a@plain.example"), "", "plain.example<plain.example"},
		"no From, but Sender":                   {message.Originator{Instead: []domain.Name{"either.example", "envelope.example", "other.example"}}, "a@either.example", "either.example<either.example _default<"},
		"MAIL FROM with a comment":              {from("a@other.example"), "a@either.example(x)", "_default<other.example either.example<either.example"},
		"MAIL FROM with a name":                 {from("a@other.example"), "A <a@either.example> ", "_default<other.example either.example<either.example"},
		"MAIL FROM without an end":              {from("a@other.example"), "<a@either.example", "_default<other.example either.example<either.example"},
		"MAIL FROM that two may read otherwise": {from("a@other.example"), "a@either.example>,<b@envelope.example", "_default<other.example either.example<either.example envelope.example<envelope.example"},
		"From, file for the envelope":           {from("a@envelope.example"), "", "_default<envelope.example"},
		"MAIL FROM":                             {from("a@other.example"), "a@envelope.example", "_default<other.example envelope.example<envelope.example"},
		"MAIL FROM, file for From":              {from("a@other.example"), "a@from.example", "_default<other.example"},
		"either, both: once":                    {from("a@either.example"), "b@Either.Example.", "either.example<either.example"},
		"either, From":                          {from("a@either.example"), "a@other.example", "either.example<either.example"},
		"either, MAIL FROM":                     {from("a@other.example"), "a@either.example", "_default<other.example either.example<either.example"},
		"both senders have files":               {from("a@from.example"), "a@envelope.example", "from.example<from.example envelope.example<envelope.example"},
		"several authors":                       {from("a@from.example", "b@other.example", "c@either.example"), "", "from.example<from.example _default<other.example either.example<either.example"},
		"several authors, none claimed":         {from("a@one.example", "b@two.example"), "", "_default<one.example _default<two.example"},
		"nobody claims it":                      {from("a@other.example"), "a@more.example", "_default<other.example"},
		"subdomain without subdomains":          {from("a@x.from.example"), "", "_default<x.from.example"},
		"subdomain":                             {from("a@x.y.tree.example"), "", "tree.example<x.y.tree.example"},
		"the domain itself":                     {from("a@tree.example"), "", "tree.example<tree.example"},
		"a name that only ends alike":           {from("a@xtree.example"), "", "_default<xtree.example"},
		"nearest: exact":                        {from("a@leaf.tree.example"), "", "leaf.tree.example<leaf.tree.example"},
		"below an exact file: its parent":       {from("a@x.leaf.tree.example"), "", "tree.example<x.leaf.tree.example"},
		"nearest: parent":                       {from("a@x.sub.tree.example"), "", "sub.tree.example<x.sub.tree.example"},
		"exact, other kind of sender":           {from("a@bounce.tree.example"), "", "tree.example<bounce.tree.example"},
		"exact, this kind of sender":            {from("a@other.example"), "a@bounce.tree.example", "_default<other.example bounce.tree.example<bounce.tree.example"},
		"two domains under one file":            {from("a@tree.example"), "b@x.tree.example", "tree.example<tree.example tree.example<x.tree.example"},
		"U-label":                               {from("a@" + string(domain.Fold("Bücher.example"))), "", "xn--bcher-kva.example<xn--bcher-kva.example"},
		"no From":                               {message.Originator{}, "", "_default<"},
		"no From, MAIL FROM claimed: both":      {message.Originator{}, "a@either.example", "either.example<either.example _default<"},
		"unreadable From":                       {message.Originator{Fields: 1}, "", "_default<"},
		"unreadable From with a domain":         {message.Originator{Fields: 1, Claimed: []domain.Name{"from.example"}}, "", "from.example<from.example"},
		"null sender":                           {from("a@from.example"), "", "from.example<from.example"},
		"MAIL FROM without a domain":            {from("a@from.example"), "postmaster", "from.example<from.example"},
		"a name too long for the DNS":           {from("a@" + long + "tree.example"), "", "tree.example<" + long + "tree.example"},
		"a name too long for the DNS, one word": {from("a@" + strings.Repeat("x", 1<<20)), "", "_default<" + strings.Repeat("x", 1<<20)},
		"empty labels":                          {from("a@..tree.example"), "", "tree.example<..tree.example"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := policy.Message{From: test.from, Sender: test.sender}
			if got := judges(rules.Select(m).Judge(&verifier.Report{})); got != test.want {
				t.Errorf("got %.300s; want %.300s", got, test.want)
			}
			if got := judges(without.Select(m).Judge(&verifier.Report{})); strings.Contains(got, "_default") {
				t.Errorf("without _default.toml: %.300s", got)
			}
			if v := (*policy.Rules)(nil).Select(m).Judge(&verifier.Report{}); v.Action != policy.Accept || len(v.Decisions) > 0 {
				t.Errorf("without rules: %+v", v)
			}
		})
	}
}

// TestStrictestVerdictHolds: several senders, each judged by his own file with his own alignment.
func TestStrictestVerdictHolds(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"monitor.example.toml": "[[rule]]\naction='reject'\nname='m'\n[[rule]]\naction='tag'\ntag='X-M: m'\n",
		"gmail.com.toml":       enforced("sender='either'\n[[rule]]\nresult=['none','invalid','fail']\naction='reject'\nname='g'\nreply='550 5.7.20 g'\n"),
	}
	for domain, action := range map[string]string{"a": "accept", "q": "quarantine", "d": "discard", "t": "tempfail", "r": "reject"} {
		files[domain+".example.toml"] = enforced("[[rule]]\naction='tag'\ntag='X-T: " + domain + "'\n[[rule]]\naction='tag'\ntag='X-All: x'\n[[rule]]\nname='" + domain + "'\naction='" + action + "'\n")
	}
	rules := load(t, files)
	tests := map[string]struct{ senders, want string }{
		"accept and quarantine":   {"a q", "quarantine by q [X-T: a] [X-All: x] [X-T: q]"},
		"quarantine and discard":  {"q d", "discard by d [X-T: q] [X-All: x] [X-T: d]"},
		"discard and tempfail":    {"d t", "tempfail by t: 451 4.7.5 this message from t.example is not acceptable for now, try again later [X-T: d] [X-All: x] [X-T: t]"},
		"reject and all others":   {"r t d q a", "reject by r: 550 5.7.20 this message from r.example has no DKIM signature, and local policy asks for one [X-T: r] [X-All: x] [X-T: t] [X-T: d] [X-T: q] [X-T: a]"},
		"monitor does not count":  {"monitor q", "quarantine by q [X-T: q] [X-All: x]"},
		"monitor alone":           {"monitor", "accept"},
		"no file, one file":       {"x q", "quarantine by q [X-T: q] [X-All: x]"},
		"the first among equals":  {"r monitor", "reject by r: 550 5.7.20 this message from r.example has no DKIM signature, and local policy asks for one [X-T: r] [X-All: x]"},
		"nobody of them has file": {"x y", "accept"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var addresses []string
			for sender := range strings.FieldsSeq(test.senders) {
				addresses = append(addresses, "x@"+sender+".example")
			}
			if got := said(rules.Select(policy.Message{From: from(addresses...)}).Judge(&verifier.Report{})); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
	t.Run("each with his own alignment", func(t *testing.T) {
		t.Parallel()
		// From is signed, MAIL FROM is not; then the other way round.
		m := policy.Message{From: from("x@a.example"), Sender: "x@gmail.com"}
		if got := said(rules.Select(m).Judge(&verifier.Report{Results: []verifier.Result{sig("a.example", pass)}})); !strings.HasPrefix(got, "reject by g: 550 5.7.20 g") {
			t.Error(got)
		}
		if got := said(rules.Select(m).Judge(&verifier.Report{Results: []verifier.Result{sig("gmail.com", pass)}})); !strings.HasPrefix(got, "accept") {
			t.Error(got)
		}
	})
}

// TestDefaultFile judges by From, and only what no file claims.
func TestDefaultFile(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{
		"_default.toml":  enforced("[[rule]]\nname='f'\nfrom='missing'\naction='reject'\n[[rule]]\nname='m'\nfrom='multiple'\naction='quarantine'\n[[rule]]\nname='dmarc'\npublished='reject'\nnot_result='pass'\naction='quarantine'\n"),
		"gmail.com.toml": `sender = "either"`,
	})
	two := from("a@x.example")
	two.Fields = 2
	tests := map[string]struct {
		m    policy.Message
		p    string
		want string
	}{
		"no From":                 {policy.Message{Sender: "a@x.example"}, "unaskable", "reject by f: 550 5.7.20 this message has no DKIM signature, and local policy asks for one"},
		"unreadable From":         {policy.Message{From: message.Originator{Fields: 1}}, "unaskable", "reject by f: 550 5.7.20 this message has no DKIM signature, and local policy asks for one"},
		"two From fields":         {policy.Message{From: two}, "unaskable", "quarantine by m"},
		"published":               {policy.Message{From: from("a@x.example")}, "reject", "quarantine by dmarc"},
		"nothing published":       {policy.Message{From: from("a@x.example")}, "absent", "accept"},
		"several authors":         {policy.Message{From: from("a@x.example", "a@y.example")}, "unaskable", "quarantine by dmarc"},
		"a file claims it":        {policy.Message{From: from("a@gmail.com")}, "reject", "accept"},
		"a file claims another":   {policy.Message{From: from("a@gmail.com", "a@x.example")}, "reject", "quarantine by dmarc"},
		"the envelope is claimed": {policy.Message{From: from("a@x.example"), Sender: "a@gmail.com"}, "reject", "quarantine by dmarc"},
	}
	for name, test := range tests {
		if got := said(rules.Select(test.m).Judge(reported(test.m, nil, test.p))); got != test.want {
			t.Errorf("%s: got %s; want %s", name, got, test.want)
		}
	}
}

// TestUnreadFrom: who hides behind more From than is read is refused wherever a
// file could have stopped him.
func TestUnreadFrom(t *testing.T) {
	t.Parallel()
	author := from("x@evil.example")
	author.Incomplete = true
	m := policy.Message{From: author}
	const rule = "[[rule]]\nnot_result='pass'\naction='quarantine'\n"
	strict := load(t, map[string]string{"gmail.com.toml": enforced(rule)})
	if got := said(strict.Select(m).Judge(&verifier.Report{})); got != "reject by (too many sender domains): 550 5.7.1 this message has more in From than anybody needs" {
		t.Error(got)
	}
	if got := said(strict.Select(m).Fault()); !strings.HasPrefix(got, "tempfail by (internal fault)") {
		t.Error(got)
	}
	watching := load(t, map[string]string{"gmail.com.toml": rule})
	if got := said(watching.Select(m).Judge(&verifier.Report{})); got != "accept" {
		t.Error(got)
	}
}

// TestPublicSuffixesAlignNobody: two domains without an organizational domain have none in common.
func TestPublicSuffixesAlignNobody(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{"_default.toml": enforced("[[rule]]\nnot_result='pass'\naction='reject'\n")})
	tests := map[string]struct{ sender, signer, want string }{
		"two suffixes":      {"co.uk", "com", "reject by rule 1: 550 5.7.22 this message from co.uk has no valid DKIM signature of its author's domain"},
		"the same":          {"co.uk", "co.uk", "accept"},
		"no names at all":   {"a b", "c d", "reject by rule 1: 550 5.7.22 this message from a?b has no valid DKIM signature of its author's domain"},
		"below a suffix":    {"a.co.uk", "b.co.uk", "reject by rule 1: 550 5.7.22 this message from a.co.uk has no valid DKIM signature of its author's domain"},
		"one organization":  {"x.a.co.uk", "y.a.co.uk", "accept"},
		"a long empty name": {strings.Repeat(".", 300), strings.Repeat("-", 300), "reject by rule 1: 550 5.7.22 this message from " + strings.Repeat(".", 100) + "... has no valid DKIM signature of its author's domain"},
	}
	for name, test := range tests {
		m := policy.Message{From: from("x@" + test.sender)}
		if got := said(rules.Select(m).Judge(reported(m, []verifier.Result{sig(test.signer, pass)}, "absent"))); got != test.want {
			t.Errorf("%s: got %s; want %s", name, got, test.want)
		}
	}
}

// TestNothingIsPublishedForNobody: without an author no policy is asked for, and none assumed.
func TestNothingIsPublishedForNobody(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{"_default.toml": enforced("[[rule]]\npublished=['none','quarantine','reject']\naction='quarantine'\n")})
	if got := said(rules.Select(policy.Message{}).Judge(&verifier.Report{})); got != "accept" {
		t.Errorf("no From: %s", got)
	}
	if got := said(rules.Select(policy.Message{From: from("x@a.example")}).Judge(&verifier.Report{})); got != "quarantine by rule 1" {
		t.Errorf("an author, and nobody asked: %s", got)
	}
}

// TestSigners: what the verifier is asked to look at first.
func TestSigners(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{
		"named.example.toml":   "[[rule]]\nresult='none'\nsigners=['esp.example','Named.Example','*.wild.example']\naction='reject'\n[[rule]]\nresult='fail'\nsigners='esp.example'\naction='reject'\n",
		"aligned.example.toml": "sender='either'\nsubdomains=true\n[[rule]]\nresult='none'\naction='reject'\n",
		"nothing.example.toml": "[[rule]]\nlist=true\naction='reject'\n",
		"dmarc.example.toml":   "[[rule]]\npublished='reject'\naction='quarantine'\n",
	})
	tests := map[string]struct {
		m         policy.Message
		want      []domain.Name
		published bool
	}{
		"named":     {policy.Message{From: from("a@named.example")}, []domain.Name{"esp.example", "named.example"}, false},
		"aligned":   {policy.Message{From: from("a@x.aligned.example"), Sender: "a@aligned.example"}, []domain.Name{"aligned.example", "x.aligned.example"}, false},
		"nothing":   {policy.Message{From: from("a@nothing.example")}, nil, false},
		"published": {policy.Message{From: from("a@dmarc.example")}, nil, true},
		"no file":   {policy.Message{From: from("a@other.example")}, nil, false},
	}
	for name, test := range tests {
		c := rules.Select(test.m)
		got := c.Signers()
		slices.Sort(got)
		if !slices.Equal(got, test.want) || c.NeedsSPF() != test.published {
			t.Errorf("%s: %v, %v", name, got, c.NeedsSPF())
		}
	}
}

// TestFault: a fault of ours never opens the door.
func TestFault(t *testing.T) {
	t.Parallel()
	const deferred = "tempfail by (internal fault): 451 4.7.5 internal fault while this message was checked, try again later"
	stopping := "[[rule]]\nlist=true\naction='%s'\n"
	tests := map[string]struct {
		files         map[string]string
		want, unknown string
	}{
		"reject":             {map[string]string{"gmail.com.toml": enforced(fmt.Sprintf(stopping, "reject"))}, deferred, deferred},
		"tempfail":           {map[string]string{"gmail.com.toml": enforced(fmt.Sprintf(stopping, "tempfail"))}, deferred, deferred},
		"discard":            {map[string]string{"gmail.com.toml": enforced(fmt.Sprintf(stopping, "discard"))}, deferred, deferred},
		"quarantine":         {map[string]string{"gmail.com.toml": enforced(fmt.Sprintf(stopping, "quarantine"))}, deferred, deferred},
		"accept":             {map[string]string{"gmail.com.toml": enforced(fmt.Sprintf(stopping, "accept"))}, "accept by (internal fault)", "accept"},
		"tag":                {map[string]string{"gmail.com.toml": enforced(fmt.Sprintf(stopping, "tag") + "tag='X: y'\n")}, "accept by (internal fault)", "accept"},
		"monitor":            {map[string]string{"gmail.com.toml": fmt.Sprintf(stopping, "reject")}, "accept", "accept"},
		"no file":            {nil, "accept", "accept"},
		"of another":         {map[string]string{"x.example.toml": enforced(fmt.Sprintf(stopping, "reject"))}, "accept", deferred},
		"of another, beside": {map[string]string{"x.example.toml": enforced(fmt.Sprintf(stopping, "reject")), "gmail.com.toml": ""}, "accept", deferred},
		"default":            {map[string]string{"_default.toml": enforced(fmt.Sprintf(stopping, "reject"))}, deferred, deferred},
		"default beside":     {map[string]string{"_default.toml": enforced(fmt.Sprintf(stopping, "reject")), "gmail.com.toml": ""}, "accept", deferred},
	}
	for name, test := range tests {
		rules := load(t, test.files)
		c := rules.Select(gmail().msg)
		if got := said(c.Fault()); got != test.want {
			t.Errorf("%s: got %s; want %s", name, got, test.want)
		}
		if got := said(c.Judge(nil)); got != test.want {
			t.Errorf("%s, no report: got %s; want %s", name, got, test.want)
		}
		if got := said(rules.FaultUnknown()); got != test.unknown {
			t.Errorf("%s, unknown sender: got %s; want %s", name, got, test.unknown)
		}
	}
	if (*policy.Rules)(nil).FaultUnknown().Action != policy.Accept || (*policy.Rules)(nil).DefaultBroken() || len((*policy.Rules)(nil).Warnings()) > 0 || (*policy.Rules)(nil).Len() != 0 {
		t.Error("no rules at all")
	}
}

// TestTooManySenders: who names more domains than are judged does not get past a rule.
func TestTooManySenders(t *testing.T) {
	t.Parallel()
	const enough = 64
	var addresses []string
	files := map[string]string{"gmail.com.toml": enforced("[[rule]]\nresult='none'\naction='quarantine'\n")}
	for i := range enough {
		addresses = append(addresses, fmt.Sprintf("x@d%d.example", i))
		files[fmt.Sprintf("d%d.example.toml", i)] = ""
	}
	files["z.example.toml"] = ""
	rules := load(t, files)
	judge := func(addresses ...string) policy.Verdict {
		return rules.Select(policy.Message{From: from(addresses...)}).Judge(&verifier.Report{})
	}
	if got := said(judge(append(addresses[1:], "x@gmail.com")...)); got != "quarantine by rule 1" {
		t.Errorf("as many as are judged: %s", got)
	}
	const want = "reject by (too many sender domains): 550 5.7.1 this message names more than 64 sender domains"
	v := judge(append(slices.Clone(addresses), "x@z.example", "x@z.example", "x@gmail.com", "x@gmail.com")...)
	if got := said(v); got != want || len(v.Decisions) > enough+2 {
		t.Errorf("one more: %s, %d decisions", got, len(v.Decisions))
	}
	if got := said(judge(append(slices.Clone(addresses), "x@z.example")...)); got != "accept" {
		t.Errorf("one more that stops nothing: %s", got)
	}
	c := rules.Select(policy.Message{From: from(append(slices.Clone(addresses), "x@gmail.com")...)})
	if c.Fault().Action != policy.TempFail {
		t.Error("a fault with too many senders")
	}
}

// TestRulesAreSafeForConcurrentUse lets the race detector look.
func TestRulesAreSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{"gmail.com.toml": enforced("sender='either'\nsubdomains=true\n[[rule]]\nresult=['none','invalid','fail']\nrecipients='*.example'\naction='reject'\n")})
	c := rules.Select(gmail().msg)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				w := gmail(sig("gmail.com", verifier.Status(i%7)))
				w.judge(rules)
				c.Judge(&verifier.Report{Results: w.results})
				c.Signers()
				rules.FaultUnknown()
			}
		})
	}
	wg.Wait()
}

// TestJudgingCostsLittle bounds what a message allocates.
func TestJudgingCostsLittle(t *testing.T) {
	rules := load(t, map[string]string{"gmail.com.toml": enforced("[[rule]]\nresult=['none','invalid','fail']\nsigners='gmail.com'\naction='reject'\n")})
	report := &verifier.Report{Results: []verifier.Result{sig("gmail.com", pass), sig("esp.example", pass)}}
	m := gmail().msg
	if n := testing.AllocsPerRun(100, func() { rules.Select(m).Judge(report) }); n > 12 {
		t.Errorf("%v allocations", n)
	}
	m.From, m.Sender = from("a@other.example"), "a@other.example"
	if n := testing.AllocsPerRun(100, func() { rules.Select(m).Judge(report) }); n > 2 {
		t.Errorf("no file: %v allocations", n)
	}
	runtime.KeepAlive(rules)
}
