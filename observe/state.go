package observe

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Sources tell what there is at the time of a scrape. The functions are called on
// the goroutine of the scrape; nil ones are left out.
type Sources struct {
	// Transports are the names of those that readers have. What is delivered over
	// others is not counted.
	Transports []string
	// Topics returns the number of topics.
	Topics func() int
	// Captured returns what is recorded.
	Captured func() Captured
	// InFlight returns the number of requests and streams being served, by the
	// pattern of their route.
	InFlight func() map[string]int
	// Backlogs returns what waits of what is forwarded, by the pattern of its
	// route.
	Backlogs func() map[string]Backlog
	// Relays returns what forwarded WebSockets carry.
	Relays func() Relays
	// Readers returns where the readers of topics stand.
	Readers func() Readers
	// Pools returns the pools of upstream connections.
	Pools func() []Pool
	// Listeners returns the addresses that clients connect to.
	Listeners func() []Listener
	// Coders returns what the coders of responses hold.
	Coders func() Coders
	// Spans returns what became of spans; nil: tracing is off.
	Spans func() *Spans
	// Draining reports whether the server is going away.
	Draining func() bool
}

// Captured says what is recorded.
type Captured struct {
	Live  int   // streams whose upstream has not ended
	Ended int   // streams kept after their end
	Bytes int64 // of all
	// Events are all that were recorded, and Bursts how often many came at once
	// after a silence.
	Events, Bursts uint64
}

// state asks the sources when it is scraped.
type state struct{ Sources }

var (
	topics   = prometheus.NewDesc("fairlead_topics", "Topics.", nil, nil)
	streams  = prometheus.NewDesc("fairlead_captured_streams", "Captured streams that can be resumed.", []string{"state"}, nil)
	captured = prometheus.NewDesc("fairlead_captured_bytes", "Bytes that captured streams hold.", nil, nil)
	recorded = prometheus.NewDesc("fairlead_captured_events_total", "Events, or pieces of other bodies, that were captured.", nil, nil)
	bursts   = prometheus.NewDesc("fairlead_captured_bursts_total",
		"Times that 8 events or more of a captured stream came at once after 250 ms of silence, as from a hop that buffers.", nil, nil)
	inFlight = prometheus.NewDesc("fairlead_http_requests_in_flight", "Requests and streams being served.", []string{"route"}, nil)
	draining = prometheus.NewDesc("fairlead_draining", "1 while the server is going away.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{topics, streams, captured, recorded, bursts, inFlight, spans, draining} {
		ch <- d
	}
	for _, d := range slices.Concat(readerFamilies, poolFamilies, listenerFamilies, coderFamilies, backlogFamilies) {
		ch <- d
	}
	for _, f := range relays {
		ch <- f.desc
	}
}

// Collect implements [prometheus.Collector].
func (s *state) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if s.Topics != nil {
		gauge(topics, float64(s.Topics()))
	}
	if s.Captured != nil {
		c := s.Captured()
		gauge(streams, float64(c.Live), "live")
		gauge(streams, float64(c.Ended), "ended")
		gauge(captured, float64(c.Bytes))
		ch <- prometheus.MustNewConstMetric(recorded, prometheus.CounterValue, float64(c.Events))
		ch <- prometheus.MustNewConstMetric(bursts, prometheus.CounterValue, float64(c.Bursts))
	}
	if s.InFlight != nil {
		for route, n := range s.InFlight() {
			gauge(inFlight, float64(n), route)
		}
	}
	if s.Backlogs != nil {
		for route, b := range s.Backlogs() {
			b.collect(ch, route)
		}
	}
	if s.Relays != nil {
		s.Relays().collect(ch)
	}
	if s.Readers != nil {
		s.Readers().collect(ch)
	}
	if s.Pools != nil {
		for _, p := range s.Pools() {
			p.collect(ch)
		}
	}
	if s.Listeners != nil {
		for _, l := range s.Listeners() {
			l.collect(ch)
		}
	}
	if s.Coders != nil {
		s.Coders().collect(ch)
	}
	if s.Spans != nil {
		if n := s.Spans(); n != nil {
			n.collect(ch)
		}
	}
	if s.Draining != nil {
		v := 0.0
		if s.Draining() {
			v = 1
		}
		gauge(draining, v)
	}
}
