package upstream

import "time"

// Snapshot is the state of a Pool at one moment. Counters begin with the pool
// and only grow; gauges say what is now. Its JSON is what an operator sees.
type Snapshot struct {
	Name    string `json:"name"`
	Balance string `json:"balance"`
	// Panic: so many endpoints are out that all are used all the same.
	Panic     bool               `json:"panic"`
	Endpoints []EndpointSnapshot `json:"endpoints"`

	Requests uint64 `json:"requests"` // that were asked of the pool
	Failed   uint64 `json:"failed"`   // of these, that got no response; our own refusals included
	Attempts uint64 `json:"attempts"` // requests sent, those sent again included
	Reused   uint64 `json:"reused"`   // attempts on a connection that had carried one before

	Dials    map[string]uint64 `json:"dials"`    // by result: ok, refused, timeout, tls, other
	Closes   map[string]uint64 `json:"closes"`   // by reason, see CloseReason
	Retries  map[string]uint64 `json:"retries"`  // by class: unsent, refused_stream, idempotent, key, proven
	Refusals map[string]uint64 `json:"refusals"` // by reason: queue_full, too_late, dial, closed, no_endpoint, budget

	Wait        Histogram `json:"wait_seconds"`       // for a connection
	DNS         Histogram `json:"dns_seconds"`        // of a dial
	Connect     Histogram `json:"connect_seconds"`    // TCP or Unix, of a dial
	TLS         Histogram `json:"tls_seconds"`        // handshake, of a dial
	FirstByte   Histogram `json:"first_byte_seconds"` // from the request's start on its connection to the header
	AgeAtClose  Histogram `json:"age_at_close_seconds"`
	UsedAtClose Histogram `json:"requests_at_close"`

	// Suggest says how many connections the load asks for; see [Suggestion].
	Suggest Suggestion `json:"suggest"`
	// Duplicates is how many further pools this process has opened for the
	// same endpoints: each has connections of its own, and reuses none of the
	// others'.
	Duplicates uint64 `json:"duplicates"`
	// ResolveError is why the endpoints could not be told the last time; ""
	// if they could.
	ResolveError string `json:"resolve_error,omitempty"`
}

// EndpointSnapshot is the state of one endpoint.
type EndpointSnapshot struct {
	Endpoint string `json:"endpoint"`
	Address  string `json:"address,omitempty"` // where it was resolved to
	// State is ok, unhealthy (by its checks), ejected (an outlier), backoff
	// (cannot be connected to) or draining (no longer an endpoint).
	State string `json:"state"`
	Why   string `json:"why,omitempty"` // of the state

	Idle     int `json:"idle"`      // connections, ready to be used
	Active   int `json:"active"`    // connections that carry requests
	Dialing  int `json:"dialing"`   // connections in the making
	Draining int `json:"draining"`  // connections that end with their requests
	InFlight int `json:"in_flight"` // requests
	Waiting  int `json:"waiting"`   // requests in the queue
	Max      int `json:"max_connections"`

	Requests uint64 `json:"requests"` // sent there
	Failures uint64 `json:"failures"` // connections and statuses that count as such

	// LearnedIdle is how long the endpoint keeps an idle connection, as seen;
	// 0: not known; once one has outlived Connections.IdleTimeout, a lower
	// bound, 5/4 of that. ReuseWithin is how long one is used again.
	LearnedIdle float64 `json:"learned_idle_seconds"`
	ReuseWithin float64 `json:"reuse_within_seconds"`
	Latency     float64 `json:"latency_seconds"`  // to the first byte, moving average
	FailureRate float64 `json:"failure_rate"`     // moving average
	Share       float64 `json:"slow_start_share"` // 1 after its slow start
}

// ConnectionInfo is one connection.
type ConnectionInfo struct {
	ID       uint64    `json:"id"`
	Endpoint string    `json:"endpoint"`
	Local    string    `json:"local"`
	Remote   string    `json:"remote"`
	Protocol string    `json:"protocol"` // HTTP/1.1, HTTP/2.0
	TLS      string    `json:"tls,omitempty"`
	Resumed  bool      `json:"tls_resumed,omitempty"`
	State    string    `json:"state"` // idle, active, probe, draining, upgraded
	Opened   time.Time `json:"opened"`
	Why      string    `json:"why"`      // it was opened
	Requests uint64    `json:"requests"` // carried, those under way included
	InFlight int       `json:"in_flight"`
	Streams  int       `json:"streams,omitempty"` // that the peer allows, HTTP/2
	Idle     float64   `json:"idle_seconds"`
	Read     int64     `json:"read_bytes"`
	Written  int64     `json:"written_bytes"`
	DNS      float64   `json:"dns_seconds"`
	Connect  float64   `json:"connect_seconds"`
	Shake    float64   `json:"tls_seconds"`
}

// CloseReason is why a connection was closed.
type CloseReason string

// The reasons.
const (
	ClosedIdleLocal   CloseReason = "idle_local"   // idle for longer than is safe to use it again
	ClosedIdlePeer    CloseReason = "idle_peer"    // the endpoint closed it while it was idle
	ClosedStale       CloseReason = "stale"        // the same, and a request was sent on it before that was known
	ClosedAge         CloseReason = "age"          // Connections.MaxAge
	ClosedRequests    CloseReason = "requests"     // Connections.MaxRequests
	ClosedByResponse  CloseReason = "response"     // the response said Connection: close
	ClosedGoAway      CloseReason = "goaway"       // HTTP/2 GOAWAY
	ClosedError       CloseReason = "error"        // it broke under a request
	ClosedClientAbort CloseReason = "client_abort" // the caller left before the response's end
	ClosedUnhealthy   CloseReason = "unhealthy"    // its endpoint was taken out
	ClosedDrain       CloseReason = "drain"        // the pool or the endpoint goes away
	ClosedUpgrade     CloseReason = "upgrade"      // it had become another protocol's
)
