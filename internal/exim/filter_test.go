package exim_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"dkimd/internal/exim/filter"
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
		if err := f.Run(t.Context(), strings.NewReader(outgoing), &out); err != nil {
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
	if err := f.Run(t.Context(), strings.NewReader(outgoing), io.Discard); err != nil {
		t.Fatal(err)
	}
	if m := w.last(t); m.env.Client.Kind != 0 {
		t.Errorf("%+v", m.env)
	}
}
