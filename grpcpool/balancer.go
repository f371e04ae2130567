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
	b.conn.ready.Store(0)
	b.conn.tell("")
}

// countedConn is what the balancer sees of its channel. grpc-go calls the
// listeners of its connections one at a time, but round_robin updates its state
// from goroutines of its own too.
type countedConn struct {
	balancer.ClientConn

	channel atomic.Pointer[channel] // nil if another resolver than the pool's stands before it
	ready   atomic.Int64            // connections
}

// tell tells the pool how many connections there are, and why if there is
// something to explain.
func (c *countedConn) tell(why string) {
	if ch := c.channel.Load(); ch != nil {
		ch.connected(int(c.ready.Load()), why)
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
		listener(state)
		c.tell(why) // once the picker knows: who waits begins now
	}
	inner, err := c.ClientConn.NewSubConn(addresses, opts) //nolint:staticcheck // deprecated is more than one address, which round_robin decides
	if err != nil {
		return nil, err
	}
	s.SubConn = inner
	return s, nil
}

// UpdateState implements [balancer.ClientConn].
func (c *countedConn) UpdateState(s balancer.State) {
	limit := int64(math.MaxInt64)
	if ch := c.channel.Load(); ch != nil {
		limit = int64(ch.pool.cfg.StreamsPerConnection)
	}
	s.Picker = &picker{s.Picker, limit, c.ready.Load()}
	c.ClientConn.UpdateState(s)
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
	tries int64 // as many as there are connections
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
