package grpcpool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/grpcpool"
)

// TestNoPlaceIsLostWhateverHappens has calls of all kinds end in all ways while
// backends die and come back and channels open and close, and counts after.
func TestNoPlaceIsLostWhateverHappens(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { storm(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func storm(t *testing.T, random *rand.Rand) {
	c := &city{}
	stops := map[string]func(){"a": c.start(t, "a"), "b": c.start(t, "b")}
	d := &directory{all: []string{"a", "b"}, valid: time.Minute}
	p := open(t, "orders", grpcpool.Config{
		DialOptions: c.options(), Resolver: grpcpool.Lookup(d.lookup), Retry: grpcpool.Retry{Attempts: 3},
		StreamsPerConnection: 4, MaxChannels: 3, WaitLimit: 30, IdleTimeout: 2 * time.Second, WaitForReady: true,
	})
	var wg sync.WaitGroup
	var good, bad atomic.Int64
	for range 300 {
		delay := time.Duration(random.IntN(30000)) * time.Millisecond
		patience := time.Duration(random.IntN(3000)+1) * time.Millisecond
		kind := random.IntN(4)
		wg.Go(func() {
			time.Sleep(delay)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			switch err := anyCall(ctx, p, kind); status.Code(err) {
			case codes.OK:
				good.Add(1)
			case codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted, codes.Canceled:
				bad.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	for i := range 10 {
		a := []string{"a", "b"}[i%2]
		time.Sleep(3 * time.Second)
		stops[a]()
		time.Sleep(time.Second)
		stops[a] = c.start(t, a)
	}
	wg.Wait()
	synctest.Wait()
	s := p.Stats()
	if s.InFlight != 0 || s.Waiting != 0 || s.Calls != 300 || len(s.Channels) > 3 || good.Load() == 0 {
		t.Errorf("%d good, %d not: %+v", good.Load(), bad.Load(), s)
	}
	for _, ch := range s.Channels {
		if ch.InFlight != 0 {
			t.Errorf("%+v", ch)
		}
	}
	time.Sleep(time.Minute)
	for range 24 { // there is room for as many as ever
		hold(t.Context(), t, p)
	}
	if _, held := c.calls("a"); held != 12 {
		t.Errorf("%d streams on a of 24: %+v", held, p.Stats())
	}
}

// anyCall does a call that ends in the way of its kind.
func anyCall(ctx context.Context, p *grpcpool.Pool, kind int) error {
	if kind == 0 {
		return unary(ctx, p)
	}
	s, err := testpb.NewTestServiceClient(p).FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	if err := s.Send(&testpb.StreamingOutputCallRequest{}); err != nil {
		_, err = s.Recv()
		return err
	}
	if _, err := s.Recv(); err != nil {
		return err
	}
	switch kind {
	case 1: // left, to be ended by its context
		return nil
	case 2: // until its context ends
		_, err := s.Recv()
		return err
	default:
		_ = s.CloseSend()
		_, _ = s.Recv()
		return nil
	}
}
