package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// figure is what was measured of one subject in one row; medians over the rounds.
type figure struct {
	CPU       float64 `json:"cpu_ms"` // a message
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
	Peak      float64 `json:"peak_mib"`
}

// ratio is a quotient of the CPU of two subjects, taken round by round.
type ratio struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

func (q ratio) String() string { return fmt.Sprintf("%.2f (%.2f-%.2f)", q.Median, q.Least, q.Most) }

// result is one row of the tables.
type result struct {
	Row     row               `json:"row"`
	Figures map[string]figure `json:"figures"`
	Crypto  float64           `json:"crypto_ms"` // of the row's bare cryptography
	// ToFloor is dkimd's CPU over that of the floor and the cryptography together; Times is
	// how many times dkimd's a peer's is.
	ToFloor ratio            `json:"to_floor"`
	Times   map[string]ratio `json:"times"`
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median[T float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func spread(values []float64) ratio {
	return ratio{Median: median(values), Least: slices.Min(values), Most: slices.Max(values)}
}

// quantile is that of sorted values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func summarise(r row, samples map[string][]sample, crypts []time.Duration) result {
	out := result{Row: r, Figures: map[string]figure{}, Times: map[string]ratio{}, Crypto: milliseconds(median(crypts))}
	for subject, rounds := range samples {
		var cpu, rate, peak []float64
		var waits []time.Duration
		for _, s := range rounds {
			cpu = append(cpu, milliseconds(s.cpu))
			rate = append(rate, s.perSecond)
			peak = append(peak, float64(s.peak)/(1<<20))
			waits = append(waits, s.waits...)
		}
		slices.Sort(waits)
		out.Figures[subject] = figure{
			CPU: median(cpu), PerSecond: median(rate), Peak: slices.Max(peak),
			P50: milliseconds(quantile(waits, 0.5)), P99: milliseconds(quantile(waits, 0.99)), Max: milliseconds(quantile(waits, 1)),
		}
		if subject == subjectDkimd {
			continue
		}
		var ratios []float64
		for i, s := range rounds {
			own := float64(samples[subjectDkimd][i].cpu)
			if subject == subjectFloor {
				ratios = append(ratios, own/float64(s.cpu+crypts[i]))
			} else {
				ratios = append(ratios, float64(s.cpu)/own)
			}
		}
		if subject == subjectFloor {
			out.ToFloor = spread(ratios)
		} else {
			out.Times[subject] = spread(ratios)
		}
	}
	return out
}

// line is the row for whoever watches.
func (r result) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-40s dkimd %7.3f ms  floor %7.3f + crypto %6.3f  ratio %s", r.Row, r.Figures[subjectDkimd].CPU,
		r.Figures[subjectFloor].CPU, r.Crypto, r.ToFloor)
	for _, subject := range subjects() {
		if times, ok := r.Times[subject]; ok {
			fmt.Fprintf(&b, "  %s x%s", subject, times)
		}
	}
	return b.String()
}
