package grpcpool_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/grpcpool"
)

// ailing is an echo that fails the first calls with the code, and says when to
// come back if pushback is not empty.
func ailing(fails int64, code codes.Code, pushback string) (*echo, grpc.ServerOption, *atomic.Int64) {
	e, calls := &echo{}, &atomic.Int64{}
	return e, grpc.UnaryInterceptor(func(ctx context.Context, r any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		if calls.Add(1) <= fails {
			if pushback != "" {
				_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", pushback))
			}
			return nil, status.Error(code, "not well")
		}
		return h(ctx, r)
	}), calls
}

func TestACallIsSentAgainAsItsPresetSays(t *testing.T) {
	const method = "grpc.testing.TestService/UnaryCall"
	for i, c := range []struct {
		retry    grpcpool.Retry
		fails    int64
		code     codes.Code
		pushback string
		want     codes.Code
		calls    int64
	}{
		{grpcpool.RetryNone(), 1, codes.Unavailable, "", codes.Unavailable, 1},
		{grpcpool.Retry{Attempts: 3}, 2, codes.Unavailable, "", codes.OK, 3},
		{grpcpool.Retry{Attempts: 3}, 3, codes.Unavailable, "", codes.Unavailable, 3},
		{grpcpool.Retry{Attempts: 3}, 1, codes.ResourceExhausted, "", codes.ResourceExhausted, 1},
		{grpcpool.RetrySafe(method), 2, codes.Unavailable, "", codes.OK, 3},
		{grpcpool.RetrySafe("grpc.testing.TestService"), 2, codes.Unavailable, "", codes.OK, 3},
		{grpcpool.RetrySafe("grpc.testing.TestService/EmptyCall"), 1, codes.Unavailable, "", codes.Unavailable, 1},
		{grpcpool.Retry{Attempts: 3}, 1, codes.Unavailable, "-1", codes.Unavailable, 1}, // do not come back
		{grpcpool.Retry{Attempts: 5, Backoff: time.Second}, 4, codes.Unavailable, "", codes.OK, 5},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, option, calls := ailing(c.fails, c.code, c.pushback)
				p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, e, option), Retry: c.retry})
				if err := unary(t.Context(), p); status.Code(err) != c.want {
					t.Error(err)
				}
				if n := calls.Load(); n != c.calls {
					t.Errorf("sent %d times, want %d", n, c.calls)
				}
				if s := p.Stats(); s.InFlight != 0 || s.Calls != 1 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestARetryWaitsAsLongAsTheServerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, option, _ := ailing(1, codes.Unavailable, "90000")
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, e, option), Retry: grpcpool.Retry{Attempts: 3}})
		since := time.Now()
		if err := unary(t.Context(), p); err != nil || time.Since(since) != 90*time.Second {
			t.Errorf("%v after %v", err, time.Since(since))
		}
	})
}

func TestALongBackoffIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, option, _ := ailing(1, codes.Unavailable, "")
		p := open(t, "passthrough:///peer", grpcpool.Config{
			DialOptions: serveMemory(t, e, option), Retry: grpcpool.Retry{Attempts: 2, Backoff: time.Minute},
		})
		since := time.Now()
		if err := unary(t.Context(), p); err != nil || time.Since(since) < 48*time.Second || time.Since(since) > 72*time.Second {
			t.Errorf("%v after %v", err, time.Since(since))
		}
	})
}

func TestRetriesDoNotFinishOffAServerThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, option, calls := ailing(1<<40, codes.Unavailable, "")
		p := open(t, "passthrough:///peer", grpcpool.Config{DialOptions: serveMemory(t, e, option), Retry: grpcpool.Retry{Attempts: 3}})
		for range 100 {
			_ = unary(t.Context(), p)
		}
		if n := calls.Load(); n > 110 {
			t.Errorf("100 calls were sent %d times", n)
		}
	})
}
