package events_test

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dkimd/internal/events"
)

// TestSummaryKeepsNoRecords: what is summed up takes the memory of its tables, however long the records are.
//
//nolint:paralleltest // it measures the heap
func TestSummaryKeepsNoRecords(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var s events.Summary
	const domains, size = 500, 30_000 // bytes of a record
	before := heap()
	for i := range 3 * domains {
		name := fmt.Sprintf("d%d.example", i%domains)
		line, err := (&events.Event{
			Time: time.Unix(int64(i), 0), Mode: events.ModeUnsigned, ReasonCode: "no_key", Reason: "no key for " + name, Verdict: "accept", From: []string{"a@" + name},
			Signatures: []events.Signature{{Result: "fail", Reason: name, Aligned: "strict"}}, SPF: events.SPF{Result: "pass"},
			Policy: []events.Decision{{File: name, Rule: "r", Mode: "enforce", Action: "accept"}}, Warnings: slices.Repeat([]string{strings.Repeat("w", 1000)}, 30),
		}).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		e, err := events.NewReader(strings.NewReader(string(line))).Next()
		if err != nil {
			t.Fatal(err)
		}
		s.Add(e)
	}
	if grown := heap() - before; grown > domains*size/8 {
		t.Errorf("%d KiB for %d domains", grown>>10, domains)
	}
	runtime.KeepAlive(&s)
}

// TestSummaryIsBounded: strangers choose domains and reasons, and a record that others wrote may have any word in it.
func TestSummaryIsBounded(t *testing.T) {
	t.Parallel()
	const records = 120_000
	var s events.Summary
	for i := range records {
		s.Add(&events.Event{
			Mode: events.ModeUnsigned, Reason: strconv.Itoa(i) + strings.Repeat("x", 1000), Verdict: strconv.Itoa(i), From: []string{"a@d" + strconv.Itoa(i) + ".example"},
		})
	}
	tests := map[string]struct {
		table        *events.Table
		fewest, most int
	}{
		"rows": {&s.Domains, 90_000, 100_001}, "bytes": {&s.Reasons, 10_000, 20_000},
	}
	for name, test := range tests {
		rows, sum := test.table.Rows(), 0
		for _, r := range rows {
			sum += r.Count
		}
		if len(rows) < test.fewest || len(rows) > test.most || sum != records || rows[0].Key[0] != events.Others {
			t.Errorf("%s: %d with %d messages, most in %q", name, len(rows), sum, rows[0].Key)
		}
	}
	if kinds := s.Modes.Rows()[0].By; len(kinds) != 101 || kinds[events.Others] != records-100 {
		t.Errorf("%d kinds, %d messages of others", len(kinds), kinds[events.Others])
	}
}
