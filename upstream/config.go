package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Config says what a Pool connects to, and how. A zero field means the
// default that stands with it.
type Config struct {
	// Name is the pool's name in events, errors and logs; default "upstream".
	Name string
	// Endpoints are the copies of the upstream, and the sources that name
	// them, as [ParseSource] reads them. At least one, unless there is a
	// Resolver.
	Endpoints []string
	// Resolver tells of further endpoints that come and go. nil: none.
	Resolver Resolver

	// Connections bounds the connections of each endpoint.
	Connections Connections
	// Queue bounds the requests that wait for a connection.
	Queue Queue
	// Retry says when a request is sent again.
	Retry Retry
	// Health asks the endpoints how they are. The zero value asks nothing.
	Health Health
	// Outliers takes endpoints out that answer badly.
	Outliers Outliers
	// Balance chooses the endpoint of each request.
	Balance Balance

	// TLS is cloned for https endpoints; ServerName is each endpoint's host
	// if it is empty, NextProtos are the pool's own. Sessions are resumed.
	// nil: the system's roots.
	TLS *tls.Config
	// Dial makes the raw connections; network is "tcp" or "unix". nil: a
	// [net.Dialer] with TCP keep-alive after 15 s.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Attempts is called with the context of each request, and returns who is told of
	// the attempts at it; see [Attempt]. nil, here or from it: nobody is told.
	Attempts func(ctx context.Context) func(*Attempt) (done func(status int, err error))

	// ServerTiming adds a Server-Timing field (W3C) to responses that says how
	// long the request waited for a connection and for the first byte.
	ServerTiming bool
	// Replaces says that this pool takes the place of another for the same
	// endpoints, so that having two is no mistake to warn about.
	Replaces bool
	// Logger is told when an endpoint is taken out for its answers or its
	// health and when panic begins, and warned once about repeated pools;
	// default [slog.Default].
	Logger *slog.Logger
}

// Connections bounds the connections of each endpoint.
type Connections struct {
	// Max is how many connections there may be, those being dialed, and those
	// that speak another protocol after an upgrade, included; only an HTTP/2
	// connection that ends with its last streams has a successor already. The
	// default 1,024: over HTTP/1.1 each stream that is open takes one, and
	// two thousand sockets to one process are seldom what anybody wants.
	Max int
	// MinIdle is how many are kept open although nobody asked; default 0. None
	// at an endpoint known to close idle ones within 100 ms.
	MinIdle int
	// MaxInFlight is how many requests may be under way at once at each
	// endpoint, the reading of their responses included; further ones wait in
	// the queue. Default 0: as many as the connections carry.
	MaxInFlight int
	// MaxStreams bounds the requests at once on one HTTP/2 connection, below
	// what the peer allows; default 1,000. Another connection is opened at
	// 80 % of the lower of the two.
	MaxStreams int
	// MaxDials is how many connections may be in the making at once; default
	// 4: a backend that has just started is not met by a thousand handshakes.
	MaxDials int
	// DialTimeout is how long a connection may take to be made, with its TLS
	// handshake; default 5 s: a lost SYN is sent again after 1 and 3 s, so two
	// losses are survived.
	DialTimeout time.Duration
	// IdleTimeout is how long a connection may be idle and still be used
	// again, less up to 10 %; default 60 s. As long as nothing is known of
	// how long the endpoint keeps its side, 4 s (below the 5 s of Node.js and
	// uvicorn); once that is known, 80 % of it.
	IdleTimeout time.Duration
	// MaxAge is how long a connection is used, ±10 %; default 10 minutes, so
	// that new endpoints get their share and old addresses are let go.
	// Negative: for ever. A response that is under way is never cut.
	MaxAge time.Duration
	// MaxRequests is how many requests a connection carries, ±10 %; default
	// 0: no limit, since MaxAge turns connections over already.
	MaxRequests int
}

