package observe

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fairlead-edge/fairlead"
)

// Metrics are the metric families of one server. They are safe for concurrent
// use.
type Metrics struct {
	registry  *prometheus.Registry
	summary   *prometheus.Registry   // of the families that Summary is of
	families  []prometheus.Collector // what is told; the sources' are state's
	requests  *prometheus.CounterVec
	durations *vector // their series are exchanges'
	firstByte *vector
	sent      *prometheus.CounterVec
	sessions  *prometheus.GaugeVec
	opened    *prometheus.CounterVec
	closed    *prometheus.CounterVec
	publishes *prometheus.CounterVec
	reloads   *prometheus.CounterVec
	received  *prometheus.CounterVec
	exchanges sync.Map // of *exchange, by exchangeKey
	coding    coding
	calls     calls

	connections connections
	reading     reading
	missing     missing
}

// buckets are upper bounds in seconds: from what a cached answer takes to what
// people wait for a model.
var buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// New returns the families of a server of the version given, whose state the
// sources tell. Fields of sources may be nil.
func New(version string, sources Sources) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		summary:  prometheus.NewRegistry(),
		requests: counter("fairlead_http_requests_total", "Requests and streams that are over, by the pattern of their route.", "route", "method", "code"),
		durations: newVector(seconds, "fairlead_http_request_duration_seconds",
			"From a request's header to the end of its response, streams and long polls left out.", "route", "method"),
		firstByte: newVector(seconds, "fairlead_http_first_byte_seconds", "From a request's header to that of its response, streams included.", "route", "method"),
		sent:      counter("fairlead_http_response_body_bytes_total", "Bytes of bodies sent to clients.", "route"),
		sessions:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fairlead_sessions", Help: "Open sessions of readers."}, []string{"transport"}),
		opened:    counter("fairlead_sessions_opened_total", "Sessions of readers that began.", "transport"),
		closed:    counter("fairlead_sessions_closed_total", "Sessions of readers that ended, by why.", "transport", "reason"),
		publishes: counter("fairlead_publishes_total", "Publishes to topics, by the pattern of the topic and the code of the result.", "topics", "code"),
		reloads:   counter("fairlead_config_reloads_total", "Times the configuration was read again.", "result"),
		received:  counter("fairlead_http_request_body_bytes_total", "Bytes of bodies read from clients.", "route"),
		coding:    newCoding(),
		calls:     newCalls(),

		connections: newConnections(),
		reading:     newReading(sources.Transports),
		missing:     newMissing(),
	}
	for _, result := range []string{reloadOK, reloadRefused} { // so that the first one is an increase
		m.reloads.WithLabelValues(result)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "fairlead_build_info", Help: "1, for the version that runs.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.families = slices.Concat([]prometheus.Collector{
		m.requests, m.durations, m.firstByte, m.sent, m.received, m.sessions, m.opened, m.closed, m.publishes,
		m.reloads, build, m.coding.responses, m.coding.bytes, m.coding.seconds,
	}, m.calls.all(), m.connections.all(), m.reading.all(), m.missing.all())
	m.registry.MustRegister(m.families...)
	m.summary.MustRegister(m.requests, m.durations, m.connections.requests, m.coding.bytes, m.reading.events, m.connections.ended, m.closed)
	m.registry.MustRegister(&state{sources}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(histogramOptions(name, help), labels)
}

func histogramOptions(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		// A native histogram beside those of old, for servers that ask for it.
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
}

// ServeHTTP answers a scrape, with exemplars where OpenMetrics is asked for.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, EnableOpenMetrics: true}).ServeHTTP(w, r)
}

// Opened counts a reader's session that began.
func (m *Metrics) Opened(transport string) {
	m.opened.WithLabelValues(transport).Inc()
	m.sessions.WithLabelValues(transport).Inc()
}

// Closed counts a session that ended, and why; "": as it should.
func (m *Metrics) Closed(transport string, reason fairlead.Code) {
	m.sessions.WithLabelValues(transport).Dec()
	m.closed.WithLabelValues(transport, orOK(reason)).Inc()
}

// Published counts a publish; topics is the pattern of the topic.
func (m *Metrics) Published(topics string, result fairlead.Code) {
	m.publishes.WithLabelValues(topics, orOK(result)).Inc()
}

const reloadOK, reloadRefused = "ok", "refused"

// Reloaded counts a reload.
func (m *Metrics) Reloaded(ok bool) {
	result := reloadRefused
	if ok {
		result = reloadOK
	}
	m.reloads.WithLabelValues(result).Inc()
}

func orOK(code fairlead.Code) string {
	if code == "" {
		return "ok"
	}
	return string(code)
}
