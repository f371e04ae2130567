package grpcpool_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/grpcpool"
)

func TestNoStreamQueuesSilentlyAtItsPeer(t *testing.T) {
	e := &echo{}
	p := open(t, serve(t, e, grpc.MaxConcurrentStreams(10)), grpcpool.Config{StreamsPerConnection: 10, MaxChannels: 16})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { hold(ctx, t, p) }) // is answered although all others are open
	}
	wg.Wait()
	s := p.Stats()
	if _, most, held, conns := e.counts(); held != 100 || most > 10 || conns < 10 {
		t.Errorf("%d streams on %d connections, up to %d on one", held, conns, most)
	}
	if s.InFlight != 100 || s.Waiting != 0 || len(s.Channels) < 10 || len(s.Channels) > 16 {
		t.Errorf("%d in flight on %d channels, %d wait", s.InFlight, len(s.Channels), s.Waiting)
	}
}

// TestOneChannelLetsACallWaitUnseen is what the pool is for.
func TestOneChannelLetsACallWaitUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := serveMemory(t, &echo{}, grpc.MaxConcurrentStreams(10))
		channel, err := grpc.NewClient("passthrough:///peer", options...)
		if err != nil {
			t.Fatal(err)
		}
		defer channel.Close()
		pool := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: options, StreamsPerConnection: 10})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for range 10 {
			hold(t.Context(), t, channel)
			hold(t.Context(), t, pool)
		}
		if err := unary(ctx, pool); err != nil || ctx.Err() != nil {
			t.Error(err)
		}
		if err := unary(ctx, channel); status.Code(err) != codes.DeadlineExceeded || channel.GetState() != connectivity.Ready {
			t.Errorf("%v, in the state %v", err, channel.GetState())
		}
	})
}

func TestACallGoesWhereTheFewestAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{}), MinChannels: 3})
		synctest.Wait()
		var ends []context.CancelFunc
		for range 30 {
			ctx, cancel := context.WithCancel(t.Context())
			ends = append(ends, cancel)
			hold(ctx, t, p)
		}
		loads := func() (loads []int) {
			for _, c := range p.Stats().Channels {
				loads = append(loads, c.InFlight)
			}
			return loads
		}
		if l := loads(); len(l) != 3 || l[0] != 10 || l[1] != 10 || l[2] != 10 {
			t.Fatalf("30 calls are spread %v", l)
		}
		for i := 0; i < 30; i += 3 { // all of one channel
			ends[i]()
		}
		synctest.Wait()
		for range 8 {
			hold(t.Context(), t, p)
		}
		total, low := 0, 30
		for _, l := range loads() {
			total += l
			low = min(low, l)
		}
		if total != 28 || low != 8 {
			t.Errorf("8 more are spread %v", loads())
		}
	})
}

func TestAStreamGivesItsPlaceBackOnce(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s testpb.TestService_FullDuplexCallClient, cancel context.CancelFunc){
		"read to its end": func(t *testing.T, s testpb.TestService_FullDuplexCallClient, cancel context.CancelFunc) {
			_ = s.CloseSend()
			for range 3 {
				if _, err := s.Recv(); !errors.Is(err, io.EOF) {
					t.Error(err)
				}
			}
			cancel()
		},
		"read to an error": func(t *testing.T, s testpb.TestService_FullDuplexCallClient, cancel context.CancelFunc) {
			_ = s.Send(&testpb.StreamingOutputCallRequest{ResponseStatus: &testpb.EchoStatus{Code: int32(codes.Aborted)}})
			for range 3 {
				if _, err := s.Recv(); status.Code(err) != codes.Aborted {
					t.Error(err)
				}
			}
			cancel()
		},
		"cancelled, read by nobody": func(_ *testing.T, _ testpb.TestService_FullDuplexCallClient, cancel context.CancelFunc) {
			cancel()
		},
		"cancelled, then read": func(t *testing.T, s testpb.TestService_FullDuplexCallClient, cancel context.CancelFunc) {
			cancel()
			if _, err := s.Recv(); status.Code(err) != codes.Canceled {
				t.Error(err)
			}
		},
		"past its deadline": func(*testing.T, testpb.TestService_FullDuplexCallClient, context.CancelFunc) {
			time.Sleep(time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{})})
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				s := hold(ctx, t, p)
				if n := p.Stats().InFlight; n != 1 {
					t.Fatalf("%d in flight, want 1", n)
				}
				end(t, s, cancel)
				synctest.Wait()
				if st := p.Stats(); st.InFlight != 0 || st.Channels[0].InFlight != 0 {
					t.Errorf("%d in flight, %d on the channel, want none", st.InFlight, st.Channels[0].InFlight)
				}
			})
		})
	}
}

func TestAReasonIsKeptShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &echo{unary: func() error { return status.Error(codes.Unavailable, strings.Repeat("much ado ", 1000)) }}
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, e)})
		_ = unary(t.Context(), p)
		if c := p.Stats().Channels[0]; len(c.Reason) != 512 || !c.ReasonAt.Equal(time.Now()) {
			t.Errorf("%+v", c)
		}
	})
}

func TestAStreamThatCannotBeginGivesItsPlaceBack(t *testing.T) {
	refuse := grpc.WithStreamInterceptor(func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, grpc.Streamer, ...grpc.CallOption) (grpc.ClientStream, error) {
		return nil, status.Error(codes.PermissionDenied, "not you")
	})
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: append(serveMemory(t, &echo{}), refuse)})
		if _, err := testpb.NewTestServiceClient(p).FullDuplexCall(t.Context()); status.Code(err) != codes.PermissionDenied {
			t.Error(err)
		}
		if n := p.Stats().InFlight; n != 0 {
			t.Errorf("%d in flight", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := unary(ctx, p); status.Code(err) != codes.Canceled {
			t.Error(err)
		}
		p = open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{})})
		if _, err := testpb.NewTestServiceClient(p).FullDuplexCall(ctx); status.Code(err) != codes.Canceled {
			t.Error(err)
		}
		if n := p.Stats().InFlight; n != 0 {
			t.Errorf("%d in flight", n)
		}
	})
}
