package tomlfile

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"dkimd/internal/safetext"
)

const (
	maxGot  = 60  // bytes that a fault quotes of a file
	maxHint = 300 // bytes of what belongs there, and of what to do
)

type kind uint8

const (
	kindString kind = iota
	kindBool
	kindInteger
	kindFloat
	kindDate
	kindList
	kindTable
)

func (k kind) String() string {
	return [...]string{"string", "boolean", "integer", "float", "date", "list", "table"}[k]
}

// value is what the file says at a key or in a list.
type value struct {
	kind  kind
	line  int
	text  string // decoded string, or a scalar as written
	items []*value
	table *Table
}

// String is the value as a fault quotes it.
func (v *value) String() string {
	switch v.kind {
	case kindString:
		return safetext.Quote(v.text)
	case kindTable:
		return "a table"
	case kindList:
		var b strings.Builder
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteString(", ")
			}
			if b.Len() > maxGot {
				b.WriteString("...")
				break
			}
			b.WriteString(item.String())
		}
		b.WriteByte(']')
		return b.String()
	case kindBool, kindInteger, kindFloat, kindDate:
	}
	return safetext.Clip(v.text, maxGot)
}

// typed is the value with its type, for where the type is what is wrong.
func (v *value) typed() string {
	switch {
	case v.kind == kindTable:
		return "a table"
	case v.kind == kindList && len(v.items) > 0 && v.items[0].table != nil:
		return "an array of tables"
	}
	return v.String() + " (" + v.kind.String() + ")"
}

// bareKey is a key as it may stand in a path: quoted where TOML needs that.
func bareKey(key string) string {
	if !isBare(key) {
		return safetext.Quote(key)
	}
	return safetext.Clip(key, maxGot)
}

// isBare reports whether TOML takes a key without quotes.
func isBare(key string) bool {
	const bare = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	return key != "" && strings.Trim(key, bare) == ""
}

func quoteHint(v *value) string {
	switch v.kind {
	case kindBool, kindInteger, kindFloat, kindDate:
		return "write it in quotes: " + strconv.Quote(safetext.Clip(v.text, maxGot))
	case kindString, kindList, kindTable:
	}
	return ""
}

// ParseDuration reads a span of time as dkimd's files and commands have it: that of
// time.ParseDuration, with days and weeks in front: "2w", "1d12h".
func ParseDuration(s string) (time.Duration, bool) {
	var days time.Duration
	rest := s
	for {
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end <= 0 || rest[end] != 'd' && rest[end] != 'w' {
			break
		}
		n, err := strconv.ParseInt(rest[:end], 10, 32)
		if err != nil {
			return 0, false
		}
		unit := 24 * time.Hour
		if rest[end] == 'w' {
			unit *= 7
		}
		// 290 years is what a Duration holds.
		if n > int64(100*365*24*time.Hour/unit) || days > 100*365*24*time.Hour {
			return 0, false
		}
		days += time.Duration(n) * unit
		rest = rest[end+1:]
	}
	if rest == "" && rest != s {
		return days, true
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d > 100*365*24*time.Hour || d < 0 && days > 0 {
		return 0, false
	}
	return days + d, true
}

// FormatDuration writes a duration as configuration files do: 0, 90s, 5m, 1h30m, 7d.
func FormatDuration(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d%(24*time.Hour) == 0:
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ParsePrefix reads a network or an address; a hint says what is wrong with it.
func ParsePrefix(s string) (netip.Prefix, string) {
	const hint = `write it like "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32"`
	var prefix netip.Prefix
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return p, hint
		}
		prefix = p
	} else {
		addr, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			return prefix, hint
		case addr.Zone() != "":
			return prefix, "clients are compared without their zone: leave out %" + addr.Zone()
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	// Guessing which of the two was meant could let strangers in.
	if prefix != prefix.Masked() {
		return prefix, "write " + prefix.Masked().String() + " for the network or " + prefix.Addr().String() + " for the one address"
	}
	return prefix, ""
}

// choice lists words: "a", "a or b", "a, b or c".
func choice(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func didYouMean(got string, allowed []string) string {
	if near := nearest(got, allowed); near != "" {
		return "did you mean " + strconv.Quote(near) + "?"
	}
	return ""
}

// nearest is the word a misspelling most likely stands for, or empty.
func nearest(got string, words []string) string {
	best, least := "", 0
	for _, word := range words {
		if strings.EqualFold(got, word) {
			return word
		}
		limit := max(1, min(len(word), len(got))/3)
		if len(got)-len(word) > limit || len(word)-len(got) > limit || min(len(got), len(word)) < 3 {
			continue
		}
		if d := distance(strings.ToLower(got), word); d <= limit && (best == "" || d < least) {
			best, least = word, d
		}
	}
	return best
}

// distance counts insertions, deletions, changes and swaps of neighbours.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			change := 0
			if a[i] != b[j] {
				change = 1
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func sortedKeys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }
