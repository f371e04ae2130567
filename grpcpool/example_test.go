package grpcpool_test

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-edge/fairlead/grpcpool"
)

func Example() {
	// A server, for the sake of the example.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	go server.Serve(listener)
	defer server.Stop()

	// One pool for the whole program, and any generated client on it.
	pool, err := grpcpool.New(listener.Addr().String(), grpcpool.Config{
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	client := healthpb.NewHealthClient(pool)

	answer, err := client.Check(context.Background(), &healthpb.HealthCheckRequest{})
	if err != nil {
		fmt.Println(err)
		return
	}
	stats := pool.Stats()
	fmt.Println(answer.GetStatus(), len(stats.Channels), stats.Channels[0].State, stats.Calls)
	// Output: SERVING 1 READY 1
}
