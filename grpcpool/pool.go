package grpcpool

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
)

// Pool is several channels to one target that are used as one: the
// [grpc.ClientConnInterface] that every generated client takes. Make one for
// each target when the program starts, share it, and close it at the end. Its
// methods may be called by many goroutines at once.
type Pool struct {
	cfg      Config
	target   string
	resolver resolver.Builder
	options  []grpc.DialOption
	siblings *siblings

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // a goroutine for each channel, and the keeper

	mu       sync.Mutex // guards what follows, and the channels' fields that say so
	closed   bool
	channels []*channel // at most cfg.MaxChannels
	waiters  list.List  // of *waiter, at most cfg.WaitLimit
	load     int        // calls in flight
	peak     int        // the highest load since the keeper looked
	counts   counts
}

var _ grpc.ClientConnInterface = (*Pool)(nil)

// New returns a Pool of channels to the target, a name as gRPC knows them:
// dns:///host:port, which is also what host:port means, unix:/path,
// passthrough:///address. It opens cfg.MinChannels channels, which begin to
// connect, and waits for none. The caller must call [Pool.Close].
func New(target string, cfg Config) (*Pool, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("grpcpool: config: %w", err)
	}
	name, builder, err := resolverOf(target, cfg.Resolver)
	if err != nil {
		return nil, fmt.Errorf("grpcpool: target %q: %w", target, err)
	}
	p := &Pool{cfg: cfg, target: name, resolver: builder, options: cfg.dialOptions()}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.siblings = enlist(name, cfg.Logger)
	p.mu.Lock()
	for range cfg.MinChannels {
		if err = p.openLocked(); err != nil {
			break
		}
	}
	p.mu.Unlock()
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("grpcpool: channel to %q with Config.DialOptions: %w", target, err)
	}
	p.wg.Go(p.keep)
	return p, nil
}

// Close ends the calls that are in flight and those that wait, with
// [codes.Canceled], closes the channels and returns when everything the pool
// started has ended. The error is always nil. It may be called again.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	for e := p.waiters.Front(); e != nil; e = p.waiters.Front() {
		p.waiters.Remove(e)
		close(e.Value.(*waiter).turn)
	}
	p.mu.Unlock()
	p.siblings.leave()
	p.cancel()
	p.wg.Wait()
	return nil
}

// Invoke does a unary call on the channel with the fewest calls. If there is
// no room on any that is connected or about to be, it waits, until ctx ends; if
// no channel can connect, it fails with [codes.Unavailable]. Errors are those of
// [grpc.ClientConn.Invoke], and [codes.ResourceExhausted] if too many calls
// wait already, [codes.Canceled] after [Pool.Close].
func (p *Pool) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) (err error) {
	c, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer func() { p.release(c, err) }() // also if an interceptor or a codec panics
	return p.ended(c.conn.Invoke(ctx, method, args, reply, opts...))
}

// NewStream begins a streaming call on the channel with the fewest calls, as
// [Pool.Invoke] does. The call has its place there until the stream ends by the
// rules of [grpc.ClientConn.NewStream]: RecvMsg returned an error or io.EOF,
// or ctx has ended. Who reads no stream to its end must cancel its context.
func (p *Pool) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (_ grpc.ClientStream, err error) {
	c, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	var over atomic.Bool
	end := func(err error) {
		if !over.Swap(true) {
			p.release(c, err)
		}
	}
	// grpc-go calls it in each way that a stream can end, the end of a context
	// that nobody looks at included, but not if an interceptor refuses or panics.
	var stream grpc.ClientStream
	defer func() {
		if stream == nil {
			end(err)
		}
	}()
	stream, err = c.conn.NewStream(ctx, desc, method, append(slices.Clip(opts), grpc.OnFinish(end))...)
	if err != nil {
		stream = nil // whatever an interceptor gave beside the error
		return nil, p.ended(err)
	}
	return &clientStream{stream, p}, nil
}

// clientStream is a stream whose errors are the pool's.
type clientStream struct {
	grpc.ClientStream

	pool *Pool
}

func (s *clientStream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	return md, s.pool.ended(err)
}

func (s *clientStream) RecvMsg(m any) error { return s.pool.ended(s.ClientStream.RecvMsg(m)) }

// ended returns what a call is told that ended with err: grpc-go says
// UNAVAILABLE when a connection is closed that was about to end, by a GOAWAY or
// since its address is gone, and CANCELED of others.
func (p *Pool) ended(err error) error {
	if err != nil && p.ctx.Err() != nil && status.Code(err) == codes.Unavailable {
		return errClosed
	}
	return err
}

// keep closes what is surplus and has the target resolved again, now and then.
func (p *Pool) keep() {
	surplus, stop := every(p.cfg.IdleTimeout)
	defer stop()
	refresh, stop := every(p.cfg.Refresh)
	defer stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-surplus:
			p.shrink()
		case <-refresh:
			p.resolve()
		}
	}
}

// every returns a ticker's channel; if d is negative, nothing comes.
func every(d time.Duration) (ticks <-chan time.Time, stop func()) {
	if d < 0 {
		return nil, func() {}
	}
	t := time.NewTicker(d)
	return t.C, t.Stop
}

var errClosed = status.Error(codes.Canceled, "grpcpool: the pool is closed; make one at start-up and close it when the last call has ended")
