package exim_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"dkimd/internal/exim/filter"
	"dkimd/internal/message"
	"dkimd/internal/pipeline"
)

const outgoing = "From: a@ours.test\nSubject: x\n\n.dot\n\n"

func (w *world) filter() filter.Filter {
	return filter.Filter{Socket: w.socket, QueueID: queueID, Client: "203.0.113.9", Protocol: "esmtpa"}
}

func TestFilterPutsSignaturesOnTop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.does(func(context.Context, *fakeMessage) pipeline.Outcome {
		return pipeline.Outcome{Add: []pipeline.Addition{{Name: "DKIM-Signature", Value: " v=1;\r\n\tb=x"}}}
	})
	for _, socket := range []string{w.socket, "unix:" + w.socket} {
		f := w.filter()
		f.Socket = socket
		var out bytes.Buffer
		if err := f.Run(strings.NewReader(outgoing), &out); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != "DKIM-Signature: v=1;\n\tb=x\n"+outgoing {
			t.Errorf("%q", got)
		}
	}
	if m := w.last(t); m.env.Client.String() != "203.0.113.9" || m.env.AuthType != "esmtpa" || m.env.QueueID != queueID || m.body.String() != ".dot\r\n\r\n" {
		t.Errorf("%+v %q", m.env, m.body.String())
	}
	// An argument cannot become a line of the request.
	f := w.filter()
	f.Client = "203.0.113.9\nProtocol: esmtpa"
	if err := f.Run(strings.NewReader(outgoing), io.Discard); err != nil {
		t.Fatal(err)
	}
	if m := w.last(t); m.env.Client.Kind != 0 {
		t.Errorf("%+v", m.env)
	}
}

// TestFilterFoldsFields: what leaves is what was signed.
func TestFilterFoldsFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	words := strings.Repeat(" word", 199) // 995 octets
	folded := strings.ReplaceAll(words, " word word word", "\r\n word word word")
	for name, test := range map[string]struct {
		mail    string
		replace []message.Folded
		want    string // in the place of mail; empty: nothing leaves
	}{
		"999 octets": {"Tom:" + words + "\n", []message.Folded{{Name: "Tom", Index: 1, Value: folded}}, "Tom:" + strings.ReplaceAll(folded, "\r\n", "\n") + "\n"},
		"the second of two, a blank before the colon": {
			"Tom: x\n y\ntom :" + words + "\nFrom: a@ours.test\n",
			[]message.Folded{{Name: "tom", Index: 2, Value: folded}},
			"Tom: x\n y\ntom :" + strings.ReplaceAll(folded, "\r\n", "\n") + "\nFrom: a@ours.test\n",
		},
		"two fields": {
			"Aa:" + words + "x\nBb:" + words + "y\n",
			[]message.Folded{{Name: "Aa", Index: 1, Value: folded + "x"}, {Name: "Bb", Index: 1, Value: folded + "y"}},
			"Aa:" + strings.ReplaceAll(folded, "\r\n", "\n") + "x\nBb:" + strings.ReplaceAll(folded, "\r\n", "\n") + "y\n",
		},
		"a line of white space in it": {
			"Tom:" + words + "\n \n y\nFrom: a@ours.test\n",
			[]message.Folded{{Name: "Tom", Index: 1, Value: folded + "\r\n \r\n y"}},
			"Tom:" + strings.ReplaceAll(folded, "\r\n", "\n") + "\n \n y\nFrom: a@ours.test\n",
		},
		"another text":       {"Tom:" + words + "\n", []message.Folded{{Name: "Tom", Index: 1, Value: folded + "x"}}, ""},
		"another name":       {"Tom:" + words + "\n", []message.Folded{{Name: "Tim", Index: 1, Value: folded}}, ""},
		"in the other order": {"Aa:" + words + "x\nBb:" + words + "\n", []message.Folded{{Name: "Bb", Index: 1, Value: folded}, {Name: "Aa", Index: 1, Value: folded + "x"}}, ""},
		"a field of 998":     {"Tim:" + words[1:] + "\n", []message.Folded{{Name: "Tim", Index: 1, Value: folded}}, ""},
		"in the body":        {"A: b\n\nTom:" + words + "\n", []message.Folded{{Name: "Tom", Index: 1, Value: folded}}, ""},
	} {
		w.does(func(context.Context, *fakeMessage) pipeline.Outcome {
			return pipeline.Outcome{Add: []pipeline.Addition{{Name: "DKIM-Signature", Value: " v=1"}}, Replace: test.replace}
		})
		var out bytes.Buffer
		err := w.filter().Run(strings.NewReader(test.mail+"\nbody\n"), &out)
		if want := "DKIM-Signature: v=1\n" + test.want + "\nbody\n"; test.want != "" && (err != nil || out.String() != want) {
			t.Errorf("%s: %v, %q, want %q", name, err, out.String(), want)
		}
		if test.want == "" && (err == nil || out.Len() > 0) {
			t.Errorf("%s: %v, %q", name, err, out.String())
		}
		if !w.last(t).env.CanReplaceFields {
			t.Error("the daemon does not know that it may fold")
		}
	}
	// Clients of before do not say that they fold, and nobody folds what comes in.
	header, body := verifyParts()
	for _, request := range []string{sign("IP: \nProtocol: local\n", "a: b\n\n"), verify("Fold: yes\n"+verifyHead, header, body)} {
		if w.ask(t, request, true); w.last(t).env.CanReplaceFields {
			t.Errorf("fields can be replaced: %.60q", request)
		}
	}
}
