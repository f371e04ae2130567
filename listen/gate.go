package listen

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound what clients may make the server hold. Each [Server] counts for
// itself: with two, a client may have twice as much. Zero is the default, a
// negative number no bound.
type Limits struct {
	// Connections is how many there may be at one time. Default: four fifths of
	// the file descriptors that the process may open (RLIMIT_NOFILE), at least
	// 100; the rest is for files and for connections to upstreams. 10,000 where
	// the system has no such limit.
	Connections int
	// PerAddress is how many of them may come from one address, or one /64 of
	// IPv6, which is what one client has. Default 1,000: a large office behind
	// one address fits.
	PerAddress int
	// Rate is how many new connections a second may come from one address, or
	// one /64 of IPv6. So many may also come at once. Default 500: their
	// handshakes keep about a quarter of a core busy.
	Rate int
	// Exempt are addresses that PerAddress and Rate do not count: those of load
	// balancers. Loopback addresses are never counted. nil: no further ones.
	Exempt []netip.Prefix
	// Streams is how many requests a client may have at one time on a
	// connection of HTTP/2 or 3, and so how many handlers run for it. Default
	// 250: RFC 9113, section 6.5.2, recommends at least 100, and a page may keep
	// many streams of events open. It is also how many requests a second, and at
	// least 250, the client may give up within a second of asking before its
	// connection is closed, a quarter of it in the connection's first moments; of
	// Exempt peers, and without a bound, any number.
	Streams int
	// HeaderBytes bounds a request's header, in bytes; beyond it the answer is
	// 431. HTTP/1 allows some 4 KiB more. Over HTTP/2 a single field beyond it,
	// or a header well beyond it, ends the connection instead, for net/http
	// unpacks no further (COMPRESSION_ERROR or PROTOCOL_ERROR: RFC 9113, section
	// 4.3). Default 64 KiB: cookies and a long cursor fit.
	HeaderBytes int
}

func (l Limits) withDefaults() Limits {
	if l.Connections == 0 {
		l.Connections = defaultConnections()
	}
	for _, n := range []struct {
		value    *int
		fallback int
	}{{&l.PerAddress, 1000}, {&l.Rate, 500}, {&l.Streams, 250}, {&l.HeaderBytes, 64 << 10}} {
		if *n.value == 0 {
			*n.value = n.fallback
		}
	}
	if l.HeaderBytes < 0 {
		l.HeaderBytes = 1 << 30 // net/http has its own default for what is not positive
	}
	return l
}