// Queue bounds the requests that wait for a connection. Who cannot wait gets
// a [fairlead.Error] that says why, and when to come back.
type Queue struct {
	// Length is how many requests may wait at each endpoint, beside those for
	// which a connection is being made; default 1,024.
	// Negative: none.
	Length int
	// Timeout is how long each attempt may wait for a connection, at all
	// endpoints together; default 3 s: a lost SYN and a handshake. After that
	// its client has gone or comes twice.
	Timeout time.Duration
}

// Retry says when a request is sent again. A request that no endpoint has
// received, which a refused connection, an HTTP/2 REFUSED_STREAM or a GOAWAY
// before it shows, goes to another endpoint whatever its method. One that may
// have been received is sent again only if its method is idempotent (RFC 9110
// §9.2.2) or it carries an Idempotency-Key and is no call of gRPC, and no byte of
// an answer came.
type Retry struct {
	// Attempts is how often a request is sent at most; default 3. 1: once.
	Attempts int
	// Budget is how many requests may be sent again after they may have been
	// received, as a share of all; default 0.2, and beside it three a second.
	// What no endpoint has received does not count. Negative: none.
	Budget float64
	// Body is how many bytes of a request's body are kept to be sent again;
	// default 64 KiB. A request with a longer one that has been begun is not
	// sent again. Negative: none.
	Body int
	// ResponseTimeout is how long an attempt may take until the response's
	// header; default 0: for ever, since a model may think for minutes and who
	// will not wait leaves.
	ResponseTimeout time.Duration
	// KernelProof also sends other methods again when the kernel proves that
	// the peer had closed the connection before it received any of the
	// request (Linux; see [Pool]). Off by default.
	KernelProof bool
}

// Health asks each endpoint how it is, on connections of its own.
type Health struct {
	// Kind is "http", "tcp" or "grpc" (grpc.health.v1). Default: http if
	// there is a Path, else none.
	Kind string
	// Path is what an HTTP check asks for; default "/". 2xx and 3xx are well.
	Path string
	// Service is what a gRPC check asks about; "" is the whole server.
	Service string
	// Interval is from one check to the next, ±10 %; default 5 s.
	Interval time.Duration
	// UnhealthyInterval is the same while the endpoint is not well; default
	// 1 s, so that it is back soon.
	UnhealthyInterval time.Duration
	// Timeout is how long a check may take; default 2 s, or Interval if that
	// is shorter.
	Timeout time.Duration
	// Unhealthy is how many checks in a row must fail before the endpoint is
	// taken out; default 3: one may be lost with a packet.
	Unhealthy int
	// Healthy is how many must succeed before it is back; default 2.
	Healthy int
}

// Outliers takes endpoints out, for a while, whose answers to requests are
// bad: statuses from 500 on, gRPC's UNAVAILABLE, broken or refused connections.
type Outliers struct {
	// Off turns it off.
	Off bool
	// Consecutive is how many failures in a row take an endpoint out; default
	// 5. Negative: any number is borne.
	Consecutive int
	// FailureRate is the share of failures over Window that does, if there
	// were at least MinRequests; default 0.5, of 20, in 10 s. A rate over 1:
	// none does.
	FailureRate float64
	MinRequests int           // see FailureRate
	Window      time.Duration // see FailureRate
	// Time is how long an endpoint stays out at first, ±10 %; each time it is
	// taken out again it is doubled, up to 5 minutes. Default 10 s.
	Time time.Duration
	// MaxShare is how much of the endpoints may be out at once; default 0.5.
	// Of two or three endpoints, one may.
	MaxShare float64
}

// Balance chooses the endpoint of each request. [ParseBalance] reads it from a
// word.
type Balance struct {
	// Policy is one of
	//
	//	p2c              the better of two taken at random, by latency and load (default)
	//	round_robin      each in turn
	//	least_in_flight  who has the fewest requests under way
	//	hash             the same value of Source, the same endpoint (rendezvous hashing)
	//	sticky           the endpoint that the client's cookie names; the pool sets it
	Policy string
	// Source is what hash looks at, "header NAME" or "cookie NAME", and the
	// name of the cookie of sticky; default "fairlead_endpoint". A request
	// without it is balanced by p2c.
	Source string
	// SlowStart is how long an endpoint that is new or back gets less than its
	// share, from a tenth on; default 10 s. Negative: none.
	SlowStart time.Duration
}

