package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
	"github.com/fairlead-edge/fairlead/topic"
)

// closing is a topic whose slow readers are sent away.
func closing(events int) *topic.Store {
	return topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return topic.Policy{Events: events, OnLag: topic.LagClose} }})
}

func TestAReaderThatFellBehindIsToldWhereItStood(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{Topics: closing(2)}, rpc.Config{})
	at := s.publish("a", "1")
	stream, err := s.grpc().Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a", After: string(at)}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	stream.Receive()
	c := open(t, s.grpc())
	c.say(subscribe(1, "a", at))
	c.granted(1)
	c.say(publish(0, "a", event("2"), event("3"), event("4"), event("5"))) // at once, so that none was retained long enough
	if stream.Receive() {
		t.Errorf("got %v", stream.Msg())
	}
	if facts := wantCode(t, stream.Err(), connect.CodeResourceExhausted, "TOO_SLOW"); facts["cursor"] != string(at) || facts["topic"] != "a" {
		t.Errorf("ErrorInfo knows %v", facts)
	}
	told := false
	for {
		m, err := c.Receive()
		if err != nil {
			wantCode(t, err, connect.CodeResourceExhausted, "TOO_SLOW")
			break
		}
		if f := m.GetFault(); f != nil {
			told = f.GetCode() == "too_slow" && f.GetCursor() == string(at)
		}
	}
	if !told {
		t.Error("the session was not told where it stood")
	}
}

func TestADeadlineEndsAStreamWithItsCursor(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	at := s.publish("a", "1")
	// A client of its own, since others give up by themselves.
	resp, text := s.post(t, "/fairlead.v1.Topics/Subscribe", "\x00\x00\x00\x00\x0d"+`{"topic":"a"}`,
		"Content-Type: application/connect+json", "Connect-Timeout-Ms: 20")
	if resp.StatusCode != http.StatusOK || !strings.Contains(text, "deadline_exceeded") || !strings.Contains(text, "fairlead") || !strings.Contains(text, string(at)) {
		t.Errorf("%s %q", resp.Status, text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	up := s.grpc().Upload(ctx)
	<-ctx.Done()
	_, err := up.CloseAndReceive()
	wantCode(t, err, connect.CodeDeadlineExceeded, "")
}

func TestACallOfCurlIsAnswered(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	parent := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	resp, text := s.post(t, "/fairlead.v1.Topics/Publish", `{"topic":"a","events":[{"data":"aGk=","type":"t"}],"idempotencyKey":"k"}`, "Traceparent: "+parent)
	var stored struct{ First, Last string }
	if err := json.Unmarshal([]byte(text), &stored); err != nil || resp.StatusCode != http.StatusOK || stored.Last == "" {
		t.Fatalf("%s %s", resp.Status, text)
	}
	if _, text = s.post(t, "/fairlead.v1.Topics/Publish", `{"topic":"a","events":[{"data":"aGk=","type":"t"}],"idempotencyKey":"k"}`); !strings.Contains(text, `"repeated":true`) {
		t.Errorf("again: %s", text)
	}
	if resp, text = s.post(t, "/fairlead.v1.Topics/Publish", `{"topic":"a","events":[{"data":"aGk="}],"idempotencyKey":"k"}`); !strings.Contains(text, `"failed_precondition"`) || !strings.Contains(text, "KEY_REUSED") {
		t.Errorf("otherwise: %s %s", resp.Status, text)
	}
	if resp, text = s.post(t, "/fairlead.v1.Topics/Publish", `{"topic":"a","close":true}`); resp.StatusCode != http.StatusOK {
		t.Errorf("closing: %s %s", resp.Status, text)
	}
	if resp, text = s.post(t, "/fairlead.v1.Topics/Publish", `{"topic":"a","events":[{}]}`); !strings.Contains(text, `"failed_precondition"`) {
		t.Errorf("closed: %s %s", resp.Status, text)
	}
	if resp, text = s.post(t, "/fairlead.v1.Topics/Publish", `{"topic":`); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("broken: %s %s", resp.Status, text)
	}
	if resp, text = s.post(t, "/fairlead.v1.Topics/Publish", `{}`, "Content-Type: text/plain"); resp.StatusCode != http.StatusUnsupportedMediaType || !strings.Contains(text, "application/json") {
		t.Errorf("no media type of RPC: %s %s", resp.Status, text)
	}
	if resp, text = s.post(t, "/fairlead.v1.Topics/Subscribe", `{"topic":"a"}`); resp.StatusCode != http.StatusUnsupportedMediaType || !strings.Contains(text, "application/connect+json") {
		t.Errorf("a stream asked for as a unary call: %s %s", resp.Status, text)
	}
	stream, err := s.grpc().Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a", After: "earliest"}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	stream.Receive()
	if !stream.Receive() || stream.Msg().GetEvent().GetTraceparent() != parent || string(stream.Msg().GetEvent().GetData()) != "hi" {
		t.Errorf("got %v, %v", stream.Msg(), stream.Err())
	}
	// Past the end, it is told which end that was.
	if stream.Receive() || stream.Err() != nil {
		t.Errorf("got %v, %v", stream.Msg(), stream.Err())
	}
	past := stream.ResponseTrailer().Get("Fairlead-Cursor")
	if stream, err = s.grpc().Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a", After: past})); err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for stream.Receive() {
	}
	if stream.Err() != nil || stream.ResponseTrailer().Get("Fairlead-Cursor") != past {
		t.Errorf("past the end: %v, %v", stream.Err(), stream.ResponseTrailer())
	}
}

func TestAMessageOverTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{MaxMessage: 100})
	_, err := s.grpc().Publish(t.Context(), connect.NewRequest(&fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{event(strings.Repeat("x", 200))}}))
	wantCode(t, err, connect.CodeResourceExhausted, "")
	c := open(t, s.grpc())
	c.say(ping(1))
	c.granted(1)
	c.say(publish(2, "a", event(strings.Repeat("x", 200))))
	_, err = c.Receive()
	wantCode(t, err, connect.CodeResourceExhausted, "")
	name := strings.Repeat("y", 90)
	_, err = s.grpc().Publish(t.Context(), connect.NewRequest(&fairleadv1.PublishRequest{Topic: name[:10], Events: []*fairleadv1.Event{{Topic: name[:60]}}}))
	wantCode(t, err, connect.CodeInvalidArgument, "INVALID_ARGUMENT")
}

func TestWhatAnErrorRepeatsIsBounded(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	long := strings.Repeat("é", 1<<18)
	_, err := s.grpc().Publish(t.Context(), connect.NewRequest(&fairleadv1.PublishRequest{Topic: long, Events: []*fairleadv1.Event{{Topic: long[2:]}}}))
	if facts := wantCode(t, err, connect.CodeInvalidArgument, "INVALID_ARGUMENT"); len(err.Error()) > 2000 || facts["topic"] != "" {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

// uploading begins an upload, of which one event has been stored.
func uploading(t *testing.T, plain bool) (*site, connect.StreamingClientConn) {
	t.Helper()
	stored := make(chan struct{}, 1)
	s := serve(t, deliver.Config{Observer: deliver.Observer{Published: func(string, int, fairlead.Code) { stored <- struct{}{} }}}, rpc.Config{})
	client := s.grpc()
	if plain {
		client = fairleadv1connect.NewTopicsClient(s.plain, s.url) // by Connect, over HTTP/1.1
	}
	up := client.Upload(t.Context())
	if err := up.Send(&fairleadv1.UploadRequest{Topic: "a", Event: event("1")}); err != nil {
		t.Fatal(err)
	}
	<-stored
	conn, err := up.Conn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseRequest(); _ = conn.CloseResponse() })
	return s, conn
}

func TestAnUploadIsSentAwayWhenTheServerGoes(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		s, conn := uploading(t, plain)
		s.handler.SetServing(false)
		err := conn.Receive(new(fairleadv1.UploadResponse))
		if facts := wantCode(t, err, connect.CodeUnavailable, "DRAINING"); facts["stored"] != "1" || facts["cursor"] == "" || facts["topic"] != "a" {
			t.Errorf("ErrorInfo knows %v", facts)
		}
		if status, _ := errors.AsType[*connect.Error](err); status.Meta().Get("Grpc-Retry-Pushback-Ms") != "1000" {
			t.Errorf("the trailer is %v", status.Meta())
		}
		s.publish("a", "2") // who publishes is not
	}
}
