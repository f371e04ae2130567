package observe

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Request is one request that is over.
type Request struct {
	Route     string        // pattern
	Method    string        // of the request; an unknown one counts as "other"
	Status    int           // of the response; 0 when there was none
	Stream    bool          // whether its duration says more about the reader than about the server
	Duration  time.Duration // to the end of the response
	FirstByte time.Duration // to its header; 0 when there was none
	Sent      int64         // bytes of the body
	Received  int64         // bytes of the request's body
	Span      *Span         // that the durations name as their exemplar; nil: none
}

// exchangeKey is what the series of a request depend on, and which it has.
type exchangeKey struct {
	route, method          string
	status                 int
	received, began, lasts bool
}

// exchange has the series of requests of one key, so that they are looked up at once;
// nil: they have none.
type exchange struct {
	count, sent, received prometheus.Counter
	firstByte, duration   *cells
}

// Request counts a request.
func (m *Metrics) Request(r Request) {
	e := m.exchangeOf(exchangeKey{r.Route, knownMethod(r.Method), r.Status, r.Received > 0, r.FirstByte > 0, r.Stream})
	e.count.Inc()
	e.sent.Add(float64(r.Sent))
	if e.received != nil {
		e.received.Add(float64(r.Received))
	}
	if e.firstByte != nil {
		r.Span.exemplify(e.firstByte, r.FirstByte)
	}
	if e.duration != nil {
		r.Span.exemplify(e.duration, r.Duration)
	}
}

// exchangeOf makes only series that something is counted in.
func (m *Metrics) exchangeOf(k exchangeKey) *exchange {
	if found, ok := m.exchanges.Load(k); ok {
		return found.(*exchange) //nolint:forcetypeassert // nothing else is in it
	}
	e := &exchange{count: m.requests.WithLabelValues(k.route, k.method, strconv.Itoa(k.status)), sent: m.sent.WithLabelValues(k.route)}
	if k.received {
		e.received = m.received.WithLabelValues(k.route)
	}
	if k.began {
		e.firstByte = m.firstByte.with(k.route, k.method)
	}
	if !k.lasts {
		e.duration = m.durations.with(k.route, k.method)
	}
	made, _ := m.exchanges.LoadOrStore(k, e)
	return made.(*exchange) //nolint:forcetypeassert // nothing else is in it
}

// knownMethod keeps clients from making series with methods of their own.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodConnect:
		return method
	}
	return "other"
}