// unlearnedIdle is how long a connection may be idle while nothing is known
// of its peer's patience: below the 5 s after which Node.js and uvicorn close.
const unlearnedIdle = 4 * time.Second

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// withDefaults returns cfg with its zero fields replaced.
func (cfg Config) withDefaults() Config {
	cfg.Name = or(cfg.Name, "upstream")
	c := &cfg.Connections
	c.Max = or(c.Max, 1024)
	c.MaxStreams = or(c.MaxStreams, 1000)
	c.MaxDials = or(c.MaxDials, 4)
	c.DialTimeout = or(c.DialTimeout, 5*time.Second)
	c.IdleTimeout = or(c.IdleTimeout, time.Minute)
	c.MaxAge = or(c.MaxAge, 10*time.Minute)
	q := &cfg.Queue
	q.Length = or(q.Length, 1024)
	q.Timeout = or(q.Timeout, 3*time.Second)
	r := &cfg.Retry
	r.Attempts = or(r.Attempts, 3)
	r.Budget = or(r.Budget, 0.2)
	r.Body = or(r.Body, 64<<10)
	h := &cfg.Health
	if h.Kind == "" && h.Path != "" {
		h.Kind = "http"
	}
	h.Path = or(h.Path, "/")
	h.Interval = or(h.Interval, 5*time.Second)
	h.UnhealthyInterval = or(h.UnhealthyInterval, time.Second)
	unsaid := h.Timeout == 0
	h.Timeout = or(h.Timeout, 2*time.Second)
	if unsaid {
		h.Timeout = min(h.Timeout, h.Interval)
	}
	h.Unhealthy = or(h.Unhealthy, 3)
	h.Healthy = or(h.Healthy, 2)
	o := &cfg.Outliers
	o.Consecutive = or(o.Consecutive, 5)
	o.FailureRate = or(o.FailureRate, 0.5)
	o.MinRequests = or(o.MinRequests, 20)
	o.Window = or(o.Window, 10*time.Second)
	o.Time = or(o.Time, 10*time.Second)
	o.MaxShare = or(o.MaxShare, 0.5)
	b := &cfg.Balance
	b.Policy = or(b.Policy, "p2c")
	b.SlowStart = or(b.SlowStart, 10*time.Second)
	if b.Policy == "sticky" {
		b.Source = or(b.Source, "fairlead_endpoint")
	}
	cfg.Logger = or(cfg.Logger, slog.Default())
	return cfg
}

// validate says what of cfg, which has its defaults, is wrong.
func (cfg *Config) validate() error {
	c := &cfg.Connections
	for _, n := range []struct {
		name  string
		wrong bool
	}{
		{"Connections.Max", c.Max < 1},
		{"Connections.MinIdle", c.MinIdle < 0 || c.MinIdle > c.Max},
		{"Connections.MaxInFlight", c.MaxInFlight < 0},
		{"Connections.MaxStreams", c.MaxStreams < 1},
		{"Connections.MaxDials", c.MaxDials < 1},
		{"Connections.DialTimeout", c.DialTimeout < 0},
		{"Connections.IdleTimeout", c.IdleTimeout < 0},
		{"Connections.MaxRequests", c.MaxRequests < 0},
		{"Queue.Timeout", cfg.Queue.Timeout < 0},
		{"Retry.Attempts", cfg.Retry.Attempts < 1},
		{"Retry.ResponseTimeout", cfg.Retry.ResponseTimeout < 0},
	} {
		if n.wrong {
			return fmt.Errorf("upstream: %s is out of range; see its documentation", n.name)
		}
	}
	return errors.Join(cfg.Health.validate(), cfg.Outliers.validate())
}
