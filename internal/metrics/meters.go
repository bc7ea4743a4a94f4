package metrics

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dkimd/internal/events"
	"dkimd/internal/resolver"
	"dkimd/internal/socket"
)

const (
	resultNone       = "none" // a verified message without a signature
	reasonNotOurs    = "not_ours"
	reasonTrusted    = "trusted"
	reasonRecipients = "not_recipients"
	reasonFault      = "fault"
	reasonMemory     = "memory"
)

// Messages counts messages by the records they leave.
type Messages struct {
	messages, results, spf, dmarc, made, unsigned, decisions, long counters
	stripped, faulted                                              prometheus.Counter
	total, finish                                                  prometheus.Histogram
}

// Count counts one message.
func (m *Messages) Count(e *events.Event) {
	m.messages.inc(e.Front, e.Mode, e.Verdict)
	if e.Error != "" {
		m.faulted.Inc()
	}
	for i := range e.Signatures {
		m.results.inc(e.Signatures[i].Result)
	}
	if e.SPF.Result != "" {
		m.spf.inc(e.SPF.Result)
	}
	if e.DMARC.Result != "" {
		m.dmarc.inc(e.DMARC.Result)
	}
	for i := range e.Signed {
		m.made.inc(e.Signed[i].Algorithm)
	}
	for i := range e.Policy {
		m.decisions.inc(e.Policy[i].Mode, e.Policy[i].Action)
	}
	if e.LongField {
		m.long.inc("header")
	}
	if e.LongBody {
		m.long.inc("body")
	}
	if e.Stripped > 0 {
		m.stripped.Add(float64(e.Stripped))
	}
	switch e.Mode {
	case events.ModeAborted:
		return // nobody waited for the answer
	case events.ModeUnsigned:
		m.unsigned.inc(e.ReasonCode)
	case events.ModeVerify, events.ModeTrusted:
		if len(e.Signatures) == 0 && e.Error == "" {
			m.results.inc(resultNone)
		}
	}
	m.total.Observe(e.Total.Seconds())
	m.finish.Observe(e.Finish.Seconds())
}

// Recorder takes the records of messages, as the log stream does.
type Recorder interface{ Write(e *events.Event) }

// Before is a Recorder that counts each message and hands its record on.
func (m *Messages) Before(next Recorder) Recorder { return counting{m, next} }

type counting struct {
	messages *Messages
	next     Recorder
}

func (c counting) Write(e *events.Event) {
	c.messages.Count(e)
	c.next.Write(e)
}

// Door counts the connections of one front door; it is a milter.Meter.
type Door struct {
	open, limit          prometheus.Gauge
	served, held, failed prometheus.Counter
	madeRoom, refused    prometheus.Counter
	withheld             counters
}

// Limit says how many connections are served at once.
func (d *Door) Limit(n int) { d.limit.Set(float64(n)) }

// Connection is socket.Meter.
func (d *Door) Connection(what socket.Moment) {
	switch what {
	case socket.Opened:
		d.served.Inc()
		d.open.Inc()
	case socket.Closed:
		d.open.Dec()
	case socket.Held:
		d.held.Inc()
	case socket.Failed:
		d.failed.Inc()
	case socket.MadeRoom:
		d.madeRoom.Inc()
	case socket.Refused:
		d.refused.Inc()
	}
}

// Withheld is milter.Meter.
func (d *Door) Withheld(action string) { d.withheld.inc(action) }

// DNS counts lookups; it is a resolver.Meter.
type DNS struct {
	lookups, cache counters
	took           prometheus.Histogram
}

// Asked is resolver.Meter.
func (d *DNS) Asked(cached bool) {
	if cached {
		d.cache.inc("hit")
	} else {
		d.cache.inc("miss")
	}
}

// LookedUp is resolver.Meter.
func (d *DNS) LookedUp(err error, took time.Duration) {
	d.lookups.inc(outcome(err))
	d.took.Observe(took.Seconds())
}

// outcome is the label of what a lookup came to.
func outcome(err error) string {
	switch {
	case err == nil:
		return "found"
	case errors.Is(err, resolver.ErrNotExist):
		return "nxdomain"
	case errors.Is(err, resolver.ErrNoData):
		return "no_data"
	case errors.Is(err, resolver.ErrTimeout):
		return "timeout"
	case errors.Is(err, resolver.ErrServerFailure):
		return "servfail"
	case errors.Is(err, resolver.ErrRefused):
		return "refused"
	case errors.Is(err, resolver.ErrMalformed):
		return "malformed"
	case errors.Is(err, resolver.ErrLame):
		return "lame"
	case errors.Is(err, resolver.ErrAlias):
		return "alias"
	case errors.Is(err, resolver.ErrCrowded):
		return "crowded"
	case errors.Is(err, resolver.ErrClosed):
		return "cancelled"
	case errors.Is(err, resolver.ErrPanic):
		return "panic"
	}
	return "network"
}

// Keys counts what happens to private keys; it is a keys.Meter.
type Keys struct {
	engine                  prometheus.Counter
	destroyed               counters
	unpublished, unanswered prometheus.Gauge
}

// EngineFailed is keys.Meter.
func (k *Keys) EngineFailed() { k.engine.Inc() }

// Destroyed counts a private key that was destroyed: early where it had signed not long before.
func (k *Keys) Destroyed(early bool) {
	if early {
		k.destroyed.inc("early")
	} else {
		k.destroyed.inc("due")
	}
}

// Compared says what DNS published of the keys that sign when it was last asked.
func (k *Keys) Compared(unpublished, unanswered int) {
	k.unpublished.Set(float64(unpublished))
	k.unanswered.Set(float64(unanswered))
}

// Reloads counts reloads of the configuration.
type Reloads struct{ results counters }

// Taken counts a reload that put a new configuration in force.
func (r *Reloads) Taken() { r.results.inc("taken") }

// Refused counts a reload after which the old one stays.
func (r *Reloads) Refused() { r.results.inc("refused") }

// Log counts lines of dkimd's own log.
type Log struct {
	lines  counters
	panics prometheus.Counter
}

// Before is a handler that counts warnings and errors, and hands all lines on.
func (l *Log) Before(next slog.Handler) slog.Handler { return logHandler{next, l} }

type logHandler struct {
	slog.Handler
	log *Log
}

// Handle counts a line. Whoever recovers from a panic logs its stack: that is how panics are counted.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	switch {
	case r.Level >= slog.LevelError:
		h.log.lines.inc("error")
	case r.Level >= slog.LevelWarn:
		h.log.lines.inc("warn")
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "stack" {
			h.log.panics.Inc()
		}
		return a.Key != "stack"
	})
	return h.Handler.Handle(ctx, r)
}

// WithAttrs is slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs), h.log}
}

// WithGroup is slog.Handler.
func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.Handler.WithGroup(name), h.log}
}
