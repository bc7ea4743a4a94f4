package statuspage

import (
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/internal/events"
	"dkimd/internal/events/eventstest"
)

func newHistory(bytes int) *History {
	return NewHistory(bytes, time.Unix(0, 0), slog.New(slog.DiscardHandler))
}

// The ring holds the last records that fit, and no more bytes than it may.
func TestRingIsBounded(t *testing.T) {
	t.Parallel()
	const most = 64 << 10
	h := newHistory(most)
	for i := range 3000 {
		e := eventstest.Signed()
		e.ID, e.Time = fmt.Sprint("Q", i+1), time.Now()
		e.Warnings = []string{strings.Repeat("x", i%1000)}
		if i%100 == 0 {
			e.Warnings = strings.Fields(strings.Repeat(strings.Repeat("y", 1000)+" ", 30)) // longer than a piece
		}
		h.remember(e)
		held := 0
		for _, p := range h.ring.pieces {
			held += cap(p.lines)
		}
		if held > most || held != h.ring.held {
			t.Fatalf("after %d: %d bytes are held, %d are counted", i+1, held, h.ring.held)
		}
	}
	oldest := h.ring.pieces[0].first
	if oldest < 2500 || oldest > 2990 {
		t.Errorf("the oldest is number %d", oldest)
	}
	for n := oldest; n <= 3000; n++ {
		if e := h.record(n); e == nil || e.ID != fmt.Sprint("Q", n) {
			t.Fatalf("number %d: %v", n, e)
		}
	}
	if h.record(oldest-1) != nil || h.record(3001) != nil {
		t.Error("a record that is not kept was found")
	}
	large := eventstest.Sample()
	large.Warnings = strings.Fields(strings.Repeat(strings.Repeat("y", 1000)+" ", 99))
	small := newHistory(16 << 10)
	small.remember(large)
	if small.ring.held != 0 || small.record(1) != nil {
		t.Error("a record larger than the ring is held")
	}
}

// Numbers do not come again after a restart: what was noted of one is not shown as another.
func TestNumbersAreOfOneStart(t *testing.T) {
	t.Parallel()
	started := time.Now()
	e := eventstest.Signed()
	e.Time = started
	var numbers []uint64
	for _, start := range []time.Time{started, started.Add(time.Millisecond)} {
		h := NewHistory(1<<20, start, slog.New(slog.DiscardHandler))
		for range 100 {
			h.remember(e)
		}
		found, _ := h.search(t.Context(), e.ID)
		for _, n := range numbers {
			if h.record(n) != nil {
				t.Fatalf("number %d is there again", n)
			}
		}
		for _, f := range found {
			if h.record(f.Number) == nil {
				t.Errorf("number %d is not there", f.Number)
			}
			numbers = append(numbers, f.Number)
		}
	}
	if len(numbers) != 2*maxFound {
		t.Errorf("%d were found", len(numbers))
	}
}

// A flood of invented domains drives out each other, and not those that send much.
func TestSketchKeepsBusyDomains(t *testing.T) {
	t.Parallel()
	h := newHistory(0)
	now := time.Now()
	write := func(name string) {
		e := eventstest.Signed()
		e.Time, e.From = now, []string{"x@" + name}
		h.remember(e)
	}
	for i := range 20_000 {
		write(fmt.Sprintf("invented%d.example", i))
		if i >= 5000 && i%100 == 0 { // when there is no free place any more
			write("busy.example")
		}
	}
	senders, _ := h.lately(now)
	if len(senders) != maxDomains || senders[0].domain != "busy.example" || senders[0].total() != 150 {
		t.Errorf("%d domains, first %s with %d", len(senders), senders[0].domain, senders[0].total())
	}
}

// A day is remembered, to the minute; what is older, or of a clock that ran ahead, is not shown.
func TestDayIsRemembered(t *testing.T) {
	t.Parallel()
	h := newHistory(0)
	now := time.Date(2026, 11, 30, 12, 0, 30, 0, time.UTC)
	for _, before := range []time.Duration{-48 * time.Hour, 25 * time.Hour, 23*time.Hour + 20*time.Minute, 50 * time.Minute, time.Minute, 0} {
		e := eventstest.Signed()
		e.Time = now.Add(-before)
		e.Mode, e.ReasonCode, e.Reason = events.ModeUnsigned, "no_key", before.String()
		h.remember(e)
	}
	day, hour := h.columns(now, 30*time.Minute, 48), h.columns(now, time.Minute, 60)
	if day[0].total() != 1 || day[45].total() != 1 || day[46].total() != 1 || day[47].total() != 1 {
		t.Errorf("of a day: %v", day)
	}
	if hour[9].total() != 1 || hour[58].total() != 1 || hour[59].total() != 1 {
		t.Errorf("of an hour: %v", hour)
	}
	senders, reasons := h.lately(now)
	if len(senders) != 1 || senders[0].total() != 4 || reasons["no_key"].count != 4 {
		t.Errorf("%v %v", senders, reasons)
	}
}

