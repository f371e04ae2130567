package grpcpool

import (
	"math"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
)

// policyName is what the policy is called in a service config.
const policyName = "fairlead_round_robin"

func init() { //nolint:gochecknoinits // grpc-go's registry may be written only before main begins
	balancer.Register(policy{})
}

// policy is grpc-go's round_robin, of which the pool sees the connections, and
// which passes over those that are full.
type policy struct{}

// channelKey is where the resolver's state has the *channel.
type channelKey struct{}

// Name implements [balancer.Builder].
func (policy) Name() string { return policyName }

// Build implements [balancer.Builder].
func (policy) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	counted := &countedConn{ClientConn: cc}
	return &roundRobin{balancer.Get(roundrobin.Name).Build(counted, opts), counted}
}

// roundRobin is the balancer of one channel.
type roundRobin struct {
	balancer.Balancer

	conn *countedConn
}

// UpdateClientConnState implements [balancer.Balancer].
func (b *roundRobin) UpdateClientConnState(s balancer.ClientConnState) error {
	if c, ok := s.ResolverState.Attributes.Value(channelKey{}).(*channel); ok {
		b.conn.channel.Store(c)
	}
	return b.Balancer.UpdateClientConnState(s)
}

// Close implements [balancer.Balancer].
func (b *roundRobin) Close() {
	b.Balancer.Close()
	b.conn.tell(0)
}

// countedConn is what the balancer sees of its channel.
type countedConn struct {
	balancer.ClientConn

	channel atomic.Pointer[channel] // nil if another resolver than the pool's stands before it
	ready   atomic.Int64            // connections, some of which calls may not know yet
}

// tell tells the pool how many connections there are for calls.
func (c *countedConn) tell(connections int) {
	if ch := c.channel.Load(); ch != nil {
		ch.connected(connections)
	}
}

// explain tells the pool why a connection is lost, or is not made.
func (c *countedConn) explain(why string) {
	if ch := c.channel.Load(); ch != nil && why != "" {
		ch.explain(why)
	}
}

// NewSubConn implements [balancer.ClientConn].
func (c *countedConn) NewSubConn(addresses []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	s := &subConn{}
	s.done = func(balancer.DoneInfo) { s.load.Add(-1) }
	listener := opts.StateListener
	was := connectivity.Idle
	opts.StateListener = func(state balancer.SubConnState) {
		why := ""
		switch {
		case state.ConnectivityState == connectivity.Ready && was != connectivity.Ready:
			c.ready.Add(1)
		case state.ConnectivityState != connectivity.Ready && was == connectivity.Ready:
			c.ready.Add(-1)
			if state.ConnectivityState == connectivity.Idle && len(addresses) > 0 {
				why = "the connection to " + addresses[0].Addr + " has ended"
			}
		}
		if state.ConnectionError != nil {
			why = state.ConnectionError.Error()
		}
		was = state.ConnectivityState
		c.explain(why)
		listener(state)
	}
	inner, err := c.ClientConn.NewSubConn(addresses, opts) //nolint:staticcheck // deprecated is more than one address, which round_robin decides
	if err != nil {
		return nil, err
	}
	s.SubConn = inner
	return s, nil
}

// UpdateState implements [balancer.ClientConn]. round_robin calls it under a lock
// of its own: one at a time.
func (c *countedConn) UpdateState(s balancer.State) {
	limit, connections := int64(math.MaxInt64), 0
	if s.ConnectivityState == connectivity.Ready {
		connections = c.among(s.Picker)
	}
	if ch := c.channel.Load(); ch != nil {
		limit = int64(ch.pool.cfg.StreamsPerConnection)
	}
	s.Picker = &picker{s.Picker, limit, connections}
	c.ClientConn.UpdateState(s)
	c.tell(connections) // now that calls find them: who waits begins
}

// among returns over how many connections round_robin's picker goes. It learns of
// one some time after that is ready, and says so by picking only.
func (c *countedConn) among(p balancer.Picker) int {
	seen := make(map[balancer.SubConn]bool)
	for range c.ready.Load() {
		if r, err := p.Pick(balancer.PickInfo{}); err == nil {
			seen[r.SubConn] = true
		}
	}
	return len(seen)
}

// subConn is one connection with the calls on it.
type subConn struct {
	balancer.SubConn

	load atomic.Int64
	done func(balancer.DoneInfo) // the same for each call
}

// picker has each call go to the next connection that has room.
type picker struct {
	balancer.Picker

	limit int64
	tries int // as many as there are connections
}

// Pick implements [balancer.Picker].
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	for left := p.tries; ; left-- {
		r, err := p.Picker.Pick(info)
		if err != nil {
			return r, err
		}
		s := r.SubConn.(*subConn)
		// All are full only after others were lost, whose calls are retried
		// here: they may wait for the peer.
		if s.load.Add(1) <= p.limit || left <= 1 {
			return balancer.PickResult{SubConn: s.SubConn, Done: s.done, Metadata: r.Metadata}, nil
		}
		s.load.Add(-1)
	}
}
