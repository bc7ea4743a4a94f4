package metrics

import (
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// registry makes metrics and registers them.
type registry struct{ *prometheus.Registry }

func registered[C prometheus.Collector](r registry, c C) C {
	r.MustRegister(c)
	return c
}

func (r registry) counter(name, help string) prometheus.Counter {
	return registered(r, prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help}))
}

func (r registry) gauge(name, help string) prometheus.Gauge {
	return registered(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
}

func (r registry) histogram(name, help string, buckets ...float64) prometheus.Histogram {
	return registered(r, prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}))
}

func (r registry) counterVec(name, help string, labels []string) *prometheus.CounterVec {
	return registered(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

func (r registry) gauges(name, help string, labels []string) *prometheus.GaugeVec {
	return registered(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
}

// label is a label and the closed set of its values.
type label struct {
	name   string
	values []string
}

// counters are the counters of one metric, by the values of its labels. All there
// will ever be are in it: to count is to look up and to add, without a lock or an allocation.
type counters struct {
	labels []label
	all    []prometheus.Counter // in the order of all combinations; nil: one that cannot occur
}

// counters makes the counters of a metric, for each combination of the labels that can occur.
func (r registry) counters(name, help string, occurs func(row []string) bool, labels ...label) counters {
	names := make([]string, len(labels))
	rows := [][]string{nil}
	for i, l := range labels {
		names[i] = l.name
		var longer [][]string
		for _, row := range rows {
			for _, value := range l.values {
				longer = append(longer, append(slices.Clone(row), value))
			}
		}
		rows = longer
	}
	vec := r.counterVec(name, help, names)
	c := counters{labels: labels, all: make([]prometheus.Counter, len(rows))}
	for i, row := range rows {
		if occurs(row) {
			c.all[i] = vec.WithLabelValues(row...)
		}
	}
	return c
}

// always is for counters of which every combination can occur.
func always([]string) bool { return true }

// inc counts one; a value outside of its set is not counted.
func (c counters) inc(values ...string) {
	place := 0
	for i, l := range c.labels {
		at := slices.Index(l.values, values[i]) //nolint:gosec // there is a value for each label
		if at < 0 {
			return
		}
		place = place*len(l.values) + at
	}
	if one := c.all[place]; one != nil {
		one.Inc()
	}
}

// sampler asks for the state at each scrape.
type sampler struct {
	state   func() State
	samples []sample
}

// sample is one number of the state.
type sample struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	value  func(State) float64
	labels []string // values
}

func gauge(desc *prometheus.Desc, value func(State) float64, labels ...string) sample {
	return sample{desc, prometheus.GaugeValue, value, labels}
}

func counter(desc *prometheus.Desc, value func(State) float64) sample {
	return sample{desc, prometheus.CounterValue, value, nil}
}

// Describe is prometheus.Collector.
func (s *sampler) Describe(to chan<- *prometheus.Desc) {
	var last *prometheus.Desc
	for _, one := range s.samples {
		if one.desc != last {
			to <- one.desc
		}
		last = one.desc
	}
}

// Collect is prometheus.Collector. It runs on a goroutine of Prometheus' own.
func (s *sampler) Collect(to chan<- prometheus.Metric) {
	defer func() {
		if p := recover(); p != nil {
			to <- prometheus.NewInvalidMetric(s.samples[0].desc, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	state := s.state()
	for _, one := range s.samples {
		to <- prometheus.MustNewConstMetric(one.desc, one.kind, one.value(state), one.labels...)
	}
}
