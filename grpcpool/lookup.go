package grpcpool

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/resolver"
)

// Lookup tells the addresses of a target, host:port each, as they come and go:
// a [resolver.Builder] for what is not in DNS, or there in a way that grpc-go
// does not ask for. The name in TLS stays that of the target.
//
// Each channel asks from one goroutine, when it connects and then as often as
// the answer says how long it is valid, but no sooner than after 100 ms; and
// sooner than told when a connection broke, or every [Config.Refresh]. It is
// given 10 s, and must return when ctx ends: [Pool.Close] waits for it. After an
// error, which having no address is too, the channel keeps
// what it has and asks again in a second. At most [MaxAddresses] are used.
type Lookup func(ctx context.Context) (addresses []string, valid time.Duration, err error)

// MaxAddresses is how many addresses of a [Lookup] a channel connects to;
// further ones are left out.
const MaxAddresses = 1024

const (
	lookupTimeout = 10 * time.Second
	lookupAgain   = 1 * time.Second // after an error
	lookupPause   = 100 * time.Millisecond
)

var _ resolver.Builder = Lookup(nil)

// Scheme implements [resolver.Builder].
func (Lookup) Scheme() string { return "lookup" }

// Build implements [resolver.Builder].
func (l Lookup) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	r := &poller{lookup: l, conn: cc, now: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.wg.Go(func() { r.run(ctx) })
	return r, nil
}

// poller asks a Lookup for one channel.
type poller struct {
	lookup Lookup
	conn   resolver.ClientConn
	now    chan struct{} // holds one
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// ResolveNow implements [resolver.Resolver].
func (r *poller) ResolveNow(resolver.ResolveNowOptions) {
	select {
	case r.now <- struct{}{}:
	default: // it is about to
	}
}

// Close implements [resolver.Resolver].
func (r *poller) Close() {
	r.cancel()
	r.wg.Wait()
}

func (r *poller) run(ctx context.Context) {
	for {
		valid, err := r.ask(ctx)
		if err != nil && ctx.Err() == nil {
			r.conn.ReportError(err)
			valid = lookupAgain
		}
		if !sleep(ctx, lookupPause, nil) || !sleep(ctx, valid-lookupPause, r.now) {
			return
		}
	}
}

// ask tells the channel what there is, and returns how long that is valid.
func (r *poller) ask(ctx context.Context) (valid time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addresses, valid, err := r.lookup(ctx)
	if err != nil {
		return 0, err
	}
	if len(addresses) == 0 {
		return 0, errors.New("grpcpool: lookup: there is no address")
	}
	var state resolver.State
	for _, a := range addresses[:min(len(addresses), MaxAddresses)] {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	return valid, r.conn.UpdateState(state)
}

// sleep waits for d, or for wake. It returns false if ctx ended.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
	}
	return true
}
