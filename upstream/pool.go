package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is an [http.RoundTripper] over the endpoints of one upstream. It is
// safe for concurrent use.
//
// With Retry.KernelProof, and only on Linux, a request whose method is not
// idempotent is also sent again when the connection broke under it and the
// kernel shows that the peer's end had been closed before it received any of
// it: the peer's FIN had come, none of the request's bytes was acknowledged,
// and the answer to them was a reset.
type Pool struct {
	cfg      Config
	balance  *balancer
	outliers *outliers
	budget   *budget
	meter    meter
	events   ring
	counts   counts
	wrap     func(clientConn) clientConn // what the tests look through

	waits, dns, connect, tls, firstByte, ageAtClose, usedAtClose *histogram

	members                  atomic.Pointer[[]*member] // those that requests may go to
	panicked                 atomic.Bool
	lastConn                 atomic.Uint64
	lastRefused, lastRetried atomic.Int64   // events of the kind, see seldom
	work                     sync.WaitGroup // goroutines and timers' callbacks
	ctx                      context.Context
	cancel                   context.CancelFunc
	siblings                 *siblings

	mu         sync.Mutex
	closed     bool
	found      [][]Endpoint // by source; the first are the static ones
	all        map[Endpoint]*member
	gone       []*member       // no endpoints any more, with requests under way
	resolveErr map[int]string  // by source, of those that failed the last time
	asks       []chan struct{} // by source: resolve again
}

// New returns a Pool, which has begun to resolve its sources, to check its
// endpoints, and to keep MinIdle connections. Close it when it is no longer
// needed. The error says what of the configuration is wrong.
func New(cfg Config) (*Pool, error) {
	cfg = cfg.withDefaults()
	if len(cfg.Endpoints) == 0 && cfg.Resolver == nil {
		return nil, errors.New("upstream: there is no endpoint; name at least one, like http://127.0.0.1:9000")
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Dial == nil {
		cfg.Dial = defaultDial()
	}
	var static []Endpoint
	var sources []Resolver
	for _, s := range cfg.Endpoints {
		e, r, err := ParseSource(s)
		switch {
		case err != nil:
			return nil, err
		case r != nil:
			sources = append(sources, r)
		case slices.Contains(static, e):
			return nil, fmt.Errorf("upstream: endpoint: %s is there twice", e)
		default:
			static = append(static, e)
		}
	}
	if cfg.Resolver != nil {
		sources = append(sources, cfg.Resolver)
	}
	b, err := newBalancer(cfg.Balance)
	if err != nil {
		return nil, err
	}
	p := &Pool{
		cfg: cfg, balance: b, outliers: newOutliers(cfg.Outliers), budget: newBudget(cfg.Retry.Budget),
		wrap:  func(c clientConn) clientConn { return c },
		waits: newHistogram(secondBounds...), dns: newHistogram(secondBounds...), connect: newHistogram(secondBounds...),
		tls: newHistogram(secondBounds...), firstByte: newHistogram(secondBounds...),
		ageAtClose: newHistogram(ageBounds...), usedAtClose: newHistogram(requestBounds...),
		found: make([][]Endpoint, 1+len(sources)), all: make(map[Endpoint]*member), resolveErr: make(map[int]string),
	}
	p.counts.init()
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.siblings = enlist(&p.cfg)
	p.update(0, static)
	for i, r := range sources {
		ask := make(chan struct{}, 1)
		p.asks = append(p.asks, ask)
		p.work.Go(func() { p.resolve(r, 1+i, ask) })
	}
	return p, nil
}

// enter lets a goroutine or callback begin that Close waits for; it ends with
// p.work.Done. It reports whether the pool is open.
func (p *Pool) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.work.Add(1)
	return true
}

// again is how soon a source is asked again after an error, and soonest how
// soon at all.
const (
	again   = time.Second
	soonest = 100 * time.Millisecond
)

// resolve keeps the endpoints of one source up to date until the pool closes.
func (p *Pool) resolve(r Resolver, source int, ask <-chan struct{}) {
	for {
		endpoints, valid, err := r.Resolve(p.ctx)
		if p.ctx.Err() != nil {
			return
		}
		if err != nil {
			p.resolveFailed(source, err)
			valid = again
		} else {
			p.update(source, endpoints)
		}
		timer := time.NewTimer(max(valid, soonest))
		select {
		case <-p.ctx.Done():
		case <-timer.C:
		case <-ask:
			select { // not at once, however often it is asked
			case <-p.ctx.Done():
			case <-time.After(again):
			}
		}
		timer.Stop()
	}
}

func (p *Pool) resolveFailed(source int, err error) {
	p.mu.Lock()
	told := p.resolveErr[source] == err.Error()
	p.resolveErr[source] = err.Error()
	p.mu.Unlock()
	if !told {
		p.events.add(Event{Kind: "resolve_failed", Why: err.Error()})
	}
}

