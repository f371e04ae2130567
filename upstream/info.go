package upstream

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// counts are a pool's counters; the maps have fixed keys.
type counts struct {
	requests, failed, attempts, reused atomic.Uint64

	dials, closes, retries, refusals map[string]*atomic.Uint64
}

func (c *counts) init() {
	c.dials = counters("ok", "refused", "timeout", "tls", "other")
	c.closes = counters(string(ClosedIdleLocal), string(ClosedIdlePeer), string(ClosedStale), string(ClosedAge), string(ClosedRequests), string(ClosedByResponse),
		string(ClosedGoAway), string(ClosedError), string(ClosedClientAbort), string(ClosedUnhealthy), string(ClosedDrain), string(ClosedUpgrade))
	c.retries = counters("unsent", "refused_stream", "idempotent", "key", "proven")
	c.refusals = counters("queue_full", "too_late", "dial", "closed", "no_endpoint", "budget")
}

func counters(keys ...string) map[string]*atomic.Uint64 {
	m := make(map[string]*atomic.Uint64, len(keys))
	for _, k := range keys {
		m[k] = new(atomic.Uint64)
	}
	return m
}

func values(m map[string]*atomic.Uint64) map[string]uint64 {
	out := make(map[string]uint64, len(m))
	for k, v := range m {
		out[k] = v.Load()
	}
	return out
}

func (c *counts) dialed(result string)      { c.dials[result].Add(1) }
func (c *counts) closed(reason CloseReason) { c.closes[string(reason)].Add(1) }
func (c *counts) retried(class retryClass)  { c.retries[string(class)].Add(1) }
func (c *counts) refused(reason string)     { c.refusals[reason].Add(1) }

// Snapshot returns the pool's state.
func (p *Pool) Snapshot() Snapshot {
	now := time.Now()
	s := Snapshot{
		Name: p.cfg.Name, Balance: p.cfg.Balance.String(), Panic: p.panicked.Load(),
		Requests: p.counts.requests.Load(), Failed: p.counts.failed.Load(), Attempts: p.counts.attempts.Load(), Reused: p.counts.reused.Load(),
		Dials: values(p.counts.dials), Closes: values(p.counts.closes), Retries: values(p.counts.retries), Refusals: values(p.counts.refusals),
		Wait: p.waits.snapshot(), DNS: p.dns.snapshot(), Connect: p.connect.snapshot(), TLS: p.tls.snapshot(),
		FirstByte: p.firstByte.snapshot(), AgeAtClose: p.ageAtClose.snapshot(), UsedAtClose: p.usedAtClose.snapshot(),
		Duplicates: p.siblings.further(),
	}
	open, perConn, upgrades := 0, 1, 0
	for _, m := range p.everyone() {
		e := m.snapshot(now)
		if e.State == "draining" && e.Active+e.Draining+e.InFlight == 0 {
			continue
		}
		open += e.Idle + e.Active
		streams, spare := m.perConn()
		perConn = max(perConn, streams)
		upgrades += spare
		s.Endpoints = append(s.Endpoints, e)
	}
	p.sweep()
	p.mu.Lock()
	s.ResolveError = strings.Join(slices.Sorted(maps.Values(p.resolveErr)), "; ")
	n := len(*p.members.Load())
	p.mu.Unlock()
	each := p.cfg.Connections.Max
	if most := p.cfg.Connections.MaxInFlight; most > 0 && perConn == 1 {
		each = min(each, most)
	}
	s.Suggest = p.meter.suggest(now, open-upgrades, max(0, n*each-upgrades), perConn)
	return s
}

func (m *member) snapshot(now time.Time) EndpointSnapshot {
	well, out := m.health.Load(), m.record.isOut(now)
	most := m.pool.cfg.Connections.IdleTimeout
	m.mu.Lock()
	defer m.mu.Unlock()
	e := EndpointSnapshot{
		Endpoint: m.endpoint.String(), Address: m.endpoint.Address, State: "ok",
		Max: m.pool.cfg.Connections.Max, Dialing: m.dialing, InFlight: m.inFlight, Waiting: m.waitingLocked(),
		Requests: m.requests.Load(), Failures: m.failures.Load(),
		LearnedIdle: m.patience.learned().Seconds(), ReuseWithin: m.patience.within(most).Seconds(),
		Latency: m.latency().Seconds(), FailureRate: m.failureRate(), Share: m.share(now, m.pool.cfg.Balance.SlowStart),
	}
	for c := range m.conns {
		switch {
		case c.state == draining:
			e.Draining++
		case c.active > 0:
			e.Active++
		default:
			e.Idle++
		}
	}
	switch {
	case m.removed:
		e.State, e.Why = "draining", "it is no longer an endpoint"
	case well != nil:
		e.State, e.Why = "unhealthy", *well
	case out:
		e.State, e.Why = "ejected", m.outWhy
	case m.dialErr != nil:
		e.State, e.Why = "backoff", plainText(m.dialErr)
	}
	return e
}

// perConn is how many requests a connection carries at once, and how many
// connections are for upgrades, of which each needs its own.
func (m *member) perConn() (most, spare int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	most = 1
	for _, c := range m.multi {
		most = max(most, c.limit)
	}
	if m.upgrader != nil {
		for c := range m.conns {
			if c.spare && c.state != draining {
				spare++
			}
		}
	}
	return most, spare
}

// Connections returns the connections there are, by endpoint and age, at most
// limit of them.
func (p *Pool) Connections(limit int) []ConnectionInfo {
	var all []ConnectionInfo
	now := time.Now()
	limit = max(limit, 0)
	for _, m := range p.everyone() {
		m.mu.Lock()
		from := len(all)
		for c := range m.conns {
			all = append(all, c.infoLocked(now))
		}
		m.mu.Unlock()
		slices.SortFunc(all[from:], func(a, b ConnectionInfo) int { return cmp.Compare(a.ID, b.ID) })
		if len(all) >= limit {
			return all[:limit]
		}
	}
	return all
}

func (c *conn) infoLocked(now time.Time) ConnectionInfo {
	i := ConnectionInfo{
		ID: c.id, Endpoint: c.m.key, Local: c.socket.LocalAddr().String(), Remote: c.socket.RemoteAddr().String(),
		Protocol: "HTTP/1.1", TLS: c.how.version, Resumed: c.how.resumed,
		Opened: c.how.at, Why: c.how.why, Requests: c.used, InFlight: c.active,
		DNS: c.how.dns.Seconds(), Connect: c.how.connect.Seconds(), Shake: c.how.tls.Seconds(),
	}
	i.Read, i.Written = c.socket.bytes()
	if c.http2 {
		i.Protocol, i.Streams = "HTTP/2.0", c.limit
	}
	if c.active == 0 {
		i.Idle = now.Sub(c.since).Seconds()
	}
	switch {
	case c.state == probe:
		i.State = "probe"
	case c.state == draining:
		i.State = "draining"
	case c.state == upgraded:
		i.State = "upgraded"
	case c.active > 0:
		i.State = "active"
	default:
		i.State = "idle"
	}
	return i
}

// Events returns what has happened after the event of number after, of the
// last 256, and a channel that is closed when more does.
func (p *Pool) Events(after uint64) ([]Event, <-chan struct{}) { return p.events.since(after) }
