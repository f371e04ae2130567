package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// seconds go from 7.6 µs to twelve days.
var seconds = newScale(-17, 20, 1e-9, buckets...)

// latency is a histogram of durations, of one transport.
type latency struct {
	cells

	transport string
}

// known counts a duration unless it is negative, which is that none is known.
func (l *latency) known(took time.Duration) {
	if took >= 0 {
		l.add(took.Seconds(), 1, int64(took))
	}
}

// latencies are a family of them, by transport.
type latencies struct {
	desc *prometheus.Desc
	of   []latency
}

func newLatencies(name, help string, transports []string) *latencies {
	f := &latencies{desc: prometheus.NewDesc(name, help, []string{transportLabel}, nil)}
	for _, transport := range transports {
		f.of = append(f.of, latency{seconds.histogram(), transport})
	}
	return f
}

const transportLabel = "transport"

// Describe implements [prometheus.Collector].
func (f *latencies) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }

// Collect implements [prometheus.Collector].
func (f *latencies) Collect(ch chan<- prometheus.Metric) {
	for i := range f.of {
		ch <- collected{f.desc, []*dto.LabelPair{{Name: new(transportLabel), Value: &f.of[i].transport}}, &f.of[i].cells}
	}
}

// collected is one of a family at a scrape.
type collected struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	*cells
}

// Desc implements [prometheus.Metric].
func (c collected) Desc() *prometheus.Desc { return c.desc }

// Write implements [prometheus.Metric].
func (c collected) Write(m *dto.Metric) error {
	m.Label, m.Histogram = c.labels, c.write()
	return nil
}
