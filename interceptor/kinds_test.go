package interceptor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairlead-edge/fairlead/interceptor"
)

type text = wrapperspb.StringValue

// stage serves one procedure of each kind, which answers each message with itself and
// then acts by the last.
type stage struct {
	t       *testing.T
	url     string
	h1, h2c *http.Client
}

func staged(t *testing.T, with ...connect.Interceptor) *stage {
	t.Helper()
	options := connect.WithInterceptors(with...)
	mux := http.NewServeMux()
	mux.Handle("/t/unary", connect.NewUnaryHandler("/t/unary", func(ctx context.Context, r *connect.Request[text]) (*connect.Response[text], error) {
		return connect.NewResponse(r.Msg), play(ctx, r.Msg)
	}, options))
	mux.Handle("/t/up", connect.NewClientStreamHandler("/t/up", func(ctx context.Context, s *connect.ClientStream[text]) (*connect.Response[text], error) {
		last := &text{}
		for s.Receive() {
			last = s.Msg()
		}
		return connect.NewResponse(last), errors.Join(s.Err(), play(ctx, last))
	}, options))
	mux.Handle("/t/down", connect.NewServerStreamHandler("/t/down", func(ctx context.Context, r *connect.Request[text], s *connect.ServerStream[text]) error {
		return errors.Join(s.Send(r.Msg), play(ctx, r.Msg))
	}, options))
	mux.Handle("/t/both", connect.NewBidiStreamHandler("/t/both", func(ctx context.Context, s *connect.BidiStream[text, text]) error {
		for {
			m, err := s.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := errors.Join(s.Send(m), play(ctx, m)); err != nil {
				return err
			}
		}
	}, options))
	server := httptest.NewUnstartedServer(mux)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // the panics of tests
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	h1, h2c := &http.Transport{}, &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h1.CloseIdleConnections)
	t.Cleanup(h2c.CloseIdleConnections)
	return &stage{t, server.URL, &http.Client{Transport: h1}, &http.Client{Transport: h2c}}
}

