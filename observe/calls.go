package observe

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// calls are the families of calls: of services that are served here, and of gRPC
// that is forwarded.
type calls struct {
	inFlight  *prometheus.GaugeVec
	over      *prometheus.CounterVec
	durations *prometheus.HistogramVec
	first     *prometheus.HistogramVec
	messages  *prometheus.CounterVec
	forwarded *prometheus.CounterVec
	took      *prometheus.HistogramVec
}

func newCalls() calls {
	return calls{
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fairlead_rpc_calls_in_flight", Help: "Calls being served, streams included."}, []string{"procedure"}),
		over:     counter("fairlead_rpc_calls_total", "Calls served that are over, by their status.", "procedure", "protocol", "code"),
		durations: histogram("fairlead_rpc_call_duration_seconds",
			"From a unary call's beginning to its end, the waiting for room in a topic included; streams are left out.", "procedure", "protocol"),
		first: histogram("fairlead_rpc_first_message_seconds",
			"From a stream's beginning to the first message of its response; it may be the wait for an event.", "procedure", "protocol"),
		messages: counter("fairlead_rpc_messages_total", "Messages of calls that are over.", "procedure", "direction"),
		forwarded: counter("fairlead_grpc_forwarded_calls_total",
			"Calls of gRPC and gRPC-Web that were forwarded and are over, by the pattern of their route, its upstream and their status.", "route", "upstream", "code"),
		took: histogram("fairlead_grpc_forwarded_call_duration_seconds",
			"From the beginning of such a call to its end, streams included, which only who has the schema could tell.", "route", "upstream"),
	}
}

func (c *calls) all() []prometheus.Collector {
	return []prometheus.Collector{c.inFlight, c.over, c.durations, c.first, c.messages, c.forwarded, c.took}
}

// Call is a call of a service that is served here. Procedure, Protocol and Code have
// few values.
type Call struct {
	Procedure string // such as "/fairlead.v1.Topics/Publish"
	Protocol  string // grpc, grpcweb or connect
	Stream    bool   // it has many messages, one way or both

	// Of one that is over:
	Code           string        // its status as Connect writes it; "ok"
	Took           time.Duration // to its end
	First          time.Duration // to the first message of its response; 0: there was none
	Sent, Received int64         // messages
}

// CallBegan counts a call that is served from now on, until CallEnded.
func (m *Metrics) CallBegan(procedure string) { m.calls.inFlight.WithLabelValues(procedure).Inc() }

// CallEnded counts a call that is over.
func (m *Metrics) CallEnded(c Call) {
	m.calls.inFlight.WithLabelValues(c.Procedure).Dec()
	m.calls.over.WithLabelValues(c.Procedure, c.Protocol, c.Code).Inc()
	if !c.Stream {
		m.calls.durations.WithLabelValues(c.Procedure, c.Protocol).Observe(c.Took.Seconds())
	} else if c.First > 0 {
		m.calls.first.WithLabelValues(c.Procedure, c.Protocol).Observe(c.First.Seconds())
	}
	m.calls.messages.WithLabelValues(c.Procedure, "sent").Add(float64(c.Sent))
	m.calls.messages.WithLabelValues(c.Procedure, "received").Add(float64(c.Received))
}

// Forwarded counts a call of gRPC that an upstream answered, or that ended before.
// status is the number of its status, any text of what has none.
func (m *Metrics) Forwarded(route, upstream, status string, took time.Duration) {
	m.calls.forwarded.WithLabelValues(route, upstream, statusName(status)).Inc()
	m.calls.took.WithLabelValues(route, upstream).Observe(took.Seconds())
}

// statusNames are the statuses of gRPC as Connect writes them, by their numbers.
var statusNames = [...]string{
	"ok", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists", "permission_denied", "resource_exhausted",
	"failed_precondition", "aborted", "out_of_range", "unimplemented", "internal", "unavailable", "data_loss", "unauthenticated",
}

// statusName keeps upstreams from making series with statuses of their own.
func statusName(status string) string {
	if n, err := strconv.Atoi(status); err == nil && n >= 0 && n < len(statusNames) {
		return statusNames[n]
	}
	return "none"
}
