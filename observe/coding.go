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
			"Responses of a type that is worth coding that are over, by their coding and, without one, why.", "coding", "reason"),
		bytes: counter("fairlead_compression_bytes_total", "Bytes of their bodies, before and after it.", "coding", "stage"),
	}
}

// coderBytes is what coders hold.
var coderBytes = prometheus.NewDesc("fairlead_compression_memory_bytes", "Memory that coders of responses hold now.", nil, nil)

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