// Rules and reasons are of our own files, and are bounded all the same.
func TestTablesAreBounded(t *testing.T) {
	t.Parallel()
	h := newHistory(0)
	for i := range maxRules + 100 {
		e := eventstest.Sample()
		e.Mode, e.ReasonCode = events.ModeUnsigned, fmt.Sprint("code", i)
		e.Policy = []events.Decision{{File: "x", Rule: strconv.Itoa(i), Mode: "monitor", Action: "reject"}}
		h.remember(e)
	}
	if len(h.rules) != maxRules || len(h.hour(eventstest.Sample().Time.Unix()/3600).reasons) != maxReasons {
		t.Errorf("%d rules", len(h.rules))
	}
}

// Whatever strangers send, a day of it takes no more memory than docs/metrics.md says: history, and 16 MiB.
func TestMemoryIsBounded(t *testing.T) {
	held := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const most = 32 << 20
	before := held()
	h := newHistory(most)
	long := strings.Repeat("label."+strings.Repeat("x", 50)+".", 4)
	now := time.Unix(1_800_000_000, 0)
	for i := range hoursKept * maxDomains {
		e := eventstest.Sample()
		e.Time, e.From = now.Add(time.Duration(i/maxDomains)*time.Hour), []string{fmt.Sprintf("x@%d.%sexample", i, long)}
		e.Mode, e.ReasonCode, e.Reason = events.ModeUnsigned, fmt.Sprint("code", i%maxReasons), strings.Repeat("y", 2*maxText)
		for j := range maxWould {
			e.Policy = append(e.Policy, events.Decision{File: "x", Rule: strconv.Itoa((i + j) % 100), Mode: "monitor", Action: "reject"})
		}
		if i%50 == 0 { // pieces of all sizes
			e.Warnings = []string{strings.Repeat("z", i*40)}
		}
		h.remember(e)
	}
	tables := held() - before - int64(h.ring.held) - int64(cap(h.ring.spare))
	if len(h.hours[0].domains.order) != maxDomains || tables < 1<<20 {
		t.Errorf("the tables are not full: %d bytes", tables)
	}
	if all := held() - before; all > most+16<<20 {
		t.Errorf("%d bytes are held: %d in the ring, %d beside it", all, h.ring.held, tables)
	}
	t.Logf("%.1f MiB beside the ring of %.1f MiB", float64(tables)/(1<<20), float64(h.ring.held)/(1<<20))
	runtime.KeepAlive(h)
}

// Pages may be made while mail goes on.
func TestHistoryIsReadWhileItGrows(t *testing.T) {
	t.Parallel()
	h := newHistory(1 << 20)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 2000 {
				e := eventstest.Sample()
				e.Time, e.From = time.Now(), []string{fmt.Sprintf("x@d%d.example", i)}
				h.remember(e)
			}
		})
		all.Go(func() {
			for range 20 {
				_, _ = h.search(t.Context(), "gmail.com")
				_, _ = h.lately(time.Now())
				_ = h.columns(time.Now(), time.Minute, 60)
				_ = h.decisions()
			}
		})
	}
	all.Wait()
	if found, _ := h.search(t.Context(), "4Xyz8q2Nk1z"); len(found) != maxFound {
		t.Errorf("%d found", len(found))
	}
}

// What a message pays is a lock and the bytes of its record: no memory once the tables know its domain.
func TestRememberingAllocatesNothing(t *testing.T) {
	h := newHistory(32 << 20)
	e := eventstest.Sample()
	e.Time = time.Now()
	for range 40_000 {
		h.remember(e)
	}
	if n := testing.AllocsPerRun(2000, func() { h.remember(e) }); n > 0 {
		t.Errorf("%.1f allocations a message", n)
	}
}

func BenchmarkRemember(b *testing.B) {
	h := newHistory(32 << 20)
	e := eventstest.Sample()
	e.Time = time.Now()
	for range 40_000 { // the ring is full, as it is after the first hours
		h.remember(e)
	}
	b.ReportAllocs()
	for b.Loop() {
		h.remember(e)
	}
}

// What the log stream does with a record, to compare.
func BenchmarkEncode(b *testing.B) {
	e := eventstest.Sample()
	var buf []byte
	for b.Loop() {
		buf = events.JSON.Append(buf[:0], e)
	}
}

func BenchmarkSearch(b *testing.B) {
	h := newHistory(32 << 20)
	e := eventstest.Sample()
	e.Time = time.Now()
	for range 60_000 {
		h.remember(e)
	}
	for b.Loop() {
		_, _ = h.search(b.Context(), "absent.example")
	}
}
