package rotate

import (
	"fmt"
	"testing"
	"time"
)

// Domains take turns: of 100,000 whose keys are equally old, each rotates once, and no day has many more than its share.
func TestDueSpreads(t *testing.T) {
	t.Parallel()
	const every, day, domains = 30 * 24 * time.Hour, 24 * time.Hour, 100_000
	start := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	perDay := map[int]int{}
	for i := range domains {
		name := fmt.Sprintf("d%d.example", i)
		begun := -1
		for n := range 60 {
			if due(name, every, start, start.Add(time.Duration(n)*day)) {
				begun = n
				break
			}
		}
		if begun < 15 || begun > 45 {
			t.Fatalf("%s: after %d days; want half of the time to one and a half", name, begun)
		}
		perDay[begun]++
	}
	share := domains / 30
	for n, count := range perDay {
		// On the day on which keys get old enough also those are due whose own day was up to a tenth of the time before.
		if most := share * 11 / 10; count > most && n != 15 || count > 5*share {
			t.Errorf("day %d: %d domains; their share is %d", n, count, share)
		}
	}
}

// A clock that is set makes no young key due, and each key is due on the same days whatever the clock did before.
func TestDueAfterJumps(t *testing.T) {
	t.Parallel()
	const every, year = 180 * 24 * time.Hour, 365 * 24 * time.Hour
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for i := range 1000 {
		name := fmt.Sprintf("d%d.example", i)
		for what, since := range map[string]time.Time{"made today": now, "made while the clock was a year ahead": now.Add(year), "made before the clock was set back for years": now.Add(10 * year)} {
			if due(name, every, since, now) {
				t.Errorf("%s, %s: due", name, what)
			}
		}
		if a, b := due(name, every, now.Add(-year), now), due(name, every, now.Add(-5*year), now); a != b {
			t.Errorf("%s: the age of an old key matters: %t, %t", name, a, b)
		}
	}
}
