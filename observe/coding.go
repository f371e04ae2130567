package observe

import (
	"cmp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// coding are the families of coded responses.
type coding struct {
	responses, bytes *prometheus.CounterVec
}

func newCoding() coding {
	return coding{
		responses: counter("fairlead_compression_responses_total",
			"Responses of a type that is worth coding that are over, streams at their end, by their coding and, without one, why.", "coding", "reason"),
		bytes: counter("fairlead_compression_bytes_total", "Bytes of their bodies, before and after it.", "coding", "stage"),
	}
}

// Coders is what the coders of responses hold.
type Coders struct {
	Bytes, Limit int64 // of memory: now, and at most
	Refused      int64 // how often there was none left
}

var (
	coderBytes   = prometheus.NewDesc("fairlead_compression_memory_bytes", "Memory that coders of responses hold now.", nil, nil)
	coderLimit   = prometheus.NewDesc("fairlead_compression_memory_limit_bytes", "Memory that they may hold.", nil, nil)
	coderRefused = prometheus.NewDesc("fairlead_compression_refused_total", "Responses that were not coded because the memory was used up.", nil, nil)

	coderFamilies = []*prometheus.Desc{coderBytes, coderLimit, coderRefused}
)

func (c Coders) collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(coderBytes, prometheus.GaugeValue, float64(c.Bytes))
	ch <- prometheus.MustNewConstMetric(coderLimit, prometheus.GaugeValue, float64(c.Limit))
	ch <- prometheus.MustNewConstMetric(coderRefused, prometheus.CounterValue, float64(c.Refused))
}

// Coded is a response that could have been coded.
type Coded struct {
	Coding        string // "" for none
	Reason        string // why there is none; of few values
	Before, After int64  // bytes of the body
}

// Coded counts a response when it is over.
func (m *Metrics) Coded(c Coded) {
	name := cmp.Or(c.Coding, "identity")
	m.coding.responses.WithLabelValues(name, strings.ReplaceAll(strings.ReplaceAll(c.Reason, " ", "_"), "-", "_")).Inc()
	m.coding.bytes.WithLabelValues(name, "before").Add(float64(c.Before))
	m.coding.bytes.WithLabelValues(name, "after").Add(float64(c.After))
}