func play(ctx context.Context, m *text) error {
	switch m.GetValue() {
	case "panic":
		panic("a secret")
	case "wait":
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// call makes a call of a kind with one message, and returns how it ended.
func (s *stage) call(ctx context.Context, kind, what string, http *http.Client, options ...connect.ClientOption) error {
	client := connect.NewClient[text, text](http, s.url+"/t/"+kind, options...)
	message := wrapperspb.String(what)
	switch kind {
	case "unary":
		_, err := client.CallUnary(ctx, connect.NewRequest(message))
		return err
	case "up":
		stream := client.CallClientStream(ctx)
		_ = stream.Send(message) // CloseAndReceive has the error
		_, err := stream.CloseAndReceive()
		return err
	case "down":
		stream, err := client.CallServerStream(ctx, connect.NewRequest(message))
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }()
		for stream.Receive() {
		}
		return stream.Err()
	default:
		stream := client.CallBidiStream(ctx)
		defer func() { _ = stream.CloseResponse() }()
		_ = stream.Send(message) // Receive has the error
		_ = stream.CloseRequest()
		for {
			if _, err := stream.Receive(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}

// ways calls f with each way to make a call of each kind.
func (s *stage) ways(f func(kind, way string, http *http.Client, options ...connect.ClientOption)) {
	for _, kind := range []string{"unary", "up", "down", "both"} {
		f(kind, "grpc over h2c", s.h2c, connect.WithGRPC())
		f(kind, "grpcweb over h2c", s.h2c, connect.WithGRPCWeb())
		f(kind, "connect over h2c", s.h2c)
		if kind != "both" { // which takes HTTP/2
			f(kind, "grpcweb over h1", s.h1, connect.WithGRPCWeb())
			f(kind, "connect over h1", s.h1)
		}
	}
}

// told is a channel of calls that are over, and of those that begin.
func told() (began, ended chan interceptor.Call, with connect.Interceptor) {
	began, ended = make(chan interceptor.Call, 64), make(chan interceptor.Call, 64) // more than any test makes
	return began, ended, interceptor.Metrics(interceptor.MetricsConfig{
		Begin: func(c interceptor.Call) { began <- c }, End: func(c interceptor.Call) { ended <- c }, Bytes: true,
	})
}

func TestEveryKindOfCallIsCountedOverEveryProtocol(t *testing.T) {
	began, ended, here := told()
	dialled, over, there := told()
	s := staged(t, here)
	s.ways(func(kind, way string, http *http.Client, options ...connect.ClientOption) {
		if err := s.call(t.Context(), kind, "hello", http, append(options, connect.WithInterceptors(there))...); err != nil {
			t.Error(kind, way, err)
		}
		for _, side := range []struct{ begin, end interceptor.Call }{{<-began, <-ended}, {<-dialled, <-over}} {
			b, c := side.begin, side.end
			if b.Procedure != "/t/"+kind || b.Procedure != c.Procedure || b.Client != c.Client || b.Took != 0 ||
				!strings.HasPrefix(way, c.Protocol+" ") || c.Code() != "ok" ||
				c.Sent != 1 || c.Received != 1 || c.SentBytes != 7 || c.ReceivedBytes != 7 || c.First <= 0 || c.Took < c.First {
				t.Errorf("%s %s: %+v, then %+v", kind, way, b, c)
			}
		}
	})
}

func TestAPanicOfEveryKindOfHandlerIsInternal(t *testing.T) {
	panics := make(chan any, 1)
	_, ended, here := told()
	s := staged(t, here, interceptor.Recovery(func(_ string, v any, _ []byte) { panics <- v }))
	s.ways(func(kind, way string, http *http.Client, options ...connect.ClientOption) {
		err := s.call(t.Context(), kind, "panic", http, options...)
		if connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "secret") {
			t.Error(kind, way, err)
		}
		if v := <-panics; v != "a secret" {
			t.Error(kind, way, v)
		}
		if c := <-ended; c.Code() != "internal" {
			t.Errorf("%s %s: %+v", kind, way, c)
		}
	})
}

func TestACallThatPanicsIsOverWithoutRecoveryToo(t *testing.T) {
	_, ended, here := told()
	s := staged(t, here)
	for _, kind := range []string{"unary", "both"} {
		if err := s.call(t.Context(), kind, "panic", s.h2c); err == nil {
			t.Error(kind, "has worked")
		}
		if c := <-ended; c.Code() != "internal" {
			t.Errorf("%s: %+v", kind, c)
		}
	}
}

func TestACallThatEndsWithItsContextIsCanceledAtBothEnds(t *testing.T) {
	began, ended, here := told()
	_, over, there := told()
	s := staged(t, here)
	for _, kind := range []string{"unary", "up", "down", "both"} {
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { <-began; cancel() })
		if err := s.call(ctx, kind, "wait", s.h2c, connect.WithGRPC(), connect.WithInterceptors(there)); connect.CodeOf(err) != connect.CodeCanceled {
			t.Error(kind, err)
		}
		for _, c := range []interceptor.Call{<-over, <-ended} {
			if c.Code() != "canceled" {
				t.Errorf("%s: %+v", kind, c)
			}
		}
		wait.Wait()
	}
}

func TestAStreamThatItsCallerForgetsIsOverWithItsContext(t *testing.T) {
	_, over, there := told()
	s := staged(t)
	client := connect.NewClient[text, text](s.h2c, s.url+"/t/both", connect.WithGRPC(), connect.WithInterceptors(there))
	ctx, cancel := context.WithCancel(t.Context())
	stream := client.CallBidiStream(ctx)
	if err := stream.Send(wrapperspb.String("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Receive(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if c := <-over; c.Code() != "canceled" || c.Sent != 1 || c.Received != 1 {
		t.Errorf("%+v", c)
	}
	_ = stream.CloseRequest() // net/http sees the context's end when it has no more to send
	_ = stream.CloseResponse()
	if len(over) > 0 {
		t.Error("it is over twice")
	}
}

func TestAStreamThatItsCallerClosesEarlyIsCanceled(t *testing.T) {
	_, over, there := told()
	s := staged(t)
	client := connect.NewClient[text, text](s.h2c, s.url+"/t/down", connect.WithInterceptors(there))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := client.CallServerStream(ctx, connect.NewRequest(wrapperspb.String("hello")))
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	_ = stream.Close()
	if c := <-over; c.Code() != "canceled" || c.Received != 1 {
		t.Errorf("%+v", c)
	}
}

func TestRecordsAreThinnedOutButThoseOfFailures(t *testing.T) {
	var records bytes.Buffer
	s := staged(t)
	log := interceptor.Logging(interceptor.LoggingConfig{
		Logger: slog.New(slog.NewTextHandler(&records, nil)), Every: 3, Bytes: true, ErrorText: true,
		Keep:  func(c interceptor.Call) bool { return c.Procedure != "/t/down" },
		Level: func(c interceptor.Call) slog.Level { return max(slog.LevelWarn, interceptor.LevelOf(c)) },
	})
	for range 4 {
		_ = s.call(t.Context(), "unary", "hello", s.h2c, connect.WithInterceptors(log))
	}
	got := records.String()
	if strings.Count(got, "\n") != 2 || strings.Count(got, "level=WARN msg=call procedure=/t/unary") != 2 || strings.Count(got, "sent_bytes=7 received_bytes=7") != 2 {
		t.Errorf("the records of four calls are %s", got)
	}
	records.Reset()
	fail := connect.UnaryInterceptorFunc(func(connect.UnaryFunc) connect.UnaryFunc {
		return func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) {
			return nil, errors.New(strings.Repeat("é", 200))
		}
	})
	_ = s.call(t.Context(), "unary", "hello", s.h2c, connect.WithInterceptors(log, fail))
	_ = s.call(t.Context(), "down", "hello", s.h2c, connect.WithInterceptors(log))
	if got := records.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") || strings.Count(got, "é") != 128 {
		t.Errorf("the records of one failure are %s", got)
	}
}
