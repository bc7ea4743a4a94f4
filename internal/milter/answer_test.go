package milter_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dkimd/internal/message"
	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
	"dkimd/internal/pipeline"
	"dkimd/internal/smtpreply"
	"dkimd/policy"
)

// answer is what an MTA hears when a message comes to an outcome.
func answer(t *testing.T, o client.Options, outcome pipeline.Outcome) client.Result {
	t.Helper()
	w := start(t, milter.Config{})
	w.outcome = func(context.Context, *fakeMessage) pipeline.Outcome { return outcome }
	s := w.dial(t, o)
	r := send(t, s, letter("1"))
	// The connection is still in step.
	w.outcome = nil
	if again := send(t, s, letter("2")); again.Action != client.Continue || again.Reply != "" {
		t.Errorf("the next message got %+v", again)
	}
	return r
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	add := []pipeline.Addition{{Name: "A-First", Value: " 1"}, {Name: "A-Second", Value: " 2"}}
	noSpace := client.Options{Version: 6, Actions: client.AllActions, Protocol: client.AllProtocol &^ client.LeadingSpace}
	old := client.Options{Version: 2, Actions: client.OldActions, Protocol: client.OldProtocol}
	insert := func(name, value string) client.Edit {
		return client.Edit{Kind: client.Insert, Name: name, Value: value}
	}
	remove := func(n int) client.Edit {
		return client.Edit{Kind: client.Remove, Index: n, Name: "Authentication-Results"}
	}
	one := func(name, value string) pipeline.Outcome {
		return pipeline.Outcome{Add: []pipeline.Addition{{Name: name, Value: value}}}
	}
	tests := map[string]struct {
		o       client.Options
		outcome pipeline.Outcome
		want    client.Result
	}{
		"accept": {outcome: pipeline.Outcome{}, want: client.Result{Action: client.Continue}},
		"removals from the highest index, then insertions so that the first is topmost": {
			outcome: pipeline.Outcome{RemoveAuthRes: []int{7, 3, 1}, Add: add},
			want: client.Result{Action: client.Continue, Edits: []client.Edit{
				remove(7), remove(3), remove(1), insert("A-Second", " 2"), insert("A-First", " 1"),
			}},
		},
		"without leading space the MTA adds it": {
			o: noSpace, outcome: pipeline.Outcome{Add: add},
			want: client.Result{Action: client.Continue, Edits: []client.Edit{insert("A-Second", " 2"), insert("A-First", " 1")}},
		},
		"folds become LF": {
			outcome: one("A", " 1;\r\n\t2\r\n 3"),
			want:    client.Result{Action: client.Continue, Edits: []client.Edit{insert("A", " 1;\n\t2\n 3")}},
		},
		"a line that would be a field of its own": {
			outcome: one("A", " 1\r\nFrom: x@example.com\n\nbody\x00\r\n"),
			want:    client.Result{Action: client.Continue, Edits: []client.Edit{insert("A", " 1 From: x@example.com  body")}},
		},
		"a value without its space":    {outcome: one("A", "1"), want: client.Result{Action: client.Continue, Edits: []client.Edit{insert("A", " 1")}}},
		"a value that starts by tab":   {outcome: one("A", "\t1"), want: client.Result{Action: client.Continue, Edits: []client.Edit{insert("A", "\t1")}}},
		"a name that would be two":     {outcome: one("A: b\nFrom", " 1"), want: client.Result{Action: client.Continue}},
		"no name":                      {outcome: one("", " 1"), want: client.Result{Action: client.Continue}},
		"quarantine":                   {outcome: pipeline.Outcome{Action: policy.Quarantine, Quarantine: "why 100%", Add: add[:1]}, want: client.Result{Action: client.Continue, Quarantine: "why 100%", Edits: []client.Edit{insert("A-First", " 1")}}},
		"quarantine without reason":    {outcome: pipeline.Outcome{Action: policy.Quarantine}, want: client.Result{Action: client.Continue, Quarantine: "held by dkimd"}},
		"quarantine, hostile reason":   {outcome: pipeline.Outcome{Action: policy.Quarantine, Quarantine: "a\r\nb\x00c\xff"}, want: client.Result{Action: client.Continue, Quarantine: "a??b?c?"}},
		"quarantine was not offered":   {o: old, outcome: pipeline.Outcome{Action: policy.Quarantine, Quarantine: "why"}, want: client.Result{Action: client.TempFail, Reply: "451 4.7.1 Message deferred, please try again later"}},
		"discard edits nothing":        {outcome: pipeline.Outcome{Action: policy.Discard, Add: add, RemoveAuthRes: []int{1}}, want: client.Result{Action: client.Discard}},
		"reject edits nothing":         {outcome: pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 550, Enhanced: "5.7.20", Text: "no"}, Add: add, RemoveAuthRes: []int{1}}, want: client.Result{Action: client.Reject, Reply: "550 5.7.20 no"}},
		"tempfail edits nothing":       {outcome: pipeline.Outcome{Action: policy.TempFail, Reply: smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "later"}, Add: add}, want: client.Result{Action: client.TempFail, Reply: "451 4.7.5 later"}},
		"percent is not a format":      {outcome: pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 550, Enhanced: "5.7.20", Text: "%s 100%"}}, want: client.Result{Action: client.Reject, Reply: "550 5.7.20 %s 100%"}},
		"a reply of several lines":     {outcome: pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 550, Enhanced: "5.7.20", Text: "a\r\n250 ok\x00"}}, want: client.Result{Action: client.Reject, Reply: "550 5.7.1 Message refused"}},
		"a reply that is not ASCII":    {outcome: pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 550, Enhanced: "5.7.20", Text: "grüße"}}, want: client.Result{Action: client.Reject, Reply: "550 5.7.1 Message refused"}},
		"a reply of the wrong class":   {outcome: pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 250, Enhanced: "2.0.0", Text: "ok"}}, want: client.Result{Action: client.Reject, Reply: "550 5.7.1 Message refused"}},
		"a reject that says 451":       {outcome: pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 451, Enhanced: "4.7.5", Text: "later"}}, want: client.Result{Action: client.Reject, Reply: "550 5.7.1 Message refused"}},
		"a mixed reply":                {outcome: pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 550, Enhanced: "4.7.5", Text: "later"}}, want: client.Result{Action: client.Reject, Reply: "550 5.7.1 Message refused"}},
		"no reply":                     {outcome: pipeline.Outcome{Action: policy.TempFail}, want: client.Result{Action: client.TempFail, Reply: "451 4.7.1 Message deferred, please try again later"}},
		"a reply that is too long":     {outcome: pipeline.Outcome{Action: policy.Reject, Reply: smtpreply.Reply{Code: 550, Enhanced: "5.7.20", Text: strings.Repeat("x", 600)}}, want: client.Result{Action: client.Reject, Reply: "550 5.7.1 Message refused"}},
		"an action yet to be invented": {outcome: pipeline.Outcome{Action: 77}, want: client.Result{Action: client.TempFail, Reply: "451 4.7.1 Message deferred, please try again later"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tt.want, answer(t, tt.o, tt.outcome)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestEditsOnlyWhereAgreed: an edit that was not agreed makes an MTA drop the filter.
func TestEditsOnlyWhereAgreed(t *testing.T) {
	t.Parallel()
	outcome := pipeline.Outcome{RemoveAuthRes: []int{1}, Add: []pipeline.Addition{{Name: "A", Value: " 1"}}}
	for actions, edits := range map[uint32]int{0: 0, client.ActionAddHeader: 1, client.ActionChangeHeader: 1} {
		o := client.Options{Version: 6, Actions: actions, Protocol: client.AllProtocol}
		if r := answer(t, o, outcome); len(r.Edits) != edits || r.Action != client.Continue {
			t.Errorf("actions %#x: %+v", actions, r)
		}
	}
}

// TestFoldedFieldsAreReplaced has both MTAs replace one of two fields, and remove a forged result.
func TestFoldedFieldsAreReplaced(t *testing.T) {
	t.Parallel()
	const forged = "Authentication-Results: us; dkim=pass\r\n"
	for _, mta := range []client.MTA{client.Postfix, client.Sendmail} {
		r := answer(t, client.Options{MTA: mta}, pipeline.Outcome{
			RemoveAuthRes: []int{1}, Replace: []message.Folded{{Name: "X", Index: 2, Value: " a\r\n b"}},
		})
		want := "X: 1\r\nX: a\r\n b\r\n\r\nbody\r\n"
		if d := cmp.Diff(want, string(client.Apply(mta, []byte("X: 1\r\n"+forged+"X: a b\r\n\r\nbody\r\n"), r.Edits))); d != "" {
			t.Errorf("MTA %d (-want +got):\n%s", mta, d)
		}
	}
}

// TestForgedResultsAreGone has both MTAs apply the removals.
func TestForgedResultsAreGone(t *testing.T) {
	t.Parallel()
	const forged = "Authentication-Results: us; dkim=pass\r\n"
	const foreign = "Authentication-Results: them; dkim=pass\r\n"
	raw := foreign + forged + "A: b\r\n" + forged + foreign + forged + "\r\nbody\r\n"
	for _, mta := range []client.MTA{client.Postfix, client.Sendmail} {
		r := answer(t, client.Options{MTA: mta}, pipeline.Outcome{
			RemoveAuthRes: []int{5, 3, 2}, Add: []pipeline.Addition{{Name: "Authentication-Results", Value: " us;\r\n dkim=fail"}},
		})
		want := "Authentication-Results: us;\r\n dkim=fail\r\n" + foreign + "A: b\r\n" + foreign + "\r\nbody\r\n"
		if d := cmp.Diff(want, string(client.Apply(mta, []byte(raw), r.Edits))); d != "" {
			t.Errorf("MTA %d (-want +got):\n%s", mta, d)
		}
	}
}

// TestAlarmWhenNotOffered: an administrator learns at once what will not work.
func TestAlarmWhenNotOffered(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	w.dial(t, client.Options{Version: 2, Actions: client.ActionAddHeader, Protocol: client.OldProtocol})
	w.dial(t, client.Options{Version: 2, Actions: client.ActionAddHeader, Protocol: client.OldProtocol})
	for _, text := range []string{"does not offer to quarantine", "does not offer to change headers"} {
		if n := strings.Count(w.logs.String(), text); n != 1 {
			t.Errorf("%q was logged %d times", text, n)
		}
	}
}
