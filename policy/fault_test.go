package policy_test

import (
	"slices"
	"strings"
	"testing"

	"dkimd/policy"
	"dkimd/verifier"
)

// TestFaults: each mistake an operator can make in a rules file, with all that he reads.
func TestFaults(t *testing.T) {
	t.Parallel()
	const rule = "[[rule]]\naction = \"reject\"\n" // lines 1 and 2
	const words = "none, pass, invalid, fail, permerror, policy or neutral"
	const picks = ` only picks the signatures that count: add not_result = ["pass"] for mail that none of them vouches for, result = ["pass"] for mail that one does)`
	tests := map[string]struct{ toml, want string }{
		"no TOML":                     {"sender = either", `gmail.com.toml:1: got "sender = either"; want TOML (hint: column 10: strings are written in quotes: sender = "either")`},
		"sender":                      {`sender = "header"`, `gmail.com.toml:1: sender: got "header"; want from, envelope or either`},
		"subdomains":                  {`subdomains = "true"`, `gmail.com.toml:1: subdomains: got "true" (string); want true or false (hint: write it without quotes: true)`},
		"mode":                        {`mode = "Enforce"`, `gmail.com.toml:1: mode: got "Enforce"; want monitor or enforce (hint: did you mean "enforce"?)`},
		"unknown key":                 {"[[rule]]\naction = \"reject\"\nresults = \"none\"", `gmail.com.toml:3: rule[1].results: got an unknown key; want a known one (hint: did you mean result?)`},
		"unknown condition":           {"[[rule]]\naction = \"reject\"\nsingers = \"a.example\"", `gmail.com.toml:3: rule[1].singers: got an unknown key; want a known one (hint: did you mean signers?)`},
		"unknown key above":           {`signers = "gmail.com"`, `gmail.com.toml:1: signers: got an unknown key; want one of mode, rule, sender, subdomains`},
		"rule is no list of tables":   {"[rule]\naction = \"reject\"", `gmail.com.toml:1: rule: got a table; want an array of tables (hint: begin each with a line [[rule]])`},
		"too many rules":              {strings.Repeat("[[rule]]\naction='accept'\n", 1001), `gmail.com.toml:1: rule: got [a table, a table, a table, a table, a table, a table, a table, ...]; want at most 1000 rules`},
		"name empty":                  {rule + `name = " "`, `gmail.com.toml:3: rule[1].name: got " "; want a name of at most 200 printable characters`},
		"name with a line end":        {rule + `name = "a\nb"`, `gmail.com.toml:3: rule[1].name: got "a\nb"; want a name of at most 200 printable characters`},
		"name of dkimd's own":         {rule + `name = "(internal fault)"`, `gmail.com.toml:3: rule[1].name: got "(internal fault)"; want a name (hint: names in parentheses are what dkimd itself decides)`},
		"no action":                   {"[[rule]]\nresult = \"none\"", `gmail.com.toml:1: rule[1].action: got nothing; want accept, reject, tempfail, quarantine, discard or tag (hint: say what becomes of a message for which the rule holds)`},
		"action":                      {"[[rule]]\naction = \"deny\"", `gmail.com.toml:2: rule[1].action: got "deny"; want accept, reject, tempfail, quarantine, discard or tag`},
		"result":                      {rule + `result = ["none", "failed"]`, `gmail.com.toml:3: rule[1].result[2]: got "failed"; want ` + words},
		"result temperror":            {rule + `result = "temperror"`, `gmail.com.toml:3: rule[1].result: got "temperror"; want ` + words + ` (hint: a key that could not be looked up decides nothing: where it matters the message is answered 451 4.7.5, and comes again; with action = "tempfail", result may name temperror, so that it always comes again)`},
		"not_result temperror":        {rule + `not_result = ["pass", "temperror"]`, `gmail.com.toml:3: rule[1].not_result[2]: got "temperror"; want ` + words + ` (hint: a key that could not be looked up decides nothing: where it matters the message is answered 451 4.7.5, and comes again; with action = "tempfail", result may name temperror, so that it always comes again)`},
		"result empty":                {rule + `result = []`, `gmail.com.toml:3: rule[1].result: got []; want at least one (hint: leave out the key if it is not a condition)`},
		"result a number":             {rule + `result = 1`, `gmail.com.toml:3: rule[1].result: got 1 (integer); want a list of strings (hint: write it in quotes: "1")`},
		"nothing left of result":      {rule + "result = \"fail\"\nnot_result = [\"fail\", \"pass\"]", `gmail.com.toml:4: rule[1].not_result: got ["fail", "pass"]; want something of result left over (hint: the rule can never hold: leave out not_result)`},
		"not_result of everything":    {rule + `not_result = ["none", "pass", "fail", "invalid"]`, `gmail.com.toml:3: rule[1].not_result: got ["none", "pass", "fail", "invalid"]; want some result left out (hint: the rule can never hold)`},
		"signers alone":               {rule + `signers = "gmail.com"`, `gmail.com.toml:3: rule[1].signers: got "gmail.com"; want result or not_result beside it (hint: signers` + picks},
		"not_signers alone":           {rule + `not_signers = "gmail.com"`, `gmail.com.toml:3: rule[1].not_signers: got "gmail.com"; want result or not_result beside it (hint: not_signers` + picks},
		"aligned alone":               {rule + `aligned = "strict"`, `gmail.com.toml:3: rule[1].aligned: got "strict"; want result or not_result beside it (hint: aligned` + picks},
		"algorithms alone":            {rule + `algorithms = "rsa-sha1"`, `gmail.com.toml:3: rule[1].algorithms: got "rsa-sha1"; want result or not_result beside it (hint: algorithms` + picks},
		"min_key_bits alone":          {rule + `min_key_bits = 2048`, `gmail.com.toml:3: rule[1].min_key_bits: got 2048; want result or not_result beside it (hint: min_key_bits` + picks},
		"testing alone":               {rule + `testing = true`, `gmail.com.toml:3: rule[1].testing: got true; want result or not_result beside it (hint: testing` + picks},
		"signers empty":               {rule + "result = \"pass\"\nsigners = []", `gmail.com.toml:4: rule[1].signers: got []; want at least one (hint: leave out the key if it is not a condition)`},
		"signer an address":           {rule + "result = \"pass\"\nsigners = [\"ok.example\", \"x@gmail.com\"]", `gmail.com.toml:4: rule[1].signers[2]: got "x@gmail.com"; want a domain (hint: a signature is made by a domain, not by an address: write "gmail.com")`},
		"signer a long address":       {rule + "result = \"pass\"\nsigners = \"x@" + strings.Repeat("y", 70) + "\"", `gmail.com.toml:4: rule[1].signers: got "x@` + strings.Repeat("y", 58) + `..." (72 bytes); want a domain (hint: a signature is made by a domain, not by an address: write "` + strings.Repeat("y", 60) + `..." (70 bytes))`},
		"recipient no domain":         {rule + `recipients = "@mine example"`, `gmail.com.toml:3: rule[1].recipients: got "@mine example"; want an address or a domain (hint: write it like "user@example.com", "@example.com" or "@*.example.com")`},
		"signer with @":               {rule + "result = \"pass\"\nsigners = \"@gmail.com\"", `gmail.com.toml:4: rule[1].signers: got "@gmail.com"; want a domain (hint: leave out the @)`},
		"signer no domain":            {rule + "result = \"pass\"\nnot_signers = \"gmail.*\"", `gmail.com.toml:4: rule[1].not_signers: got "gmail.*"; want a domain (hint: write it like "example.com", or "*.example.com" for every domain below it)`},
		"aligned":                     {rule + "result = \"pass\"\naligned = \"none\"", `gmail.com.toml:4: rule[1].aligned: got "none"; want strict, relaxed or any`},
		"aligned a bool":              {rule + "result = \"pass\"\naligned = true", `gmail.com.toml:4: rule[1].aligned: got true (boolean); want strict, relaxed or any`},
		"algorithms":                  {rule + "result = \"pass\"\nalgorithms = [\"rsa\"]", `gmail.com.toml:4: rule[1].algorithms[1]: got "rsa"; want rsa-sha256, ed25519-sha256 or rsa-sha1`},
		"min_key_bits":                {rule + "result = \"pass\"\nmin_key_bits = 256", `gmail.com.toml:4: rule[1].min_key_bits: got 256; want a whole number from 1024 to 16384`},
		"testing":                     {rule + "result = \"pass\"\ntesting = \"yes\"", `gmail.com.toml:4: rule[1].testing: got "yes" (string); want true or false`},
		"clients":                     {rule + `clients = ["10.0.0.0/8", "10.1.2.3/8"]`, `gmail.com.toml:3: rule[1].clients[2]: got "10.1.2.3/8"; want an address or a network in CIDR form (hint: write 10.0.0.0/8 for the network or 10.1.2.3 for the one address)`},
		"clients empty":               {rule + `not_clients = []`, `gmail.com.toml:3: rule[1].not_clients: got []; want at least one (hint: leave out the key if it is not a condition)`},
		"recipients":                  {rule + `recipients = ["ok.example", "a b@mine.example"]`, `gmail.com.toml:3: rule[1].recipients[2]: got "a b@mine.example"; want an address or a domain (hint: write it like "user@example.com", "@example.com" or "@*.example.com")`},
		"recipients, part of a name":  {rule + `recipients = "*@mine.example"`, `gmail.com.toml:3: rule[1].recipients: got "*@mine.example"; want an address or a domain (hint: write it like "user@example.com", "@example.com" or "@*.example.com")`},
		"recipients, address literal": {rule + `recipients = "x@[192.0.2.1]"`, `gmail.com.toml:3: rule[1].recipients: got "x@[192.0.2.1]"; want an address or a domain (hint: write it like "user@example.com", "@example.com" or "@*.example.com")`},
		"recipients empty":            {rule + `recipients = []`, `gmail.com.toml:3: rule[1].recipients: got []; want at least one (hint: leave out the key if it is not a condition)`},
		"list":                        {rule + `list = 1`, `gmail.com.toml:3: rule[1].list: got 1 (integer); want true or false`},
		"list and not_list":           {rule + "list = true\nnot_list = true", `gmail.com.toml:4: rule[1].not_list: got true; want no contradiction of list (hint: one of the two is enough)`},
		"from":                        {rule + `from = "absent"`, `gmail.com.toml:3: rule[1].from: got "absent"; want missing, multiple or misleading`},
		"from empty":                  {rule + `from = []`, `gmail.com.toml:3: rule[1].from: got []; want at least one (hint: leave out the key if it is not a condition)`},
		"published":                   {rule + "published = \"absent\"", `gmail.com.toml:3: rule[1].published: got "absent"; want none, quarantine or reject`},
		"without_spf":                 {rule + `without_spf = true`, `gmail.com.toml:3: rule[1].without_spf: got true; want no such key any more (hint: SPF is checked now: write dmarc = ["fail"] beside published, and remove it)`},
		"dmarc":                       {rule + `dmarc = "x"`, `gmail.com.toml:3: rule[1].dmarc: got "x"; want pass, fail, none, permerror or temperror`},
		"dmarc, temperror":            {rule + `dmarc = ["fail", "temperror"]`, `gmail.com.toml:3: rule[1].dmarc[2]: got "temperror"; want pass, fail, none, permerror (hint: what DNS left open decides nothing: where it matters the message is answered 451 4.7.5, and comes again; with action = "tempfail", dmarc may name temperror)`},
		"dmarc empty":                 {rule + `dmarc = []`, `gmail.com.toml:3: rule[1].dmarc: got []; want at least one (hint: leave out the key if it is not a condition)`},
		"dmarc and not_dmarc":         {rule + "dmarc = \"fail\"\nnot_dmarc = \"pass\"", `gmail.com.toml:4: rule[1].not_dmarc: got "pass"; want dmarc or not_dmarc (hint: one of the two is enough)`},
		"not_dmarc":                   {rule + `not_dmarc = "temperror"`, `gmail.com.toml:3: rule[1].not_dmarc: got "temperror"; want pass, fail, none or permerror (hint: did you mean "permerror"?)`},
		"spf":                         {rule + `spf = "hardfail"`, `gmail.com.toml:3: rule[1].spf: got "hardfail"; want none, neutral, pass, fail, softfail, permerror or temperror`},
		"published_testing":           {rule + `published_testing = "y"`, `gmail.com.toml:3: rule[1].published_testing: got "y" (string); want true or false`},
		"reply, no code":              {rule + `reply = "go away"`, `gmail.com.toml:3: rule[1].reply: got "go away"; want a reply like "550 5.7.20 TEXT" (hint: begin it with a three-digit code and a space)`},
		"reply, several lines":        {rule + `reply = "550-5.7.20 go away"`, `gmail.com.toml:3: rule[1].reply: got "550-5.7.20 go away"; want a reply like "550 5.7.20 TEXT" (hint: begin it with a three-digit code and a space)`},
		"reply, class":                {rule + `reply = "450 4.7.1 go away"`, `gmail.com.toml:3: rule[1].reply: got "450 4.7.1 go away"; want a reply like "550 5.7.20 TEXT" (hint: the code must begin with 5)`},
		"reply, class of tempfail":    {"[[rule]]\naction = \"tempfail\"\nreply = \"550 5.7.1 no\"", `gmail.com.toml:3: rule[1].reply: got "550 5.7.1 no"; want a reply like "451 4.7.5 TEXT" (hint: the code must begin with 4)`},
		"reply, 421":                  {"[[rule]]\naction = \"tempfail\"\nreply = \"421 4.7.1 no\"", `gmail.com.toml:3: rule[1].reply: got "421 4.7.1 no"; want a reply like "451 4.7.5 TEXT" (hint: 421 closes the connection: use 451)`},
		"reply, code":                 {rule + `reply = "590 no"`, `gmail.com.toml:3: rule[1].reply: got "590 no"; want a reply like "550 5.7.20 TEXT" (hint: there is no such code: the second digit is 0 to 5)`},
		"reply, enhanced class":       {rule + `reply = "550 4.7.1 no"`, `gmail.com.toml:3: rule[1].reply: got "550 4.7.1 no"; want a reply like "550 5.7.20 TEXT" (hint: the enhanced code must begin with 5)`},
		"reply, enhanced form":        {rule + `reply = "550 5.7 no"`, `gmail.com.toml:3: rule[1].reply: got "550 5.7 no"; want a reply like "550 5.7.20 TEXT" (hint: an enhanced code is three numbers: 5.7.1)`},
		"reply, enhanced zeros":       {rule + `reply = "550 5.07.1 no"`, `gmail.com.toml:3: rule[1].reply: got "550 5.07.1 no"; want a reply like "550 5.7.20 TEXT" (hint: an enhanced code is three numbers: 5.7.1)`},
		"reply, no text":              {rule + `reply = "550 5.7.1 "`, `gmail.com.toml:3: rule[1].reply: got "550 5.7.1 "; want a reply like "550 5.7.20 TEXT" (hint: add a text that tells the sender what to do)`},
		"reply, code only":            {rule + `reply = "550"`, `gmail.com.toml:3: rule[1].reply: got "550"; want a reply like "550 5.7.20 TEXT" (hint: add a text that tells the sender what to do)`},
		"reply, empty":                {rule + `reply = ""`, `gmail.com.toml:3: rule[1].reply: got ""; want a reply like "550 5.7.20 TEXT" (hint: begin it with a three-digit code and a space)`},
		"reply, line end":             {rule + `reply = "550 5.7.1 no\r\n250 ok"`, `gmail.com.toml:3: rule[1].reply: got "550 5.7.1 no\r\n250 ok"; want a reply like "550 5.7.20 TEXT" (hint: printable ASCII only, on one line)`},
		"reply, 8-bit":                {rule + `reply = "550 5.7.1 né"`, `gmail.com.toml:3: rule[1].reply: got "550 5.7.1 né"; want a reply like "550 5.7.20 TEXT" (hint: printable ASCII only, on one line)`},
		"reply, long":                 {rule + `reply = "550 ` + strings.Repeat("x", 397) + `"`, `gmail.com.toml:3: rule[1].reply: got "550 ` + strings.Repeat("x", 56) + `..." (401 bytes); want a reply like "550 5.7.20 TEXT" (hint: at most 400 characters)`},
		"reply with accept":           {"[[rule]]\naction = \"accept\"\nreply = \"250 ok\"", `gmail.com.toml:3: rule[1].reply: got "250 ok"; want no reply with accept (hint: only reject and tempfail answer the client)`},
		"reply with quarantine":       {"[[rule]]\naction = \"quarantine\"\nreply = \"550 no\"", `gmail.com.toml:3: rule[1].reply: got "550 no"; want no reply with quarantine (hint: only reject and tempfail answer the client)`},
		"tag missing":                 {"[[rule]]\naction = \"tag\"", `gmail.com.toml:1: rule[1].tag: got nothing; want the header field to add (hint: write it like "X-DKIM-Policy: unsigned")`},
		"tag with reject":             {rule + `tag = "X-A: b"`, `gmail.com.toml:3: rule[1].tag: got "X-A: b"; want no tag with reject (hint: use action = "tag" in a rule before this one: it goes on with the next rule)`},
		"tag, no colon":               {"[[rule]]\naction = \"tag\"\ntag = \"X-A\"", `gmail.com.toml:3: rule[1].tag: got "X-A"; want a header field (hint: write it like "X-DKIM-Policy: unsigned")`},
		"tag, no value":               {"[[rule]]\naction = \"tag\"\ntag = \"X-A: \"", `gmail.com.toml:3: rule[1].tag: got "X-A: "; want a header field (hint: write it like "X-DKIM-Policy: unsigned")`},
		"tag, space in the name":      {"[[rule]]\naction = \"tag\"\ntag = \"X-A : b\"", `gmail.com.toml:3: rule[1].tag: got "X-A : b"; want a header field (hint: no space before the colon)`},
		"tag, line end":               {"[[rule]]\naction = \"tag\"\ntag = \"X-A: b\\r\\nFrom: c\"", `gmail.com.toml:3: rule[1].tag: got "X-A: b\r\nFrom: c"; want a header field (hint: printable ASCII only, on one line)`},
		"tag, long":                   {"[[rule]]\naction = \"tag\"\ntag = \"X-A: " + strings.Repeat("x", 396) + "\"", `gmail.com.toml:3: rule[1].tag: got "X-A: ` + strings.Repeat("x", 55) + `..." (401 bytes); want a header field (hint: at most 400 characters)`},
		"tag, a long name":            {"[[rule]]\naction = \"tag\"\ntag = \"" + strings.Repeat("x", 101) + ": b\"", `gmail.com.toml:3: rule[1].tag: got "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..." (104 bytes); want a header field (hint: a field name has at most 100 characters and no semicolon)`},
		"tag, From":                   {"[[rule]]\naction = \"tag\"\ntag = \"FROM: b\"", `gmail.com.toml:3: rule[1].tag: got "FROM: b"; want a header field (hint: FROM is a field that other software relies on: choose a name of your own, such as X-DKIM-Policy)`},
		"tag, our results":            {"[[rule]]\naction = \"tag\"\ntag = \"Authentication-Results: b\"", `gmail.com.toml:3: rule[1].tag: got "Authentication-Results: b"; want a header field (hint: Authentication-Results is a field that other software relies on: choose a name of your own, such as X-DKIM-Policy)`},
		"all of them at once":         {"mode = 1\n[[rule]]\nresult = \"x\"\n[[rule]]\naction = \"reject\"\nreply = \"no\"", "gmail.com.toml:1: mode: got 1 (integer); want monitor or enforce\ngmail.com.toml:2: rule[1].action: got nothing; want accept, reject, tempfail, quarantine, discard or tag (hint: say what becomes of a message for which the rule holds)\ngmail.com.toml:3: rule[1].result: got \"x\"; want " + words + "\ngmail.com.toml:6: rule[2].reply: got \"no\"; want a reply like \"550 5.7.20 TEXT\" (hint: begin it with a three-digit code and a space)"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"gmail.com.toml": test.toml})
			rules, faults := policy.Load(dir, nil)
			if got := texts(dir, faults); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if rules.DefaultBroken() || len(rules.Warnings()) > 0 {
				t.Errorf("_default.toml broken: %v; warnings %v", rules.DefaultBroken(), rules.Warnings())
			}
			// The domain's own mail, and only that, has to come again.
			w := gmail(sig("gmail.com", pass))
			const want = "tempfail by (rules file broken): 451 4.7.5 local policy for gmail.com is broken, try again later"
			if got := said(w.judge(rules)); got != want {
				t.Errorf("mail of the domain: %s", got)
			}
			if got := said(w.but(func(m *policy.Message) { m.From = from("x@other.example") }).judge(rules)); got != want {
				t.Errorf("mail with the domain's MAIL FROM: %s", got)
			}
			if got := said(w.but(func(m *policy.Message) { m.From, m.Sender = from("x@a.gmail.com"), "" }).judge(rules)); got != "accept" {
				t.Errorf("mail of a subdomain: %s", got)
			}
			if rules.FaultUnknown().Action != policy.TempFail {
				t.Error("a fault with an unknown sender opens the door")
			}
		})
	}
}

