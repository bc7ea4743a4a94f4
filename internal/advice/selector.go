package advice

import (
	"regexp"
	"time"
)

var datedSelector = regexp.MustCompile(`(?:^|[^0-9])(20\d\d)[-_]?(0[1-9]|1[0-2])(?:[-_]?(0[1-9]|[12]\d|3[01]))?(?:[^0-9]|$)`)

// SelectorDate is the day on which a key was made whose selector says so, as those do that dkimd makes: s20261130, 2026-11.
// A day to come is none.
func SelectorDate(selector string, now time.Time) (day time.Time, ok bool) {
	m := datedSelector.FindStringSubmatch(selector)
	if m == nil {
		return day, false
	}
	if m[3] == "" {
		m[3] = "01"
	}
	day, err := time.Parse("20060102", m[1]+m[2]+m[3])
	return day, err == nil && !day.After(now)
}
