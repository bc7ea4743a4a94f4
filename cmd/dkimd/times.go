package main

import (
	"fmt"
	"time"

	"dkimd/internal/tomlfile"
)

// timeFlag reads the time that a flag gives; zero: none.
func timeFlag(flag, text string, now time.Time, help string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, ok := pointInTime(text, now)
	if !ok {
		return t, usageError(fmt.Errorf("--%s: got %q; want a time like 24h, 7d, 2w, 2026-11-23 or 2026-11-23T14:00:00Z", flag, text), help)
	}
	return t, nil
}

// pointInTime reads a time of day, in local time unless it says otherwise, or how long ago it was.
func pointInTime(text string, now time.Time) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, true
		}
	}
	d, ok := tomlfile.ParseDuration(text)
	return now.Add(-d), ok && d > 0
}
