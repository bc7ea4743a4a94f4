package milter_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"dkimd/internal/milter"
	"dkimd/internal/milter/client"
	"dkimd/internal/pipeline"
)

// TestPanics injects a panic into each step of a message.
func TestPanics(t *testing.T) {
	t.Parallel()
	const spared = "451 4.7.5 fault"
	tests := map[string]struct {
		at    string
		reply string // of an answer the message gave; empty: a bare tempfail
	}{
		"begin":                     {"begin", ""},
		"header":                    {"header", spared},
		"end of header":             {"eoh", spared},
		"body":                      {"body", spared},
		"finish":                    {"finish", spared},
		"finish, twice":             {"finish again", ""},
		"finish and fault":          {"finish fault", ""},
		"finish, fault and abort":   {"finish fault abort", ""},
		"header and fault":          {"header fault", ""},
		"header, finish and abort":  {"header again abort", ""},
		"begin and what else comes": {"begin abort fault", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, milter.Config{})
			s := w.dial(t, client.Options{})
			send(t, s, letter("1"))
			w.panicAt = tt.at
			r := send(t, s, letter("2"))
			if r.Action != client.TempFail || r.Reply != tt.reply {
				t.Errorf("got %+v, want a tempfail with %q", r, tt.reply)
			}
			w.panicAt = ""
			if r := send(t, s, letter("3")); r.Action != client.Continue {
				t.Errorf("the next message got %+v", r)
			}
			w.expect(t, "level=ERROR")
			w.expect(t, "injected: "+strings.Fields(tt.at)[0])
		})
	}
}

// TestPanicInAbort ends on the MTA's wish, with nobody there to answer.
func TestPanicInAbort(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	s := w.dial(t, client.Options{})
	_, _ = s.Mail("a@example.com", nil)
	w.panicAt = "abort"
	_ = s.Abort()
	w.expect(t, "injected: abort")
	w.panicAt = ""
	send(t, s, letter("2"))
}

// TestCloseWhileFinishing: an MTA that leaves while keys are fetched is noticed.
func TestCloseWhileFinishing(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	waiting := make(chan struct{})
	w.outcome = func(ctx context.Context, _ *fakeMessage) pipeline.Outcome {
		close(waiting)
		<-ctx.Done()
		return pipeline.Outcome{}
	}
	s := w.dial(t, client.Options{})
	go func() {
		<-waiting
		_ = s.Close()
	}()
	if _, err := s.Send(t.Context(), letter("1")); err == nil {
		t.Error("an answer on a closed connection")
	}
	if got := w.ended(t, 1)[0]; context.Cause(got.ctx).Error() != "the MTA closed the connection" {
		t.Errorf("the message's context ended because of %v", context.Cause(got.ctx))
	}
}

// TestSlowFinish has answers that come after somebody began to watch, and an
// MTA that talks on meanwhile.
func TestSlowFinish(t *testing.T) {
	t.Parallel()
	w := start(t, milter.Config{})
	w.outcome = func(ctx context.Context, _ *fakeMessage) pipeline.Outcome {
		select {
		case <-time.After(120 * time.Millisecond):
		case <-ctx.Done():
			t.Error("the context ended while the MTA waits")
		}
		return pipeline.Outcome{}
	}
	s := w.dial(t, client.Options{})
	for _, id := range []string{"1", "2", "3"} {
		if r := send(t, s, letter(id)); r.Action != client.Continue {
			t.Fatal(r)
		}
	}
	conn := agree(t, w, client.AllProtocol)
	_, _ = conn.Write(append(packet('M', "<a@example.com>\x00"), packet('E', "")...))
	_, _ = conn.Write(append(packet('A', ""), packet('M', "<b@example.com>\x00")...))
	_, _ = conn.Write(packet('E', ""))
	for range 2 {
		if code := answerOf(t, conn); code != 'c' {
			t.Fatalf("answer %q", code)
		}
	}
}
