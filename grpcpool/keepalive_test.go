package grpcpool_test

import (
	"context"
	"fmt"
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

var presets = []grpcpool.Keepalive{grpcpool.KeepaliveDefault, grpcpool.KeepaliveInternal, grpcpool.KeepaliveMobile}

// serverOf returns the options of the server that belongs to the preset.
func serverOf(k grpcpool.Keepalive) []grpc.ServerOption {
	parameters, enforcement := k.Server()
	return []grpc.ServerOption{grpc.KeepaliveParams(parameters), grpc.KeepaliveEnforcementPolicy(enforcement)}
}

// silence holds a stream through three silent hours, then none, and returns
// why that failed.
func silence(t *testing.T, k grpcpool.Keepalive, server ...grpc.ServerOption) (broken string) {
	p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{}, server...), Keepalive: k, IdleTimeout: -1})
	s := hold(t.Context(), t, p)
	time.Sleep(3 * time.Hour)
	if err := s.Send(&testpb.StreamingOutputCallRequest{}); err == nil {
		_, err = s.Recv()
		if err != nil && status.Code(err) != codes.Unavailable {
			t.Error(err)
		}
	}
	_ = s.CloseSend()
	_, _ = s.Recv()
	since := p.Stats().Channels[0].Since
	time.Sleep(3 * time.Hour)
	c := p.Stats().Channels[0]
	if c.Reason == "" && !c.Since.Equal(since) {
		t.Error("the connection was lost, without a reason")
	}
	return c.Reason
}

func TestTheEndsOfAKeepalivePairSuitEachOther(t *testing.T) {
	for _, k := range presets {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if broken := silence(t, k, serverOf(k)...); broken != "" {
					t.Error(broken)
				}
			})
		})
	}
}

func TestTheDefaultKeepaliveSuitsEveryServer(t *testing.T) {
	servers := map[string][]grpc.ServerOption{"as grpc-go comes": nil}
	for _, k := range presets {
		servers[fmt.Sprint(k)] = serverOf(k)
	}
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if broken := silence(t, grpcpool.KeepaliveDefault, server...); broken != "" {
					t.Error(broken)
				}
			})
		})
	}
}

func TestAMismatchedKeepaliveIsToldToCalmDownAndThePoolSaysSo(t *testing.T) {
	for _, k := range presets[1:] {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, &echo{}), Keepalive: k})
				s := hold(t.Context(), t, p)
				if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
					t.Error(err)
				}
				if why := p.Stats().Channels[0].Reason; !strings.Contains(why, "ENHANCE_YOUR_CALM") || !strings.Contains(why, "too_many_pings") {
					t.Errorf("reason %q", why)
				}
			})
		})
	}
}

// cable is a connection that can be cut so that neither end notices.
type cable struct {
	net.Conn

	cut *atomic.Bool
}

func (c cable) Write(b []byte) (int, error) {
	if c.cut.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c cable) Read(b []byte) (int, error) {
	for {
		if n, err := c.Conn.Read(b); err != nil || !c.cut.Load() {
			return n, err
		}
	}
}

func TestADeadPeerIsFoundAfterWhatThePresetSays(t *testing.T) {
	for k, want := range map[grpcpool.Keepalive]time.Duration{
		grpcpool.KeepaliveDefault:  6*time.Minute + 20*time.Second,
		grpcpool.KeepaliveInternal: 40 * time.Second,
		grpcpool.KeepaliveMobile:   80 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			network, cut := memnet.New(), &atomic.Bool{}
			start(t, network, &echo{})
			p := open(t, "passthrough:///peer", grpcpool.Config{Keepalive: k, DialOptions: []grpc.DialOption{
				grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
					c, err := network.Dial(ctx, "", address)
					return cable{c, cut}, err
				}),
			}})
			s := hold(t.Context(), t, p)
			synctest.Wait()
			cut.Store(true)
			since := time.Now()
			if _, err := s.Recv(); status.Code(err) != codes.Unavailable || time.Since(since) != want {
				t.Errorf("preset %d: %v after %v, want %v", k, err, time.Since(since), want)
			}
		})
	}
}

func TestPingsWithoutACallThatTheServerForbidsAreSeenToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, "passthrough:///peer", grpcpool.Config{
			DialOptions: serveMemory(t, &echo{}, serverOf(grpcpool.KeepaliveMobile)...), Keepalive: grpcpool.KeepaliveInternal, IdleTimeout: -1,
		})
		time.Sleep(10 * time.Minute)
		if c := p.Stats().Channels[0]; c.Reason == "" {
			t.Errorf("%+v", c)
		}
	})
}

func TestAServerMayAllowMoreThanItsPairDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		patient := grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true})
		if broken := silence(t, grpcpool.KeepaliveInternal, patient); broken != "" {
			t.Error(broken)
		}
	})
}
