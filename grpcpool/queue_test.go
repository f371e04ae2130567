package grpcpool_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/grpcpool"
)

func TestWhoFindsNoRoomWaitsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{}), MaxChannels: 1, StreamsPerConnection: 2})
		var ends []context.CancelFunc
		for range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			ends = append(ends, cancel)
			hold(ctx, t, p)
		}
		var mu sync.Mutex
		var order []int
		for i := range 5 {
			go func() {
				if _, err := testpb.NewTestServiceClient(p).FullDuplexCall(t.Context()); err == nil { // else closed
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
				}
			}()
			synctest.Wait()
		}
		if s := p.Stats(); s.Waiting != 5 || s.Waits != 5 || s.InFlight != 2 || s.Waited != 0 {
			t.Fatalf("%+v", s)
		}
		time.Sleep(time.Minute)
		ends[0]()
		synctest.Wait()
		time.Sleep(time.Minute)
		ends[1]()
		synctest.Wait()
		if !slices.Equal(order, []int{0, 1}) {
			t.Errorf("served in the order %v", order)
		}
		if s := p.Stats(); s.Waiting != 3 || s.InFlight != 2 || s.Waited != 3*time.Minute || s.LongestWait != 2*time.Minute {
			t.Errorf("%+v", s)
		}
		_ = p.Close()
		synctest.Wait()
	})
}

func TestMoreThanMayWaitAreRefused(t *testing.T) {
	for limit, want := range map[int]int{3: 3, -1: 0} {
		synctest.Test(t, func(t *testing.T) {
			p := open(t, "passthrough:///peer", grpcpool.Config{
				DialOptions: serveMemory(t, &echo{}), MaxChannels: 1, StreamsPerConnection: 1, WaitLimit: limit,
			})
			ctx, cancel := context.WithCancel(t.Context())
			hold(ctx, t, p)
			var wg sync.WaitGroup
			for range want {
				wg.Go(func() {
					if err := unary(t.Context(), p); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			err := unary(t.Context(), p)
			if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "MaxChannels") {
				t.Error(err)
			}
			if s := p.Stats(); s.Refused != 1 || s.Waiting != want {
				t.Errorf("%+v", s)
			}
			cancel()
			wg.Wait()
			synctest.Wait()
			if s := p.Stats(); s.InFlight != 0 || s.Waits != uint64(want) || s.Calls != uint64(want)+2 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestWhoseContextEndsWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{}), MaxChannels: 1, StreamsPerConnection: 1})
		first, free := context.WithCancel(t.Context())
		hold(first, t, p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		since := time.Now()
		if err := unary(ctx, p); status.Code(err) != codes.DeadlineExceeded || time.Since(since) != time.Second {
			t.Errorf("%v after %v", err, time.Since(since))
		}
		if s := p.Stats(); s.Waiting != 0 || s.GaveUp != 1 || s.InFlight != 1 {
			t.Errorf("%+v", s)
		}
		free()
		synctest.Wait()
		if err := unary(t.Context(), p); err != nil {
			t.Error(err)
		}
	})
}

// TestAPlaceThatComesAsItsContextEndsIsNotLost lets both happen at once, many
// times.
func TestAPlaceThatComesAsItsContextEndsIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{}), MaxChannels: 1, StreamsPerConnection: 1})
		for range 200 {
			ctx, both := context.WithCancel(t.Context())
			hold(ctx, t, p)
			var wg sync.WaitGroup
			wg.Go(func() { _ = unary(ctx, p) })
			synctest.Wait()
			both()
			wg.Wait()
			synctest.Wait()
		}
		if s := p.Stats(); s.InFlight != 0 || s.Waiting != 0 || s.Waits != 200 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCloseEndsWhatIsInFlightAndWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{}), MaxChannels: 1, StreamsPerConnection: 1})
		s := hold(t.Context(), t, p)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := unary(t.Context(), p); status.Code(err) != codes.Canceled || !strings.Contains(err.Error(), "the pool is closed") {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		_ = p.Close()
		_ = p.Close()
		wg.Wait()
		if _, err := s.Recv(); status.Code(err) != codes.Canceled {
			t.Error(err)
		}
		if err := unary(t.Context(), p); status.Code(err) != codes.Canceled {
			t.Error(err)
		}
		synctest.Wait() // the stream tells that it has ended after Recv has returned
		if s := p.Stats(); len(s.Channels) != 0 || s.Opened != 1 || s.Closed != 1 || s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}
