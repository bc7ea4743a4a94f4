package metrics

import "slices"

// Sample is one number of a metric.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Samples are the numbers of counters and gauges by their names, as one scrape would show them.
func (m *Metrics) Samples(names ...string) map[string][]Sample {
	families, err := m.registry.Gather()
	if err != nil {
		return nil // a scrape reports it
	}
	samples := map[string][]Sample{}
	for _, family := range families {
		name := family.GetName()
		if !slices.Contains(names, name) {
			continue
		}
		for _, metric := range family.GetMetric() {
			s := Sample{Labels: map[string]string{}, Value: metric.GetCounter().GetValue() + metric.GetGauge().GetValue()}
			for _, l := range metric.GetLabel() {
				s.Labels[l.GetName()] = l.GetValue()
			}
			samples[name] = append(samples[name], s)
		}
	}
	return samples
}
