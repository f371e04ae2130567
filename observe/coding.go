package observe

import (
	"cmp"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// coding are the families of coded responses.
type coding struct {
	responses, bytes, seconds *prometheus.CounterVec
	coders                    map[string]*coder // made once
	of                        *sync.Map         // of *response, by Coded without bytes
}

// coder has the series of a coding that its coders add to at each flush.
type coder struct{ before, after, seconds prometheus.Counter }

func newCoding() coding {
	c := coding{
		responses: counter("fairlead_compression_responses_total",
			"Responses of a type that is worth coding that are over, streams at their end, by their coding and, without one, why.", "coding", "reason"),
		bytes:   counter("fairlead_compression_bytes_total", "Bytes of their bodies, before and after it, of streams as they flow.", "coding", "stage"),
		seconds: counter("fairlead_compression_seconds_total", "Time that coders took, the sending left out.", "coding"),
		coders:  make(map[string]*coder),
		of:      new(sync.Map),
	}
	for _, name := range []string{"gzip", "br", "zstd", "dcb", "dcz"} {
		c.coders[name] = &coder{c.bytes.WithLabelValues(name, "before"), c.bytes.WithLabelValues(name, "after"), c.seconds.WithLabelValues(name)}
	}
	return c
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
	Coding string // "" for none
	Reason string // why there is none; of few values
	Bytes  int64  // of its body, where there is none
}

// response has the series of responses of a coding, or of none for a reason.
type response struct{ count, before, after prometheus.Counter }

// Coded counts a response when it is over.
func (m *Metrics) Coded(c Coded) {
	r := m.coding.responseOf(Coded{Coding: c.Coding, Reason: c.Reason})
	r.count.Inc()
	if r.before != nil {
		r.before.Add(float64(c.Bytes))
		r.after.Add(float64(c.Bytes))
	}
}

// responseOf looks them up at once.
func (c *coding) responseOf(of Coded) *response {
	if found, ok := c.of.Load(of); ok {
		return found.(*response) //nolint:forcetypeassert // nothing else is in it
	}
	const none = "identity"
	r := &response{count: c.responses.WithLabelValues(cmp.Or(of.Coding, none), strings.NewReplacer(" ", "_", "-", "_").Replace(of.Reason))}
	if of.Coding == "" {
		r.before, r.after = c.bytes.WithLabelValues(none, "before"), c.bytes.WithLabelValues(none, "after")
	}
	made, _ := c.of.LoadOrStore(of, r)
	return made.(*response) //nolint:forcetypeassert // nothing else is in it
}

// Coding counts what a coder did of late: it made so many bytes of others, and took
// so long.
func (m *Metrics) Coding(name string, before, after int64, took time.Duration) {
	c := m.coding.coders[name]
	if c == nil {
		return
	}
	c.before.Add(float64(max(0, before)))
	c.after.Add(float64(max(0, after)))
	c.seconds.Add(max(0, took.Seconds()))
}
