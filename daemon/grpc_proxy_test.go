package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/fairlead-edge/fairlead/daemon"
)

// backend is a server of grpc-go.
type backend struct {
	testpb.UnimplementedTestServiceServer

	*grpc.Server

	address string
	health  *health.Server

	mu    sync.Mutex
	calls map[string]int // unary, by what was asked for
	total int
	entry chan struct{} // a unary call that is to wait has come; nil: none is to
	leave chan struct{} // closed: it goes on
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{calls: make(map[string]int), health: health.NewServer()}
	b.listen(t, "127.0.0.1:0")
	return b
}

func (b *backend) listen(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	b.address = l.Addr().String()
	b.Server = grpc.NewServer()
	testpb.RegisterTestServiceServer(b.Server, b)
	healthpb.RegisterHealthServer(b.Server, b.health)
	reflection.Register(b.Server)
	var serving sync.WaitGroup
	serving.Go(func() { _ = b.Serve(l) })
	t.Cleanup(func() { b.Stop(); serving.Wait() })
}

func (b *backend) UnaryCall(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	b.mu.Lock()
	b.total++
	b.calls[string(req.GetPayload().GetBody())]++
	entry, leave := b.entry, b.leave
	b.mu.Unlock()
	if entry != nil {
		entry <- struct{}{}
		select {
		case <-leave:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	md, _ := metadata.FromIncomingContext(ctx)
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-header", strings.Join(md["x-sent"], "+"), "x-bytes-bin", "\x00\xff"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "last"))
	if s := req.GetResponseStatus(); s != nil {
		return nil, status.Error(codes.Code(s.GetCode()), s.GetMessage()) //nolint:gosec // a test's own
	}
	if due, ok := ctx.Deadline(); ok {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-left", fmt.Sprint(time.Until(due).Milliseconds())))
	}
	return &testpb.SimpleResponse{Payload: req.GetPayload(), Hostname: b.address}, nil
}

func (b *backend) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			stream.SetTrailer(metadata.Pairs("x-trailer", "last"))
			return nil
		}
		if err != nil {
			return err
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

// behind runs Fairlead in front of backends over HTTP/2 without TLS.
func behind(t *testing.T, more string, backends ...*backend) *program {
	t.Helper()
	return start(t, "upstreams: {u: {endpoints: "+endpoints(backends)+more+"}}\nroutes: [{path: /**, upstream: u}]", daemon.Options{})
}

func endpoints(backends []*backend) string {
	urls := make([]string, len(backends))
	for i, b := range backends {
		urls[i] = fmt.Sprintf("%q", "h2c://"+b.address)
	}
	return "[" + strings.Join(urls, ", ") + "]"
}

// channel is a channel of grpc-go to the program.
func channel(t *testing.T, p *program, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(strings.TrimPrefix(p.http, "http://"), append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestCallsPassTheProxy(t *testing.T) {
	b := newBackend(t)
	p := behind(t, "", b)
	c := testpb.NewTestServiceClient(channel(t, p))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	var header, trailer metadata.MD
	sent := metadata.AppendToOutgoingContext(ctx, "x-sent", "a", "x-sent", "b")
	res, err := c.UnaryCall(sent, &testpb.SimpleRequest{Payload: payload(300_000)}, grpc.Header(&header), grpc.Trailer(&trailer), grpc.UseCompressor("gzip"))
	if err != nil || len(res.GetPayload().GetBody()) != 300_000 {
		t.Fatalf("UnaryCall: %v", err)
	}
	if header.Get("x-header")[0] != "a+b" || header.Get("x-bytes-bin")[0] != "\x00\xff" || trailer.Get("x-trailer")[0] != "last" {
		t.Errorf("header %v, trailer %v", header, trailer)
	}

	_, err = c.UnaryCall(ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: 9, Message: "ünready % yet"}}, grpc.Trailer(&trailer))
	if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "ünready % yet" || trailer.Get("x-trailer")[0] != "last" {
		t.Errorf("the status is %v, trailer %v", err, trailer)
	}
	_, err = c.UnimplementedCall(ctx, &testpb.Empty{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("UnimplementedCall: %v", err)
	}

	both, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := both.Send(&testpb.StreamingOutputCallRequest{Payload: payload(i)}); err != nil {
			t.Fatal(err)
		}
		if res, err := both.Recv(); err != nil || len(res.GetPayload().GetBody()) != i {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := both.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := both.Recv(); !errors.Is(err, io.EOF) || both.Trailer().Get("x-trailer")[0] != "last" {
		t.Errorf("the end: %v, %v", err, both.Trailer())
	}

	up, err := c.StreamingInputCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := up.Send(&testpb.StreamingInputCallRequest{Payload: payload(1_000)}); err != nil {
			t.Fatal(err)
		}
	}
	if sum, err := up.CloseAndRecv(); err != nil || sum.GetAggregatedPayloadSize() != 10_000 {
		t.Errorf("StreamingInputCall: %v, %v", sum, err)
	}

	down, err := c.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{
		ResponseParameters: []*testpb.ResponseParameters{{Size: 1}, {Size: 100_000}, {Size: 0}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 100_000, 0} {
		if res, err := down.Recv(); err != nil || len(res.GetPayload().GetBody()) != size {
			t.Errorf("StreamingOutputCall: %v", err)
		}
	}
	if _, err := down.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

func TestACallsDeadlineIsHandedOnShortenedAndKept(t *testing.T) {
	b := newBackend(t)
	p := behind(t, "", b)
	c := testpb.NewTestServiceClient(channel(t, p))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var trailer metadata.MD
	if _, err := c.UnaryCall(ctx, &testpb.SimpleRequest{Payload: payload(1)}, grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	if left := trailer.Get("x-left"); len(left) != 1 || left[0] > fmt.Sprint(patience.Milliseconds()) {
		t.Errorf("the backend has %v ms left of %v", left, patience)
	}
	b.mu.Lock()
	b.entry, b.leave = make(chan struct{}, 10), make(chan struct{})
	b.mu.Unlock()
	short, end := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer end()
	if _, err := c.UnaryCall(short, &testpb.SimpleRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v", err)
	}
	cancelled, stop := context.WithCancel(ctx)
	go func() {
		<-b.entry
		<-b.entry
		stop()
	}()
	if _, err := c.UnaryCall(cancelled, &testpb.SimpleRequest{}); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
}

func TestCallsThatReachNobodyAreUnavailableAndSaysWhy(t *testing.T) {
	b := newBackend(t)
	b.Stop()
	p := behind(t, "", b)
	c := testpb.NewTestServiceClient(channel(t, p))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := c.UnaryCall(ctx, &testpb.SimpleRequest{})
	if s := status.Convert(err); s.Code() != codes.Unavailable || !strings.Contains(s.Message(), "upstream") {
		t.Errorf("%v", err)
	}
	stream, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestACallThatBreaksOffEndsWithAStatus(t *testing.T) {
	b := newBackend(t)
	p := behind(t, "", b)
	c := testpb.NewTestServiceClient(channel(t, p))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: payload(1)}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	b.Stop()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("%v", err)
	}

	b.listen(t, "127.0.0.1:0") // of which the program does not know
	raw := request(t, http.MethodPost, p.http+"/x", "", "Content-Type", "application/grpc", "Grpc-Timeout", "soon")
	if raw.StatusCode != http.StatusOK || raw.Header.Get("Grpc-Status") != "3" || raw.Header.Get("Grpc-Message") == "" {
		t.Errorf("%v %v", raw.Status, raw.Header)
	}
	web := request(t, http.MethodPost, p.http+"/x", "", "Content-Type", "application/grpc-web+proto")
	if web.StatusCode != http.StatusOK || web.Header.Get("Grpc-Status") != "14" || web.Header.Get("Content-Type") != "application/grpc-web" {
		t.Errorf("%v %v", web.Status, web.Header)
	}
	other := request(t, http.MethodPost, p.http+"/x", "{}", "Content-Type", "application/json")
	if other.StatusCode != http.StatusBadGateway {
		t.Errorf("%v %v", other.Status, other.Header)
	}
}

func TestAServiceBehindKeepsItsHealthAndReflection(t *testing.T) {
	b := newBackend(t)
	b.health.SetServingStatus("shop.v1.Orders", healthpb.HealthCheckResponse_NOT_SERVING)
	p := behind(t, "", b)
	conn := channel(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{
		"":                   healthpb.HealthCheckResponse_SERVING,
		"shop.v1.Orders":     healthpb.HealthCheckResponse_NOT_SERVING,
		"fairlead.v1.Topics": healthpb.HealthCheckResponse_SERVING,
	} {
		res, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err != nil || res.GetStatus() != want {
			t.Errorf("the health of %q is %v, %v", service, res, err)
		}
	}
	ask := func(req *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		t.Helper()
		stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
		if err == nil {
			err = stream.Send(req)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = stream.CloseSend() }()
		res, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	var names []string
	listed := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{ListServices: "*"}})
	for _, s := range listed.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	if !slices.Contains(names, "grpc.testing.TestService") || slices.Contains(names, "fairlead.v1.Topics") {
		t.Errorf("the upstream lists %q", names)
	}
	for _, symbol := range []string{"fairlead.v1.Topics", "grpc.testing.TestService"} {
		res := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}})
		if len(res.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("%s is not described: %v", symbol, res)
		}
	}

	eventually(t, "the log has the status", func() bool { return strings.Contains(p.log.String(), `"grpc_status":"0"`) })
}

func TestABackendWhoseHealthSaysNoGetsNoCalls(t *testing.T) {
	sick, well := newBackend(t), newBackend(t)
	sick.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	p := behind(t, ", health: {kind: grpc, interval: 200ms, timeout: 200ms}", sick, well)
	eventually(t, "one endpoint is out", func() bool {
		_, text := answer(t, http.MethodGet, p.admin+"/pools", "")
		return strings.Contains(text, `"state": "unhealthy"`)
	})
	c := channel(t, p)
	if failed := calls(t, c, 50, 4); failed != nil || sick.called() != 0 {
		t.Errorf("%v, and the sick one had %d calls", failed, sick.called())
	}
	sick.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	eventually(t, "it is back", func() bool { return calls(t, c, 10, 1) == nil && sick.called() > 0 })
}