// defaultConnections leaves a fifth of the descriptors to others.
func defaultConnections() int {
	n, ok := DescriptorLimit()
	if !ok {
		return 10_000
	}
	return max(100, n/5*4)
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

// The refusals that there are. A place may take a while to become free; the rate
// is fine again after a second.
var (
	tooMany         = &Refusal{http.StatusServiceUnavailable, "too many connections", 5 * time.Second}
	tooManyOfClient = &Refusal{http.StatusTooManyRequests, "too many connections from this address", 5 * time.Second}
	tooFast         = &Refusal{http.StatusTooManyRequests, "too many new connections from this address", time.Second}
	noDescriptor    = &Refusal{http.StatusServiceUnavailable, "no file descriptor is left: raise LimitNOFILE= or ulimit -n, or lower the limit on connections", 5 * time.Second}
)

// To be told why costs a connection, and with TLS a handshake. So many are told
// at one time and a second, each within answerTime; further ones are closed
// without a word, so that a flood costs hardly more than to accept it.
const (
	maxAnswers = 128
	answerTime = 5 * time.Second
)

// Stats are counts of a server's connections, over TCP and QUIC.
type Stats struct {
	// HTTP1, HTTP2 and HTTP3 are those open by what was spoken on them, Unknown
	// those open on which no request has come yet.
	HTTP1, HTTP2, HTTP3, Unknown int
	// Opened and Closed are all there have been, those refused included.
	Opened, Closed uint64
	// Full, PerAddress and Rate are those refused, by the limit. That no file
	// descriptor was left counts as Full.
	Full, PerAddress, Rate uint64
	// Dropped are those of the refused that were closed without an answer,
	// because too many were, or there was no descriptor for one.
	Dropped uint64
}

// Stats returns the counts as of now.
func (s *Server) Stats() Stats { return s.gate.stats() }

// gate counts connections.
type gate struct {
	limits   Limits
	log      *slog.Logger
	observer Observer
	draining atomic.Bool // no connection is kept

	mu       sync.Mutex
	all      *connection // those with a place that are served here
	listed   int         // in all
	served   int
	answered int    // refused and not closed: at most maxAnswers
	told     bucket // how many more may be answered
	clients  clients
	open     [4]int // by protocol, 0 for unknown
	counts   Stats
	reported map[*Refusal]time.Time // of each that there is
}

// place is what a connection has at the gate, whose mu guards it.
type place struct {
	client   netip.Addr // what it is counted under; zero if it is not
	stage    stage
	protocol uint8
}

// stage is where a connection stands with the gate.
type stage uint8

const (
	outside  stage = iota // not admitted, or gone
	served                // counted in total
	answered              // counted among those that are told why not
)

func newGate(l Limits, log *slog.Logger) *gate {
	return &gate{
		limits: l, log: log, clients: clients{of: make(map[netip.Addr]*client)}, told: bucket{tokens: maxAnswers}, reported: make(map[*Refusal]time.Time),
	}
}

// admit counts a connection until leave. addr may be the zero Addr while it is
// not known whose it is. It reports whether the connection may live; then
// c.refusal says whether it is only to be answered.
func (g *gate) admit(c *connection, addr netip.Addr) bool {
	return g.decide(c, addr, g.enter)
}

// identify says whose an admitted connection is, and reports what admit does.
func (g *gate) identify(c *connection, addr netip.Addr) bool {
	return g.decide(c, addr, func(c *connection, addr netip.Addr) bool { return c.stage != served || g.countClient(c, addr) })
}

// decide logs a refusal that by came to.
func (g *gate) decide(c *connection, addr netip.Addr, by func(*connection, netip.Addr) bool) bool {
	g.mu.Lock()
	live := by(c, addr)
	r := g.report(c, addr)
	g.mu.Unlock()
	r.log(g.log)
	return live
}

// enter is admit. g.mu is held.
func (g *gate) enter(c *connection, addr netip.Addr) bool {
	g.counts.Opened++
	if g.limits.Connections > 0 && g.served >= g.limits.Connections {
		g.counts.Full++
		return g.refuse(c, tooMany)
	}
	c.gate, c.stage = g, served
	g.list(c)
	g.served++
	g.open[0]++
	return g.countClient(c, addr)
}

// countClient counts a connection, which is served, for its client. g.mu is held.
func (g *gate) countClient(c *connection, addr netip.Addr) bool {
	key := g.limits.client(addr)
	if !key.IsValid() {
		return true
	}
	why := g.clients.take(key, &g.limits, time.Now())
	switch why {
	case nil:
		c.client = key
		return true
	case tooFast:
		g.counts.Rate++
		c.mute = c.mute || g.clients.owes(key) // it knows why
	default:
		g.counts.PerAddress++
	}
	g.served--
	g.open[0]--
	return g.refuse(c, why)
}

// refuse has a connection answered if it may be. g.mu is held.
func (g *gate) refuse(c *connection, why *Refusal) bool {
	c.gate, c.stage, c.why = g, outside, why
	g.unlist(c)
	if c.mute || g.answered >= maxAnswers || !g.told.take(maxAnswers, time.Now()) {
		g.counts.Dropped++
		g.counts.Closed++
		return false
	}
	c.stage = answered
	g.answered++
	g.open[0]++
	return true
}

// list shows a connection to [Server.Connections], until unlist. g.mu is held.
func (g *gate) list(c *connection) {
	if c.next = g.all; c.next != nil {
		c.next.previous = c
	}
	g.all = c
	g.listed++
}

func (g *gate) unlist(c *connection) {
	if g.all == c {
		g.all = c.next
	} else if c.previous != nil {
		c.previous.next = c.next
	} else {
		return // it is not in it
	}
	if c.next != nil {
		c.next.previous = c.previous
	}
	c.next, c.previous = nil, nil
	g.listed--
}

// leave gives a place back, if it is one.
func (g *gate) leave(p *place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaveLocked(p)
}

// leaveLocked is leave, and reports whether it was one. g.mu is held.
func (g *gate) leaveLocked(p *place) bool {
	switch p.stage {
	case outside:
		return false
	case served:
		g.served--
	case answered:
		g.answered--
	}
	if p.client.IsValid() {
		g.clients.give(p.client)
	}
	p.stage = outside
	g.open[p.protocol]--
	g.counts.Closed++
	return true
}

// speaks notes the major version of HTTP that a connection's client speaks.
func (g *gate) speaks(c *connection, protocol int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.stage != outside && protocol > 0 && protocol < len(g.open) {
		g.open[c.protocol]--
		c.protocol = uint8(protocol) //nolint:gosec // an index of open
		g.open[protocol]++
	}
}

func (g *gate) stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.counts
	s.Unknown, s.HTTP1, s.HTTP2, s.HTTP3 = g.open[0], g.open[1], g.open[2], g.open[3]
	return s
}
