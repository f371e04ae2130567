package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
)

func TestPagesOfOtherOriginsNeedPermission(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{Origins: []string{"https://app.example"}}, rpc.Config{})
	preflight := func(origin string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, s.url+fairleadv1connect.TopicsPublishProcedure, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "POST")
		req.Header.Set("Access-Control-Request-Headers", "content-type,x-grpc-web")
		resp, err := s.plain.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	resp := preflight("https://app.example")
	names := resp.Header.Get("Access-Control-Allow-Headers")
	for _, name := range []string{
		"Connect-Protocol-Version", "Connect-Timeout-Ms", "X-Grpc-Web", "Grpc-Timeout", "Content-Type", "Authorization", "X-User-Agent", "Traceparent",
	} {
		if !strings.Contains(names, name) {
			t.Errorf("%s is not allowed", name)
		}
	}
	if resp.StatusCode != http.StatusNoContent || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" || !strings.Contains(resp.Header.Get("Vary"), "Origin") {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	if resp := preflight("https://evil.example"); resp.StatusCode != http.StatusForbidden || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	call := func(origin string, options ...connect.ClientOption) (*connect.Response[fairleadv1.PublishResponse], error) {
		req := connect.NewRequest(&fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{event("1")}})
		req.Header().Set("Origin", origin)
		return fairleadv1connect.NewTopicsClient(s.plain, s.url, options...).Publish(t.Context(), req)
	}
	for _, options := range [][]connect.ClientOption{protocols["grpcweb"], protocols["connect"], protocols["json"]} {
		res, err := call("https://app.example", options...)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin", "Grpc-Retry-Pushback-Ms"} {
			if !strings.Contains(res.Header().Get("Access-Control-Expose-Headers"), name) {
				t.Errorf("%s is not exposed", name)
			}
		}
		_, err = call("https://evil.example", options...)
		wantCode(t, err, connect.CodePermissionDenied, "PERMISSION_DENIED")
	}
}

// counting counts calls.
type counting struct{ unary, streams atomic.Int64 }

func (c *counting) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		c.unary.Add(1)
		return next(ctx, req)
	}
}

func (*counting) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (c *counting) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		c.streams.Add(1)
		defer func() {
			if v := recover(); v != nil {
				err = connect.NewError(connect.CodeInternal, fmt.Errorf("recovered: %v", v))
			}
		}()
		return next(ctx, conn)
	}
}

func TestAPanicEndsItsCallAlone(t *testing.T) {
	t.Parallel()
	around := new(counting)
	ended := make(chan deliver.Ended, 1)
	s := serve(t, deliver.Config{Observer: deliver.Observer{
		Published: func(name string, _ int, _ fairlead.Code) {
			if name == "panics" {
				panic("on purpose")
			}
		},
		Closed: func(e deliver.Ended) { ended <- e },
	}}, rpc.Config{Interceptors: []connect.Interceptor{around}})
	c := open(t, s.grpc())
	c.say(publish(1, "panics", event("1")))
	_, err := c.Receive()
	if connect.CodeOf(err) != connect.CodeInternal || !strings.Contains(err.Error(), "recovered: on purpose") {
		t.Errorf("the call ends with %v", err)
	}
	if e := <-ended; e.Reason != fairlead.Internal {
		t.Errorf("its session ends as %+v", e)
	}
	_, err = s.grpc().Publish(t.Context(), connect.NewRequest(&fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{event("1")}}))
	if err != nil || around.unary.Load() != 1 || around.streams.Load() != 1 {
		t.Errorf("%v; %d and %d calls", err, around.unary.Load(), around.streams.Load())
	}
}

func TestACursorGoesOnOverAnyProtocol(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	s.publish("a", "0", "1", "2", "3", "4", "5")
	after := string(fairlead.Earliest)
	for i, name := range []string{"grpc", "grpcweb", "connect", "json", "grpcjson"} {
		c := fairleadv1connect.NewTopicsClient(s.client, s.url, protocols[name]...)
		stream, err := c.Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a", After: after}))
		if err != nil {
			t.Fatal(err)
		}
		stream.Receive()
		if !stream.Receive() || string(stream.Msg().GetEvent().GetData()) != fmt.Sprint(i) {
			t.Errorf("over %s: %v, %v", name, stream.Msg(), stream.Err())
		}
		after = stream.Msg().GetCursor()
		_ = stream.Close()
	}
	last := open(t, s.grpc())
	last.say(subscribe(1, "a", fairlead.Cursor(after)))
	last.granted(1)
	last.event("5")
}

func TestNothingOfATopicComesAfterTheAnswerToItsEnd(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	s.publish("a", "0", "1", "2", "3", "4", "5", "6", "7")
	c := open(t, s.grpc())
	const turns = 200
	sent := make(chan error, 1)
	go func() {
		for i := range uint64(turns) {
			if err := errors.Join(c.Send(subscribe(2*i+1, "a", fairlead.Earliest)), c.Send(unsubscribe(2*i+2, "a"))); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	reading, next := false, 0
	for id := uint64(1); id <= 2*turns; {
		m := c.hear()
		if m.GetOk() != nil {
			if m.GetId() != id {
				t.Fatalf("%d is answered with %v", id, m)
			}
			reading, next = id%2 == 1, 0
			id++
			continue
		}
		if got := string(m.GetEvent().GetData()); !reading || got != fmt.Sprint(next) {
			t.Fatalf("after %d, got %v", id-1, m)
		}
		next++
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestAnswersThatNobodyTakesStopTheAsking(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	c := open(t, s.grpc())
	const asked = 500
	for i := range uint64(asked) {
		c.say(ping(i + 1))
	}
	if err := c.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(asked) {
		c.granted(i + 1)
	}
}
