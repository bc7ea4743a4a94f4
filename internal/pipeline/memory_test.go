package pipeline_test

import (
	"strings"
	"testing"

	"dkimd/internal/message"
	"dkimd/internal/resolver"
	"dkimd/policy"
)

// A message that does not fit into what all messages may hold is deferred, whoever sent it and whatever
// the rules and on_error say, and nothing is looked up for it.
func TestNoMemoryDefersTheMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.SendUnsigned = true
	lookups := 0
	w.lookup = func(string) (resolver.Answer, error) { lookups++; return resolver.Answer{}, resolver.ErrNotExist }
	p := w.pipeline()
	memory := message.NewMemory(100_000)
	modes := map[string]string{inside: "unsigned", outside: "verify", relay: "trusted"}
	for client, mode := range modes {
		for _, purpose := range []message.Purpose{message.SignOrVerify, message.OnlyVerify, message.OnlySign} {
			held := memory.Hold()
			m := from(client).with("X: "+strings.Repeat("x", 200_000), "Authentication-Results: mx.example.net; dkim=pass")
			m.env.Held, m.env.Purpose = &held, purpose
			out, e := w.run(p, m)
			if out.Action != policy.TempFail || out.Reply.Code != 451 || len(out.Add) > 0 {
				t.Errorf("%s: %+v", client, out)
			}
			if purpose == message.SignOrVerify && e.Mode != mode || e.ReasonCode != "memory" || e.Error == "" || e.Verdict != "tempfail" {
				t.Errorf("%s: record %s", client, text(e))
			}
			held.Release()
		}
	}
	if lookups > 0 || memory.Deferred() != 9 || w.log.Count("memory for messages is used up") != 1 {
		t.Errorf("%d lookups, %d deferred, log %s", lookups, memory.Deferred(), w.log)
	}
	held := memory.Hold()
	m := from(inside)
	m.env.Held = &held
	if out, e := w.run(p, m); out.Action != policy.Accept || len(out.Add) != 2 {
		t.Errorf("a small message after them: %+v %s", out, text(e))
	}
}
