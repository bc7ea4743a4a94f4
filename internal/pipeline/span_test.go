package pipeline_test

import (
	"testing"
	"time"
)

// The record says how long a message took from MAIL, and from the end of its body; one
// that was aborted has no such end.
func TestRecordHasItsSpans(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Unix(1_000_000, 0)
	w.config.Now = func() time.Time { return now }
	w.rules = nil
	p := w.pipeline()
	msg := begin(p, from(inside))
	now = now.Add(time.Minute)
	msg.EndOfHeader(t.Context())
	calls := 0
	p.Now = func() time.Time { calls++; return now.Add(time.Duration(calls) * time.Second) }
	msg.Finish(t.Context())
	if e := w.records[0]; e.Finish != time.Second || e.Total != time.Minute+2*time.Second {
		t.Errorf("finish %v, total %v", e.Finish, e.Total)
	}
	msg = begin(p, from(inside))
	msg.Abort("gone")
	if e := w.records[1]; e.Finish != 0 || e.Total != time.Second {
		t.Errorf("aborted: finish %v, total %v", e.Finish, e.Total)
	}
}