// TestDefaultFileFaults: _default.toml has no sender and no subdomains.
func TestDefaultFileFaults(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"_default.toml": "sender = \"from\"\nsubdomains = true\n", "gmail.com.toml": ""})
	rules, faults := policy.Load(dir, nil)
	const want = "_default.toml:1: sender: got \"from\"; want no such key in _default.toml (hint: remove it: _default.toml judges every From domain that no other file claims)\n" +
		"_default.toml:2: subdomains: got true; want no such key in _default.toml (hint: remove it: _default.toml judges every From domain that no other file claims)"
	if got := texts(dir, faults); got != want {
		t.Errorf("got %s", got)
	}
	if !rules.DefaultBroken() {
		t.Error("_default.toml is broken and nobody says so")
	}
	m := policy.Message{From: from("x@other.example")}
	if got := said(rules.Select(m).Judge(&verifier.Report{})); got != "tempfail by (rules file broken): 451 4.7.5 local policy for this mail is broken, try again later" {
		t.Errorf("other mail: %s", got)
	}
	if got := said(gmail().judge(rules)); got != "accept" {
		t.Errorf("mail of a file that can be used: %s", got)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	const reject = "[[rule]]\naction = \"reject\"\nresult = [\"none\", \"fail\"]\n"
	const forged = "got accept for mail that anybody can send; want a condition that only the real sender meets (hint: add result = [\"pass\"] or clients)"
	tests := map[string]struct{ toml, want string }{
		"nothing":                         {"[[rule]]\naction='accept'\nresult='pass'\n" + reject, ""},
		"accept by List-Id":               {"[[rule]]\nlist = true\naction = \"accept\"\n" + reject, "gmail.com.toml:3: rule[1].action: " + forged},
		"accept whatever":                 {reject + "[[rule]]\naction = \"accept\"\n", "gmail.com.toml:5: rule[2].action: " + forged},
		"accept not only a pass":          {"[[rule]]\nresult = ['pass','neutral']\naction = \"accept\"\n" + reject, "gmail.com.toml:3: rule[1].action: " + forged},
		"accept anybody's pass":           {"[[rule]]\nresult = 'pass'\naligned='any'\naction = \"accept\"\n" + reject, "gmail.com.toml:4: rule[1].action: " + forged},
		"accept a named signer's pass":    {"[[rule]]\nresult = 'pass'\nsigners='esp.example'\naction = \"accept\"\n" + reject, ""},
		"accept but not":                  {"[[rule]]\nnot_result = ['none', 'fail','invalid']\naction = \"accept\"\n" + reject, ""},
		"accept clients":                  {"[[rule]]\nclients='192.0.2.0/24'\naction = \"accept\"\n" + reject, ""},
		"accept all clients":              {"[[rule]]\nclients=['192.0.2.0/24', '::/0']\naction = \"accept\"\n" + reject, "gmail.com.toml:3: rule[1].action: " + forged},
		"accept all but some clients":     {"[[rule]]\nnot_clients='192.0.2.0/24'\naction = \"accept\"\n" + reject, "gmail.com.toml:3: rule[1].action: " + forged},
		"never reached":                   {"[[rule]]\naction='quarantine'\n" + reject, "gmail.com.toml:4: rule[2].action: got a rule that is never reached; want no rule after rule 1, which holds for every message (hint: give that rule a condition, or remove this one)"},
		"a tag ends nothing":              {"[[rule]]\naction='tag'\ntag='X-A: b'\n" + reject, ""},
		"no rule":                         {"mode='enforce'", `gmail.com.toml:1: rule: got no rule; want at least one [[rule]] (hint: this file accepts all mail it claims, and keeps it from _default.toml)`},
		"enforces nothing":                {"mode='enforce'\n[[rule]]\nresult='pass'\naction='accept'\n", `gmail.com.toml:1: mode: got "enforce"; want a rule that does something (hint: every rule accepts)`},
		"monitors nothing":                {"[[rule]]\nresult='pass'\naction='accept'\n", ``},
		"enforces a tag":                  {"mode='enforce'\n[[rule]]\nresult='pass'\naction='tag'\ntag='X-A: b'\n", ``},
		"broken is stopped, absent not":   {"[[rule]]\nresult=['fail','invalid']\naction='reject'\n", `gmail.com.toml:1: rule: got rules that stop broken signatures and not absent ones; want a rule for result = ["none"] (hint: a forger just leaves the signature out)`},
		"absent is stopped elsewhere":     {"[[rule]]\nresult=['fail']\naction='reject'\n[[rule]]\nresult='none'\naction='quarantine'\n", ``},
		"stops for another reason":        {"[[rule]]\nresult=['pass']\nsigners='spam.example'\naction='reject'\n", ``},
		"two rules of the same name":      {reject + "name='a'\n" + "[[rule]]\nresult='invalid'\naction='discard'\nname='a'\n", `gmail.com.toml:8: rule[2].name: got the name of rule 1; want a name of its own (hint: the log tells rules apart by their names)`},
		"a name like that of a nameless":  {reject + "name='rule 2'\n" + "[[rule]]\nresult='invalid'\naction='discard'\n", `gmail.com.toml:5: rule[2].name: got the name of rule 1; want a name of its own (hint: the log tells rules apart by their names)`},
		"published is a condition enough": {"[[rule]]\npublished='reject'\naction='quarantine'\nnot_result='pass'\n", ``},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"gmail.com.toml": test.toml})
			rules, faults := policy.Load(dir, nil)
			if len(faults) > 0 {
				t.Fatal(faults.Err())
			}
			if got := texts(dir, rules.Warnings()); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// A file that stops mail has two ways past it, which its author is told of.
