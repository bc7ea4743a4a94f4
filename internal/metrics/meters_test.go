package metrics_test

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"dkimd/internal/events"
	"dkimd/internal/resolver"
	"dkimd/internal/socket"
	"dkimd/keys"
	"dkimd/signer"

	"github.com/google/go-cmp/cmp"
)

// What each package tells, counts; and nothing else does.
func TestEachHappeningCounts(t *testing.T) {
	t.Parallel()
	const total, finish = 2 * time.Second, 250 * time.Millisecond
	message := func(n string) map[string]string { // what every message counts that got an answer
		return map[string]string{
			n: "1", "dkimd_message_duration_seconds_count": "1", "dkimd_message_duration_seconds_sum": "2",
			"dkimd_end_of_message_duration_seconds_count": "1", "dkimd_end_of_message_duration_seconds_sum": "0.25",
		}
	}
	with := func(m map[string]string, more ...string) map[string]string {
		for _, name := range more {
			m[name] = "1"
		}
		return m
	}
	event := func(e events.Event) func(w *world) {
		e.Total, e.Finish = total, finish
		return func(w *world) { w.Messages.Count(&e) }
	}
	unsigned := func(reason, text string) (func(w *world), map[string]string) {
		return event(events.Event{Front: "milter", Mode: "unsigned", Verdict: "accept", ReasonCode: reason, Reason: text}),
			with(message(`dkimd_messages_total{front="milter",mode="unsigned",verdict="accept"}`), `dkimd_unsigned_messages_total{reason="`+reason+`"}`)
	}
	type test struct {
		happens func(w *world)
		want    map[string]string
	}
	tests := map[string]test{
		"signed": {
			event(events.Event{Front: "milter", Mode: "sign", Verdict: "accept", Signed: []events.Signed{{Algorithm: "rsa-sha256"}, {Algorithm: "ed25519-sha256"}}}),
			with(message(`dkimd_messages_total{front="milter",mode="sign",verdict="accept"}`),
				`dkimd_signatures_made_total{algorithm="rsa-sha256"}`, `dkimd_signatures_made_total{algorithm="ed25519-sha256"}`),
		},
		"signed, with lines that are too long": {
			event(events.Event{Front: "milter", Mode: "sign", Verdict: "accept", LongField: true, LongBody: true}),
			with(message(`dkimd_messages_total{front="milter",mode="sign",verdict="accept"}`),
				`dkimd_long_lines_total{part="header"}`, `dkimd_long_lines_total{part="body"}`),
		},
		"verified": {
			event(events.Event{
				Front: "exim", Mode: "verify", Verdict: "reject", Stripped: 1,
				Signatures: []events.Signature{{Result: "fail"}, {Result: "temperror"}},
				Policy:     []events.Decision{{Mode: "enforce", Action: "reject"}, {Mode: "monitor", Action: "discard"}},
			}),
			with(message(`dkimd_messages_total{front="exim",mode="verify",verdict="reject"}`),
				`dkimd_signature_results_total{result="fail"}`, `dkimd_signature_results_total{result="temperror"}`,
				`dkimd_policy_decisions_total{action="reject",mode="enforce"}`, `dkimd_policy_decisions_total{action="discard",mode="monitor"}`,
				"dkimd_stripped_results_total"),
		},
		"without a signature": {
			event(events.Event{Front: "milter", Mode: "trusted", Verdict: "accept"}),
			with(message(`dkimd_messages_total{front="milter",mode="trusted",verdict="accept"}`), `dkimd_signature_results_total{result="none"}`),
		},
		"not verified for a fault": {
			event(events.Event{Front: "milter", Mode: "verify", Verdict: "tempfail", Error: "panic at body: x"}),
			with(message(`dkimd_messages_total{front="milter",mode="verify",verdict="tempfail"}`), "dkimd_message_errors_total"),
		},
		"not signed for a fault": {
			event(events.Event{Front: "exim", Mode: "unsigned", Verdict: "tempfail", ReasonCode: "fault", Error: "panic at body: x"}),
			with(message(`dkimd_messages_total{front="exim",mode="unsigned",verdict="tempfail"}`), "dkimd_message_errors_total",
				`dkimd_unsigned_messages_total{reason="fault"}`),
		},
		"aborted": {
			event(events.Event{Front: "milter", Mode: "aborted", Verdict: "aborted", ReasonCode: "no_key", Reason: "x"}),
			map[string]string{`dkimd_messages_total{front="milter",mode="aborted",verdict="aborted"}`: "1"},
		},
		"connections": {
			func(w *world) {
				w.Milter.Limit(7)
				w.Milter.Connection(socket.Opened)
				w.Milter.Connection(socket.Opened)
				w.Milter.Connection(socket.Closed)
				w.Exim.Connection(socket.Held)
				w.Exim.Connection(socket.Failed)
				w.Exim.Connection(socket.MadeRoom)
				w.Exim.Connection(socket.Refused)
			},
			map[string]string{
				`dkimd_connections_limit{front="milter"}`: "7", `dkimd_connections_open{front="milter"}`: "1", `dkimd_connections_total{front="milter"}`: "2",
				`dkimd_connections_held_total{front="exim"}`: "1", `dkimd_accept_failures_total{front="exim"}`: "1",
				`dkimd_connections_closed_idle_total{front="exim"}`: "1", `dkimd_connections_refused_total{front="exim"}`: "1",
			},
		},
		"quarantine withheld": {
			func(w *world) { w.Milter.Withheld("quarantine") },
			map[string]string{`dkimd_milter_withheld_total{action="quarantine"}`: "1"},
		},
		"edits withheld": {
			func(w *world) { w.Milter.Withheld("header_edits") },
			map[string]string{`dkimd_milter_withheld_total{action="header_edits"}`: "1"},
		},
		"cache": {
			func(w *world) { w.DNS.Asked(true); w.DNS.Asked(true); w.DNS.Asked(false) },
			map[string]string{`dkimd_dns_cache_requests_total{result="hit"}`: "2", `dkimd_dns_cache_requests_total{result="miss"}`: "1"},
		},
		"engine": {
			func(w *world) { keys.Meter(w.Keys).EngineFailed() },
			map[string]string{"dkimd_rsa_engine_failures_total": "1"},
		},
		"keys compared": {
			func(w *world) { w.Keys.Compared(9, 9); w.Keys.Compared(2, 3) },
			map[string]string{"dkimd_keys_unpublished": "2", "dkimd_keys_unanswered": "3"},
		},
		"reloads": {
			func(w *world) { w.Reloads.Taken(); w.Reloads.Refused(); w.Reloads.Refused() },
			map[string]string{`dkimd_reloads_total{result="taken"}`: "1", `dkimd_reloads_total{result="refused"}`: "2"},
		},
	}
	for _, code := range []string{
		signer.MultipleFrom, signer.FromMissing, signer.FromUnreadable, signer.NoKey, signer.KeyUnusable, signer.UserMismatch, signer.Limit,
		"not_ours", "trusted", "not_recipients", "fault",
	} {
		happens, want := unsigned(code, "not_code: words: and more of them")
		tests[code] = test{happens, want}
	}
	for label, err := range map[string]error{
		"found": nil, "nxdomain": resolver.ErrNotExist, "no_data": resolver.ErrNoData, "timeout": resolver.ErrTimeout,
		"servfail": resolver.ErrServerFailure, "refused": resolver.ErrRefused, "crowded": resolver.ErrCrowded, "malformed": resolver.ErrMalformed, "lame": resolver.ErrLame,
		"alias": resolver.ErrAlias, "network": resolver.ErrNetwork, "cancelled": resolver.ErrClosed, "panic": resolver.ErrPanic,
	} {
		if err != nil && !errors.Is(err, resolver.ErrNotExist) && !errors.Is(err, resolver.ErrNoData) {
			err = fmt.Errorf("%w: %w", resolver.ErrTemporary, err)
		}
		tests["lookup, "+label] = test{
			func(w *world) { resolver.Meter(w.DNS).LookedUp(err, time.Second/2) },
			map[string]string{
				`dkimd_dns_lookups_total{outcome="` + label + `"}`: "1",
				"dkimd_dns_lookup_duration_seconds_count":          "1", "dkimd_dns_lookup_duration_seconds_sum": "0.5",
			},
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			before := w.scrape()
			test.happens(w)
			if diff := cmp.Diff(test.want, w.changes(before)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Warnings and errors count, and panics by the stack that is logged with them.
func TestLogLinesCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.scrape()
	log := slog.New(w.Log.Before(slog.NewTextHandler(&w.log, nil)))
	log.Info("nothing", "n", 1)
	log.Debug("nothing")
	log.Warn("warning")
	log.With("queue_id", "Q").WithGroup("g").Error("error", "n", 1)
	log.With("a", 1).Error("panic", "panic", "x", "stack", "goroutine 1")
	want := map[string]string{
		`dkimd_log_messages_total{level="warn"}`: "1", `dkimd_log_messages_total{level="error"}`: "2", "dkimd_panics_total": "1",
	}
	if diff := cmp.Diff(want, w.changes(before)); diff != "" {
		t.Error(diff)
	}
}

type recorder struct{ got *events.Event }

func (r *recorder) Write(e *events.Event) { r.got = e }

// A record is counted and handed on as it is.
func TestRecordsAreHandedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	next := &recorder{}
	e := &events.Event{Front: "milter", Mode: "sign", Verdict: "accept"}
	w.Messages.Before(next).Write(e)
	if next.got != e || w.scrape()[`dkimd_messages_total{front="milter",mode="sign",verdict="accept"}`] != "1" {
		t.Errorf("got %p", next.got)
	}
}

// usual is a message as most are.
func usual() *events.Event {
	return &events.Event{
		Front: "milter", Mode: "verify", Verdict: "accept", Total: time.Second, Finish: time.Millisecond,
		Signatures: []events.Signature{{Result: "pass"}, {Result: "pass"}}, Policy: []events.Decision{{Mode: "monitor", Action: "reject"}},
	}
}

// To count a message allocates nothing. It is not parallel: AllocsPerRun counts for all.
func TestCountingAllocatesNothing(t *testing.T) {
	w := newWorld(t)
	e, left := usual(), &events.Event{Front: "exim", Mode: "unsigned", Verdict: "accept", ReasonCode: "no_key", Reason: "no key for example.org"}
	temporary := fmt.Errorf("%w: %w", resolver.ErrTemporary, resolver.ErrServerFailure)
	for name, f := range map[string]func(){
		"message":    func() { w.Messages.Count(e); w.Messages.Count(left) },
		"connection": func() { w.Milter.Connection(socket.Opened); w.Milter.Connection(socket.Closed) },
		"lookup":     func() { w.DNS.Asked(true); w.DNS.Asked(false); w.DNS.LookedUp(temporary, time.Second) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkCount is what metrics cost a message of two signatures, alone and from all processors at once.
func BenchmarkCount(b *testing.B) {
	m := benchmarked()
	b.Run("one", func(b *testing.B) {
		e := usual()
		for b.Loop() {
			m.Messages.Count(e)
		}
	})
	b.Run("all", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			e := usual()
			for pb.Next() {
				m.Messages.Count(e)
			}
		})
	})
}
