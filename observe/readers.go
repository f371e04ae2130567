package observe

import "github.com/prometheus/client_golang/prometheus"

// Readers say where the readers of topics stand.
type Readers struct {
	Topics      map[string]Reading // by the pattern of the topic
	Connections map[string]Waiting // by the transport
}

// Reading is who reads the topics of a pattern. Who reads several counts for each.
type Reading struct {
	Readers int
	Lag     uint64 // events that are yet to be given to readers, the sum of all
	MaxLag  uint64 // of the one that lags the most, in one topic
	Bytes   uint64 // of the events that are yet to be given to readers, the sum of all
	Retain  int    // events that a topic of the pattern retains at most
}

// Waiting is what waits for clients to take it.
type Waiting struct {
	Buffered int // bytes that were given to connections and not written
	Unsent   int // bytes that the kernel holds and has not sent, where that is known
}

var (
	topicReaders = prometheus.NewDesc("fairlead_topic_readers", "Readers of topics, by the pattern of the topic.", []string{"topics"}, nil)
	topicLag     = prometheus.NewDesc("fairlead_topic_lag_events", "Events that are yet to be given to readers, the sum of all.", []string{"topics"}, nil)
	topicBytes   = prometheus.NewDesc("fairlead_topic_lag_bytes", "Bytes of the events that are yet to be given to readers and retained, the sum of all.", []string{"topics"}, nil)
	topicMaxLag  = prometheus.NewDesc("fairlead_topic_lag_max_events", "Events that are yet to be given to the reader that lags the most.", []string{"topics"}, nil)
	topicRetain  = prometheus.NewDesc("fairlead_topic_retention_events",
		"Events that a topic retains at most; less where bytes or age bound it.", []string{"topics"}, nil)

	sessionBuffered = prometheus.NewDesc("fairlead_session_buffered_bytes", "Bytes for readers that are not yet written.", []string{"transport"}, nil)
	sessionUnsent   = prometheus.NewDesc("fairlead_session_unsent_bytes",
		"Bytes for readers that the kernel holds and has not sent, of connections of the fan-out engine.", []string{"transport"}, nil)

	readerFamilies = []*prometheus.Desc{topicReaders, topicLag, topicMaxLag, topicBytes, topicRetain, sessionBuffered, sessionUnsent}
)

func (r Readers) collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
	}
	for pattern, t := range r.Topics {
		gauge(topicReaders, float64(t.Readers), pattern)
		gauge(topicLag, float64(t.Lag), pattern)
		gauge(topicMaxLag, float64(t.MaxLag), pattern)
		gauge(topicBytes, float64(t.Bytes), pattern)
		gauge(topicRetain, float64(t.Retain), pattern)
	}
	for transport, w := range r.Connections {
		gauge(sessionBuffered, float64(w.Buffered), transport)
		gauge(sessionUnsent, float64(w.Unsent), transport)
	}
}
