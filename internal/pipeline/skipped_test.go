package pipeline_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"dkimd/internal/hosts"
	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/policy"
	"dkimd/signer"
)

const (
	alone  = "198.51.100.2"
	forged = "Authentication-Results: mx.example.net; dkim=pass header.d=gmail.com"
)

// What is skipped passes as it is: forged results, unsigned mail of a domain that rejects it, more forged results than
// can be removed, and an MTA that lets nothing be removed.
func TestSkippedMailIsUntouched(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		client  string
		login   string
		purpose message.Purpose
		off     bool   // verify.enabled = false
		mode    string // skipped: nothing may happen
		code    string
		reason  string
	}{
		"left alone":                   {client: alone, mode: "skipped", code: "leave_alone", reason: "client " + alone + " is in verify.leave_alone"},
		"left alone, logged in":        {client: alone, login: "joe", mode: "skipped", code: "leave_alone"},
		"left alone, comes in":         {client: alone, purpose: message.OnlyVerify, mode: "skipped", code: "leave_alone"},
		"left alone, leaves":           {client: alone, purpose: message.OnlySign, mode: "skipped", code: "leave_alone"},
		"nobody is left alone locally": {client: "", mode: "sign", code: "local"},
		"sign only: a stranger's":      {client: outside, off: true, mode: "skipped", code: "verify_off", reason: "verify.enabled is false: client " + outside + " is not in sign.networks"},
		"sign only: a trusted one's":   {client: relay, off: true, mode: "skipped", code: "verify_off"},
		"sign only: unreadable":        {client: "junk", off: true, mode: "skipped", code: "verify_off"},
		"sign only: left alone":        {client: alone, off: true, mode: "skipped", code: "leave_alone"},
		"sign only: ours":              {client: inside, off: true, mode: "sign", code: "network"},
		"sign only: a login":           {client: outside, login: "joe", off: true, mode: "sign", code: "login"},
		"sign only: ours comes in":     {client: inside, off: true, purpose: message.OnlyVerify, mode: "skipped", code: "verify_off", reason: "it is signed when it leaves"},
		"sign only: ours leaves":       {client: inside, off: true, purpose: message.OnlySign, mode: "sign", code: "network"},
		"sign only: one leaves":        {client: outside, off: true, purpose: message.OnlySign, mode: "unsigned", code: "not_ours"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			lookups := 0
			w.lookup = func(string) (resolver.Answer, error) { lookups++; return resolver.Answer{}, resolver.ErrNotExist }
			w.config.LeaveAlone = w.clients(hosts.Entry{Network: netip.MustParsePrefix(alone + "/32")})
			w.config.SignOnly = tt.off
			p := w.pipeline()
			for _, many := range []int{1, 1001} {
				for _, cannot := range []bool{false, true} {
					m := from(tt.client).with(slices.Repeat([]string{forged}, many)...).with("DKIM-Signature: v=1; d=example.org; s=x; a=rsa-sha256; h=From; bh=AA==; b=AA==")
					m.env.Purpose, m.env.AuthUser, m.env.CannotRemove, m.env.CannotQuarantine = tt.purpose, tt.login, cannot, cannot
					out, e := w.run(p, m)
					if tt.mode != "skipped" && many > 1 {
						continue // the rest is not about those
					}
					if e.Mode != tt.mode && !cannot || e.ReasonCode != tt.code || !strings.Contains(e.Reason, tt.reason) || e.Error != "" {
						t.Errorf("%s", text(e))
					}
					if tt.mode == "skipped" && (out.Action != policy.Accept || len(out.Add)+len(out.RemoveAuthRes)+len(out.Replace) > 0 || len(e.Signatures)+len(e.Policy)+e.Stripped > 0) {
						t.Errorf("%+v %s", out, text(e))
					}
				}
			}
			if lookups > 0 {
				t.Errorf("%d lookups", lookups)
			}
		})
	}
}

// Mail that is skipped passes even where dkimd fails, because no rule could have stopped it.
func TestSkippedMailPassesAFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.SignOnly = true
	msg := begin(w.pipeline(), from(outside))
	msg.EndOfHeader(t.Context())
	msg.Fault(errors.New("a fault of the door"))
	if out := msg.Finish(t.Context()); out.Action != policy.Accept || w.records[0].Error == "" {
		t.Errorf("%+v %s", out, text(w.records[0]))
	}
}

