package pipeline_test

import (
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/policy"
)

// Exim shows a message when it comes, and again when it leaves.
func TestPurposeDecidesWhatIsDoneToAMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.pipeline()
	tests := map[string]struct {
		client  string
		purpose message.Purpose
		mode    string
		added   int
		action  policy.Action
		reason  string
	}{
		"ours comes in":            {inside, message.OnlyVerify, "trusted", 1, policy.Accept, "signed when it leaves: client " + inside},
		"local comes in":           {"", message.OnlyVerify, "trusted", 1, policy.Accept, "signed when it leaves"},
		"a stranger's comes in":    {outside, message.OnlyVerify, "verify", 0, policy.Reject, "is not in sign.networks"},
		"ours leaves":              {inside, message.OnlySign, "sign", 2, policy.Accept, "is in sign.networks"},
		"local leaves":             {"", message.OnlySign, "sign", 2, policy.Accept, "submitted on this host"},
		"a stranger's leaves":      {outside, message.OnlySign, "unsigned", 0, policy.Accept, "client " + outside},
		"an unreadable one leaves": {"junk", message.OnlySign, "unsigned", 0, policy.Accept, "is not in sign.networks"},
		"a trusted one leaves":     {relay, message.OnlySign, "unsigned", 0, policy.Accept, "verify.trusted"},
	}
	for name, tt := range tests { //nolint:paralleltest // they share a world
		t.Run(name, func(t *testing.T) {
			m := from(tt.client).with("Authentication-Results: mx.example.net; dkim=pass")
			m.env.Purpose = tt.purpose
			out, e := w.run(p, m)
			if e.Mode != tt.mode || len(out.Add) != tt.added || out.Action != tt.action || !strings.Contains(e.Reason, tt.reason) || e.Error != "" {
				t.Errorf("%s: %+v", text(e), out)
			}
			// On their way out results in our name are our own.
			if (len(out.RemoveAuthRes) == 1) != (tt.purpose == message.OnlyVerify && tt.action == policy.Accept) {
				t.Errorf("removed %v", out.RemoveAuthRes)
			}
		})
	}
}

// A body that was not seen says nothing of a signature: a rule that could have
// stopped the message defers it, and nobody is rejected for it.
func TestUnseenBodyIsNobodysFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.pipeline()
	unseen := func(m mail) (policy.Action, string, string) {
		msg := begin(p, m)
		msg.EndOfHeader(t.Context())
		msg.Body([]byte("half a body"))
		msg.BodyUnseen("Exim gave 11 of its 99 bytes")
		out := msg.Finish(t.Context())
		e := w.records[len(w.records)-1]
		var b strings.Builder
		for _, s := range e.Signatures {
			b.WriteString(s.Result + " ")
		}
		results := b.String()
		if out.Action == policy.Accept && !strings.Contains(out.Add[0].Value, "neutral") && results != "" {
			t.Errorf("Authentication-Results:%s", out.Add[0].Value)
		}
		return out.Action, results, text(e)
	}
	signed := w.signed(p)
	if action, results, e := unseen(signed); action != policy.TempFail || results != "neutral neutral " || !strings.Contains(e, "body not seen: Exim gave 11") {
		t.Errorf("signed: %s, %s: %s", action, results, e)
	}
	unsigned := from(outside)
	if action, _, e := unseen(unsigned); action != policy.Reject {
		t.Errorf("without a signature the body changes nothing: %s %s", action, e)
	}
	nobody := signed
	nobody.env.Sender = "x@else.example"
	nobody.head = append(append([]string(nil), signed.head[:2]...), "From: x@else.example")
	if action, results, e := unseen(nobody); action != policy.Accept || results != "neutral neutral " {
		t.Errorf("no rule: %s %s %s", action, results, e)
	}
	w.txt = nil
	if action, results, e := unseen(signed); action != policy.Reject || results != "permerror permerror " {
		t.Errorf("without a key the body changes nothing: %s %s %s", action, results, e)
	}
}
