package grpcpool_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/grpcpool"
	"github.com/fairlead-edge/fairlead/internal/leak"
	"github.com/fairlead-edge/fairlead/internal/memnet"
)

func TestMain(m *testing.M) {
	// What the tests break on purpose is not worth a line.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	leak.Main(m)
}

// echo is a service: UnaryCall answers with the payload it got, and
// FullDuplexCall so to each message.
type echo struct {
	testpb.UnimplementedTestServiceServer

	mu    sync.Mutex
	conns map[string]int // streams by the client's address, now
	most  int            // of these, ever on one connection
	calls int
	held  int // streams that are open
	unary func() error
}

func (e *echo) begin(ctx context.Context) (end func()) {
	from := "?"
	if p, ok := peer.FromContext(ctx); ok {
		from = p.Addr.String()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		e.conns = make(map[string]int)
	}
	e.conns[from]++
	e.most = max(e.most, e.conns[from])
	e.calls++
	e.held++
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.conns[from]--
		e.held--
	}
}

func (e *echo) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	defer e.begin(ctx)()
	if e.unary != nil {
		if err := e.unary(); err != nil {
			return nil, err
		}
	}
	return &testpb.SimpleResponse{Payload: r.GetPayload()}, nil
}

func (e *echo) FullDuplexCall(s testpb.TestService_FullDuplexCallServer) error {
	defer e.begin(s.Context())()
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.GetResponseStatus() != nil {
			return status.Error(codes.Code(r.GetResponseStatus().GetCode()), r.GetResponseStatus().GetMessage())
		}
		if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

func (e *echo) counts() (calls, most, held, conns int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls, e.most, e.held, len(e.conns)
}

// serve serves e on a loopback address until the end of the test.
func serve(t testing.TB, e *echo, opts ...grpc.ServerOption) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	start(t, l, e, opts...)
	return l.Addr().String()
}

// start serves e on l until the end of the test, or until stop is called.
func start(t testing.TB, l net.Listener, e *echo, opts ...grpc.ServerOption) (stop func()) {
	t.Helper()
	s := grpc.NewServer(opts...)
	testpb.RegisterTestServiceServer(s, e)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	stop = func() {
		s.Stop()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// serveMemory serves e in memory, for a bubble; the options reach it.
func serveMemory(t testing.TB, e *echo, opts ...grpc.ServerOption) []grpc.DialOption {
	t.Helper()
	network := memnet.New()
	start(t, network, e, opts...)
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return network.Dial(ctx, "", address) }),
	}
}

// open returns a pool that is closed at the end of the test.
func open(t testing.TB, target string, cfg grpcpool.Config) *grpcpool.Pool {
	t.Helper()
	if cfg.DialOptions == nil {
		cfg.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := grpcpool.New(target, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// hold opens a stream that has been answered once, and is left open.
func hold(ctx context.Context, t testing.TB, p grpc.ClientConnInterface) testpb.TestService_FullDuplexCallClient {
	t.Helper()
	s, err := testpb.NewTestServiceClient(p).FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&testpb.StreamingOutputCallRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	return s
}

// unary does one call.
func unary(ctx context.Context, p grpc.ClientConnInterface) error {
	_, err := testpb.NewTestServiceClient(p).UnaryCall(ctx, &testpb.SimpleRequest{})
	return err
}