func TestNotRecipients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.NotRecipients = policy.NewRecipients([]string{"list.example", "*.list.example", "Joe@example.com"}, func(int, string) { t.Error("a wrong pattern") })
	p := w.pipeline()
	const ann = " ann@example.net" // begin adds her
	for recipients, mode := range map[string]string{
		"a@list.example": "unsigned", "a@b.list.example joe@EXAMPLE.com": "unsigned", "a@list.example" + ann: "sign", ann: "sign", "ann@example.com": "sign", "": "sign",
	} {
		env := from(inside).env
		msg := p.Begin(&env)
		for r := range strings.FieldsSeq(recipients) {
			env.AddRecipient(r)
		}
		for _, f := range from(inside).head {
			name, value, _ := strings.Cut(f, ":")
			msg.Header(name, value)
		}
		msg.EndOfHeader(t.Context())
		out, e := msg.Finish(t.Context()), w.records[len(w.records)-1]
		if e.Mode != mode || out.Action != policy.Accept || (len(out.Add) > 0) != (mode == "sign") || (e.ReasonCode == "not_recipients") != (mode == "unsigned") {
			t.Errorf("%s: %s", recipients, text(e))
		}
	}
	// More recipients than are known: those may not be among them.
	m := from(inside)
	m.env.RecipientCount = 2
	m.env.Recipients = []string{"a@list.example"}
	msg := p.Begin(&m.env)
	msg.Header("From", " joe@example.org")
	msg.EndOfHeader(t.Context())
	if out := msg.Finish(t.Context()); len(out.Add) == 0 {
		t.Error("not signed, though a recipient is not known")
	}
}

// Where it is not From that says who signs, the record tells what does.
func TestIdentityIsRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sign.IdentityFrom = []signer.Identity{signer.ByFrom, signer.BySender}
	p := w.pipeline()
	m := from(inside).with("Sender: joe@example.org")
	if _, e := w.run(p, m); strings.Contains(e.Reason, "signed as") || len(e.Signed) != 2 {
		t.Error(text(e))
	}
	m.head[1] = "From: ann@example.com"
	if _, e := w.run(p, m); e.ReasonCode != "network" || !strings.HasSuffix(e.Reason, "is in sign.networks; signed as example.org by Sender: From has no key") || len(e.Signed) != 2 {
		t.Error(text(e))
	}
}

// Results that claim other names of ours are removed too, where strip says so.
func TestStripAlso(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.StripAlso = []string{"mx2.example.net"}
	m := from(relay).with("Authentication-Results: mx2.example.net; dkim=pass", "Authentication-Results: mx3.example.net; dkim=pass", "Authentication-Results: MX2.example.net; spf=pass")
	if out, e := w.run(w.pipeline(), m); !slices.Equal(out.RemoveAuthRes, []int{3, 1}) || len(out.Add) != 1 || !strings.HasPrefix(out.Add[0].Value, " mx.example.net;") {
		t.Errorf("%+v %s", out, text(e))
	}
	w.config.StripOnlyDKIM = true
	if out, e := w.run(w.pipeline(), m); !slices.Equal(out.RemoveAuthRes, []int{1}) {
		t.Errorf("%+v %s", out, text(e))
	}
}

