package grpcpool

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
)

// channel is one channel of a pool: for each address of the target it has a
// connection of its own. The pool's mutex guards what changes.
type channel struct {
	pool   *Pool
	id     uint64
	conn   *grpc.ClientConn
	ctx    context.Context
	cancel context.CancelFunc // has the channel closed
	opened time.Time

	load     int // calls in flight
	calls    uint64
	ready    int // connections; 0 if another balancing policy does not tell
	retiring bool
	state    connectivity.State
	since    time.Time // of the state
	reason   string    // why something broke, the last time
	reasonAt time.Time
	resolver resolver.Resolver // nil while nothing is resolved
}

// openLocked adds a channel, which begins to connect.
func (p *Pool) openLocked() error {
	c := &channel{pool: p, id: p.counts.opened + 1, opened: time.Now()}
	c.since, c.state = c.opened, connectivity.Connecting // as watch has it do
	c.ctx, c.cancel = context.WithCancel(p.ctx)
	// This does no I/O and calls nobody back: it only reads its options.
	conn, err := grpc.NewClient(p.target, append([]grpc.DialOption{grpc.WithResolvers(&watchedBuilder{p.resolver, c})}, p.options...)...)
	if err != nil {
		c.cancel()
		return err
	}
	c.conn = conn
	p.counts.opened++
	p.channels = append(p.channels, c)
	p.wg.Go(c.watch)
	return nil
}

// watch follows the state of the channel until it is to be closed, and closes
// it.
func (c *channel) watch() {
	c.conn.Connect()
	for {
		state := c.conn.GetState()
		c.pool.mu.Lock()
		c.state, c.since = state, time.Now()
		c.pool.grantLocked() // another may be opened now
		c.pool.mu.Unlock()
		if !c.conn.WaitForStateChange(c.ctx, state) {
			break
		}
	}
	c.pool.mu.Lock()
	c.pool.channels = slices.DeleteFunc(c.pool.channels, func(o *channel) bool { return o == c })
	c.pool.counts.closed++
	c.pool.grantLocked() // there is a place for another
	c.pool.mu.Unlock()
	_ = c.conn.Close() // fails only if it is closed
	c.cancel()
}

// capacity is how many calls the channel may carry.
func (c *channel) capacity() int { return max(1, c.ready) * c.pool.cfg.StreamsPerConnection }

// ample is how many calls the channel carries before another is opened: fewer than
// its capacity, so that the other is there when it is needed.
func (c *channel) ample() int { return max(1, 8*c.capacity()/10) }

// explainLocked keeps why something broke.
func (c *channel) explainLocked(reason string) {
	const longest = 512 // bytes; what comes from a peer may be long
	c.reason, c.reasonAt = reason[:min(len(reason), longest)], time.Now()
}

// explain is explainLocked for the balancer and the resolver.
func (c *channel) explain(reason string) {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	c.explainLocked(reason)
}

// connected tells how many connections the channel has now.
func (c *channel) connected(ready int) {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if c.ready != ready {
		c.ready = ready
		c.pool.grantLocked()
	}
}
