package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/quic-go/quic-go/http3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/fairlead-edge/fairlead/daemon"
	"github.com/fairlead-edge/fairlead/rpc"
)

func TestCallsPassTheProxy(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		b := newBackends(t, 1, secure)[0]
		c := testpb.NewTestServiceClient(channel(t, behind(t, "", b)))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		unaryPasses(ctx, t, c)
		statusesPass(ctx, t, c)
		streamsPass(ctx, t, c)
		bothWaysPass(ctx, t, c)
	})
}

func unaryPasses(ctx context.Context, t *testing.T, c testpb.TestServiceClient) {
	t.Helper()
	for _, options := range [][]grpc.CallOption{nil, {grpc.UseCompressor("gzip")}} {
		var header, trailer metadata.MD
		sent := metadata.AppendToOutgoingContext(ctx, "x-sent", "a", "x-sent", "b")
		const large = 3_000_000
		res, err := c.UnaryCall(sent, &testpb.SimpleRequest{Payload: payload(large)}, append(options, grpc.Header(&header), grpc.Trailer(&trailer))...)
		if err != nil || len(res.GetPayload().GetBody()) != large {
			t.Fatalf("UnaryCall: %v", err)
		}
		if header.Get("x-header")[0] != "a+b" || header.Get("x-bytes-bin")[0] != "\x00\xff" || trailer.Get("x-trailer")[0] != "last" {
			t.Errorf("header %v, trailer %v", header, trailer)
		}
	}
}

func statusesPass(ctx context.Context, t *testing.T, c testpb.TestServiceClient) {
	t.Helper()
	var trailer metadata.MD
	_, err := c.UnaryCall(ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: 9, Message: "ünready % yet"}}, grpc.Trailer(&trailer))
	s := status.Convert(err)
	if s.Code() != codes.FailedPrecondition || s.Message() != "ünready % yet" || trailer.Get("x-trailer")[0] != "last" {
		t.Errorf("the status is %v, trailer %v", err, trailer)
	}
	if all := s.Details(); len(all) != 1 || !proto.Equal(all[0].(proto.Message), durationpb.New(time.Minute)) {
		t.Errorf("the status has %v", all)
	}
	if _, err = c.UnimplementedCall(ctx, &testpb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("UnimplementedCall: %v", err)
	}
}

func streamsPass(ctx context.Context, t *testing.T, c testpb.TestServiceClient) {
	t.Helper()
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

func bothWaysPass(ctx context.Context, t *testing.T, c testpb.TestServiceClient) {
	t.Helper()
	both, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := both.Header(); err != nil || len(h.Get("x-from")) != 1 { // before any message
		t.Fatalf("the header is %v, %v", h, err)
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

	early, err := c.FullDuplexCall(ctx)
	if err == nil {
		err = early.Send(&testpb.StreamingOutputCallRequest{}) // after which nobody reads
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := early.Recv(); status.Code(err) != codes.OutOfRange || early.Trailer().Get("x-trailer")[0] != "last" {
		t.Errorf("the early end: %v, %v", err, early.Trailer())
	}
}

func TestCallsPassFromHTTP3(t *testing.T) {
	b := newBackends(t, 1, true)[0]
	p := behind(t, "", b)
	transport := &http3.Transport{TLSClientConfig: anyCertificate}
	defer transport.Close()
	c := connect.NewClient[testpb.SimpleRequest, testpb.SimpleResponse](&http.Client{Transport: transport}, p.https+testpb.TestService_UnaryCall_FullMethodName, connect.WithGRPC())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	res, err := c.CallUnary(ctx, connect.NewRequest(&testpb.SimpleRequest{Payload: payload(100_000)}))
	if err != nil || len(res.Msg.GetPayload().GetBody()) != 100_000 || res.Trailer().Get("x-trailer") != "last" {
		t.Fatalf("%v", err)
	}
	_, err = c.CallUnary(ctx, connect.NewRequest(&testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: 9}}))
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("a status: %v", err)
	}

	both := connect.NewClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse](&http.Client{Transport: transport}, p.https+testpb.TestService_FullDuplexCall_FullMethodName, connect.WithGRPC()).CallBidiStream(ctx)
	for i := range 20 {
		if err := both.Send(&testpb.StreamingOutputCallRequest{Payload: payload(i)}); err != nil {
			t.Fatal(err)
		}
		if res, err := both.Receive(); err != nil || len(res.GetPayload().GetBody()) != i {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	b.Stop()
	if _, err := both.Receive(); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("the stream broke off: %v", err)
	}
	_ = both.CloseRequest()
	_ = both.CloseResponse()
	_, err = c.CallUnary(ctx, connect.NewRequest(&testpb.SimpleRequest{}))
	if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "upstream") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestACallThatIsCancelledIsCancelledAtItsBackend(t *testing.T) {
	b := newBackend(t)
	c := testpb.NewTestServiceClient(channel(t, behind(t, "", b)))
	entry, release := b.hold()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entry
		cancel()
	}()
	if _, err := c.UnaryCall(ctx, &testpb.SimpleRequest{}); status.Code(err) != codes.Canceled {
		t.Errorf("%v", err)
	}
	if err := <-b.left; !errors.Is(err, context.Canceled) {
		t.Errorf("the backend saw %v", err)
	}
}