// With strip = "dkim" results of SPF and DMARC are forged where we write these, and only there.
func TestStripOfWhatWeWrite(t *testing.T) {
	t.Parallel()
	asked := map[string]string{"_default.toml": "mode = \"monitor\"\n[[rule]]\ndmarc = [\"fail\"]\naction = \"quarantine\"\n"}
	tests := map[string]struct {
		spf   bool
		rules map[string]string
		want  []int
	}{
		"verify.spf":    {true, nil, []int{3, 2, 1}},
		"a rule asks":   {false, asked, []int{3, 2, 1}},
		"aligned":       {false, map[string]string{"example.com.toml": "mode = 'monitor'\n[[rule]]\nresult = 'fail'\naction = 'quarantine'\n"}, []int{3, 1}},
		"no one asks":   {false, map[string]string{"example.com.toml": "mode = 'monitor'\n[[rule]]\nclients = '192.0.2.0/24'\naction = 'quarantine'\n"}, []int{1}},
		"without rules": {false, nil, []int{1}},
	}
	for name, test := range tests {
		w := newWorld(t)
		w.config.StripOnlyDKIM, w.config.SPF, w.rules = true, test.spf, test.rules
		m := from(outside).with("Authentication-Results: mx.example.net; dkim=pass", "Authentication-Results: mx.example.net; spf=pass smtp.mailfrom=a.example",
			"Authentication-Results: mx.example.net; dmarc=pass header.from=a.example", "Authentication-Results: mx.example.net; iprev=pass")
		if out, e := w.run(w.pipeline(), m); !slices.Equal(out.RemoveAuthRes, test.want) {
			t.Errorf("%s: %+v %s", name, out, text(e))
		}
	}
}

// A client below a domain of sign.networks is ours if its name is its own; while DNS fails it is not, and the reason says so.
func TestNetworksByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	failing := false
	w.lookup = func(name string) (resolver.Answer, error) {
		if failing {
			return resolver.Answer{}, &resolver.Failure{Cause: resolver.ErrTimeout}
		}
		records := map[string]string{outside: "mail.lan", "mail.lan": outside}[name]
		if records == "" {
			return resolver.Answer{}, resolver.ErrNotExist
		}
		return resolver.Answer{Records: []string{records}}, nil
	}
	w.config.Networks = w.clients(hosts.Entry{Name: "lan", Below: true})
	p := w.pipeline()
	if _, e := w.run(p, from(outside)); e.Mode != "sign" || e.ReasonCode != "network" {
		t.Error(text(e))
	}
	if _, e := w.run(p, from(inside)); e.Mode != "verify" || !strings.HasSuffix(e.Reason, "is not in sign.networks and not authenticated") {
		t.Error(text(e))
	}
	failing = true
	if _, e := w.run(p, from(outside)); e.Mode != "verify" || !strings.Contains(e.Reason, "its name could not be looked up (temporary DNS failure: no answer in time)") {
		t.Error(text(e))
	}
	// Who may be a trusted relay is not signed for, though it is in a network of ours; sign.on_error says what becomes of mail that
	// would be. A login, a certificate and a daemon are ours for certain.
	failing = false
	w.config.Trusted, w.config.Networks = w.clients(hosts.Entry{Name: "lan", Below: true}), w.clients(hosts.Entry{Network: netip.MustParsePrefix(outside + "/32")})
	p = w.pipeline()
	if _, e := w.run(p, from(outside)); e.Mode != "trusted" || strings.Contains(e.Reason, "may be") {
		t.Error(text(e))
	}
	failing = true
	if out, e := w.run(p, from(outside)); out.Action != policy.TempFail || e.Mode != "unsigned" || e.ReasonCode != "fault" ||
		!strings.Contains(e.Reason, "is in sign.networks, and may be in verify.trusted") {
		t.Errorf("%+v %s", out, text(e))
	}
	in := from(outside)
	in.head[0] = "From: joe@stranger.example"
	if out, e := w.run(p, in); out.Action != policy.Accept || e.ReasonCode == "fault" {
		t.Errorf("it would not be signed in any case: %+v %s", out, text(e))
	}
	w.config.SendUnsigned = true
	if out, e := w.run(w.pipeline(), from(outside)); out.Action != policy.Accept || e.Mode != "unsigned" || e.ReasonCode != "fault" {
		t.Errorf("on_error = unsigned: %+v %s", out, text(e))
	}
	w.config.TLSClients = []string{"app.example.org"}
	p = w.pipeline()
	for name, vouch := range map[string]func(*message.Envelope){
		"a login":       func(e *message.Envelope) { e.AuthType = "PLAIN" },
		"a certificate": func(e *message.Envelope) { e.Certificate = message.Certificate{Subject: "app.example.org"} },
		"a daemon":      func(e *message.Envelope) { e.DaemonName = "ORIGINATING" },
	} {
		in = from(outside)
		vouch(&in.env)
		if _, e := w.run(p, in); e.Mode != "sign" {
			t.Errorf("%s: %s", name, text(e))
		}
	}
}
