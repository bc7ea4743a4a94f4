//go:build integration

package soak_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ledger holds the messages against the records that dkimd wrote of them.
type ledger struct {
	number atomic.Int64

	mu      sync.Mutex
	open    map[int64]*account // messages without answer or without record
	counts  map[string]int     // messages answered, by kind
	certain map[string]int     // those to which one answer alone was right
	left    int                // messages that the MTA left, whose record is sure
	maybe   int                // messages that the MTA left, whose record is not
	faults  []string
	wrong   int // faults, also those not kept
	records int
	torn    int // lines of the log that are no record

	full     []interval // when the disk was
	filling  bool
	filledAt time.Time
}

type interval struct{ from, to time.Time }

// account is what is known of one message.
type account struct {
	ended   time.Time
	verdict string // the answer's first word; empty: none yet
	left    bool   // the MTA left
	maybe   bool   // there need not be a record

	recorded bool
	record   record
	wrong    bool // the answer was
}

// record is a line of dkimd's log, as docs/events.md has it.
type record struct {
	Time    time.Time `json:"time"`
	ID      string    `json:"id"`
	Sender  string    `json:"sender"`
	Verdict string    `json:"verdict"`
	Total   float64   `json:"total_ms"`
	Error   string    `json:"error"`
	line    string
}

func newLedger() *ledger {
	return &ledger{open: map[int64]*account{}, counts: map[string]int{}, certain: map[string]int{}}
}

func (l *ledger) next() int64 { return l.number.Add(1) }

// fault notes that something is wrong.
func (l *ledger) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.complain(format, args...)
}

func (l *ledger) complain(format string, args ...any) {
	if l.wrong++; len(l.faults) < 30 {
		l.faults = append(l.faults, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

// answered notes the answer to a message.
func (l *ledger) answered(m *message, answer, fault string, certain bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[m.kind.name]++
	if certain {
		l.certain[m.kind.name]++
	}
	verdict, _, _ := strings.Cut(answer, " ")
	a := l.account(m.number)
	a.ended, a.verdict = time.Now(), verdict
	if a.wrong = fault != ""; a.wrong {
		l.complain("wrong answer: %s, began %s", fault, m.began.Format("15:04:05.000"))
	}
	l.settle(m.number, a)
}

// gone notes that the MTA left in mid-message. Where a record is not sure, it may
// have left before the message began for dkimd, or dkimd may have cut it.
func (l *ledger) gone(m *message, sure bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(m.number)
	a.ended, a.left, a.maybe = time.Now(), true, !sure
	if sure {
		l.left++
	} else {
		l.maybe++
	}
	l.settle(m.number, a)
}

func (l *ledger) account(n int64) *account {
	a := l.open[n]
	if a == nil {
		a = &account{}
		l.open[n] = a
	}
	return a
}

// settle compares answer and record once both are there.
func (l *ledger) settle(n int64, a *account) {
	if !a.recorded || a.ended.IsZero() {
		return
	}
	delete(l.open, n)
	switch r := a.record; {
	case a.wrong:
		l.complain("the record of a wrong answer: %s", r.line)
	case !a.left && r.Verdict != a.verdict:
		l.complain("message %d: the MTA was told %s, the record says %s", n, a.verdict, r.Verdict)
	case r.Error != "":
		l.complain("message %d: the record has an error: %s", n, r.Error)
	case r.Total < 0 || r.Total > 120_000:
		l.complain("message %d took %.0f ms, says its record", n, r.Total)
	}
}

// line takes a line of the log.
func (l *ledger) line(line []byte) {
	var r record
	err := json.Unmarshal(line, &r)
	number, _, _ := strings.Cut(strings.TrimPrefix(r.Sender, "m"), "@")
	if r.Sender == "" { // mail that leaves Exim has no sender for dkimd
		number = strings.TrimPrefix(r.ID, "1q")
	}
	n, noNumber := strconv.ParseInt(number, 10, 64)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(line) == 0:
		l.complain("an empty line in the log")
		return
	case err != nil:
		l.torn++
		return
	case noNumber != nil || n < 1 || n > l.number.Load():
		l.complain("a record of nothing that was sent: %s", line)
		return
	}
	l.records++
	a := l.account(n)
	if a.recorded {
		l.complain("message %d has two records", n)
	}
	a.recorded, a.record, a.record.line = true, r, string(line)
	l.settle(n, a)
}

// filled and freed note when the disk of the log was full.
func (l *ledger) filled() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.filling, l.filledAt = true, time.Now()
}

func (l *ledger) freed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.filling {
		l.full = append(l.full, interval{l.filledAt, time.Now()})
	}
	l.filling = false
}

// missing counts the messages without a record, and complains of those that no full
// disk excuses.
func (l *ledger) missing() (sure, maybe int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, a := range l.open {
		switch {
		case a.ended.IsZero():
			l.complain("message %d has a record (%s), but was not answered", n, a.record.Verdict)
		case a.maybe:
			maybe++
		default:
			sure++
			// A record may be written some time after the answer, or before it is read.
			if !slices.ContainsFunc(l.full, func(i interval) bool {
				return a.ended.Add(5*time.Second).After(i.from) && a.ended.Add(-2*time.Second).Before(i.to)
			}) {
				l.complain("message %d, which ended %s (%s), has no record", n, a.ended.Format("15:04:05.000"), a.verdict)
			}
		}
	}
	return sure, maybe
}

// owed counts the messages that wait for their record and will surely get it.
func (l *ledger) owed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, a := range l.open {
		if !a.recorded && !a.maybe {
			n++
		}
	}
	return n
}

// logReader follows the log, also when it is rotated.
type logReader struct {
	w       *world
	path    string
	file    *os.File
	partial []byte
	rotated string // where the log was renamed to; empty: it was not
}

func (w *world) openLog() (*logReader, error) {
	r := &logReader{w: w, path: w.path("log/log")}
	var err error
	r.file, err = os.Open(r.path)
	return r, err
}

// rotate renames the log, as logrotate does. It is for who sends SIGHUP then.
func (r *logReader) rotate() {
	if r.rotated == "" {
		r.rotated = r.path + ".1"
		if err := os.Rename(r.path, r.rotated); err != nil {
			r.w.ledger.fault("rotate the log: %v", err)
		}
	}
}

// read takes what has come. Once dkimd has let go of a renamed log, it goes on with the new one.
func (r *logReader) read() {
	over := r.rotated != "" && !r.w.daemon.hasOpen(r.rotated)
	text, err := io.ReadAll(r.file)
	if err != nil {
		r.w.ledger.fault("read the log: %v", err)
	}
	text = append(r.partial, text...)
	for {
		line, rest, found := bytes.Cut(text, []byte("\n"))
		if !found {
			break
		}
		r.w.ledger.line(line)
		text = rest
	}
	r.partial = bytes.Clone(text)
	if !over {
		return
	}
	next, err := os.Open(r.path)
	if err != nil {
		return // dkimd has not made it yet
	}
	if len(r.partial) > 0 {
		r.w.ledger.line(r.partial) // torn, and the file has ended
	}
	_ = r.file.Close()
	_ = os.Remove(r.rotated)
	r.file, r.partial, r.rotated = next, nil, ""
}