func TestACallsDeadlineIsHandedOnAndKept(t *testing.T) {
	b := newBackend(t)
	p := behind(t, "", b)
	c := testpb.NewTestServiceClient(channel(t, p))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var trailer metadata.MD
	if _, err := c.UnaryCall(ctx, &testpb.SimpleRequest{Payload: payload(1)}, grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	if left, err := strconv.Atoi(trailer.Get("x-left")[0]); err != nil || left <= 0 || left > int(patience.Milliseconds()) {
		t.Errorf("the backend has %d ms left of %v, %v", left, patience, err)
	}
	_, release := b.hold()
	defer release()
	// A client that tells its deadline and does not keep it.
	res := callRaw(t, p, testpb.TestService_UnaryCall_FullMethodName, "\x00\x00\x00\x00\x00", "Content-Type", "application/grpc", "Te", "trailers", "Grpc-Timeout", "100m")
	if res.StatusCode != http.StatusOK || res.Header.Get("Grpc-Status") != "4" || res.Header.Get("Content-Type") != "application/grpc" {
		t.Errorf("%v %v", res.Status, res.Header)
	}
	if err := <-b.left; err == nil {
		t.Error("the backend goes on")
	}
	eventually(t, "the log says why", func() bool {
		return strings.Contains(p.log.String(), `"grpc_status":"4","reason":"deadline_exceeded"`)
	})
}

// callRaw makes a request over HTTP/2 without TLS.
func callRaw(t *testing.T, p *program, path, body string, fields ...string) *http.Response {
	t.Helper()
	client, base := overH2C(p)
	t.Cleanup(client.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestCallsThatReachNobodyAreUnavailableAndSaysWhy(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		b := newBackends(t, 1, secure)[0]
		b.Stop()
		c := testpb.NewTestServiceClient(channel(t, behind(t, "", b)))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := c.UnaryCall(ctx, &testpb.SimpleRequest{})
		if s := status.Convert(err); s.Code() != codes.Unavailable || s.Message() != "the upstream refused the connection: is it running?" {
			t.Errorf("%v", err)
		}
		stream, err := c.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("%v", err)
		}
	})
}

func TestAnEndpointThatIsSpokenToInTheWrongProtocolIsFoundOut(t *testing.T) {
	b := newBackend(t)
	one := httptest.NewServer(http.NotFoundHandler())
	defer one.Close()
	for endpoint, want := range map[string]string{
		"http://" + b.address:                   "is it h2c, without TLS, or https?",
		"https://" + b.address:                  "is it http or h2c instead of https?",
		"h2c://" + one.Listener.Addr().String(): "is it http instead of h2c?",
	} {
		p := start(t, strings.Replace(before("", b), "h2c://"+b.address, endpoint, 1), daemon.Options{})
		c := testpb.NewTestServiceClient(channel(t, p))
		eventually(t, endpoint+" is found out", func() bool { // a reset may be sooner than the answer
			_, err := c.UnaryCall(t.Context(), &testpb.SimpleRequest{})
			return status.Code(err) == codes.Unavailable && strings.HasSuffix(err.Error(), want)
		})
	}
}

