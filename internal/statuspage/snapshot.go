package statuspage

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// column is one bar of a chart.
type column struct {
	from time.Time
	counts
}

// columns are the counts of so many spans that end with the one now is in.
func (h *History) columns(now time.Time, span time.Duration, n int) []column {
	h.mu.Lock()
	minutes := h.minutes
	h.mu.Unlock()
	end := now.Truncate(span).Add(span)
	list := make([]column, n)
	for i := range list {
		list[i].from = end.Add(-time.Duration(n-i) * span)
	}
	for i := range minutes {
		m := &minutes[i]
		if at := time.Unix(m.at*60, 0); !at.Before(list[0].from) && at.Before(end) {
			list[at.Sub(list[0].from)/span].add(&m.counts)
		}
	}
	return list
}

// tally is what is shown of a domain, over the hours that are remembered.
type tally struct {
	domain string
	counts
	would map[ruleName]uint64
}

// lately are the hours that are not over for longer than a day. Only the copying of one hour at a time has the lock.
func (h *History) lately(now time.Time) (senders []*tally, reasons map[string]reason) {
	byName, reasons := map[string]*tally{}, map[string]reason{}
	for i := range h.hours {
		h.mu.Lock()
		at := h.hours[i].at
		places := make([]sender, len(h.hours[i].domains.order))
		for j, one := range h.hours[i].domains.order {
			places[j] = *one
		}
		why := make(map[string]reason, len(h.hours[i].reasons))
		for code, r := range h.hours[i].reasons {
			why[code] = *r
		}
		h.mu.Unlock()
		if behind := now.Unix()/3600 - at; behind < 0 || behind >= hoursKept {
			continue
		}
		for j := range places {
			one := &places[j]
			t := byName[one.domain]
			if t == nil {
				t = &tally{domain: one.domain, would: map[ruleName]uint64{}}
				byName[one.domain] = t
			}
			t.add(&one.counts)
			for _, w := range one.would {
				if w.rule != nil {
					t.would[w.rule.ruleName] += uint64(w.count)
				}
			}
		}
		for code, r := range why {
			sum := reasons[code]
			if r.last >= sum.last {
				sum.last, sum.text = r.last, r.text
			}
			sum.count += r.count
			reasons[code] = sum
		}
	}
	senders = slices.SortedFunc(maps.Values(byName), func(a, b *tally) int {
		return cmp.Or(cmp.Compare(b.total(), a.total()), strings.Compare(a.domain, b.domain))
	})
	return senders, reasons
}

// decisions are all rules that decided since the start.
func (h *History) decisions() []ruleHits {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]ruleHits, 0, len(h.rules))
	for _, r := range h.rules {
		list = append(list, *r)
	}
	return list
}

// read are the last records, the newest piece last, until done is called.
func (h *History) read() (pieces []piece, done func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring.readers++
	return slices.Clone(h.ring.pieces), func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ring.readers--
	}
}
