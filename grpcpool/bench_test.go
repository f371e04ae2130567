package grpcpool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/fairlead-edge/fairlead/grpcpool"
)

// BenchmarkUnary is calls that a server answers at once, of 100 bytes each way,
// by a pool and by its twin, one channel, to a server that allows 100 streams
// on a connection.
func BenchmarkUnary(b *testing.B) {
	request := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: bytes.Repeat([]byte("x"), 100)}}
	twins(b, &echo{}, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := testpb.NewTestServiceClient(conn).UnaryCall(ctx, request)
		return err
	})
}

// BenchmarkHeldStream is streams that are open for 20 ms, as [BenchmarkUnary].
func BenchmarkHeldStream(b *testing.B) {
	request := &testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: bytes.Repeat([]byte("x"), 100)}}
	twins(b, &echo{}, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		s, err := testpb.NewTestServiceClient(conn).FullDuplexCall(ctx)
		if err != nil {
			return err
		}
		if err := s.Send(request); err != nil {
			return err
		}
		if _, err := s.Recv(); err != nil {
			return err
		}
		<-time.After(20 * time.Millisecond) // as long as a stream is held
		if err := s.CloseSend(); err != nil {
			return err
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	})
}

// twins measures call over both, at several numbers of calls at once.
func twins(b *testing.B, e *echo, call func(context.Context, grpc.ClientConnInterface) error) {
	const most = 1000
	address := serve(b, e, grpc.MaxConcurrentStreams(100))
	pool := open(b, address, grpcpool.Config{MaxChannels: 16})
	channel, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = channel.Close() })
	for n := 1; n <= most; n *= 10 {
		for _, twin := range []struct {
			name string
			conn grpc.ClientConnInterface
		}{{"pool", pool}, {"channel", channel}} {
			b.Run(fmt.Sprintf("%s/%d", twin.name, n), func(b *testing.B) {
				atOnce(b, n, func() error { return call(b.Context(), twin.conn) })
			})
		}
	}
}

// atOnce has call called b.N times, n at once, and reports how long 99 of 100
// took at most.
func atOnce(b *testing.B, n int, call func() error) {
	b.ReportAllocs()
	var (
		wg   sync.WaitGroup
		left atomic.Int64
		took = make([]time.Duration, b.N)
	)
	left.Store(int64(b.N))
	b.ResetTimer()
	for range n {
		wg.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				since := time.Now()
				if err := call(); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(since)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100])/float64(time.Millisecond), "p99-ms")
}