func TestACallThatBreaksOffEndsWithAStatus(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		b := newBackends(t, 1, secure)[0]
		c := testpb.NewTestServiceClient(channel(t, behind(t, "", b)))
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
	})
}

func TestOurOwnErrorsAreToldInTheWordsOfTheRequest(t *testing.T) {
	b := newBackend(t)
	b.Stop()
	p := start(t, strings.Replace(before("", b), "/**", "/a.B/*", 1), daemon.Options{})
	for _, c := range []struct{ path, kind, timeout, want string }{
		{"/a.B/C", "application/grpc", "", "200 14 the upstream refused the connection: is it running?"},
		{"/a.B/C", "application/grpc-web+proto", "", "200 14 the upstream refused the connection: is it running?"},
		{"/a.B/C", "application/grpc", "soon", "200 3 grpc-timeout is up to eight digits and one of H, M, S, m, u and n"},
		{"/x.Y/Z", "application/grpc", "", "200 12 no route of this server leads there; its own services are " + rpc.Services},
		{"/a.B/C", "application/connect+proto", "", "502  "},
		{"/a.B/C", "application/proto", "", "502  "},
		{"/x.Y/Z", "application/json", "", "404  "},
	} {
		fields := []string{"Content-Type", c.kind}
		if c.timeout != "" {
			fields = append(fields, "Grpc-Timeout", c.timeout)
		}
		res := callRaw(t, p, c.path, "", fields...)
		kind := "application/problem+json"
		if res.StatusCode == http.StatusOK {
			kind = c.kind
		}
		got := fmt.Sprintf("%d %s %s", res.StatusCode, res.Header.Get("Grpc-Status"), res.Header.Get("Grpc-Message"))
		if got != c.want || res.Header.Get("Content-Type") != kind {
			t.Errorf("%+v: %s, %v", c, got, res.Header)
		}
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
	for _, want := range []string{
		`fairlead_rpc_calls_total{code="ok",procedure="/grpc.health.v1.Health/Check",protocol="grpc"} 1`,
		`fairlead_grpc_forwarded_calls_total{code="ok",route="/**",upstream="u"} `,
		`fairlead_http_request_body_bytes_total{route="/**"} `,
	} {
		eventually(t, want, func() bool {
			_, text := answer(t, http.MethodGet, p.admin+"/metrics", "")
			return strings.Contains(text, want)
		})
	}
}

func TestABackendWhoseHealthSaysNoGetsNoNewCalls(t *testing.T) {
	overBoth(t, func(t *testing.T, secure bool) {
		backends := newBackends(t, 2, secure)
		sick := backends[0]
		serving := func(b *backend, is healthpb.HealthCheckResponse_ServingStatus) {
			b.health.SetServingStatus("grpc.testing.TestService", is)
		}
		serving(sick, healthpb.HealthCheckResponse_SERVING)
		serving(backends[1], healthpb.HealthCheckResponse_SERVING)
		p := behind(t, ", health: {kind: grpc, service: grpc.testing.TestService, interval: 100ms, unhealthy_interval: 50ms}", backends...)
		c := channel(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		going, _ := open(ctx, t, c, sick.address)

		serving(sick, healthpb.HealthCheckResponse_NOT_SERVING)
		eventually(t, "one is out", func() bool {
			_, text := answer(t, http.MethodGet, p.admin+"/pools", "")
			return strings.Contains(text, `"state": "unhealthy"`)
		})
		before := sick.called()
		if failed := calls(t, c, 50, 4); failed != nil || sick.called() != before {
			t.Errorf("%v, and the sick one had %d calls", failed, sick.called()-before)
		}
		say(t, going) // what has begun goes on
		serving(sick, healthpb.HealthCheckResponse_SERVING)
		eventually(t, "it is back", func() bool { return calls(t, c, 10, 1) == nil && sick.called() > before })
	})
}
