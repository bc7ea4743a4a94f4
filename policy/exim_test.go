package policy_test

import (
	"testing"

	"dkimd/policy"
	"dkimd/verifier"
)

// eximRule is what people write in Exim's acl_smtp_dkim, in dkimd's words.
const eximRule = `
sender = "either"
mode = "enforce"

[[rule]]
name    = "gmail must be signed by gmail"
result  = ["none", "invalid", "fail"]
signers = ["gmail.com"]
action  = "reject"
reply   = "550 5.7.20 Come on, what's going on?"
`

// TestEximRows: each row that Exim's acl_smtp_dkim gets wrong, and those it gets
// right, by the result that the verifier gives for it.
func TestEximRows(t *testing.T) {
	t.Parallel()
	const reject = "reject by gmail must be signed by gmail: 550 5.7.20 Come on, what's going on?"
	rules := load(t, map[string]string{"gmail.com.toml": eximRule})
	tests := map[string]struct {
		world world
		want  string
	}{
		"1 valid":                                  {gmail(sig("gmail.com", pass)), "accept"},
		"2 unsigned":                               {gmail(), reject},
		"3 only evil.example signed":               {gmail(sig("evil.example", pass)), reject},
		"4 tampered":                               {gmail(sig("gmail.com", fail)), reject},
		"5 one good, one broken below":             {gmail(sig("gmail.com", pass), sig("gmail.com", fail)), "accept"},
		"5 one good, one broken on top":            {gmail(sig("gmail.com", fail), sig("gmail.com", pass)), "accept"},
		"6 key NXDOMAIN":                           {gmail(sig("gmail.com", permerror)), reject},
		"7 key lookup SERVFAIL":                    {gmail(sig("gmail.com", temperror)), keyLookup},
		"8 d=evil.example i=@gmail.com":            {gmail(with(sig("evil.example", permerror), func(r *verifier.Result) { r.Identity = "@gmail.com" })), reject},
		"8 though the hashes verify":               {gmail(with(sig("evil.example", pass), func(r *verifier.Result) { r.Identity = "@gmail.com" })), reject},
		"10 null sender, valid":                    {gmail(sig("gmail.com", pass)).but(func(m *policy.Message) { m.Sender = "" }), "accept"},
		"10 null sender, unsigned":                 {gmail().but(func(m *policy.Message) { m.Sender = "" }), reject},
		"11 From gmail unsigned, MAIL FROM evil":   {gmail().but(func(m *policy.Message) { m.Sender = "x@evil.example" }), reject},
		"11 MAIL FROM gmail unsigned, From evil":   {gmail(sig("evil.example", pass)).but(func(m *policy.Message) { m.From = from("x@evil.example") }), reject},
		"12 l= leaves content unsigned":            {gmail(sig("gmail.com", expired)), reject},
		"13 h= without From":                       {gmail(sig("gmail.com", permerror)), reject},
		"14 x= in the past":                        {gmail(sig("gmail.com", expired)), reject},
		"15 t=y key, tampered":                     {gmail(inTest(sig("gmail.com", fail))), reject},
		"15 t=y key, valid":                        {gmail(inTest(sig("gmail.com", pass))), "accept"},
		"d=Gmail.COM":                              {gmail(sig("Gmail.COM", pass)), "accept"},
		"gmail among several authors":              {gmail(sig("evil.example", pass)).but(func(m *policy.Message) { m.From = from("x@evil.example", "x@gmail.com") }), reject},
		"two From fields":                          {gmail(sig("gmail.com", pass)).but(func(m *policy.Message) { m.From.Fields = 2 }), reject},
		"message limit: every signature permerror": {gmail(sig("gmail.com", permerror), sig("gmail.com", permerror)), reject},
		"signature limit: gmail's not looked at":   {gmail(sig("evil.example", pass), sig("gmail.com", neutral)), reject},
		"other mail":                               {gmail().but(func(m *policy.Message) { m.From, m.Sender = from("x@a.example"), "x@a.example" }), "accept"},
	}
	for name, test := range tests {
		if got := said(test.world.judge(rules)); got != test.want {
			t.Errorf("%s: got %s; want %s", name, got, test.want)
		}
	}
}
