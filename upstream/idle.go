package upstream

import (
	"fmt"
	"slices"
	"time"
)

// maintain does what is due: it closes what was idle or used for too long,
// tries to connect again, and keeps MinIdle. It runs on the timer's goroutine.
func (m *member) maintain() {
	if !m.pool.enter() {
		return
	}
	defer m.pool.work.Done()
	m.mu.Lock()
	m.wakes = time.Time{}
	now := time.Now()
	m.bringBackLocked(now)
	m.expireLocked(now)
	var unsettled []*conn
	for _, c := range m.multi {
		if !c.settled {
			unsettled = append(unsettled, c)
		}
	}
	m.serveLocked(now)
	m.unlock()
	for _, c := range unsettled {
		c.changed()
	}
}

// wakeLocked has maintain run at t, or earlier if that was asked for.
func (m *member) wakeLocked(t time.Time) {
	if m.removed || !m.wakes.IsZero() && !t.Before(m.wakes) {
		return
	}
	m.wakes = t
	if d := time.Until(t); m.timer == nil {
		m.timer = time.AfterFunc(d, m.maintain)
	} else {
		m.timer.Reset(d)
	}
}

// withinLocked returns how long an idle connection may be used. Who waits for a
// new one must get it, however impatient the peer is.
func (m *member) withinLocked(c *conn) time.Duration {
	switch {
	case c.used > 0:
		return m.patience.within(c.most)
	case m.patience.unknown(): // kept ready, by MinIdle: there is no last answer whose end the peer counts from
		return c.most
	}
	return max(m.patience.within(c.most), noTimer)
}

// expireLocked closes what has been idle for longer than it may be used
// again, but for one connection that shows when the peer closes it. Before its
// first request a connection shows nothing: peers have another timer for it.
func (m *member) expireLocked(now time.Time) {
	most := m.pool.cfg.Connections.IdleTimeout
	for _, c := range slices.Clone(m.idle) {
		idle, within := now.Sub(c.since), m.withinLocked(c)
		switch {
		case c.worn(now):
			m.wearLocked(c, now)
		case idle < within:
			m.wakeLocked(c.since.Add(within))
		case m.probing == nil && c.used > 0 && idle < most && !m.out:
			m.idle = slices.DeleteFunc(m.idle, func(other *conn) bool { return other == c })
			c.state = probe
			m.probing = c
		default:
			m.closeLocked(c, ClosedIdleLocal, fmt.Sprintf("idle for %s; the endpoint's connections are used again within %s", round(idle), round(within)))
		}
	}
	if c := m.probing; c != nil {
		if idle := now.Sub(c.since); idle >= most {
			m.patience.survived(idle)
			m.closeLocked(c, ClosedIdleLocal, fmt.Sprintf("idle for %s, and the peer had not closed it", round(idle)))
		} else {
			m.wakeLocked(c.since.Add(most))
		}
	}
	m.expireMultiLocked(now)
}

func (m *member) expireMultiLocked(now time.Time) {
	for _, c := range slices.Backward(m.multi) { // which loses what is closed
		switch {
		case c.worn(now):
			m.wearLocked(c, now)
		case c.active > 0:
		case now.Sub(c.since) >= c.most:
			m.closeLocked(c, ClosedIdleLocal, fmt.Sprintf("idle for %s", round(now.Sub(c.since))))
		default:
			m.wakeLocked(c.since.Add(c.most))
		}
	}
}

// wearLocked ends a connection that has reached its age or number of requests.
func (m *member) wearLocked(c *conn, now time.Time) {
	if c.last > 0 && c.used >= c.last {
		m.drainLocked(c, ClosedRequests, fmt.Sprintf("it has carried %d requests", c.used))
		return
	}
	m.drainLocked(c, ClosedAge, "it is "+round(now.Sub(c.how.at)).String()+" old")
}

// closed is told that a connection's socket is closed: by us, or by net/http
// when the peer closed or the connection broke. It runs under locks of
// net/http's, and so calls nothing of it.
func (c *conn) closed() {
	m := c.m
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.state == gone {
		return
	}
	was := c.state
	m.forgetLocked(c)
	if c.ends {
		c.ends = false
		m.ending--
	}
	c.state = gone
	delete(m.conns, c)
	if was == unready {
		return
	}
	m.wakeLocked(now) // the oldest waiter may have counted on it
	switch {
	case c.closing != "":
	case was == upgraded:
		c.closing, c.because = ClosedUpgrade, "the other protocol's connection is over"
	case c.active > 0 && !(c.http2 && c.socket.byPeer):
		return // why, the end of the lease tells
	case c.active > 0:
		c.closing, c.because = ClosedError, "it broke under its requests"
	case c.http2 && !c.socket.byPeer && now.Sub(c.since) < time.Second: // for want of pings it takes longer
		c.closing, c.because = ClosedGoAway, lastOver
	default:
		c.closing = ClosedIdlePeer
		c.because = m.peerClosedLocked(c, now)
		m.stillbornLocked(c, now)
	}
	c.tellLocked(now)
}

// lastOver is why net/http closes an HTTP/2 connection of its own accord.
const lastOver = "the peer sent GOAWAY, and the last request is over"

// endedBy tells why a connection that the pool has not closed is of no use after
// its last request.
func (c *conn) endedBy(how result) (CloseReason, string) {
	switch {
	case how == abandoned:
		return ClosedClientAbort, "the caller left before the response's end"
	case how == failed:
		return ClosedError, "it broke under a request"
	case how == raced:
		return ClosedStale, "the peer closed it when it was used again"
	case c.http2:
		return ClosedGoAway, lastOver
	}
	return ClosedByResponse, "it ended with the response"
}

// tellLocked counts and tells that a connection is closed, and why.
func (c *conn) tellLocked(now time.Time) {
	p, age := c.m.pool, now.Sub(c.how.at)
	p.counts.closed(c.closing)
	p.ageAtClose.observe(age.Seconds())
	p.usedAtClose.observe(float64(c.used))
	p.events.add(Event{
		Kind: "closed", Endpoint: c.m.key, Conn: c.id, Reason: string(c.closing),
		Why: fmt.Sprintf("%s; %d requests in %s", c.because, c.used, round(age)),
	})
}

// peerClosedLocked learns from the peer's close of an idle connection.
func (m *member) peerClosedLocked(c *conn, now time.Time) string {
	if c.http2 || c.used == 0 {
		return "the peer closed it"
	}
	idle := now.Sub(c.since)
	m.patience.closed(now, idle)
	return fmt.Sprintf("the peer closed it after %s idle; used again within %s from now on",
		round(idle), round(m.patience.within(m.pool.cfg.Connections.IdleTimeout)))
}

// round shortens a duration for people.
func round(d time.Duration) time.Duration {
	switch {
	case d > time.Minute:
		return d.Round(time.Second)
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
