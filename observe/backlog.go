package observe

import "github.com/prometheus/client_golang/prometheus"

// Backlog is what waits of the bodies and upgraded connections that a route
// forwards.
type Backlog struct {
	Bytes   int64 // read from one side and not yet written to the other
	Blocked int   // of them, those whose write has been in progress for a second
}

var (
	backlogBytes   = prometheus.NewDesc("fairlead_forwarded_buffered_bytes", "Bytes of forwarded bodies and upgraded connections that wait to be written.", []string{"route"}, nil)
	backlogBlocked = prometheus.NewDesc("fairlead_forwarded_blocked", "Forwarded bodies and upgraded connections of which a write has waited for a second.", []string{"route"}, nil)

	backlogFamilies = []*prometheus.Desc{backlogBytes, backlogBlocked}
)

func (b Backlog) collect(ch chan<- prometheus.Metric, route string) {
	ch <- prometheus.MustNewConstMetric(backlogBytes, prometheus.GaugeValue, float64(b.Bytes), route)
	ch <- prometheus.MustNewConstMetric(backlogBlocked, prometheus.GaugeValue, float64(b.Blocked), route)
}
