package grpcpool

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// waiter is a call that waits for its turn. Who takes it from the queue, under
// the pool's mutex, sends the channel it got, or closes turn with the pool.
type waiter struct {
	turn chan *channel // holds one
}

// acquire gives a call its place on a channel, or has it wait for one. What it
// returns must be released.
func (p *Pool) acquire(ctx context.Context) (*channel, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	p.counts.calls++
	if p.waiters.Len() == 0 { // else there is no room, and nobody overtakes
		if c := p.takeLocked(); c != nil {
			p.mu.Unlock()
			return c, nil
		}
	}
	if p.waiters.Len() >= p.cfg.WaitLimit {
		p.counts.refused++
		full, waiting := p.load, p.waiters.Len()
		p.mu.Unlock()
		return nil, status.Errorf(codes.ResourceExhausted,
			"grpcpool: %d calls are in flight and %d wait; MaxChannels and WaitLimit say how many may", full, waiting)
	}
	w := &waiter{turn: make(chan *channel, 1)}
	place := p.waiters.PushBack(w)
	p.counts.waits++
	if _, spare := p.bestLocked(); spare < p.waiters.Len() {
		_ = p.growLocked() // or those that wait have what there is
	}
	p.mu.Unlock()

	since := time.Now()
	var c *channel
	open := true
	select {
	case c, open = <-w.turn:
	case <-ctx.Done():
	}
	waited := time.Since(since)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.waited += waited
	p.counts.longest = max(p.counts.longest, waited)
	if c != nil {
		return c, nil
	}
	if !open {
		return nil, errClosed
	}
	p.counts.gaveUp++
	p.waiters.Remove(place)
	select {
	case c = <-w.turn: // came as the context ended
		if c != nil {
			p.releaseLocked(c)
		}
	default:
	}
	return nil, status.FromContextError(ctx.Err()).Err()
}

// takeLocked gives a call the best place there is, nil if there is none. It
// opens another channel when those there are begin to be full.
func (p *Pool) takeLocked() *channel {
	best, spare := p.bestLocked()
	if spare == 0 {
		if err := p.growLocked(); err == nil && best == nil {
			best, _ = p.bestLocked()
		}
	}
	if best == nil {
		return nil
	}
	best.load++
	best.calls++
	p.load++
	p.peak = max(p.peak, p.load)
	return best
}

// bestLocked returns the channel with the fewest calls among those that are
// connected and have room, or else among those that a call connects. One that is still
// connecting takes calls only if none is connected, and one that cannot only if none
// can: a call had better wait for another than fail with it. spare is how many more
// calls all may have, those included that are connecting, until another is opened.
func (p *Pool) bestLocked() (best *channel, spare int) {
	first := unreachable
	for _, c := range p.channels {
		if !c.retiring {
			first = min(first, rankOf(c.state))
		}
	}
	rank, worst := unreachable, unreachable
	switch {
	case first == connected && p.cfg.WaitLimit > 0:
		worst = idle
	case first < unreachable:
		worst = connecting
	}
	for _, c := range p.channels {
		r := rankOf(c.state)
		if c.retiring || r == unreachable && first < unreachable || c.load >= c.capacity() {
			continue
		}
		spare += max(0, c.ample()-c.load)
		if r <= worst && (best == nil || r < rank || r == rank && c.load < best.load) {
			best, rank = c, r
		}
	}
	return best, spare
}

// What a call may expect of a channel, the best first.
const (
	connected = iota
	idle      // it was connected, and is again when it has a call
	connecting
	unreachable
)

// rankOf says what a call may expect of a channel in the state.
func rankOf(s connectivity.State) int {
	switch s {
	case connectivity.Ready:
		return connected
	case connectivity.Idle:
		return idle
	case connectivity.TransientFailure, connectivity.Shutdown:
		return unreachable
	default:
		return connecting
	}
}

// growLocked opens another channel if there may be one, first of all one that
// was to be closed; but none while one of those there cannot connect: another
// would hardly do better, and would take calls with it that can wait.
func (p *Pool) growLocked() error {
	if slices.ContainsFunc(p.channels, func(c *channel) bool { return !c.retiring && rankOf(c.state) == unreachable }) {
		return nil
	}
	for _, c := range p.channels {
		if c.retiring && c.load > 0 && rankOf(c.state) < unreachable {
			c.retiring = false
			return nil
		}
	}
	if p.closed || len(p.channels) >= p.cfg.MaxChannels {
		return nil
	}
	return p.openLocked()
}

// release ends a call's place. err is how the call ended.
func (p *Pool) release(c *channel, err error) {
	broken := status.Code(err) == codes.Unavailable
	p.mu.Lock()
	defer p.mu.Unlock()
	if broken {
		c.explainLocked(status.Convert(err).Message())
	}
	p.releaseLocked(c)
}

func (p *Pool) releaseLocked(c *channel) {
	c.load--
	p.load--
	if c.retiring && c.load == 0 {
		c.cancel()
	}
	p.grantLocked()
}

// grantLocked lets those who wait have what room there is.
func (p *Pool) grantLocked() {
	for e := p.waiters.Front(); e != nil; e = p.waiters.Front() {
		c := p.takeLocked()
		if c == nil {
			return
		}
		p.waiters.Remove(e)
		e.Value.(*waiter).turn <- c
	}
}

// shrink has the channels closed that were not needed since it looked last.
// Since calls go where the fewest are, a surplus channel is not one without
// calls: it is one without which there was still ample room.
func (p *Pool) shrink() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var active []*channel
	room := 0
	for _, c := range p.channels {
		if !c.retiring {
			active = append(active, c)
			room += c.ample()
		}
	}
	for len(active) > p.cfg.MinChannels {
		least := 0
		for i, c := range active {
			if c.load <= active[least].load { // of equals the youngest
				least = i
			}
		}
		c := active[least]
		if room -= c.ample(); p.peak > room {
			break
		}
		active = append(active[:least], active[least+1:]...)
		c.retiring = true
		if c.load == 0 {
			c.cancel()
		}
	}
	p.peak = p.load
}
