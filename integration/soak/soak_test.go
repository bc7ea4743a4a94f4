//go:build integration

package soak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dkimd/integration/harness"
)

const (
	// Together they are 50.
	milterConnections  = 35
	patientConnections = 3
	eximConnections    = 12

	departingMTAs = 5
	// maxGrowth and growthShare are what the memory may be more at the end than after the
	// warm-up: the runtime gives it back when it likes.
	maxGrowth   = 6 << 10 // KiB
	growthShare = 10      // and a tenth
	// moreGoroutines may run at the end than after the warm-up: some come and go by themselves.
	moreGoroutines = 4
	// keptAtMost is how long dkimd keeps what DNS said.
	keptAtMost = time.Hour
)

// TestSoak is for `make soak`.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("DKIMD_SOAK"))
	if err != nil || length <= 0 {
		t.Skip("DKIMD_SOAK says no duration, such as 60s: it is make soak that does")
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("DKIMD_SOAK_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed: DKIMD_SOAK_SEED=%d", seed)
	w := newWorld(t, seed)
	log, err := w.openLog()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.file.Close() })
	w.fillCache(t)
	done := new(tally)
	w.run(t, log, done, max(length/5, 10*time.Second))
	warm := w.rest(t, log)
	w.run(t, log, done, length)
	end := w.rest(t, log)
	w.daemon.stop(t)
	log.read()
	w.report(t, done, warm, end)
}

// run lets everything loose for a time.
func (w *world) run(t *testing.T, log *logReader, done *tally, length time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var all sync.WaitGroup
	each := func(number int, who uint64, do func(r *rand.Rand)) {
		for i := range number {
			all.Go(func() { do(w.rng(who + uint64(i) + uint64(length))) })
		}
	}
	var tallies [departingMTAs]tally
	each(milterConnections, 1000, func(r *rand.Rand) { w.milterWorker(ctx, r) })
	each(patientConnections, 1500, func(r *rand.Rand) { w.patientWorker(ctx, r) })
	each(eximConnections, 2000, func(r *rand.Rand) { w.eximWorker(ctx, r) })
	for i := range tallies {
		each(1, 3000+uint64(i), func(r *rand.Rand) { w.departing(ctx, r, &tallies[i]) })
	}
	each(1, 4000, func(r *rand.Rand) { w.failDNS(ctx, r, done) })
	each(1, 5000, func(r *rand.Rand) { w.takeDescriptors(ctx, r, done) })
	each(1, 6000, func(r *rand.Rand) { w.fillDisk(ctx, r, done) })
	each(1, 7000, func(r *rand.Rand) { w.stepClock(ctx, r, done) })
	reloads, endReloads := context.WithCancel(t.Context())
	var reloading sync.WaitGroup
	reloading.Go(func() { w.reloading(reloads, t, w.rng(8000+uint64(length)), log, done) })
	all.Wait()
	endReloads()
	reloading.Wait()
	for _, one := range tallies {
		done.departures += one.departures
	}
	if w.daemon.ended() {
		t.Fatalf("dkimd has ended:\n%s", w.daemon.log.tail())
	}
}

// fillCache has dkimd look up the keys that many messages are signed with. From then on
// they are in its cache, and mail signed with them needs no DNS.
func (w *world) fillCache(t *testing.T) {
	t.Helper()
	s, mta, err := w.dialMilter(t.Context(), w.rng(2))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for i := range w.kinds {
		if err := w.sendMilter(s, mta, &w.kinds[i], w.rng(3)); err != nil {
			t.Fatal(err)
		}
	}
}

// rest waits until dkimd has nothing to do, reads its log to the end and measures it.
func (w *world) rest(t *testing.T, log *logReader) usage {
	t.Helper()
	owed, same := -1, 0
	harness.Poll(20*time.Second, func() bool {
		log.read()
		if now := w.ledger.owed(); now != owed {
			owed, same = now, 0
		}
		same++
		return log.rotated == "" && same > 100
	})
	u, err := w.daemon.usage(w.metrics)
	if err != nil {
		t.Error(err)
	}
	log.read()
	return u
}

// report says what happened, and what should not have.
func (w *world) report(t *testing.T, done *tally, warm, end usage) {
	t.Helper()
	sure, maybe := w.ledger.missing()
	lost, said := w.daemon.log.losses()
	l := w.ledger
	var b strings.Builder
	total, certain := 0, 0
	for _, k := range w.kinds {
		fmt.Fprintf(&b, "\n  %-16s %7d answered, %7d of them with one right answer", k.name, l.counts[k.name], l.certain[k.name])
		total, certain = total+l.counts[k.name], certain+l.certain[k.name]
		if l.certain[k.name] == 0 {
			t.Errorf("no message %q had an answer that was certain", k.name)
		}
	}
	t.Logf("%d messages answered, %d of them with one right answer; %d left in the middle:%s", total, certain, l.left+l.maybe, b.String())
	t.Logf("%d reloads, %d refused as they should be, %d for want of descriptors; %d rotations of the log", done.reloads, done.refused, done.refusedShort, done.rotations)
	t.Logf("%d failures of DNS, %d shortages of descriptors, %d times a full disk, %d steps of the clock, %d MTAs that left",
		done.outages, done.shortages, done.fills, done.steps, done.departures)
	t.Logf("%d records, %d torn lines; dkimd says in %d reports that %d are lost; %d surely missing, %d perhaps", l.records, l.torn, said, lost, sure, maybe)
	t.Logf("after the warm-up: %s\nat the end:        %s", warm, end)

	if lost < uint64(sure) || lost > uint64(sure+maybe) {
		t.Errorf("dkimd counts %d lost records; %d are missing, and perhaps %d more", lost, sure, maybe)
	}
	if done.fills > 0 && lost == 0 {
		t.Error("no record was lost, though the disk was full")
	}
	for _, fault := range l.faults {
		t.Error(fault)
	}
	if more := l.wrong - len(l.faults); more > 0 {
		t.Errorf("and %d more", more)
	}
	for _, line := range w.daemon.log.faults {
		t.Errorf("dkimd says: %s", line)
	}
	// By the wall clock the key would have expired with the first step forward.
	if n, want := w.dns.stable.Load(), 1+int64(time.Since(w.began)/keptAtMost); n > want {
		t.Errorf("%d queries for a key that is kept for %s; want %d", n, keptAtMost, want)
	}
	if end.descriptors > warm.descriptors {
		t.Errorf("%d descriptors, %d after the warm-up", end.descriptors, warm.descriptors)
	}
	if end.goroutines > warm.goroutines+moreGoroutines {
		t.Errorf("%d goroutines, %d after the warm-up; want at most %d more", end.goroutines, warm.goroutines, moreGoroutines)
	}
	if limit := warm.resident + warm.resident/growthShare + maxGrowth; end.resident > limit {
		t.Errorf("%d KiB resident, %d after the warm-up; want at most %d", end.resident, warm.resident, limit)
	}
}