// askAgain has the sources resolved, since an endpoint could not be reached.
func (p *Pool) askAgain() {
	for _, ask := range p.asks {
		select {
		case ask <- struct{}{}:
		default:
		}
	}
}

// update takes the endpoints of a source over: new ones join, and those that
// no source names any more leave.
func (p *Pool) update(source int, endpoints []Endpoint) {
	var joined, left []*member
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	if source > 0 {
		delete(p.resolveErr, source)
	}
	p.found[source] = endpoints
	first := p.members.Load() == nil || len(*p.members.Load()) == 0
	members := make([]*member, 0, len(endpoints))
	wanted := make(map[Endpoint]bool)
	for _, e := range slices.Concat(p.found...) {
		if wanted[e] || len(wanted) == MaxEndpoints {
			continue
		}
		wanted[e] = true
		m := p.all[e]
		if m == nil {
			m = p.newMember(e)
			p.all[e] = m
			joined = append(joined, m)
		}
		members = append(members, m)
	}
	for e, m := range p.all {
		if !wanted[e] {
			delete(p.all, e)
			p.gone = append(p.gone, m)
			left = append(left, m)
		}
	}
	p.members.Store(&members)
	p.mu.Unlock()
	for _, m := range joined {
		p.join(m, source > 0, !first)
	}
	for _, m := range left {
		p.events.add(Event{Kind: "endpoint_removed", Endpoint: m.key, Why: "no source names it any more"})
		p.outliers.remove(m.record)
		m.remove(ClosedDrain, "it is no longer an endpoint")
	}
	p.sweep()
}

// join starts what a new member runs.
func (p *Pool) join(m *member, found, running bool) {
	if found {
		p.events.add(Event{Kind: "endpoint_added", Endpoint: m.key, Why: "a source names it"})
	}
	now := time.Now()
	if running {
		m.startSlowly(now)
	}
	if p.cfg.Health.Kind != "" && p.enter() {
		ctx, cancel := context.WithCancel(p.ctx)
		m.mu.Lock()
		m.leave = cancel
		removed := m.removed
		m.mu.Unlock()
		if removed {
			cancel()
		}
		check := &checker{cfg: p.cfg.Health, endpoint: m.endpoint, tls: p.cfg.TLS, dial: m.dialRaw, report: m.checked}
		go func() {
			defer p.work.Done()
			check.run(ctx)
		}()
	}
	m.mu.Lock()
	m.wantLocked(now)
	m.unlock()
}

// sweep forgets members that have left and have no connection any more.
func (p *Pool) sweep() {
	p.mu.Lock()
	left := slices.Clone(p.gone)
	p.mu.Unlock()
	left = slices.DeleteFunc(left, func(m *member) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.conns) > 0 || m.dialing > 0
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = slices.DeleteFunc(p.gone, func(m *member) bool { return slices.Contains(left, m) })
}

// Endpoints returns the endpoints there are now.
func (p *Pool) Endpoints() []Endpoint {
	members := *p.members.Load()
	all := make([]Endpoint, len(members))
	for i, m := range members {
		all[i] = m.endpoint
	}
	return all
}

// everyone returns the members, those that have left included.
func (p *Pool) everyone() []*member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Concat(*p.members.Load(), p.gone)
}

// Shutdown waits until no request is under way, their responses included, or
// ctx ends, and then closes the pool. Until then it is used as ever. It
// returns ctx's error if requests were cut off.
func (p *Pool) Shutdown(ctx context.Context) error {
	defer p.Close()
	p.siblings.leave()
	const pace = 50 * time.Millisecond
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for p.inFlight() > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("upstream: shutdown: requests were cut off: %w", context.Cause(ctx))
		case <-ticker.C:
		}
	}
	return nil
}

func (p *Pool) inFlight() (n int) {
	for _, m := range p.everyone() {
		m.mu.Lock()
		n += m.inFlight + m.waitingLocked()
		m.mu.Unlock()
	}
	return n
}

// Close closes every connection, those under requests too, ends the checks,
// and waits until all that the pool started has ended. Requests to a closed
// pool fail. It may be called again.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.siblings.leave()
	p.cancel()
	for _, m := range p.everyone() {
		m.close()
	}
	p.work.Wait()
	for _, m := range p.everyone() {
		m.close() // what a dial had made meanwhile
	}
}

// CloseIdleConnections closes the connections without a request, as
// [http.Client.CloseIdleConnections] asks.
func (p *Pool) CloseIdleConnections() {
	for _, m := range p.everyone() {
		m.mu.Lock()
		m.closeIdleLocked(ClosedDrain, "the program asked for it")
		m.unlock()
	}
}

var _ http.RoundTripper = (*Pool)(nil)
