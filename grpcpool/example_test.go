package grpcpool_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairlead-edge/fairlead/grpcpool"
)

// Both ends of one's own services, set as a pair.
func ExampleKeepalive() {
	parameters, enforcement := grpcpool.KeepaliveInternal.Server()
	server := grpc.NewServer(grpc.KeepaliveParams(parameters), grpc.KeepaliveEnforcementPolicy(enforcement))
	defer server.Stop()

	pool, err := grpcpool.New("dns:///orders.internal:8443", grpcpool.Config{
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(nil))},
		Keepalive:   grpcpool.KeepaliveInternal,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	fmt.Println(grpcpool.KeepaliveInternal.Client().Time, enforcement.MinTime)
	// Output: 30s 15s
}

// The targets of an SRV record, which grpc-go does not ask for by itself.
func ExampleLookup() {
	lookup := func(ctx context.Context) (addresses []string, valid time.Duration, err error) {
		_, records, err := net.DefaultResolver.LookupSRV(ctx, "grpc", "tcp", "orders.example.com")
		for _, r := range records {
			addresses = append(addresses, net.JoinHostPort(r.Target, strconv.Itoa(int(r.Port))))
		}
		return addresses, 30 * time.Second, err
	}
	pool, err := grpcpool.New("orders.example.com", grpcpool.Config{
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(nil))},
		Resolver:    grpcpool.Lookup(lookup),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
}

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
