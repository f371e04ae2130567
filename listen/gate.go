package listen

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Limits bound what clients may make the server hold. Zero is the default, a
// negative number no bound.
type Limits struct {
	// Connections is how many there may be at one time. Default 10,000.
	Connections int
	// PerAddress is how many of them may come from one address, or one /64 of
	// IPv6. Default 1,000.
	PerAddress int
	// Rate is how many new connections a second may come from one address, or
	// one /64 of IPv6. Default 500.
	Rate int
	// Exempt are addresses that PerAddress and Rate do not count: those of load
	// balancers. Loopback addresses are never counted. nil: no further ones.
	Exempt []netip.Prefix
	// Streams is how many requests a client may have at one time on a
	// connection of HTTP/2 or 3. Default 250.
	Streams int
	// HeaderBytes bounds a request's header, in bytes; beyond it the answer is
	// 431. Default 64 KiB: cookies and a long cursor fit.
	HeaderBytes int
}

func (l Limits) withDefaults() Limits {
	for _, n := range []struct {
		value    *int
		fallback int
	}{{&l.Connections, 10_000}, {&l.PerAddress, 1000}, {&l.Rate, 500}, {&l.Streams, 250}, {&l.HeaderBytes, 64 << 10}} {
		if *n.value == 0 {
			*n.value = n.fallback
		}
	}
	return l
}

// Refusal says why a connection is not served.
type Refusal struct {
	// Status is 503 when the server as a whole is full, 429 when one client
	// asks too much of it.
	Status int
	// Reason says which limit was met.
	Reason string
	// RetryAfter is when it may be better.
	RetryAfter time.Duration
}

// gate counts connections.
type gate struct {
	limits Limits

	mu    sync.Mutex
	total int
}

func newGate(l Limits) *gate { return &gate{limits: l} }

// enter counts a connection until leave is called; why is nil if it may be
// served.
func (g *gate) enter(netip.Addr) (why *Refusal, leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limits.Connections > 0 && g.total >= g.limits.Connections {
		why = &Refusal{http.StatusServiceUnavailable, "too many connections", time.Second}
	}
	g.total++
	return why, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.total--
	}
}

// refuse answers the requests of connections that are not served.
func (s *Server) refuse(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := connOf(r.Context())
		if c == nil || c.refusal() == nil {
			next.ServeHTTP(w, r)
			return
		}
		why := *c.refusal()
		w.Header().Set("Connection", "close")
		if s.cfg.Refuse != nil {
			s.cfg.Refuse(w, r, why)
			return
		}
		w.Header().Set("Retry-After", strconv.Itoa(int(max(why.RetryAfter, time.Second)/time.Second)))
		http.Error(w, why.Reason, why.Status)
	})
}

type connKey struct{}

// withConn and connOf carry what is known of a connection to its requests.
func withConn(ctx context.Context, c *connection) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

func connOf(ctx context.Context) *connection {
	c, _ := ctx.Value(connKey{}).(*connection)
	return c
}
