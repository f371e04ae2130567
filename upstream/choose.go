package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"
)

// newMember returns the member of an endpoint; it does nothing yet.
func (p *Pool) newMember(e Endpoint) *member {
	m := &member{
		pool: p, endpoint: e, record: p.outliers.add(), conns: make(map[*conn]struct{}),
		http2: e.Scheme == "h2c",
	}
	m.key = e.String()
	if e.Address != "" {
		m.key += " (" + e.Address + ")"
	}
	m.transport = newTransport(e, &p.cfg)
	if e.Scheme == "https" || e.Scheme == "h2c" {
		m.upgrader = newUpgrader(e, &p.cfg)
	}
	return m
}

// manyEndpoints is how many are chosen from without memory of its own.
const manyEndpoints = 16

// pick returns the member to try next, and how many are left besides; nil if
// none is. Those that are out, by their checks or as outliers, get nothing,
// unless fewer than a third are left: then the rest would fail next.
func (p *Pool) pick(r *request, now time.Time) (*member, int) {
	members := *p.members.Load()
	var space [manyEndpoints]*load
	from := space[:0]
	up := 0
	for _, m := range members {
		if m.isUp(now) {
			up++
		}
	}
	panics := up*3 < len(members)
	if p.panicked.Load() != panics {
		p.panicChanged(panics, up, len(members))
	}
	// The first pass that finds somebody decides: untried and, as far as is
	// known, to be connected to; untried; to be connected to; anybody.
	for pass := range 4 {
		for _, m := range members {
			if !panics && !m.isUp(now) || slices.Contains(r.barred, m) ||
				pass < 2 && slices.Contains(r.tried, m) || pass%2 == 0 && m.avoid.Load() > now.UnixNano() {
				continue
			}
			from = append(from, &m.load)
		}
		if len(from) > 0 {
			break
		}
	}
	if len(from) == 0 {
		return nil, 0
	}
	chosen := p.balance.pick(r.in, from, now)
	for _, m := range members {
		if &m.load == chosen {
			return m, len(from) - 1
		}
	}
	return nil, 0
}

func (p *Pool) panicChanged(panics bool, up, of int) {
	if p.panicked.Swap(panics) == panics {
		return
	}
	if panics {
		p.tell(slog.LevelWarn, Event{Kind: "panic", Reason: "began", Why: fmt.Sprintf("only %d of %d endpoints are well: all are used", up, of)})
		return
	}
	p.tell(slog.LevelInfo, Event{Kind: "panic", Reason: "ended", Why: fmt.Sprintf("%d of %d endpoints are well", up, of)})
}

// tell notes an event that an operator should find in the log too.
func (p *Pool) tell(level slog.Level, e Event) {
	p.events.add(e)
	p.cfg.Logger.LogAttrs(context.Background(), level, "upstream: "+e.Kind,
		slog.String("pool", p.cfg.Name), slog.String("endpoint", e.Endpoint), slog.String("why", e.Why))
}

// isUp reports whether the endpoint is neither unhealthy nor an outlier.
func (m *member) isUp(now time.Time) bool {
	return m.health.Load() == nil && !m.record.isOut(now)
}

// judge notes how an attempt went, and takes the endpoint out if that was one
// failure too many.
func (m *member) judge(now time.Time, failed bool) {
	if failed {
		m.failures.Add(1)
		m.pool.askAgain()
	}
	out, until, why := m.record.observe(now, failed)
	if !out {
		return
	}
	m.pool.tell(slog.LevelWarn, Event{Kind: "ejected", Endpoint: m.key, Why: fmt.Sprintf("%s; out for %s", why, round(until.Sub(now)))})
	m.takeOut(why, until)
}

// checked is told that the health checks changed their mind.
func (m *member) checked(well bool, why string) {
	if well {
		m.health.Store(nil)
		m.pool.tell(slog.LevelInfo, Event{Kind: "healthy", Endpoint: m.key, Why: why})
		m.mu.Lock()
		m.bringBackLocked(time.Now())
		m.wantLocked(time.Now())
		m.unlock()
		return
	}
	m.health.Store(&why)
	m.pool.tell(slog.LevelWarn, Event{Kind: "unhealthy", Endpoint: m.key, Why: why})
	m.takeOut(why, time.Time{})
}

// takeOut closes the connections of an endpoint that gets no requests until
// its checks find it well, or until the time given; responses under way go on.
func (m *member) takeOut(why string, until time.Time) {
	m.mu.Lock()
	defer m.unlock()
	m.out = true
	if until.After(m.outUntil) {
		m.outUntil, m.outWhy = until, why
		m.wakeLocked(until)
	}
	m.drainAllLocked(ClosedUnhealthy, "its endpoint was taken out: "+why)
	m.failLocked(&unavailable{reason: takenOut, text: "the endpoint was taken out: " + why})
}

// bringBackLocked gives an endpoint requests again, slowly at first, if nothing
// keeps it out any more.
func (m *member) bringBackLocked(now time.Time) {
	switch {
	case !m.out || m.removed || m.health.Load() != nil:
		return
	case now.Before(m.outUntil):
		m.wakeLocked(m.outUntil)
		return
	}
	m.out = false
	m.fails, m.notUntil = 0, time.Time{}
	m.avoid.Store(0)
	m.startSlowly(now)
	m.pool.events.add(Event{Kind: "returned", Endpoint: m.key, Why: "it gets requests again, slowly at first"})
}

// remove ends the connections of what is no endpoint any more, each with its
// requests.
func (m *member) remove(reason CloseReason, why string) {
	m.mu.Lock()
	m.removed, m.out = true, true
	leave := m.leave
	m.drainAllLocked(reason, why)
	m.failLocked(&unavailable{reason: "no_endpoint", text: why})
	m.stopTimerLocked()
	m.unlock()
	if leave != nil {
		leave()
	}
}

// close ends the connections with their requests.
func (m *member) close() {
	m.mu.Lock()
	defer m.unlock()
	m.removed, m.out = true, true
	for c := range m.conns {
		m.closeLocked(c, ClosedDrain, "the pool was closed")
	}
	m.failLocked(&unavailable{reason: "closed", text: "the pool was closed"})
	m.stopTimerLocked()
}

func (m *member) stopTimerLocked() {
	if m.timer != nil {
		m.timer.Stop()
	}
}

func (m *member) drainAllLocked(reason CloseReason, why string) {
	for c := range m.conns {
		m.drainLocked(c, reason, why)
	}
}

func (m *member) closeIdleLocked(reason CloseReason, why string) {
	for c := range m.conns {
		if c.active == 0 && (c.state == usable || c.state == probe) {
			m.closeLocked(c, reason, why)
		}
	}
}

// stale is told that the peer had closed a connection that was idle for so
// long: those that have been idle for longer are closed too.
func (m *member) stale(idle time.Duration, now time.Time) {
	m.mu.Lock()
	defer m.unlock()
	m.patience.closed(now, idle)
	for len(m.idle) > 0 && now.Sub(m.idle[0].since) >= idle {
		m.closeLocked(m.idle[0], ClosedIdleLocal, fmt.Sprintf("another was closed by the peer after %s idle", round(idle)))
	}
}

// promised notes the Keep-Alive field of a response.
func (m *member) promised(field string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.patience.promised(field)
}

// dialRaw makes a raw connection for a check.
func (m *member) dialRaw(ctx context.Context) (net.Conn, error) {
	network, address := m.endpoint.dialed()
	return m.pool.cfg.Dial(ctx, network, address)
}