func TestWarningsOfWaysPastAFile(t *testing.T) {
	t.Parallel()
	const stops, refuses = "mode='enforce'\n[[rule]]\nresult='none'\naction='reject'\n", "mode='enforce'\n[[rule]]\nfrom=['missing','multiple']\naction='reject'\n"
	const below, unread = "gmail.com.toml: subdomains: ", "_default.toml: from: "
	tests := map[string]struct {
		file, fallback string
		want           []string
	}{
		"neither":               {stops, "", []string{below, unread}},
		"with subdomains":       {"subdomains=true\n" + stops, "", []string{unread}},
		"without, as is meant":  {"subdomains=false\n" + stops, "", []string{unread}},
		"both":                  {"subdomains=true\n" + stops, refuses, nil},
		"missing only":          {"subdomains=true\n" + stops, strings.Replace(refuses, ",'multiple'", "", 1), []string{unread}},
		"in two rules":          {"subdomains=true\n" + stops, "mode='enforce'\n[[rule]]\nfrom='missing'\naction='reject'\n[[rule]]\nfrom='multiple'\naction='quarantine'\n", nil},
		"for some clients only": {"subdomains=true\n" + stops, strings.Replace(refuses, "[[rule]]", "[[rule]]\nclients='192.0.2.0/24'", 1), []string{unread}},
		"in monitor mode":       {"subdomains=true\n" + stops, strings.Replace(refuses, "enforce", "monitor", 1), []string{unread}},
		"file in monitor mode":  {strings.Replace(stops, "enforce", "monitor", 1), "", nil},
		"for MAIL FROM":         {"sender='envelope'\n" + stops, "", nil},
	}
	for name, tt := range tests {
		files := map[string]string{"gmail.com.toml": tt.file}
		if tt.fallback != "" {
			files["_default.toml"] = tt.fallback
		}
		dir := write(t, files)
		rules, faults := policy.Load(dir, nil)
		var got []string
		for _, w := range rules.Warnings() {
			for _, begin := range []string{below, unread} {
				if strings.HasPrefix(w.Error(), dir+"/"+begin) {
					got = append(got, begin)
				}
			}
		}
		if len(faults) > 0 || !slices.Equal(got, tt.want) || len(got) != len(rules.Warnings()) {
			t.Errorf("%s: faults %v, warnings %q, want those of %q", name, faults, rules.Warnings(), tt.want)
		}
	}
}
