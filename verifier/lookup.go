package verifier

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"dkimd/internal/dkim"
	"dkimd/internal/resolver"
)

// task is DNS work that may run beside the body.
type task struct {
	done     chan struct{} // closed at its end; nil: answered at once
	start    time.Time
	answered bool // set by wait: took and panicked may be read
	gaveUp   time.Duration

	took     time.Duration
	panicked bool
}

// lookup is one key name, asked once a message.
type lookup struct {
	task
	name   string
	answer resolver.Answer
	err    error
}

// errPanicked stands for the answer of a lookup that panicked.
var errPanicked error = &resolver.Failure{Cause: resolver.ErrPanic}

// keyName is where a signature's key is published (RFC 6376 section 3.6.2.1).
func keyName(sig *dkim.Signature) string { return dkim.RecordName(sig.Selector, sig.Domain) }

// lookupFor shares one lookup among signatures of the same key.
func (w *Verification) lookupFor(name string) *lookup {
	for _, l := range w.lookups {
		if l.name == name {
			return l
		}
	}
	l := &lookup{name: name}
	w.lookups = append(w.lookups, l)
	return l
}

// startLookups takes what the cache knows and starts a goroutine for each of the
// rest: at most Config.MaxSignatures and one.
func (w *Verification) startLookups(ctx context.Context) {
	var waiting []*lookup
	for _, l := range w.lookups {
		if !w.fromCache(l) {
			waiting = append(waiting, l)
		}
	}
	discovers := w.dmarc != nil && !w.v.guard(&w.dmarc.task, w.dmarc.fromCache)
	if len(waiting) == 0 && !discovers {
		return
	}
	ctx, w.cancel = context.WithTimeout(ctx, w.v.cfg.Timeout)
	w.expired = ctx.Done()
	for _, l := range waiting {
		w.run(&l.task, func() bool {
			l.err = errPanicked // stands if TXT panics
			l.answer, l.err = w.v.cfg.Resolver.TXT(ctx, l.name)
			l.panicked = errors.Is(l.err, resolver.ErrPanic)
			return true
		})
	}
	if discovers {
		w.run(&w.dmarc.task, func() bool { w.dmarc.fromDNS(ctx); return true })
	}
}

// fromCache reports whether a lookup needs no query.
func (w *Verification) fromCache(l *lookup) bool {
	return w.v.guard(&l.task, func() (ok bool) {
		l.err = errPanicked
		answer, err, ok := w.v.cfg.Resolver.Cached(l.name)
		l.answer, l.err = answer, err
		return ok
	})
}

func (w *Verification) run(t *task, work func() bool) {
	w.started = append(w.started, t)
	w.v.run(t, work)
}

func (v *Verifier) run(t *task, work func() bool) {
	t.done = make(chan struct{})
	t.start = time.Now()
	go func() { // Finish and Close wait for it
		defer close(t.done)
		defer func() { t.took = time.Since(t.start) }()
		v.guard(t, work)
	}()
}

// guard calls what touches DNS. A panic there is an alarm, and the answer a
// temporary failure; it counts as answered.
func (v *Verifier) guard(t *task, work func() bool) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			t.panicked = true
			ok = true
			v.cfg.Logger.Error("lookup panicked", "panic", printable(fmt.Sprint(p), maxReason), "stack", string(debug.Stack()))
		}
	}()
	return work()
}

// cached reports whether the answer was there at once.
func (t *task) cached() bool { return t.done == nil }

// wait reports whether the task ended before its deadline and before ctx did.
func (t *task) wait(ctx context.Context, expired <-chan struct{}) bool {
	if t.done != nil {
		select {
		case <-t.done: // what is there counts, even after the deadline
		default:
			select {
			case <-t.done:
			case <-expired:
			case <-ctx.Done():
			}
		}
		select {
		case <-t.done:
		default:
			t.gaveUp = time.Since(t.start)
			return false
		}
	}
	t.answered = true
	return true
}

// patience is ctx, or one that ends soon after the message where only its record waits for a task that still runs.
func (t *task) patience(ctx context.Context, onlyRecorded bool, ended time.Time) (context.Context, context.CancelFunc) {
	select {
	case <-t.done:
	default:
		if onlyRecorded && t.done != nil {
			return context.WithDeadline(ctx, ended.Add(recordPatience))
		}
	}
	return ctx, func() {}
}

// waited is how long the task took, or how long it had got when it was given up.
func (t *task) waited() time.Duration {
	if t.answered {
		return t.took
	}
	return t.gaveUp
}
