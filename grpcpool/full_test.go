package grpcpool_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/grpcpool"
	"github.com/fairlead-edge/fairlead/internal/memnet"
)

func TestACallWaitsForAChannelThatIsFullRatherThanUseOneThatCannotConnect(t *testing.T) {
	for _, channels := range []int{2, 8} { // no other may be opened, or none would do better
		synctest.Test(t, func(t *testing.T) { waitsForTheOneThatIsFull(t, channels) })
	}
}

func TestACallWaitsForAChannelThatIsFullRatherThanForOneThatConnectsInVain(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			network, dials := memnet.New(), atomic.Int64{}
			start(t, network, &echo{})
			p := open(t, "passthrough:///peer", grpcpool.Config{StreamsPerConnection: 1, MaxChannels: 2, DialOptions: []grpc.DialOption{
				grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
					if dials.Add(1) == 1 {
						return network.Dial(ctx, "", address)
					}
					if hangs {
						<-ctx.Done()
					}
					return nil, errors.New("no way")
				}),
			}})
			ctx, cancel := context.WithCancel(t.Context())
			hold(ctx, t, p)
			synctest.Wait() // the pool has seen that it is connected
			time.AfterFunc(time.Second, cancel)
			began := time.Now()
			if err := unary(t.Context(), p); err != nil || time.Since(began) != time.Second {
				t.Errorf("after %v: %v; %+v", time.Since(began), err, p.Stats())
			}
		})
	}
}

func waitsForTheOneThatIsFull(t *testing.T, channels int) {
	network, dials := memnet.New(), atomic.Int64{}
	start(t, network, &echo{})
	p := open(t, "passthrough:///peer", grpcpool.Config{StreamsPerConnection: 4, MaxChannels: channels, DialOptions: []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			if dials.Add(1) > 1 {
				return nil, errors.New("no way")
			}
			return network.Dial(ctx, "", address)
		}),
	}})
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 {
		hold(ctx, t, p)
	}
	synctest.Wait()
	time.AfterFunc(time.Minute, cancel)
	began := time.Now()
	if err := unary(t.Context(), p); err != nil || time.Since(began) != time.Minute {
		t.Errorf("after %v: %v; %+v", time.Since(began), err, p.Stats())
	}
	if s := p.Stats(); len(s.Channels) != 2 {
		t.Errorf("%d channels, want the one that is full and one that tries", len(s.Channels))
	}
}

func TestAChannelOfOneStreamIsEnoughForOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{}), StreamsPerConnection: 1, IdleTimeout: time.Minute})
		for range 3 {
			if err := unary(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		if s := p.Stats(); len(s.Channels) != 1 {
			t.Errorf("one call at a time: %+v", s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		hold(ctx, t, p)
		hold(ctx, t, p)
		if s := p.Stats(); len(s.Channels) != 2 || s.Channels[0].InFlight != 1 || s.Channels[1].InFlight != 1 {
			t.Errorf("two calls at a time: %+v", s)
		}
		cancel()
		time.Sleep(2*time.Minute + time.Second)
		if s := p.Stats(); len(s.Channels) != 1 {
			t.Errorf("when they have ended: %+v", s)
		}
	})
}

func TestCloseCancelsCallsOnConnectionsThatTheirServerIsEnding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered := make(chan struct{})
		e := &echo{}
		leave := make(chan struct{})
		e.unary = func() error { close(entered); <-leave; return nil }
		p := open(t, "passthrough:///peer", grpcpool.Config{
			DialOptions: serveMemory(t, e, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: time.Minute})),
		})
		s := hold(t.Context(), t, p)
		ended := make(chan error, 1)
		go func() { ended <- unary(t.Context(), p) }()
		<-entered
		time.Sleep(2 * time.Minute) // the connection has had its GOAWAY
		if c := p.Stats().Channels[0]; !strings.Contains(c.Reason, "has ended") || c.InFlight != 2 {
			t.Errorf("%+v", c)
		}
		_ = p.Close()
		if err := <-ended; status.Code(err) != codes.Canceled {
			t.Errorf("the unary call: %v", err)
		}
		if _, err := s.Recv(); status.Code(err) != codes.Canceled {
			t.Errorf("the stream: %v", err)
		}
		close(leave)
	})
}

func TestACallThatPanicsGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: append(serveMemory(t, &echo{}),
			grpc.WithUnaryInterceptor(func(context.Context, string, any, any, *grpc.ClientConn, grpc.UnaryInvoker, ...grpc.CallOption) error {
				panic("a fault of the interceptor's")
			}),
			grpc.WithStreamInterceptor(func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, grpc.Streamer, ...grpc.CallOption) (grpc.ClientStream, error) {
				panic("a fault of the interceptor's")
			}),
		)})
		for name, call := range map[string]func(){
			"unary":  func() { _ = unary(t.Context(), p) },
			"stream": func() { _, _ = testpb.NewTestServiceClient(p).FullDuplexCall(t.Context()) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: there was no panic", name)
					}
				}()
				call()
			}()
			if n := p.Stats().InFlight; n != 0 {
				t.Errorf("%s: %d in flight", name, n)
			}
		}
	})
}
