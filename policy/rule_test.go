package policy_test

import (
	"strings"
	"testing"

	"dkimd/internal/domain"
	"dkimd/internal/message"
	"dkimd/policy"
	"dkimd/verifier"
)

const (
	none      = verifier.None
	pass      = verifier.Pass
	fail      = verifier.Fail
	expired   = verifier.Policy
	neutral   = verifier.Neutral
	temperror = verifier.TempError
	permerror = verifier.PermError
)

const (
	unsigned   = "reject by rule 1: 550 5.7.20 this message from gmail.com has no DKIM signature, and local policy asks for one"
	invalid    = "reject by rule 1: 550 5.7.20 this message from gmail.com has no valid DKIM signature, and local policy asks for one"
	refused    = "reject by rule 1: 550 5.7.21 this message from gmail.com has no DKIM signature that local policy accepts"
	unaligned  = "reject by rule 1: 550 5.7.22 this message from gmail.com has no valid DKIM signature of its author's domain"
	keyLookup  = "tempfail by (key lookup failed): 451 4.7.5 a DKIM key needed to judge this message could not be looked up, try again later"
	dmarcError = "tempfail by (policy lookup failed): 451 4.7.5 what DMARC or SPF says of this message could not be looked up, try again later"
)

// TestConditions: each condition, alone in a rule that rejects.
func TestConditions(t *testing.T) {
	t.Parallel()
	client := func(address string) func(*policy.Message) {
		return func(m *policy.Message) { m.Client = message.NewClient("", address) }
	}
	recipients := func(list ...string) func(*policy.Message) {
		return func(m *policy.Message) { m.Recipients = list }
	}
	truncated := func(list ...string) func(*policy.Message) {
		return func(m *policy.Message) { m.Recipients, m.RecipientsTruncated = list, true }
	}
	list := func(m *policy.Message) { m.List = true }
	twoFrom := func(m *policy.Message) { m.From.Fields = 2 }
	unreadable := func(m *policy.Message) { m.From.Readable = false }
	tests := map[string]struct {
		rule  string
		world world
		want  string
	}{
		"none, unsigned":                 {`result = "none"`, gmail(), unsigned},
		"none, signed":                   {`result = "none"`, gmail(sig("gmail.com", fail)), "accept"},
		"none, signed by a stranger":     {`result = "none"`, gmail(sig("evil.example", pass)), unaligned},
		"none, broken by a stranger":     {`result = "none"`, gmail(sig("evil.example", fail)), invalid},
		"pass":                           {`result = "pass"`, gmail(sig("gmail.com", pass)), refused},
		"pass, relaxed alignment counts": {`result = "pass"`, gmail(sig("mail.gmail.com", pass)), refused},
		"pass, a fail":                   {`result = "pass"`, gmail(sig("gmail.com", fail)), "accept"},
		"fail":                           {`result = "fail"`, gmail(sig("gmail.com", fail)), invalid},
		"fail, a permerror":              {`result = "fail"`, gmail(sig("gmail.com", permerror)), "accept"},
		"one pass is a pass whatever else failed":    {`result = ["fail", "invalid", "none"]`, gmail(sig("gmail.com", fail), sig("gmail.com", pass), sig("gmail.com", permerror)), "accept"},
		"invalid is permerror":                       {`result = "invalid"`, gmail(sig("gmail.com", permerror)), invalid},
		"invalid is policy":                          {`result = "invalid"`, gmail(sig("gmail.com", expired)), invalid},
		"invalid is neutral":                         {`result = "invalid"`, gmail(sig("gmail.com", neutral)), invalid},
		"invalid is not fail":                        {`result = "invalid"`, gmail(sig("gmail.com", fail)), "accept"},
		"invalid is not none":                        {`result = "invalid"`, gmail(), "accept"},
		"permerror":                                  {`result = "permerror"`, gmail(sig("gmail.com", permerror)), invalid},
		"permerror, policy is better":                {`result = "permerror"`, gmail(sig("gmail.com", permerror), sig("gmail.com", expired)), "accept"},
		"policy":                                     {`result = "policy"`, gmail(sig("gmail.com", expired)), invalid},
		"policy beats neutral":                       {`result = "policy"`, gmail(sig("gmail.com", neutral), sig("gmail.com", expired)), invalid},
		"neutral":                                    {`result = "neutral"`, gmail(sig("gmail.com", neutral)), invalid},
		"neutral beats fail":                         {`result = "neutral"`, gmail(sig("gmail.com", fail), sig("gmail.com", neutral)), invalid},
		"fail beats permerror":                       {`result = "fail"`, gmail(sig("gmail.com", permerror), sig("gmail.com", fail)), invalid},
		"not_result, not so":                         {`not_result = "pass"`, gmail(sig("gmail.com", pass)), "accept"},
		"not_result, so":                             {`not_result = ["pass", "fail"]`, gmail(sig("gmail.com", permerror)), invalid},
		"result less not_result":                     {`result = "invalid"` + "\n" + `not_result = "neutral"`, gmail(sig("gmail.com", neutral)), "accept"},
		"result less not_result, left over":          {`result = "invalid"` + "\n" + `not_result = "neutral"`, gmail(sig("gmail.com", expired)), invalid},
		"past the signature limit the rules judge":   {`not_result = "pass"`, gmail(sig("evil.example", pass), sig("gmail.com", neutral)), unaligned},
		"d= in capitals and with a dot":              {`not_result = "pass"`, gmail(sig("Gmail.COM.", pass)), "accept"},
		"d= that is no domain":                       {`not_result = "pass"`, gmail(sig("evil.example\x00gmail.com", permerror), sig("gmail.com, evil", permerror), sig("", permerror)), invalid},
		"signers":                                    {`result = "pass"` + "\n" + `signers = "esp.example"`, gmail(sig("esp.example", pass)), unaligned},
		"signers, another":                           {`result = "pass"` + "\n" + `signers = "esp.example"`, gmail(sig("gmail.com", pass)), "accept"},
		"signers, exact":                             {`result = "pass"` + "\n" + `signers = "esp.example"`, gmail(sig("a.esp.example", pass)), "accept"},
		"signers, subdomains":                        {`result = "pass"` + "\n" + `signers = "*.esp.example"`, gmail(sig("b.a.esp.example", pass)), unaligned},
		"signers, subdomains only":                   {`result = "pass"` + "\n" + `signers = "*.esp.example"`, gmail(sig("esp.example", pass)), "accept"},
		"signers, not a suffix of letters":           {`result = "pass"` + "\n" + `signers = "*.esp.example"`, gmail(sig("resp.example", pass)), "accept"},
		"signers in U-labels":                        {`result = "pass"` + "\n" + `signers = "BÜCHER.example."`, gmail(sig("xn--bcher-kva.example", pass)), unaligned},
		"signers and aligned":                        {`result = "pass"` + "\n" + `signers = ["esp.example", "mail.gmail.com"]` + "\n" + `aligned = "relaxed"`, gmail(sig("esp.example", pass)), "accept"},
		"signers and aligned, both":                  {`result = "pass"` + "\n" + `signers = ["esp.example", "mail.gmail.com"]` + "\n" + `aligned = "relaxed"`, gmail(sig("mail.gmail.com", pass)), refused},
		"not_signers":                                {`not_result = "pass"` + "\n" + `not_signers = "bulk.gmail.com"`, gmail(sig("bulk.gmail.com", pass)), refused},
		"not_signers, another":                       {`not_result = "pass"` + "\n" + `not_signers = "bulk.gmail.com"`, gmail(sig("bulk.gmail.com", pass), sig("gmail.com", pass)), "accept"},
		"aligned strict":                             {`not_result = "pass"` + "\n" + `aligned = "strict"`, gmail(sig("mail.gmail.com", pass)), refused},
		"aligned strict, equal":                      {`not_result = "pass"` + "\n" + `aligned = "strict"`, gmail(sig("gmail.com", pass)), "accept"},
		"aligned relaxed":                            {`not_result = "pass"` + "\n" + `aligned = "relaxed"`, gmail(sig("mail.gmail.com", pass)), "accept"},
		"aligned any":                                {`not_result = "pass"` + "\n" + `aligned = "any"`, gmail(sig("evil.example", pass)), "accept"},
		"a public suffix aligns nobody":              {`not_result = "pass"`, gmail(sig("com", pass)), unaligned},
		"algorithms":                                 {`not_result = "pass"` + "\n" + `algorithms = "ed25519-sha256"`, gmail(sig("gmail.com", pass)), refused},
		"algorithms, meant":                          {`not_result = "pass"` + "\n" + `algorithms = ["ed25519-sha256", "rsa-sha256"]`, gmail(algorithm("Ed25519-SHA256", sig("gmail.com", pass))), "accept"},
		"min_key_bits":                               {`not_result = "pass"` + "\n" + `min_key_bits = 2048`, gmail(bits(1024, sig("gmail.com", pass))), refused},
		"min_key_bits, large":                        {`not_result = "pass"` + "\n" + `min_key_bits = 2048`, gmail(bits(1024, sig("gmail.com", fail)), sig("gmail.com", pass)), "accept"},
		"min_key_bits, Ed25519 is strong":            {`not_result = "pass"` + "\n" + `min_key_bits = 2048`, gmail(bits(256, algorithm("ed25519-sha256", sig("gmail.com", pass)))), "accept"},
		"min_key_bits, a pass of unknown size":       {`not_result = "pass"` + "\n" + `min_key_bits = 2048`, gmail(bits(0, sig("gmail.com", pass))), refused},
		"min_key_bits, no key":                       {`result = "permerror"` + "\n" + `min_key_bits = 2048`, gmail(bits(0, sig("gmail.com", permerror))), invalid},
		"min_key_bits, key not fetched":              {`not_result = "pass"` + "\n" + `min_key_bits = 2048`, gmail(bits(0, sig("gmail.com", temperror))), keyLookup},
		"testing":                                    {`result = "pass"` + "\n" + `testing = true`, gmail(inTest(sig("gmail.com", pass))), refused},
		"testing, not so":                            {`result = "pass"` + "\n" + `testing = true`, gmail(sig("gmail.com", pass)), "accept"},
		"not testing":                                {`not_result = "pass"` + "\n" + `testing = false`, gmail(inTest(sig("gmail.com", pass))), refused},
		"not testing, key not fetched":               {`not_result = "pass"` + "\n" + `testing = false`, gmail(sig("gmail.com", temperror)), keyLookup},
		"testing, key not fetched":                   {`result = "pass"` + "\n" + `testing = true`, gmail(sig("gmail.com", temperror)), keyLookup},
		"duplicates":                                 {`result = "pass"` + "\n" + `duplicates = true`, gmail(doubled(sig("gmail.com", pass))), refused},
		"duplicates, not so":                         {`result = "pass"` + "\n" + `duplicates = true`, gmail(sig("gmail.com", pass)), "accept"},
		"no duplicates":                              {`not_result = "pass"` + "\n" + `duplicates = false`, gmail(doubled(sig("gmail.com", pass))), refused},
		"no duplicates, another covers them":         {`not_result = "pass"` + "\n" + `duplicates = false`, gmail(doubled(sig("gmail.com", pass)), sig("gmail.com", pass)), "accept"},
		"no duplicates, a stranger covers them":      {`not_result = "pass"` + "\n" + `duplicates = false`, gmail(doubled(sig("gmail.com", pass)), sig("evil.example", pass)), refused},
		"duplicates, key not fetched":                {`result = "pass"` + "\n" + `duplicates = true`, gmail(doubled(sig("gmail.com", temperror))), keyLookup},
		"t=y and pass is a pass":                     {`not_result = "pass"`, gmail(inTest(sig("gmail.com", pass))), "accept"},
		"t=y and fail is absent, RFC 6376 3.6.1":     {`result = "fail"`, gmail(inTest(sig("gmail.com", fail))), "accept"},
		"t=y and fail is none, RFC 6376 3.6.1":       {`result = "none"`, gmail(inTest(sig("gmail.com", fail))), unsigned},
		"clients":                                    {`clients = ["203.0.113.0/24", "2001:db8::/32"]`, gmail(), unsigned},
		"clients, IPv6":                              {`clients = ["203.0.113.0/24", "2001:db8::/32"]`, gmail().but(client("IPv6:2001:db8::1")), unsigned},
		"clients, mapped":                            {`clients = "203.0.113.9"`, gmail().but(client("::ffff:203.0.113.9")), unsigned},
		"clients, another":                           {`clients = "198.51.100.0/24"`, gmail(), "accept"},
		"clients, local is none":                     {`clients = ["0.0.0.0/0", "::/0"]`, gmail().but(client("")), "accept"},
		"clients, unreadable is none":                {`clients = ["0.0.0.0/0", "::/0"]`, gmail().but(client("unknown")), "accept"},
		"clients, an address that must not be read":  {`clients = ["0.0.0.0/0", "::/0"]`, gmail().but(func(m *policy.Message) { m.Client.Kind = message.ClientUnreadable }), "accept"},
		"not_clients":                                {`not_clients = "203.0.113.9"`, gmail(), "accept"},
		"not_clients, another":                       {`not_clients = "203.0.113.10"`, gmail(), unsigned},
		"not_clients, unreadable is not among them":  {`not_clients = ["0.0.0.0/0", "::/0"]`, gmail().but(client("unknown")), unsigned},
		"recipients, address":                        {`recipients = "bob@mine.example"`, gmail(), unsigned},
		"recipients, case":                           {`recipients = "Bob@Mine.example"`, gmail().but(recipients("bOB@mINE.example.")), unsigned},
		"recipients, another":                        {`recipients = "bob@mine.example"`, gmail().but(recipients("bobby@mine.example")), "accept"},
		"recipients, every one":                      {`recipients = ["bob@mine.example", "@yours.example"]`, gmail().but(recipients("bob@mine.example", "x@yours.example")), unsigned},
		"recipients, not every one":                  {`recipients = "@mine.example"`, gmail().but(recipients("bob@mine.example", "x@yours.example")), "accept"},
		"recipients, domain":                         {`recipients = "mine.example"`, gmail(), unsigned},
		"recipients, a domain is no subdomain":       {`recipients = "@mine.example"`, gmail().but(recipients("bob@a.mine.example")), "accept"},
		"recipients, subdomains":                     {`recipients = "@*.mine.example"`, gmail().but(recipients("bob@b.a.mine.example")), unsigned},
		"recipients, subdomains only":                {`recipients = "*.mine.example"`, gmail(), "accept"},
		"recipients, none is not every one":          {`recipients = "mine.example"`, gmail().but(recipients()), "accept"},
		"recipients, no domain":                      {`recipients = "mine.example"`, gmail().but(recipients("postmaster")), "accept"},
		"recipients, a truncated list opens nothing": {`recipients = "mine.example"`, gmail().but(truncated("bob@mine.example")), unsigned},
		"list":                                     {`list = true`, gmail().but(list), unsigned},
		"list, none":                               {`list = true`, gmail(), "accept"},
		"list = false":                             {`list = false`, gmail(), unsigned},
		"not_list":                                 {`not_list = true`, gmail().but(list), "accept"},
		"not_list, none":                           {`not_list = true`, gmail(), unsigned},
		"from multiple":                            {`from = "multiple"`, gmail().but(twoFrom), unsigned},
		"from multiple, one":                       {`from = "multiple"`, gmail(), "accept"},
		"from missing, unreadable":                 {`from = "missing"`, gmail().but(unreadable), unsigned},
		"from missing, there":                      {`from = "missing"`, gmail(), "accept"},
		"from, either":                             {`from = ["missing", "multiple"]`, gmail().but(twoFrom), unsigned},
		"two From fields: no signature counts":     {`not_result = "pass"`, gmail(sig("gmail.com", pass)).but(twoFrom), strings.Replace(unaligned, "no valid DKIM signature of its author's domain", "several From fields, so no DKIM signature can speak for its author", 1)},
		"two From fields: nor does a named one":    {`result = "pass"` + "\n" + `signers = "gmail.com"`, gmail(sig("gmail.com", pass)).but(twoFrom), "accept"},
		"two From fields: lookups cannot matter":   {`not_result = "pass"`, gmail(sig("gmail.com", temperror)).but(twoFrom), invalid},
		"published":                                {"published = \"reject\"", gmail().publishing("reject"), unsigned},
		"published, another":                       {"published = [\"reject\", \"none\"]", gmail().publishing("quarantine"), "accept"},
		"published, nothing":                       {"published = [\"reject\", \"quarantine\", \"none\"]", gmail(), "accept"},
		"published, not fetched":                   {"published = \"reject\"", gmail().publishing("temperror"), dmarcError},
		"published, not fetched and no matter":     {"published = \"reject\"\nnot_result = \"pass\"", gmail(sig("gmail.com", pass)).publishing("temperror"), "accept"},
		"published, unaskable: the strictest":      {"published = \"reject\"", gmail().publishing("unaskable"), unsigned},
		"published, unasked where no rule asks":    {`result = "pass"`, gmail().publishing("unaskable"), "accept"},
		"all conditions must hold":                 {"list = true\nresult = \"none\"", gmail(), "accept"},
		"temperror: pass and fail differ":          {`not_result = "pass"`, gmail(sig("gmail.com", temperror)), keyLookup},
		"temperror: fail and permerror differ":     {`result = "fail"`, gmail(sig("gmail.com", temperror)), keyLookup},
		"temperror: all three the same, reject":    {`result = ["pass", "invalid", "fail"]`, gmail(sig("gmail.com", temperror)), invalid},
		"temperror: all three the same, accept":    {`result = "none"`, gmail(sig("gmail.com", temperror)), "accept"},
		"temperror beside a pass does not matter":  {`not_result = "pass"`, gmail(sig("gmail.com", temperror), sig("gmail.com", pass)), "accept"},
		"temperror of a stranger does not matter":  {`not_result = "pass"`, gmail(sig("evil.example", temperror)), invalid},
		"temperror and a fail of the same signer":  {`not_result = "pass"`, gmail(sig("gmail.com", fail), sig("gmail.com", temperror)), keyLookup},
		"t=y known and key not fetched: is absent": {`result = "none"`, gmail(inTest(sig("gmail.com", temperror))), unsigned},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules := load(t, map[string]string{"gmail.com.toml": enforced("[[rule]]\naction = \"reject\"\n" + test.rule)})
			if got := said(test.world.judge(rules)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestActions: what each action says, and how rules follow each other.
func TestActions(t *testing.T) {
	t.Parallel()
	const accept, reject, hold, drop, retry = "[[rule]]\naction='accept'\n", "[[rule]]\naction='reject'\n", "[[rule]]\naction='quarantine'\n", "[[rule]]\naction='discard'\n", "[[rule]]\naction='tempfail'\n"
	tests := map[string]struct {
		rules string
		world world
		want  string
	}{
		"no rule holds: accept":             {reject + "result='fail'\n", gmail(), "accept"},
		"accept":                            {accept + reject, gmail(), "accept by rule 1"},
		"reject":                            {reject + accept, gmail(), unsigned},
		"quarantine":                        {hold + reject, gmail(), "quarantine by rule 1"},
		"discard":                           {drop + reject, gmail(), "discard by rule 1"},
		"tempfail":                          {retry, gmail(), "tempfail by rule 1: 451 4.7.5 this message from gmail.com is not acceptable for now, try again later"},
		"the first that holds decides":      {reject + "result='fail'\n" + hold + "result='none'\nname='unsigned'\n" + reject, gmail(), "quarantine by unsigned"},
		"own reply":                         {reject + "name='g'\nreply=\"550 5.7.20 Come on, what's going on?\"\n", gmail(), "reject by g: 550 5.7.20 Come on, what's going on?"},
		"own reply, enhanced code left out": {reject + "reply='554 go away'\n", gmail(sig("evil.example", pass)), "reject by rule 1: 554 5.7.22 go away"},
		"own tempfail reply":                {retry + "reply='450 4.2.0 100% later'\n", gmail(), "tempfail by rule 1: 450 4.2.0 100% later"},
		"own tempfail reply, code only":     {retry + "reply='450 later'\n", gmail(), "tempfail by rule 1: 450 4.7.5 later"},
		"tag goes on with the next rule":    {"[[rule]]\naction='tag'\ntag='X-A: one'\n[[rule]]\naction='tag'\ntag='X-B:two'\nresult='pass'\n[[rule]]\naction='tag'\ntag='X-C: three: 3 '\n" + hold, gmail(), "quarantine by rule 4 [X-A: one] [X-C: three: 3]"},
		"tag alone accepts":                 {"[[rule]]\naction='tag'\ntag='X-A: one'\n", gmail(), "accept [X-A: one]"},
		"tag after the decision":            {accept + "[[rule]]\naction='tag'\ntag='X-A: one'\n", gmail(), "accept by rule 1"},
		"tag only where all three agree":    {"[[rule]]\naction='tag'\ntag='X-A: one'\nresult='fail'\n[[rule]]\naction='tag'\ntag='X-B: two'\n[[rule]]\naction='tag'\ntag='X-C: three'\nresult='pass'\n", gmail(sig("gmail.com", temperror)), "accept [X-B: two]"},
		"same action by other rules":        {hold + "result='pass'\n" + hold + "result='fail'\nname='f'\n" + hold, gmail(sig("gmail.com", temperror)), "quarantine by rule 1"},
		"discard and quarantine differ":     {hold + "result='fail'\n" + drop, gmail(sig("gmail.com", temperror)), keyLookup},
		"published, unaskable: of equally strict rules the first": {"[[rule]]\nname='first'\naction='reject'\nreply='550 5.7.1 one'\npublished='none'\n[[rule]]\nname='second'\naction='reject'\nreply='550 5.7.1 two'\npublished='reject'\n", gmail().publishing("unaskable"), "reject by first: 550 5.7.1 one"},
		"several authors, published: tags":                        {"[[rule]]\naction='tag'\ntag='X-A: one'\npublished='reject'\n", gmail().publishing("unaskable"), "accept [X-A: one]"},
		"truncated recipients: no accept":                         {accept + "recipients='mine.example'\n" + reject, gmail().but(func(m *policy.Message) { m.RecipientsTruncated = true }), strings.Replace(unsigned, "rule 1", "rule 2", 1)},
		"both lookups failed":                                     {reject + "published='reject'\nnot_result='pass'\n", gmail(sig("gmail.com", temperror)).publishing("temperror"), keyLookup},
		"default reply, envelope":                                 {reject, gmail(sig("evil.example", pass)).but(func(m *policy.Message) { m.From = from("x@other.example") }), strings.Replace(unaligned, "author", "sender", 1)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules := load(t, map[string]string{"gmail.com.toml": enforced("sender = \"either\"\n" + test.rules)})
			if got := said(test.world.judge(rules)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			monitor := load(t, map[string]string{"gmail.com.toml": "sender = \"either\"\n" + test.rules})
			v := test.world.judge(monitor)
			if got := said(v); got != "accept" {
				t.Errorf("in monitor mode: %s", got)
			}
			want := test.world.judge(rules)
			if len(v.Decisions) != 1 || v.Decisions[0].Mode != "monitor" || v.Decisions[0].Action != want.Action || v.Decisions[0].Reply != want.Reply ||
				v.Decisions[0].Rule != want.Rule || len(v.Decisions[0].Tags) != len(want.Tags) || v.Decisions[0].Sender != "gmail.com" || v.Decisions[0].File != "gmail.com.toml" {
				t.Errorf("recorded in monitor mode: %+v", v.Decisions)
			}
		})
	}
}

func TestActionsInOrderOfStrictness(t *testing.T) {
	t.Parallel()
	if policy.Accept >= policy.Quarantine || policy.Quarantine >= policy.Discard || policy.Discard >= policy.TempFail || policy.TempFail >= policy.Reject {
		t.Error("actions are not in order")
	}
	for action, want := range map[policy.Action]string{policy.Accept: "accept", policy.Quarantine: "quarantine", policy.Discard: "discard", policy.TempFail: "tempfail", policy.Reject: "reject", 9: "action(9)"} {
		if text, err := action.MarshalText(); err != nil || string(text) != want {
			t.Errorf("%d: %s, %v", action, text, err)
		}
	}
}

// TestRepliesAreSanitised: what a message contains never breaks out of a reply.
func TestRepliesAreSanitised(t *testing.T) {
	t.Parallel()
	rules := load(t, map[string]string{"_default.toml": enforced("[[rule]]\naction='reject'\n")})
	for _, hostile := range []domain.Name{"a\r\n250 ok", "x%sn.example", domain.Name(strings.Repeat("a.", 5000)) + "com", "é.example", "a b"} {
		w := gmail()
		w.msg.From.Claimed = []domain.Name{hostile}
		v := w.judge(rules)
		reply := v.Reply.String()
		if v.Action != policy.Reject || len(reply) > 510 || strings.ContainsFunc(reply, func(r rune) bool { return r < ' ' || r > '~' || r == '%' }) {
			t.Errorf("%q: %q", hostile, reply)
		}
	}
}

// A rule may have mail come again whose key could not be looked up, even where no other rule minds:
// OpenDMARC behind dkimd would refuse it for good.
func TestTemperrorMayDefer(t *testing.T) {
	t.Parallel()
	const defers = "[[rule]]\nname = \"dns\"\nresult = [\"temperror\"]\naction = \"tempfail\"\nreply = \"451 4.7.5 later\"\n"
	const rejects = "[[rule]]\nname = \"unsigned\"\nnot_result = \"pass\"\naction = \"reject\"\nreply = \"550 5.7.20 no\"\n"
	tests := map[string]struct {
		rules string
		world world
		want  string
	}{
		"no other rule minds":         {defers, gmail(sig("gmail.com", temperror)), "tempfail by dns: 451 4.7.5 later"},
		"before another":              {defers + rejects, gmail(sig("gmail.com", temperror)), "tempfail by dns: 451 4.7.5 later"},
		"a pass beside it":            {defers, gmail(sig("gmail.com", temperror), sig("gmail.com", pass)), "accept"},
		"a fail beside it":            {defers, gmail(sig("gmail.com", fail), sig("gmail.com", temperror)), "tempfail by dns: 451 4.7.5 later"},
		"of a stranger":               {defers + rejects, gmail(sig("evil.example", temperror)), "reject by unsigned: 550 5.7.20 no"},
		"two From fields":             {defers, gmail(sig("gmail.com", temperror)).but(func(m *policy.Message) { m.From.Fields = 2 }), "accept"},
		"a fail":                      {defers, gmail(sig("gmail.com", fail)), "accept"},
		"unsigned":                    {defers, gmail(), "accept"},
		"in test mode it is absent":   {defers, gmail(inTest(sig("gmail.com", temperror))), "accept"},
		"behind a rule that rejects":  {rejects + defers, gmail(sig("gmail.com", temperror)), keyLookup},
		"behind one that accepts all": {"[[rule]]\naction = \"accept\"\n" + defers, gmail(sig("gmail.com", temperror)), "accept by rule 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules := load(t, map[string]string{"gmail.com.toml": enforced(test.rules)})
			if got := said(test.world.judge(rules)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// A name that shows a domain of others is a condition like any other, and is read only where a rule asks.
func TestMisleadingNames(t *testing.T) {
	t.Parallel()
	const evil = `"boss@gmail.com" <x@evil.example>`
	rules := load(t, map[string]string{
		"_default.toml":     "mode = \"enforce\"\n[[rule]]\nname = \"misleading\"\nfrom = \"misleading\"\naction = \"quarantine\"",
		"asks.example.toml": "mode = \"enforce\"\n[[rule]]\nresult = \"fail\"\naction = \"reject\"",
	})
	for from, want := range map[string]policy.Action{evil: policy.Quarantine, `"Gmail" <x@evil.example>`: policy.Accept, "x@evil.example": policy.Accept} {
		m, report, err := policy.Sample{From: []string{from}}.Message()
		if err != nil {
			t.Fatal(err)
		}
		list, v := rules.Explain(m, report)
		if v.Action != want {
			t.Errorf("%s: %v, want %v", from, v.Action, want)
		}
		if why, named := list[0].Tried[0].Why, "a name in From shows gmail.com"; (why == named) != (want == policy.Quarantine) || why == "" {
			t.Errorf("%s: explained as %q", from, why)
		}
	}
	m, _, _ := policy.Sample{From: []string{`"boss@gmail.com" <x@asks.example>`}}.Message()
	m.Misleading = func() domain.Name { t.Error("read though no rule of its file asks"); return "" }
	rules.Select(m)
}
