package upstream

import (
	"container/list"
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// member is an endpoint in use, with its connections and those who wait for
// one.
type member struct {
	load // what the balancer knows

	pool      *Pool
	endpoint  Endpoint
	transport *http.Transport // makes the connections
	upgrader  *http.Transport // makes those for upgrades; nil: all carry them
	record    *record         // as an outlier
	health    atomic.Pointer[string]
	avoid     atomic.Int64 // until when it cannot be connected to, in Unix nanoseconds
	leave     context.CancelFunc

	requests, failures atomic.Uint64
	races              atomic.Int32 // since the last response, see lostRaces
	lastRace           atomic.Int64
	lastBreak          atomic.Int64 // that the balancer was told of

	mu       sync.Mutex
	conns    map[*conn]struct{} // at most Connections.Max, and those that end
	idle     []*conn            // HTTP/1.1, the one used last at the end
	multi    []*conn            // HTTP/2, usable
	probing  *conn              // at most one
	queue    list.List          // of *waiter, the oldest first; both queues together at most Queue.Length
	upgrades list.List          // of *waiter whose request only HTTP/1.1 carries
	open     int                // connections that count for Max: usable, and the probe
	spare    int                // of open, those only for upgrades
	inFlight int                // requests
	ending   int                // HTTP/1.1 connections that count for Max until their last request, or other protocol, is over
	dialing  int
	shifting int       // of dialing, those only for upgrades
	dialErr  error     // the last, while there has been no success since
	fails    int       // dials in a row
	bursts   int       // of dials that failed together
	failedAt time.Time // the last that did
	notUntil time.Time
	http2    bool // the last connection spoke it
	patience peerPatience
	out      bool      // taken out, or removed: no new connections
	outUntil time.Time // as an outlier
	outWhy   string
	removed  bool // it is no endpoint any more
	timer    *time.Timer
	wakes    time.Time // of timer; zero: it is not set
	trash    []*conn   // to be closed when the lock is released
}

// taken is a connection that is leased to one request.
type taken struct {
	c      *conn
	idle   time.Duration // before
	reused bool          // it has carried a request before
	first  bool          // HTTP/2: nothing is known of the peer's limit
}

// unlock releases the lock and then closes what was to be closed, since
// closing runs hooks that take the lock.
func (m *member) unlock() {
	trash := m.trash
	m.trash = nil
	m.mu.Unlock()
	for _, c := range trash {
		_ = c.cc.Close()     // net/http's never fails; the socket's end is what counts
		_ = c.socket.Close() // which is not net/http's any more after an upgrade
	}
}

// acquire returns a connection leased for one request, which may be an upgrade,
// or fails after limit. The lease ends with [member.release].
func (m *member) acquire(ctx context.Context, upgrade bool, limit time.Duration) (taken, error) {
	upgrade = upgrade && m.upgrader != nil
	m.mu.Lock()
	for m.queueOf(upgrade).Len() == 0 && !m.removed {
		now := time.Now()
		t := m.takeLocked(now, upgrade)
		if t.c == nil {
			break
		}
		if t.c.http2 {
			m.wantLocked(now) // the next before this one is full
		}
		m.unlock()
		if t.c.ready(t.idle) {
			return t, nil
		}
		m.mu.Lock()
	}
	w, err := m.enqueueLocked(upgrade)
	m.unlock()
	if err != nil {
		return taken{}, err
	}
	return m.wait(ctx, w, limit)
}

// takeLocked leases a connection that a request may be sent on at once, nil if
// there is none: over HTTP/1.1 the one used last, so that the others can go
// idle; over HTTP/2, which carries no upgrade, the one with the fewest requests.
func (m *member) takeLocked(now time.Time, upgrade bool) taken {
	if most := m.pool.cfg.Connections.MaxInFlight; most > 0 && m.inFlight >= most {
		return taken{}
	}
	var c *conn
	old := false
	for i, h := range slices.Backward(m.idle) {
		if h.spare && !upgrade {
			continue
		}
		if now.Sub(h.since) < m.withinLocked(h) && !h.worn(now) {
			c, m.idle = h, slices.Delete(m.idle, i, i+1)
			break
		}
		old = true
	}
	if c == nil && old {
		m.expireLocked(now)
	}
	for _, h := range slices.Backward(m.multi) {
		switch {
		case upgrade:
		case h.worn(now):
			m.wearLocked(h, now) // which takes it from m.multi
		case h.roomLocked() && (c == nil || h.active <= c.active):
			c = h
		}
	}
	if c == nil {
		return taken{}
	}
	t := taken{c: c, reused: c.used > 0, first: c.http2 && !c.settled}
	if c.active == 0 {
		t.idle = now.Sub(c.since)
	}
	c.active++
	c.used++
	m.inFlight++
	return t
}

// servingLocked returns how many connections carry requests, or can.
func (m *member) servingLocked() int {
	if m.probing != nil && !m.probing.spare {
		return m.open - m.spare - 1
	}
	return m.open - m.spare
}

// worn reports whether a connection has reached its age or number of requests.
func (c *conn) worn(now time.Time) bool {
	return !c.expires.IsZero() && !now.Before(c.expires) || c.last > 0 && c.used >= c.last
}

// result is how a lease ended.
type result uint8

const (
	nothingSent result = iota // the connection is as it was
	completed                 // the response came to its end
	failed                    // the connection may be broken: ask it
	raced                     // the peer closed it when it was to be used again
	away                      // HTTP/2: GOAWAY says that the peer did nothing, and will do nothing more
	abandoned                 // the caller left before the response's end
)

// release ends a lease.
func (m *member) release(c *conn, how result) {
	broken := how == failed && c.http2 && c.cc.Err() != nil ||
		// Err lags behind: the end of the response is told before.
		how != nothingSent && !c.http2 && c.cc.Available() == 0
	done := c.http2 && c.cc.Available() == 0 && c.cc.InFlight() == 0
	now := time.Now()
	m.mu.Lock()
	defer m.unlock()
	m.inFlight--
	c.active--
	switch {
	case how == nothingSent: // it has been idle all the time
		c.used--
	case c.active == 0:
		c.since = now
	}
	switch {
	case c.state == gone:
		if c.closing == "" {
			c.closing, c.because = c.endedBy(how)
			c.tellLocked(now)
		}
	case c.state == upgraded:
	case how == away:
		m.drainLocked(c, ClosedGoAway, "the peer sent GOAWAY")
	case broken && (how != completed || c.closing == ""):
		reason, why := c.endedBy(how)
		m.closeLocked(c, reason, why)
	case done && c.closing == "":
		m.closeLocked(c, ClosedGoAway, "the peer sent GOAWAY")
	case c.closing != "" && c.active == 0:
		m.closeLocked(c, c.closing, c.because)
	case c.closing != "":
	case c.worn(now):
		m.wearLocked(c, now)
	case !c.http2:
		m.idle = append(m.idle, c)
		m.wakeLocked(now.Add(m.withinLocked(c)))
	case c.active == 0:
		m.wakeLocked(now.Add(c.most))
	}
	m.serveLocked(now)
	if m.out && !m.pool.panicked.Load() { // it was used because no other was left
		m.closeIdleLocked(ClosedUnhealthy, "its endpoint was taken out")
	}
}

// discard closes a leased connection on which nothing was sent.
func (m *member) discard(c *conn, reason CloseReason, why string) {
	m.mu.Lock()
	defer m.unlock()
	m.returnLocked(c, reason, why)
	m.closeLocked(c, reason, why)
	m.stillbornLocked(c, time.Now())
}

// returnLocked ends the lease of a connection on which nothing was sent. If it
// has ended meanwhile, its end is told now.
func (m *member) returnLocked(c *conn, reason CloseReason, why string) {
	m.inFlight--
	c.active--
	c.used--
	if c.state == gone && c.closing == "" {
		c.closing, c.because = reason, why
		c.tellLocked(time.Now())
	}
}

// refused ends the lease of a connection that takes no reservation: it is
// about to end, or, HTTP/2, full or going away, which its hook will tell.
func (m *member) refused(c *conn) {
	if !c.http2 {
		m.discard(c, ClosedIdlePeer, "the peer closed it when it was to be used")
		return
	}
	m.mu.Lock()
	m.returnLocked(c, ClosedGoAway, "the peer sent GOAWAY")
	if c.used == 0 && c.active == 0 { // it may allow no stream at all: do not dial again at once
		m.backOffLocked(errNoStreams, time.Now())
	}
	m.unlock()
	m.stall(c)
}

// stall is told that the peer of an HTTP/2 connection allows fewer streams than
// it had; its hook tells when there is room again.
func (m *member) stall(c *conn) {
	m.mu.Lock()
	c.stalled = true
	m.unlock()
	c.changed() // it may have become free before it was called stalled
}

// answered is told of a connection's first response: only now its dial was
// worth it, and an HTTP/2 peer has sent its SETTINGS (RFC 9113 §3.4).
func (m *member) answered(c *conn) {
	free, inFlight := c.cc.Available(), c.cc.InFlight()
	now := time.Now()
	m.mu.Lock()
	defer m.unlock()
	if !c.how.at.Before(m.failedAt) {
		m.fails = 0
	}
	c.settled = true
	if c.http2 && free > 0 {
		c.learnLimitLocked(free+inFlight, now)
	}
	m.serveLocked(now)
}

// abandon is told that the caller closes a response before its end, which over
// HTTP/1.1 costs the connection.
func (m *member) abandon(c *conn) {
	m.mu.Lock()
	defer m.unlock()
	if c.state == gone {
		return
	}
	m.forgetLocked(c)
	c.state = draining
	c.closing, c.because = ClosedClientAbort, "the caller left before the response's end"
}

// lastOf is told that the response under way is the connection's last.
func (m *member) lastOf(c *conn) {
	m.mu.Lock()
	defer m.unlock()
	m.drainLocked(c, ClosedByResponse, "the response said so")
}

// upgrade is told that the connection speaks another protocol from now on.
func (m *member) upgrade(c *conn) {
	m.mu.Lock()
	defer m.unlock()
	if c.state == gone {
		return
	}
	m.forgetLocked(c)
	c.state = upgraded
}

// closeLocked ends a connection, with its requests if it has any.
func (m *member) closeLocked(c *conn, reason CloseReason, why string) {
	if c.state == gone || slices.Contains(m.trash, c) {
		return
	}
	c.closing, c.because = reason, why
	m.forgetLocked(c)
	if c.state != upgraded {
		c.state = draining
	}
	m.trash = append(m.trash, c)
}

// drainLocked ends a connection when its requests are over.
func (m *member) drainLocked(c *conn, reason CloseReason, why string) {
	if c.active == 0 && c.state != upgraded {
		m.closeLocked(c, reason, why)
		return
	}
	if c.state == usable {
		c.closing, c.because = reason, why
		m.forgetLocked(c)
		c.state = draining
	}
}

// forgetLocked takes a connection from where takeLocked looks.
func (m *member) forgetLocked(c *conn) {
	if i := slices.Index(m.idle, c); i >= 0 {
		m.idle = slices.Delete(m.idle, i, i+1)
	}
	if i := slices.Index(m.multi, c); i >= 0 {
		m.multi = slices.Delete(m.multi, i, i+1)
	}
	if m.probing == c {
		m.probing = nil
	}
	if c.state == usable || c.state == probe {
		m.open--
		if c.spare {
			m.spare--
		}
		if !c.http2 && c.active > 0 {
			c.ends = true
			m.ending++
		}
	}
}
