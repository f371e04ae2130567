package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"syscall"
	"time"
)

var errNoStreams = errors.New("the endpoint allows no HTTP/2 stream")

// The pause after a dial that failed is doubled with each further one.
const (
	firstPause = 50 * time.Millisecond
	mostPause  = time.Second
)

// wantLocked dials as many connections as are wanted and allowed, for whoever
// has waited longest first.
func (m *member) wantLocked(now time.Time) {
	if m.removed {
		return
	}
	want := m.wantPlainLocked(now)
	upgrades := m.upgrades.Len() - m.shifting
	if want <= 0 && upgrades <= 0 {
		return
	}
	gate := m.pool.cfg.Connections.MaxDials - m.dialing
	if m.fails > 0 {
		if now.Before(m.notUntil) {
			m.wakeLocked(m.notUntil)
			return
		}
		gate = min(gate, 1-m.dialing)
	}
	if m.upgradeNextLocked() {
		gate -= m.dialManyLocked(min(upgrades, gate), true, now)
		upgrades = 0
	}
	gate -= m.dialManyLocked(min(want, gate), false, now)
	m.dialManyLocked(min(upgrades, gate), true, now)
}

// dialManyLocked dials so many connections, or as many as Max leaves, and
// returns their number.
func (m *member) dialManyLocked(want int, upgrade bool, now time.Time) int {
	limits := &m.pool.cfg.Connections
	room := limits.Max - m.open - m.ending - m.dialing
	for room < want && m.makeRoomLocked(upgrade) {
		room++
	}
	n := max(0, min(want, room))
	for range n {
		m.dialLocked(m.whyLocked(now, upgrade), upgrade)
	}
	return n
}

// wantPlainLocked is how many connections are wanted for others than upgrades.
func (m *member) wantPlainLocked(now time.Time) int {
	limits := &m.pool.cfg.Connections
	waiting := m.queue.Len()
	if most := limits.MaxInFlight; most > 0 {
		waiting = min(waiting, most-m.inFlight)
	}
	dialing := m.dialing - m.shifting
	gate := limits.MaxDials - m.dialing
	want, unsettled := waiting-dialing, false
	if m.http2 {
		full := len(m.multi) > 0
		for _, c := range m.multi {
			if !c.settled {
				gate-- // it may soon carry all who wait
				unsettled = true
			}
			full = full && c.settled && c.active*5 >= c.limit*4
		}
		if full {
			want = max(want, 1-dialing)
		}
	}
	if unsettled && waiting > 0 {
		m.wakeLocked(now.Add(settleAfter))
	}
	if timer := m.patience.learned(); !m.out && (timer == 0 || timer >= settleAfter) { // else it would dial without end
		want = max(want, limits.MinIdle-m.servingLocked()-dialing)
	}
	return min(want, gate)
}

func (m *member) whyLocked(now time.Time, upgrade bool) string {
	q := m.queueOf(upgrade)
	front := q.Front()
	if front == nil {
		if len(m.multi) > 0 {
			return "the others are four fifths full"
		}
		return fmt.Sprintf("to have %d ready", m.pool.cfg.Connections.MinIdle)
	}
	w, _ := front.Value.(*waiter)
	why := fmt.Sprintf("waiting for one: %d, the first for %s; %d open, %d idle", q.Len(), round(now.Sub(w.since)), m.open, len(m.idle))
	if upgrade {
		return "to be upgraded, which needs HTTP/1.1: " + why
	}
	return why
}

// dialLocked starts a dial, which belongs to the pool and not to a request.
func (m *member) dialLocked(why string, upgrade bool) {
	if !m.pool.enter() {
		return
	}
	m.dialing++
	if upgrade {
		m.shifting++
	}
	go m.dial(&conn{m: m, spare: upgrade, how: opening{why: why}}, m.bursts)
}

func (m *member) dial(c *conn, burst int) {
	p := m.pool
	defer p.work.Done()
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.Connections.DialTimeout)
	defer cancel()
	d := &dialing{c: c}
	trace := &httptrace.ClientTrace{
		DNSStart:          func(httptrace.DNSStartInfo) { d.asked = time.Now() },
		DNSDone:           func(httptrace.DNSDoneInfo) { d.c.how.dns = time.Since(d.asked) },
		TLSHandshakeStart: func() { d.shook = time.Now() },
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			d.inTLS = err != nil
			d.c.how.tls = time.Since(d.shook)
			d.c.how.version, d.c.how.resumed = tls.VersionName(s.Version), s.DidResume
			d.c.http2 = s.NegotiatedProtocol == "h2"
		},
	}
	ctx = context.WithValue(httptrace.WithClientTrace(ctx, trace), dialKey{}, d)
	cc, err := m.connect(ctx, c.spare)
	if err != nil {
		err = &unavailable{reason: "dial", text: "no connection", cause: err}
		if result := dialResult(err, d.inTLS); c.spare {
			m.upgradeFailed(err, result, burst)
		} else {
			m.dialFailed(err, result, burst)
		}
		return
	}
	d.c.cc = p.wrap(stdConn{cc})
	m.dialed(d)
}

