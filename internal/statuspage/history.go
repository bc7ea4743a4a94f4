// Package statuspage is the page that an administrator looks at: what came of mail over the last day, by which
// rules, with which keys, and one message in full. It serves /, at the sockets of [metrics].
//
// All it shows of mail it takes from the records of messages, into counters and a ring of a fixed size that end with
// the process. What a stranger wrote stands in any of them: html/template escapes it, and nothing here is
// a script. It measures nothing by itself and knows no configuration: the daemon tells it the rest.
package statuspage

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"dkimd/internal/events"
)

// Bounds of what is remembered beside the ring.
const (
	minutesKept = 24 * 60
	hoursKept   = 25   // of a day that begins within an hour
	maxDomains  = 1000 // of an hour
	maxReasons  = 64   // of an hour; they are of a closed set
	maxRules    = 10_000
)

// outcome is what came of a message, as the page tells it.
type outcome uint8

const (
	signed   outcome = iota // ours, with a signature
	unsigned                // ours, without one
	passed                  // of others, a signature verified
	failed                  // of others, none did
	bare                    // of others, without a signature
	stopped                 // refused, quarantined or discarded
	deferred                // to come again
	unjudged                // skipped, or given up by the mail server
	outcomes = iota
)

// counts is how many messages came to each outcome.
type counts [outcomes]uint32

func (c *counts) total() (n uint64) {
	for _, one := range c {
		n += uint64(one)
	}
	return n
}

func (c *counts) add(other *counts) {
	for i := range c {
		c[i] += other[i]
	}
}

// outcomeOf reads a record. What the sender of a message met goes before what its signatures are.
func outcomeOf(e *events.Event) outcome {
	switch e.Verdict {
	case "reject", "quarantine", "discard":
		return stopped
	case "tempfail":
		return deferred
	}
	switch e.Mode {
	case events.ModeSign:
		return signed
	case events.ModeUnsigned:
		return unsigned
	case events.ModeVerify, events.ModeTrusted:
		switch {
		case len(e.Signatures) == 0:
			return bare
		case slices.ContainsFunc(e.Signatures, func(s events.Signature) bool { return s.Result == "pass" }):
			return passed
		}
		return failed
	}
	return unjudged
}

// minute is what came of the mail of one minute.
type minute struct {
	at int64 // minutes since 1970
	counts
}

// hour is who sent it, and why mail was not signed.
type hour struct {
	at      int64 // hours since 1970
	domains sketch
	reasons map[string]*reason
}

// reason is why messages were not signed.
type reason struct {
	count uint64
	text  string // of the last one
	last  uint64 // its number in the ring; 0: it has none
}

// ruleName tells rules apart; a name of a file without a rule stands for mail of which none held.
type ruleName struct{ file, rule, mode, action string }

// ruleHits is how often a rule decided since the start.
type ruleHits struct {
	ruleName // does not change

	count uint64
	last  time.Time
}

// History takes the record of each message. It is safe for concurrent use.
type History struct {
	log *slog.Logger

	mu      sync.Mutex
	minutes [minutesKept]minute
	hours   [hoursKept]hour
	rules   map[ruleName]*ruleHits
	ring    ring
	scratch []byte
}

// NewHistory remembers from a time on, and keeps so many bytes of the last records. They are numbered from that time, in
// microseconds: a number that somebody noted before a restart is of no other message after it.
func NewHistory(bytes int, started time.Time, log *slog.Logger) *History {
	return &History{log: log, rules: map[ruleName]*ruleHits{}, ring: newRing(bytes, uint64(max(started.UnixMicro(), 0))+1)}
}

// Recorder takes the records of messages, as the log stream does.
type Recorder interface{ Write(e *events.Event) }

// Before is a Recorder that remembers each message and hands its record on.
func (h *History) Before(next Recorder) Recorder { return remembering{h, next} }

type remembering struct {
	history *History
	next    Recorder
}

func (r remembering) Write(e *events.Event) {
	r.history.remember(e)
	r.next.Write(e)
}

// remember keeps no reference to e: its texts may be pieces of a large message.
func (h *History) remember(e *events.Event) {
	defer func() { // no fault in a record may stop its message
		if p := recover(); p != nil {
			h.log.Error("panic in the history of messages", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	if e.IsProbe() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var number uint64
	if h.ring.most > 0 {
		h.scratch = append(events.JSON.Append(h.scratch[:0], e), '\n')
		number = h.ring.append(h.scratch)
		if cap(h.scratch) > keepScratch {
			h.scratch = nil
		}
	}
	came := outcomeOf(e)
	at := e.Time.Unix() / 60
	m := &h.minutes[at%minutesKept]
	if m.at != at {
		*m = minute{at: at}
	}
	m.counts[came]++
	hour := h.hour(at / 60)
	sender := hour.domains.touch(e.Author())
	sender.counts[came]++
	hour.domains.fix(sender)
	if e.Mode == events.ModeUnsigned {
		hour.unsigned(e, number)
	}
	for i := range e.Policy {
		if r := h.decided(&e.Policy[i], e.Time); r != nil && r.acts() {
			sender.wouldHave(r)
		}
	}
}

// keepScratch is the largest buffer that is kept for the next record.
const keepScratch = 64 << 10

func (h *History) hour(at int64) *hour {
	slot := &h.hours[at%hoursKept]
	if slot.at != at || slot.reasons == nil {
		*slot = hour{at: at, reasons: map[string]*reason{}, domains: newSketch()}
	}
	return slot
}

func (o *hour) unsigned(e *events.Event, number uint64) {
	r := o.reasons[e.ReasonCode]
	if r == nil {
		if len(o.reasons) >= maxReasons {
			return
		}
		r = &reason{}
		o.reasons[clone(e.ReasonCode)] = r
	}
	r.count++
	r.last = number
	if r.text != e.Reason {
		r.text = clone(e.Reason)
	}
}

// decided counts a decision; nil: there are too many rules.
func (h *History) decided(d *events.Decision, now time.Time) *ruleHits {
	name := ruleName{d.File, d.Rule, d.Mode, d.Action}
	r := h.rules[name]
	if r == nil {
		if len(h.rules) >= maxRules {
			return nil
		}
		name = ruleName{clone(d.File), clone(d.Rule), clone(d.Mode), clone(d.Action)}
		r = &ruleHits{ruleName: name}
		h.rules[name] = r
	}
	r.count++
	r.last = now
	return r
}

// acts reports whether it is a rule that only records what it would do.
func (r ruleName) acts() bool { return r.mode == "monitor" && r.rule != "" && r.action != "accept" }
