package upstream

import (
	"net/http"
	"time"
)

// Attempt is one attempt at a request, for who [Config].Attempts says is told of those:
// when it has got a connection, or none, on the goroutine of RoundTrip. What that returns,
// unless it is nil, is called with the status of the response, or 0 and the error.
type Attempt struct {
	// Request is the caller's, and must not be changed.
	Request *http.Request
	// Out is the request as it is sent; nil when there was no connection for it. Its
	// Header may be replaced by another, such as a clone with a trace context; it is
	// shared, and must not be changed.
	Out      *http.Request
	Endpoint string
	Number   int           // of those that were sent, 1 for the first
	Asked    time.Time     // when a connection was asked for
	Waited   time.Duration // until there was one, or none
	HTTP2    bool          // it speaks that
	Reused   bool          // it has carried a request before

	// Of a connection that was made since Asked, else zero: when it was ready, and how
	// long its parts took.
	Ready             time.Time
	DNS, Connect, TLS time.Duration
	Resumed           bool // the TLS session was
}

// attempted tells of an attempt that is to be sent on a connection, or has got none.
func (r *request) attempted(out *http.Request, m *member, t taken, asked, got time.Time) func(status int, err error) {
	if r.tell == nil {
		return nil
	}
	a := &Attempt{Request: r.in, Out: out, Endpoint: m.key, Number: r.sent + 1, Asked: asked, Waited: got.Sub(asked)}
	if c := t.c; c != nil {
		a.HTTP2, a.Reused = c.http2, t.reused
		if how := &c.how; how.at.After(asked) {
			a.Ready, a.DNS, a.Connect, a.TLS, a.Resumed = how.at, how.dns, how.connect, how.tls, how.resumed
		}
	}
	return r.tell(a)
}