// connect makes a connection that speaks HTTP.
func (m *member) connect(ctx context.Context, upgrade bool) (*http.ClientConn, error) {
	scheme := "http"
	if m.endpoint.Scheme == "https" {
		scheme = "https"
	}
	named := Endpoint{Scheme: m.endpoint.Scheme, Host: m.endpoint.Host} // whose certificate is wanted
	_, address := named.dialed()
	if upgrade {
		return m.upgrader.NewClientConn(ctx, scheme, address)
	}
	return m.transport.NewClientConn(ctx, scheme, address)
}

// dialFailed notes a dial's failure, and tells those who have nothing else to
// wait for. Those that were begun before another's failure was known fail for
// the same cause, and count as one.
func (m *member) dialFailed(err error, result string, burst int) {
	p := m.pool
	p.counts.dialed(result)
	p.events.add(Event{Kind: "dial_failed", Endpoint: m.key, Reason: result, Why: plainText(err)})
	now := time.Now()
	m.mu.Lock()
	m.dialing--
	first := burst == m.bursts
	if first {
		m.bursts++
		m.backOffLocked(err, now)
	}
	if result == "refused" {
		m.patience.died(now)
	}
	if m.servingLocked() == 0 && m.dialing == 0 {
		m.failLocked(err)
	}
	m.wantLocked(now)
	m.unlock()
	if first && p.ctx.Err() == nil {
		m.judge(now, true)
	}
}

func (m *member) backOffLocked(err error, now time.Time) {
	pause := min(mostPause, firstPause<<min(m.fails, 10))
	pause = pause/2 + rand.N(pause) // ±50 %: endpoints that died together are not asked together
	m.fails++
	m.failedAt = now
	m.dialErr = err
	m.notUntil = now.Add(pause)
	if m.servingLocked() == 0 {
		m.avoid.Store(m.notUntil.UnixNano())
	}
}

// stillbornLocked makes the next dial wait if a connection was closed as soon as
// it was made, as balancers do that have nobody behind them, and not by an idle
// timer. Who waits goes on: it may have been a restart.
func (m *member) stillbornLocked(c *conn, now time.Time) {
	age, timer := now.Sub(c.how.at), m.patience.learned()
	if c.used > 0 || age > settleAfter || timer > 0 && age >= timer*4/5 {
		return
	}
	m.backOffLocked(&unavailable{reason: "dial", text: "the connection was closed as soon as it was made"}, now)
}

// dialed puts a new connection to use.
func (m *member) dialed(d *dialing) {
	p, c := m.pool, d.c
	now := time.Now()
	c.id = p.lastConn.Add(1)
	c.http2 = c.http2 || m.endpoint.Scheme == "h2c" && !c.spare
	if c.http2 {
		c.socket.boundSilence()
	}
	c.how.connect = d.connected
	c.how.received, _ = c.socket.bytes()
	p.counts.dialed("ok")
	if d.c.how.dns > 0 {
		p.dns.observe(c.how.dns.Seconds())
	}
	p.connect.observe(c.how.connect.Seconds())
	if m.endpoint.Scheme == "https" {
		p.tls.observe(c.how.tls.Seconds())
	}
	p.events.add(Event{Kind: "opened", Endpoint: m.key, Conn: c.id, Why: c.how.why})
	limits := &p.cfg.Connections
	m.mu.Lock()
	m.dialing--
	if c.spare {
		m.shifting--
	} else {
		m.http2 = c.http2
	}
	c.how.at, c.since, c.limit = now, now, 1
	c.most = limits.IdleTimeout - rand.N(limits.IdleTimeout/10+1)
	if limits.MaxAge > 0 {
		c.expires = now.Add(jitter(limits.MaxAge))
	}
	if limits.MaxRequests > 0 {
		c.last = uint64(jitter(time.Duration(limits.MaxRequests)))
	}
	m.dialErr = nil
	m.avoid.Store(0)
	switch {
	case c.state == gone: // before it was ready
		m.stillbornLocked(c, now)
	case m.out && m.waitingLocked() == 0 && !p.panicked.Load():
		m.admitLocked(c)
		m.closeLocked(c, ClosedUnhealthy, "its endpoint was taken out meanwhile")
	default:
		m.admitLocked(c)
		if c.http2 {
			m.multi = append(m.multi, c)
		} else {
			m.idle = append(m.idle, c)
			m.wakeLocked(now.Add(m.withinLocked(c)))
		}
	}
	m.serveLocked(now)
	m.unlock()
	if c.http2 {
		c.cc.onChange(c.changed)
	}
}

func (m *member) admitLocked(c *conn) {
	c.state = usable
	m.conns[c] = struct{}{}
	m.open++
	if c.spare {
		m.spare++
	}
}

// jitter spreads a duration or number by ±10 %, so that what began together
// does not end together.
func jitter(d time.Duration) time.Duration {
	if d < 10 {
		return d
	}
	return d - d/10 + rand.N(d/5)
}

// dialResult is a dial's failure as a word; inTLS says that its handshake failed.
func dialResult(err error, inTLS bool) string {
	ne, ok := errors.AsType[net.Error](err)
	switch {
	case ok && ne.Timeout() || errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case inTLS:
		return "tls"
	}
	return "other"
}

// dialing is what a dial's callbacks fill in.
type dialing struct {
	c            *conn
	asked, shook time.Time
	connected    time.Duration // TCP or Unix, without DNS
	inTLS        bool          // the TLS handshake failed
}

type dialKey struct{}
