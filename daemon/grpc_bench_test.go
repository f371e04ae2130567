package daemon_test

import (
	"net"
	"net/url"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/fairlead-edge/fairlead/listen"
	"github.com/fairlead-edge/fairlead/proxy"
	"github.com/fairlead-edge/fairlead/upstream"
)

// stations serve calls as the program does, and return their address.
func stations(b *testing.B, up *backend) string {
	b.Helper()
	pool, err := upstream.New(upstream.Config{Endpoints: []string{"h2c://" + up.address}, Replaces: true})
	if err != nil {
		b.Fatal(err)
	}
	front, err := listen.New(listen.Config{Handler: proxy.New(proxy.Config{Target: &url.URL{Scheme: "http", Host: up.address}, Transport: pool})})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = front.Serve(l, nil) })
	b.Cleanup(func() {
		_ = front.Close()
		pool.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// BenchmarkCalls compares calls of 100 bytes through listen, proxy and upstream with
// the same to the backend; backend and client, both of grpc-go, are a part of both.
func BenchmarkCalls(b *testing.B) {
	up := newBackend(b)
	for name, address := range map[string]string{"direct": up.address, "proxied": stations(b, up)} {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		c := testpb.NewTestServiceClient(conn)
		req := &testpb.SimpleRequest{Payload: payload(100)}
		b.Run("unary/"+name, func(b *testing.B) {
			for b.Loop() {
				if _, err := c.UnaryCall(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("unary at once/"+name, func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.UnaryCall(b.Context(), req); err != nil {
						b.Error(err)
					}
				}
			})
		})
		b.Run("messages of a stream/"+name, func(b *testing.B) {
			stream, err := c.FullDuplexCall(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			msg := &testpb.StreamingOutputCallRequest{Payload: payload(100)}
			for b.Loop() {
				if err := stream.Send(msg); err != nil {
					b.Fatal(err)
				}
				if _, err := stream.Recv(); err != nil {
					b.Fatal(err)
				}
			}
			_ = stream.CloseSend()
		})
	}
}
