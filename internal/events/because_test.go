package events_test

import (
	"strings"
	"testing"

	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
)

func TestBecauseSaysWhyAndWhatWouldHelp(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*events.Event)
		want   []string
	}{
		"changed on the way": {func(*events.Event) {}, []string{`Refused by rule "gmail must be signed" of gmail.com.toml`, "gmail.com is fail (body hash did not verify)", "unchanged"}},
		"unsigned":           {func(e *events.Event) { e.Signatures = nil }, []string{"no signature", "a signature of gmail.com that passes"}},
		"signed by others":   {func(e *events.Event) { e.Signatures = e.Signatures[1:] }, []string{"esp.example is pass, and not of From", "a signature of gmail.com itself"}},
		"a key without use":  {func(e *events.Event) { e.Signatures[0].Result, e.Signatures = "permerror", e.Signatures[:1] }, []string{"without that fault"}},
		"DNS failed": {func(e *events.Event) {
			e.Signatures[0].Result, e.Verdict, e.Policy[1].Action = "temperror", "tempfail", "tempfail"
		}, []string{"Deferred", "when DNS answers"}},
		"no rule held":  {func(e *events.Event) { e.Verdict, e.Policy[1].Action, e.Policy[1].Rule = "accept", "accept", "" }, []string{"Accepted: no rule of gmail.com.toml holds"}},
		"no rules":      {func(e *events.Event) { e.Verdict, e.Policy = "accept", nil }, []string{"Accepted: no rules judged it"}},
		"not by a rule": {func(e *events.Event) { e.Policy = nil }, []string{"Refused, and not by a rule: a line is longer"}},
		"a fault":       {func(e *events.Event) { e.Error = "panic" }, []string{"dkimd itself failed (panic)"}},
		"trusted":       {func(e *events.Event) { e.Mode, e.Reason = events.ModeTrusted, "it is" }, []string{"not judged, because it is: the signature"}},
		"signed":        {func(e *events.Event) { *e = *eventstest.Signed() }, []string{"Signed for example.org: submitted on this host."}},
		"no key": {func(e *events.Event) {
			*e = events.Event{Mode: events.ModeUnsigned, ReasonCode: "no_key", Reason: "no key", From: []string{"a@b.example"}}
		}, []string{"Not signed: no key; dkimd key generate b.example makes one."}},
	}
	for name, test := range tests {
		e := eventstest.Sample()
		test.change(e)
		for _, want := range test.want {
			if got := e.Because(); !strings.Contains(got, want) {
				t.Errorf("%s: %q lacks %q", name, got, want)
			}
		}
	}
}
