package deliver

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// pulse interrupts a session's wait for events: when a heartbeat is due, or
// when somebody has something else for it to do. It owns no goroutine.
type pulse struct {
	parent   context.Context
	interval time.Duration
	due      time.Time // of the next heartbeat

	mu     sync.Mutex
	ctx    context.Context
	cancel context.CancelFunc
}

func newPulse(parent context.Context, interval time.Duration) *pulse {
	p := &pulse{parent: parent, interval: interval}
	p.put(time.Now())
	return p
}

// put sets the next heartbeat an interval, give or take a tenth, from now.
func (p *pulse) put(now time.Time) {
	tenth := p.interval / 10
	p.due = now.Add(p.interval - tenth + rand.N(2*tenth+1))
}

// wait returns a context to wait under. The session's loop asks for it before
// it looks whether there is anything to do, so that no wake is lost.
func (p *pulse) wait() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx == nil || p.ctx.Err() != nil {
		if p.cancel != nil {
			p.cancel()
		}
		p.ctx, p.cancel = context.WithDeadline(p.parent, p.due)
	}
	return p.ctx
}

// beat reports whether a heartbeat is due.
func (p *pulse) beat() bool { return !time.Now().Before(p.due) }

// wake ends the present wait.
func (p *pulse) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
	}
}

// stop releases the timer.
func (p *pulse) stop() { p.wake() }
