package interceptor_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/fairlead-edge/fairlead/interceptor"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
)

func TestAPanicIsAnErrorAndIsTold(t *testing.T) {
	var mu sync.Mutex
	var told []string
	clients := served(t, []connect.Interceptor{interceptor.Recovery(func(procedure string, v any, stack []byte) {
		mu.Lock()
		defer mu.Unlock()
		if !bytes.Contains(stack, []byte("main_test.go")) {
			t.Errorf("the stack is %s", stack)
		}
		told = append(told, procedure+" "+v.(string))
	})}, []connect.Interceptor{interceptor.Recovery(nil)})
	for protocol, c := range clients {
		told = nil
		for _, do := range []func() error{func() error { return publish(t, c, "panic") }, func() error { return subscribe(t, c, "panic") }} {
			if err := do(); connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", protocol, err)
			}
		}
		mu.Lock()
		if strings.Join(told, ", ") != "/fairlead.v1.Topics/Publish a secret, /fairlead.v1.Topics/Subscribe a secret" {
			t.Errorf("%s: told %q", protocol, told)
		}
		mu.Unlock()
		if err := publish(t, c, ""); err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
		if err := publish(t, c, "abort"); err == nil || connect.CodeOf(err) == connect.CodeInternal && strings.Contains(err.Error(), "its log") {
			t.Errorf("%s: an abort is answered: %v", protocol, err)
		}
	}
}

// observed collects calls.
type observed struct {
	mu    sync.Mutex
	calls []interceptor.Call
}

func (o *observed) add(c interceptor.Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, c)
}

// take returns the one call since the last take.
func (o *observed) take(t *testing.T) interceptor.Call {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.calls) != 1 {
		t.Fatalf("there were %d calls: %+v", len(o.calls), o.calls)
	}
	c := o.calls[0]
	o.calls = nil
	return c
}

func TestEachCallIsObservedAtBothEnds(t *testing.T) {
	var here, there observed
	ended := make(chan struct{}, 1)
	clients := served(t, []connect.Interceptor{interceptor.Observe(func(c interceptor.Call) { here.add(c); ended <- struct{}{} })},
		[]connect.Interceptor{interceptor.Observe(there.add)})
	want := func(protocol, what, code string, sent, received int64, first bool) {
		t.Helper()
		<-ended
		for _, side := range []struct {
			name   string
			call   interceptor.Call
			client bool
		}{{"server", here.take(t), false}, {"client", there.take(t), true}} {
			c := side.call
			out, in := sent, received
			if !side.client {
				out, in = in, out
			}
			if c.Code() != code || c.Client != side.client || c.Protocol != protocol || !strings.HasSuffix(c.Procedure, what) || c.Peer == "" ||
				c.Sent != out || c.Received != in || (c.First > 0) != first || c.Took < c.First {
				t.Errorf("%s: %s of the %s: %+v", protocol, what, side.name, c)
			}
		}
	}
	for protocol, c := range clients {
		_ = publish(t, c, "")
		want(protocol, "Publish", "ok", 1, 1, true)
		_ = publish(t, c, "fail")
		want(protocol, "Publish", "not_found", 1, 0, false)
		_ = subscribe(t, c, "")
		want(protocol, "Subscribe", "ok", 1, 3, true)
		_ = subscribe(t, c, "fail")
		want(protocol, "Subscribe", "not_found", 1, 3, true)

		s := c.Session(t.Context())
		for id := range uint64(2) {
			if err := s.Send(&fairleadv1.SessionRequest{Id: id}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Receive(); err != nil {
				t.Fatal(err)
			}
		}
		_ = s.CloseRequest()
		if _, err := s.Receive(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		_ = s.CloseResponse()
		want(protocol, "Session", "ok", 2, 2, true)
	}
}

func TestEachCallIsLogged(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := served(t, nil, []connect.Interceptor{interceptor.Logging(interceptor.LoggingConfig{Logger: log})})[connect.ProtocolGRPC]
	for what, want := range map[string]string{
		"":      "level=INFO msg=call procedure=/fairlead.v1.Topics/Publish protocol=grpc kind=unary client=true code=ok",
		"fail":  "level=WARN msg=call procedure=/fairlead.v1.Topics/Publish protocol=grpc kind=unary client=true code=not_found",
		"break": "level=ERROR msg=call procedure=/fairlead.v1.Topics/Publish protocol=grpc kind=unary client=true code=unknown",
	} {
		text.Reset()
		_ = publish(t, c, what)
		if got := text.String(); !strings.Contains(got, want) || strings.Contains(got, "secret") || strings.Count(got, "\n") != 1 {
			t.Errorf("the record is %s, want %s", got, want)
		}
	}
}

func TestATraceGoesFromTheClientToTheServer(t *testing.T) {
	if _, err := interceptor.Tracing(interceptor.TracingConfig{}); err == nil {
		t.Error("there is tracing without a provider")
	}
	spans := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	there, err := interceptor.Tracing(interceptor.TracingConfig{Provider: provider})
	if err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []bool{true, false} {
		here, err := interceptor.Tracing(interceptor.TracingConfig{Provider: provider, TrustRemote: trusted})
		if err != nil {
			t.Fatal(err)
		}
		for protocol, c := range served(t, []connect.Interceptor{here}, []connect.Interceptor{there}) {
			spans.Reset()
			if err := publish(t, c, ""); err != nil {
				t.Fatal(err)
			}
			var client, server trace.ReadOnlySpan
			for _, s := range spans.Ended() {
				switch s.SpanKind() {
				case oteltrace.SpanKindClient:
					client = s
				case oteltrace.SpanKindServer:
					server = s
				default:
				}
			}
			if client == nil || server == nil || client.Name() != "fairlead.v1.Topics/Publish" {
				t.Fatalf("%s: the spans are %v", protocol, spans.Ended())
			}
			if child := server.Parent().SpanID() == client.SpanContext().SpanID(); child != trusted {
				t.Errorf("%s: trusted %v, and the server's span is a child: %v", protocol, trusted, child)
			}
			if !trusted && (len(server.Links()) != 1 || server.Links()[0].SpanContext.TraceID() != client.SpanContext().TraceID()) {
				t.Errorf("%s: the links are %v", protocol, server.Links())
			}
		}
	}
}
