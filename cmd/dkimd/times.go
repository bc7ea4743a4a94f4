package main

import (
	"fmt"
	"slices"
	"time"

	"dkimd/internal/tomlfile"
)

// period reads the times of --since and --until; zero: none.
func period(since, until string, now time.Time, help string) (from, to time.Time, err error) {
	for _, flag := range []struct {
		name, text string
		to         *time.Time
	}{{"since", since, &from}, {"until", until, &to}} {
		t, ok := pointInTime(flag.text, now)
		if !ok && flag.text != "" {
			return from, to, usageError(fmt.Errorf("--%s: got %q; want a time like 24h, 7d, yesterday, 2026-11-23 or 2026-11-23T14:00:00Z", flag.name, flag.text), help)
		}
		if ok {
			*flag.to = t
		}
	}
	if !to.IsZero() && !to.After(from) {
		return from, to, usageError(fmt.Errorf("--until: got %q; want a time after that of --since", until), help)
	}
	return from, to, nil
}

// pointInTime reads a time of day, in local time unless it says otherwise, or how long ago it was.
func pointInTime(text string, now time.Time) (time.Time, bool) {
	if days := slices.Index([]string{"today", "yesterday"}, text); days >= 0 { // by the calendar: a day may have 23 hours
		return time.Date(now.Year(), now.Month(), now.Day()-days, 0, 0, 0, 0, now.Location()), true
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, true
		}
	}
	d, ok := tomlfile.ParseDuration(text)
	return now.Add(-d), ok && d > 0
}
