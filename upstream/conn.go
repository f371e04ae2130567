package upstream

import (
	"net/http"
	"time"
)

// clientConn is a connection that speaks HTTP to one endpoint, as
// [http.ClientConn] does: the pool decides which request goes where, and
// leaves the protocol to it. No method may be called with a member's lock
// held, since Reserve, Release, RoundTrip and Close may run the hook on the
// caller's goroutine (golang/go#80680).
type clientConn interface {
	Reserve() error
	Available() int
	InFlight() int
	Err() error
	Close() error
	RoundTrip(req *http.Request) (*http.Response, error)
	// onChange sets what is called when Available grows, InFlight falls or
	// the connection ends.
	onChange(f func())
}

// stdConn is net/http's.
type stdConn struct{ *http.ClientConn }

func (c stdConn) onChange(f func()) { c.SetStateHook(func(*http.ClientConn) { f() }) }

// connState is what a connection may be used for.
type connState uint8

const (
	unready  connState = iota // for none yet
	usable                    // for requests: idle, or active
	probe                     // for none: it shows when the peer closes it
	draining                  // for none: it ends with its requests
	upgraded                  // for none: it speaks another protocol
	gone                      // its socket is closed
)

// conn is one connection of a member. Fields below mu are guarded by the
// member's.
type conn struct {
	cc     clientConn
	m      *member
	socket *socket
	id     uint64
	http2  bool
	spare  bool // only for upgrades, see upgrade.go
	how    opening

	// mu
	state   connState
	active  int    // requests
	used    uint64 // requests so far
	limit   int    // requests at once: 1, or what the HTTP/2 peer allows
	settled bool   // HTTP/2: limit is the peer's word
	stalled bool   // HTTP/2: it refused a reservation, and may have gone away
	since   time.Time
	most    time.Duration // idle
	expires time.Time     // by MaxAge; zero: never
	last    uint64        // used, at most; 0: no limit
	ends    bool          // it is counted in member.ending
	closing CloseReason
	because string // of closing, for people
}

// opening is how a connection came to be.
type opening struct {
	why               string
	at                time.Time
	dns, connect, tls time.Duration
	version           string // of TLS
	resumed           bool
	received          int64 // bytes, when it was ready: SETTINGS come after them
}

// unsettledStreams is what net/http's HTTP/2 assumes until the SETTINGS come.
const unsettledStreams = 100

// settleAfter is when bytes from a new HTTP/2 peer are taken for its SETTINGS,
// which come first (RFC 9113 §3.4), when nothing else tells that they came.
const settleAfter = 100 * time.Millisecond

// ready makes a connection that was taken ready for its request. It reports
// whether that can be sent; else the connection is no longer one to take. One
// that was idle for a second is asked of the kernel first; a later look, when
// the request is written, costs an attempt.
func (c *conn) ready(idle time.Duration) bool {
	if !c.http2 && idle > time.Second && !c.socket.quiet() {
		c.m.discard(c, ClosedIdlePeer, "the peer had closed it when it was to be used")
		return false
	}
	if err := c.cc.Reserve(); err != nil {
		c.m.refused(c)
		return false
	}
	return true
}

// changed is told that an HTTP/2 connection may have room, or has ended.
func (c *conn) changed() {
	free, inFlight := c.cc.Available(), c.cc.InFlight()
	now := time.Now()
	m := c.m
	m.mu.Lock()
	defer m.unlock()
	if c.state == gone {
		return
	}
	if free == 0 && inFlight == 0 && c.closing == "" { // else the lease that ends last closes it
		m.closeLocked(c, ClosedGoAway, lastOver)
	}
	if free > 0 {
		c.stalled = false
		c.learnLimitLocked(free+inFlight, now)
	}
	m.serveLocked(now)
}

// learnLimitLocked takes the number of streams that the connection carries, if it
// is the peer's word.
func (c *conn) learnLimitLocked(streams int, now time.Time) {
	if !c.settled {
		received, _ := c.socket.bytes()
		if streams == unsettledStreams && (received == c.how.received || now.Sub(c.how.at) < settleAfter) {
			return
		}
		c.settled = true
	}
	c.limit = min(streams, c.m.pool.cfg.Connections.MaxStreams)
}

// roomLocked reports whether a request may be sent on an HTTP/2 connection.
func (c *conn) roomLocked() bool {
	return c.state == usable && !c.stalled && c.active < c.limit
}
