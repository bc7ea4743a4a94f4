package metrics

// Sample is one number of a metric.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Samples are the numbers of a counter or a gauge, as a scrape would show them.
func (m *Metrics) Samples(name string) []Sample {
	families, err := m.registry.Gather()
	if err != nil {
		return nil // a scrape reports it
	}
	var samples []Sample
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			s := Sample{Labels: map[string]string{}, Value: metric.GetCounter().GetValue() + metric.GetGauge().GetValue()}
			for _, l := range metric.GetLabel() {
				s.Labels[l.GetName()] = l.GetValue()
			}
			samples = append(samples, s)
		}
	}
	return samples
}
