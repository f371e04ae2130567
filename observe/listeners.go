package observe

import "github.com/prometheus/client_golang/prometheus"

// Listener is what an address has of connections.
type Listener struct {
	Name string // of its key in the configuration
	// Open are the connections by what was spoken on them: h1, h2, h3, and
	// unknown before their first request.
	Open map[string]int
	// Opened are all there have been, and Refused those beyond a limit, by the limit.
	Opened  uint64
	Refused map[string]uint64
}

func perListener(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("fairlead_connections"+name, help, append([]string{"listener"}, labels...), nil)
}

var (
	listenerOpen    = perListener("", "Connections of clients, by what was spoken on them.", "protocol")
	listenerOpened  = perListener("_opened_total", "Connections of clients that there have been, those refused included.")
	listenerRefused = perListener("_refused_total", "Connections of clients that were not served, by the limit they met.", "limit")

	listenerFamilies = []*prometheus.Desc{listenerOpen, listenerOpened, listenerRefused}
)

func (l *Listener) collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, append([]string{l.Name}, labels...)...)
	}
	for protocol, n := range l.Open {
		send(listenerOpen, prometheus.GaugeValue, float64(n), protocol)
	}
	send(listenerOpened, prometheus.CounterValue, float64(l.Opened))
	for limit, n := range l.Refused {
		send(listenerRefused, prometheus.CounterValue, float64(n), limit)
	}
}
