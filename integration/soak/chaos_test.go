//go:build integration

package soak_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Each kind of chaos runs until ctx ends, and leaves everything in order then.

// fewDescriptors is about what dkimd has open without a single connection.
const fewDescriptors = 12

// tally counts what was done to dkimd.
type tally struct {
	reloads, refused, refusedShort int // refusedShort: good ones, for want of descriptors
	outages, shortages, fills      int
	steps, rotations               int
	departures                     int
}

// reloading changes rules and keys once a second and sends SIGHUP. Every fourth time what is on
// disk is broken: dkimd must refuse it. It reads the log in between, and rotates it.
func (w *world) reloading(ctx context.Context, t *testing.T, r *rand.Rand, log *logReader, done *tally) {
	t.Helper()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	reading := time.NewTicker(50 * time.Millisecond)
	defer reading.Stop()
	for {
		select {
		case <-ctx.Done():
			w.reload(t, r, false, done)
			return
		case <-reading.C:
			log.read()
		case <-ticker.C:
			if w.seesFiles && r.IntN(2) == 0 {
				log.rotate()
				done.rotations++
			}
			w.reload(t, r, r.IntN(4) == 0, done)
		}
	}
}

// reload has dkimd read the next rules, or broken ones.
func (w *world) reload(t *testing.T, r *rand.Rand, broken bool, done *tally) {
	t.Helper()
	w.number++
	w.rules.announce(w.number)
	limit := w.short.mark()
	w.writeRules(t, w.number)
	w.write(t, "dkimd.toml", w.config(w.number))
	mend := func() {}
	if broken {
		mend = w.breakSomething(t, r)
	}
	_ = w.daemon.cmd.Process.Signal(syscall.SIGHUP)
	var took bool
	select {
	case took = <-w.daemon.log.reloads:
	case <-time.After(answerTime):
		t.Errorf("no reload %s after SIGHUP", answerTime)
	}
	mend()
	switch {
	case took && broken:
		w.ledger.fault("dkimd took a broken configuration (rules %d)", w.number)
		w.rules.settle()
	case took:
		done.reloads++
		w.rules.settle()
	default:
		w.rules.withdraw()
		if broken {
			done.refused++
		} else if done.refusedShort++; !slices.Contains(w.short.since(limit), true) {
			w.ledger.fault("dkimd refused good rules %d:\n%s", w.number, w.daemon.log.tail())
		}
	}
}

// breakSomething breaks what dkimd reads, so that it must refuse to, and returns what mends it.
func (w *world) breakSomething(t *testing.T, r *rand.Rand) (mend func()) {
	t.Helper()
	switch r.IntN(3) {
	case 0:
		w.write(t, "dkimd.toml", w.config(0)+"[verify]\ntypo = 1\n")
	case 1:
		hidden := w.path("hidden")
		_ = os.Rename(w.path("rules"), hidden)
		return func() { _ = os.Rename(hidden, w.path("rules")) }
	default:
		w.write(t, "rules/_default.toml", "[[rule]]\n")
		return func() { _ = os.Remove(w.path("rules/_default.toml")) }
	}
	return func() {}
}

// failDNS has all of DNS fail now and then.
func (w *world) failDNS(ctx context.Context, r *rand.Rand, done *tally) {
	for pause(ctx, time.Duration(2000+r.IntN(4000))*time.Millisecond) {
		w.dnsFails.announce(true)
		w.dns.outage.Store(outageServFail + r.Int32N(3))
		w.dnsFails.settle()
		done.outages++
		pause(ctx, time.Duration(1000+r.IntN(2000))*time.Millisecond)
		w.dnsFails.announce(false)
		w.dns.outage.Store(noOutage)
		w.dnsFails.settle()
	}
}

// takeDescriptors lowers dkimd's limit below what it has open now and then.
func (w *world) takeDescriptors(ctx context.Context, r *rand.Rand, done *tally) {
	for pause(ctx, time.Duration(4000+r.IntN(5000))*time.Millisecond) {
		w.short.announce(true)
		old, err := w.daemon.limit(fewDescriptors)
		if err != nil {
			w.ledger.fault("lower the limit of descriptors: %v", err)
			return
		}
		w.short.settle()
		done.shortages++
		pause(ctx, time.Duration(1000+r.IntN(2000))*time.Millisecond)
		if _, err := w.daemon.limit(old); err != nil {
			w.ledger.fault("raise the limit of descriptors: %v", err)
		}
		w.short.announce(false)
		w.short.settle()
	}
}

// fillDisk fills the disk of the log now and then.
func (w *world) fillDisk(ctx context.Context, r *rand.Rand, done *tally) {
	if w.disk == "" {
		return
	}
	filler := filepath.Join(w.disk, "filler")
	for pause(ctx, time.Duration(4000+r.IntN(6000))*time.Millisecond) {
		w.ledger.filled()
		done.fills++
		if err := fill(filler); !errors.Is(err, syscall.ENOSPC) {
			w.ledger.fault("fill the disk: %v", err)
		}
		pause(ctx, time.Duration(500+r.IntN(2500))*time.Millisecond)
		if err := os.Remove(filler); err != nil {
			w.ledger.fault("free the disk: %v", err)
		}
		w.ledger.freed()
	}
}

// fill writes a file until nothing more goes onto the disk.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		n, err := f.Write(make([]byte, size))
		if err != nil && size == 1 {
			return err
		}
		if err != nil && n == 0 {
			size /= 2
		}
	}
	return nil
}

// stepClock sets the wall clock right and wrong.
func (w *world) stepClock(ctx context.Context, r *rand.Rand, done *tally) {
	if w.clock == nil {
		return
	}
	set := func(d time.Duration) {
		w.clocks.announce(d)
		if err := w.clock.set(d); err != nil {
			w.ledger.fault("set the clock: %v", err)
		}
		w.clocks.settle()
		done.steps++
	}
	steps := []time.Duration{0, time.Second, -time.Minute, time.Hour, -time.Hour, 20 * time.Hour, -20 * time.Hour}
	for pause(ctx, time.Duration(500+r.IntN(2500))*time.Millisecond) {
		set(steps[r.IntN(len(steps))])
	}
	set(0)
}
