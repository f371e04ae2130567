package daemon_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/fairlead-edge/fairlead/daemon"
)

// backend is a server of grpc-go.
type backend struct {
	testpb.UnimplementedTestServiceServer

	*grpc.Server

	address string
	folder  string // of its certificate; "": it has no TLS
	health  *health.Server

	mu    sync.Mutex
	calls map[string]int // unary, by what was asked for
	total int
	entry chan struct{} // a unary call that is to wait has come; nil: none is to
	leave chan struct{} // closed: it goes on
	left  chan error    // why the client of one that waited did not wait; with room for all
	waves *waves        // nil: a unary call that is not to wait goes on at once
}

// waves let calls go on so many at a time.
type waves struct {
	size int

	mu   sync.Mutex
	n    int
	gate chan struct{}
}

func (w *waves) wait(ctx context.Context) {
	w.mu.Lock()
	if w.n%w.size == 0 {
		w.gate = make(chan struct{})
	}
	gate := w.gate
	if w.n++; w.n%w.size == 0 {
		close(gate)
	}
	w.mu.Unlock()
	select {
	case <-gate:
	case <-ctx.Done():
	}
}

// newBackends returns n backends, with TLS or without.
func newBackends(t testing.TB, n int, secure bool) []*backend {
	t.Helper()
	folder := ""
	if secure {
		folder = t.TempDir()
		writeCertificate(t, folder)
	}
	all := make([]*backend, n)
	for i := range all {
		all[i] = &backend{folder: folder, calls: make(map[string]int), health: health.NewServer()}
		all[i].listen(t)
	}
	return all
}

func newBackend(t testing.TB) *backend { t.Helper(); return newBackends(t, 1, false)[0] }

func (b *backend) listen(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var options []grpc.ServerOption
	if b.folder != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(b.folder, "server.pem"), filepath.Join(b.folder, "server.key"))
		if err != nil {
			t.Fatal(err)
		}
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	}
	b.address = l.Addr().String()
	b.Server = grpc.NewServer(options...)
	testpb.RegisterTestServiceServer(b.Server, b)
	healthpb.RegisterHealthServer(b.Server, b.health)
	reflection.Register(b.Server)
	var serving sync.WaitGroup
	serving.Go(func() { _ = b.Serve(l) })
	t.Cleanup(func() { b.Stop(); serving.Wait() })
}

// hold makes the unary calls that come from now on wait until release is called.
func (b *backend) hold() (entry <-chan struct{}, release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entry, b.leave, b.left = make(chan struct{}, 100), make(chan struct{}), make(chan error, 100)
	leave := b.leave
	return b.entry, sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		close(leave)
		b.entry = nil
	})
}

func (b *backend) UnaryCall(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	b.mu.Lock()
	b.total++
	b.calls[string(req.GetPayload().GetBody())]++
	entry, leave, left := b.entry, b.leave, b.left
	b.mu.Unlock()
	if due, ok := ctx.Deadline(); ok {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-left", fmt.Sprint(time.Until(due).Milliseconds())))
	}
	if entry != nil {
		entry <- struct{}{}
		select {
		case <-leave:
		case <-ctx.Done():
			left <- ctx.Err()
			<-leave // so that the proxy is the one that answers
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if b.waves != nil {
		b.waves.wait(ctx)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-header", strings.Join(md["x-sent"], "+"), "x-bytes-bin", "\x00\xff"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "last"))
	if s := req.GetResponseStatus(); s != nil {
		told, err := status.New(codes.Code(s.GetCode()), s.GetMessage()).WithDetails(durationpb.New(time.Minute)) //nolint:gosec // a test's own
		if err != nil {
			return nil, err
		}
		return nil, told.Err()
	}
	return &testpb.SimpleResponse{Payload: req.GetPayload(), Hostname: b.address}, nil
}

// FullDuplexCall says who it is, then each message again, until an empty one, after
// which it reads no more.
func (b *backend) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	if err := stream.SendHeader(metadata.Pairs("x-from", b.address)); err != nil {
		return err
	}
	stream.SetTrailer(metadata.Pairs("x-trailer", "last"))
	for {
		req, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case req.GetPayload() == nil:
			return status.Error(codes.OutOfRange, "enough")
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: req.GetPayload()}); err != nil {
			return err
		}
	}
}

func (b *backend) StreamingInputCall(stream grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	sum := int32(0)
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: sum})
		}
		if err != nil {
			return err
		}
		sum += int32(len(req.GetPayload().GetBody())) //nolint:gosec // small
	}
}

func (b *backend) StreamingOutputCall(req *testpb.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	for _, p := range req.GetResponseParameters() {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: payload(int(p.GetSize()))}); err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) called() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

func payload(size int) *testpb.Payload { return &testpb.Payload{Body: make([]byte, size)} }

// behind runs Fairlead in front of backends, without TLS or with it on both sides.
func behind(t *testing.T, more string, backends ...*backend) *program {
	t.Helper()
	free := "127.0.0.1:0"
	options := daemon.Options{}
	if backends[0].folder != "" {
		options.HTTPS = &free
	}
	return start(t, before(more, backends...), options)
}

// before is the configuration of behind.
func before(more string, backends ...*backend) string {
	scheme, secure := "h2c", ""
	if folder := backends[0].folder; folder != "" {
		scheme = "https"
		more += fmt.Sprintf(", tls: {ca: %s/ca.pem, server_name: models.example.com}", folder)
		secure = fmt.Sprintf("tls: {certificates: [{cert: %s/server.pem, key: %s/server.key}]}\n", folder, folder)
	}
	urls := make([]string, len(backends))
	for i, b := range backends {
		urls[i] = fmt.Sprintf("%q", scheme+"://"+b.address)
	}
	return secure + "upstreams: {u: {endpoints: [" + strings.Join(urls, ", ") + "]" + more + "}}\nroutes: [{path: /**, upstream: u}]\n"
}

// channel is a channel of grpc-go to the program: one connection.
func channel(t *testing.T, p *program) *grpc.ClientConn {
	t.Helper()
	address, over := strings.TrimPrefix(p.http, "http://"), insecure.NewCredentials()
	if p.https != "" {
		address, over = strings.TrimPrefix(p.https, "https://"), credentials.NewTLS(anyCertificate)
	}
	c, err := grpc.NewClient(address, grpc.WithTransportCredentials(over))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// overBoth runs a test without TLS and with it.
func overBoth(t *testing.T, f func(t *testing.T, secure bool)) {
	t.Helper()
	t.Run("h2c", func(t *testing.T) { f(t, false) })
	t.Run("TLS", func(t *testing.T) { f(t, true) })
}
