package metrics

import (
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// registry makes metrics and registers them.
type registry struct{ *prometheus.Registry }

func (r registry) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	r.MustRegister(c)
	return c
}

func (r registry) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	r.MustRegister(g)
	return g
}

func (r registry) histogram(name, help string, buckets ...float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	r.MustRegister(h)
	return h
}

func (r registry) counterVec(name, help string, labels []string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}

func (r registry) gauges(name, help string, labels []string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}

// maxLabels is how many labels a metric has at most.
const maxLabels = 3

// counters are the counters of one metric by the values of its labels. All there
// will ever be are in it: to count is to look up and to add, without a lock or an allocation.
type counters map[[maxLabels]string]prometheus.Counter

// counters makes the counters for each row of label values.
func (r registry) counters(name, help string, labels []string, rows [][]string) counters {
	vec := r.counterVec(name, help, labels)
	c := make(counters, len(rows))
	for _, row := range rows {
		c[[maxLabels]string(append(slices.Clone(row), make([]string, maxLabels-len(row))...))] = vec.WithLabelValues(row...)
	}
	return c
}

// add counts; values outside the closed sets are not counted.
func (c counters) add(n int, values ...string) {
	var key [maxLabels]string
	copy(key[:], values)
	if one := c[key]; one != nil {
		one.Add(float64(n))
	}
}

func (c counters) inc(values ...string) { c.add(1, values...) }

// product is every combination of one value of each set.
func product(sets ...[]string) [][]string {
	rows := [][]string{nil}
	for _, set := range sets {
		var longer [][]string
		for _, row := range rows {
			for _, value := range set {
				longer = append(longer, append(slices.Clone(row), value))
			}
		}
		rows = longer
	}
	return rows
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
