package rpc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
	"github.com/fairlead-edge/fairlead/topic"
)

// nameOf returns a topic's name for the test.
func nameOf(t *testing.T) string {
	t.Helper()
	return strings.ReplaceAll(t.Name(), "/", "-")
}

// wantCode checks an error's code and ErrorInfo, and returns what that knows.
func wantCode(t *testing.T, err error, code connect.Code, reason string) map[string]string {
	t.Helper()
	if connect.CodeOf(err) != code {
		t.Errorf("the error is %v, want %v", err, code)
	}
	if reason == "" {
		return nil
	}
	var status *connect.Error
	if s, ok := err.(*connect.Error); ok { //nolint:errorlint // it is not wrapped
		status = s
	} else {
		t.Fatalf("no status: %v", err)
	}
	for _, d := range status.Details() {
		m, err := d.Value()
		if err != nil {
			t.Fatal(err)
		}
		if info, ok := m.(*errdetails.ErrorInfo); ok {
			if info.GetReason() != reason || info.GetDomain() != "fairlead" {
				t.Errorf("ErrorInfo is %v, want %s", info, reason)
			}
			return info.GetMetadata()
		}
	}
	t.Errorf("%v has no ErrorInfo", err)
	return nil
}

func TestWhatIsPublishedIsSubscribedToOverEachProtocol(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	s.each(t, func(t *testing.T, c fairleadv1connect.TopicsClient) {
		name := nameOf(t)
		res, err := c.Publish(t.Context(), connect.NewRequest(&fairleadv1.PublishRequest{Topic: name, Events: []*fairleadv1.Event{
			event("0"), {Data: []byte{0xff}, Type: "tick", Key: "k", ContentType: "image/png", Attributes: map[string]string{"a": "b"}, Critical: true},
		}}))
		if err != nil || res.Msg.GetCount() != 2 || res.Msg.GetFirst() >= res.Msg.GetLast() {
			t.Fatalf("Publish = %v, %v", res, err)
		}
		stream, err := c.Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: name, After: res.Msg.GetFirst()}))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		if !stream.Receive() || stream.Msg().GetCursor() != res.Msg.GetFirst() || stream.Msg().GetItem() != nil {
			t.Fatalf("the first message is %v, %v", stream.Msg(), stream.Err())
		}
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
		m := stream.Msg()
		e := m.GetEvent()
		if m.GetCursor() != res.Msg.GetLast() || e.GetCursor() != m.GetCursor() || string(e.GetData()) != "\xff" || e.GetType() != "tick" || e.GetKey() != "k" ||
			e.GetContentType() != "image/png" || e.GetAttributes()["a"] != "b" || !e.GetCritical() || !e.GetTime().IsValid() {
			t.Errorf("got %v", m)
		}
		s.publish(name, "2")
		if !stream.Receive() || string(stream.Msg().GetEvent().GetData()) != "2" {
			t.Errorf("got %v, %v", stream.Msg(), stream.Err())
		}
		s.end(name)
		if stream.Receive() || stream.Err() != nil || stream.ResponseTrailer().Get("Fairlead-Cursor") == "" {
			t.Errorf("the end is %v, %v, trailer %v", stream.Msg(), stream.Err(), stream.ResponseTrailer())
		}
	})
}

func TestAnUploadIsSummedUp(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	s.each(t, func(t *testing.T, c fairleadv1connect.TopicsClient) {
		name := nameOf(t)
		up := c.Upload(t.Context())
		for i := range 3 {
			m := &fairleadv1.UploadRequest{Event: event(fmt.Sprint(i)), IdempotencyKey: fmt.Sprint("key", i/2)}
			if i == 0 {
				m.Topic = name
			}
			if i == 1 {
				m.Event = event("0") // once more
			}
			if err := up.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		res, err := up.CloseAndReceive()
		if err != nil || res.Msg.GetCount() != 2 || res.Msg.GetRepeated() != 1 || res.Msg.GetLast() <= res.Msg.GetFirst() {
			t.Fatalf("Upload = %v, %v", res, err)
		}
		up = c.Upload(t.Context())
		_ = up.Send(&fairleadv1.UploadRequest{Topic: name, Event: event("3")})
		_ = up.Send(&fairleadv1.UploadRequest{Topic: "other", Event: event("4")})
		_, err = up.CloseAndReceive()
		if facts := wantCode(t, err, connect.CodeInvalidArgument, "INVALID_ARGUMENT"); facts["stored"] != "1" || facts["cursor"] == "" {
			t.Errorf("ErrorInfo knows %v", facts)
		}
		for _, m := range []*fairleadv1.UploadRequest{{Event: event("5")}, {Topic: name}} {
			up = c.Upload(t.Context())
			_ = up.Send(m)
			_, err = up.CloseAndReceive()
			if facts := wantCode(t, err, connect.CodeInvalidArgument, "INVALID_ARGUMENT"); facts["stored"] != "0" || facts["cursor"] != "" {
				t.Errorf("ErrorInfo knows %v", facts)
			}
		}
		if res, err = c.Upload(t.Context()).CloseAndReceive(); err != nil || res.Msg.GetCount() != 0 || res.Msg.GetLast() != "" {
			t.Errorf("an upload of nothing: %v, %v", res, err)
		}
	})
}

func TestWhatIsWrongSaysWhat(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{PublishToken: "secret"}, rpc.Config{})
	s.publish("a", "1")
	s.each(t, func(t *testing.T, c fairleadv1connect.TopicsClient) {
		publish := func(m *fairleadv1.PublishRequest, code connect.Code, reason string) {
			t.Helper()
			req := connect.NewRequest(m)
			req.Header().Set("Authorization", "Bearer secret")
			_, err := c.Publish(t.Context(), req)
			wantCode(t, err, code, reason)
		}
		_, err := c.Publish(t.Context(), connect.NewRequest(&fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{event("x")}}))
		wantCode(t, err, connect.CodeUnauthenticated, "UNAUTHENTICATED")
		publish(&fairleadv1.PublishRequest{Topic: "a"}, connect.CodeInvalidArgument, "INVALID_ARGUMENT")
		publish(&fairleadv1.PublishRequest{Topic: "a//b", Events: []*fairleadv1.Event{event("x")}}, connect.CodeInvalidArgument, "INVALID_ARGUMENT")
		publish(&fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{{Topic: "b"}}}, connect.CodeInvalidArgument, "INVALID_ARGUMENT")
		publish(&fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{{Cursor: "b"}}}, connect.CodeInvalidArgument, "INVALID_ARGUMENT")
		publish(&fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{{Type: "fairlead.end"}}}, connect.CodeInvalidArgument, "INVALID_ARGUMENT")
		publish(&fairleadv1.PublishRequest{Topic: "a", Events: []*fairleadv1.Event{event(strings.Repeat("x", 1<<20+1))}}, connect.CodeResourceExhausted, "TOO_LARGE")
		subscribe := func(m *fairleadv1.SubscribeRequest, code connect.Code, reason string) {
			t.Helper()
			stream, err := c.Subscribe(t.Context(), connect.NewRequest(m))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			if stream.Receive() {
				t.Errorf("got %v", stream.Msg())
			}
			wantCode(t, stream.Err(), code, reason)
		}
		subscribe(&fairleadv1.SubscribeRequest{Topic: "none"}, connect.CodeNotFound, "NOT_FOUND")
		subscribe(&fairleadv1.SubscribeRequest{Topic: "a", After: "?"}, connect.CodeInvalidArgument, "INVALID_ARGUMENT")
		subscribe(&fairleadv1.SubscribeRequest{}, connect.CodeInvalidArgument, "INVALID_ARGUMENT")
	})
}

func TestAStreamSaysHowItEnded(t *testing.T) {
	t.Parallel()
	store := topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return topic.Policy{Events: 2} }})
	s := serve(t, deliver.Config{Topics: store}, rpc.Config{})
	s.each(t, func(t *testing.T, c fairleadv1connect.TopicsClient) {
		name := nameOf(t)
		at := s.publish(name, "1")
		last := s.publish(name, "2", "3", "4", "5")
		stream, err := c.Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: name, After: string(at), FailOnGap: true}))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		for stream.Receive() {
		}
		facts := wantCode(t, stream.Err(), connect.CodeOutOfRange, "OUT_OF_RANGE")
		if facts["after"] != string(at) || facts["skipped"] != "2" || facts["cursor"] <= string(at) || facts["cursor"] >= facts["earliest"] || facts["earliest"] == "" || facts["topic"] != name {
			t.Errorf("ErrorInfo knows %v", facts)
		}
		resumed, err := c.Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: name, After: facts["cursor"], FailOnGap: true}))
		if err != nil {
			t.Fatal(err)
		}
		resumed.Receive() // where it begins
		if !resumed.Receive() || string(resumed.Msg().GetEvent().GetData()) != "4" {
			t.Errorf("the cursor of the details leads to %v, %v", resumed.Msg(), resumed.Err())
		}
		_ = resumed.Close()
		if stream, err = c.Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: name, After: string(at)})); err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		stream.Receive()
		if !stream.Receive() || stream.Msg().GetGap().GetSkipped() != 2 || stream.Msg().GetGap().GetAfter() != string(at) {
			t.Errorf("got %v, %v", stream.Msg(), stream.Err())
		}
		stream.Receive()
		if !stream.Receive() || stream.Msg().GetCursor() != string(last) {
			t.Errorf("got %v, %v", stream.Msg(), stream.Err())
		}
		if err := store.Remove(name); err != nil {
			t.Fatal(err)
		}
		if stream.Receive() {
			t.Errorf("got %v", stream.Msg())
		}
		facts = wantCode(t, stream.Err(), connect.CodeDataLoss, "NOT_FOUND")
		if facts["cursor"] <= string(last) {
			t.Errorf("ErrorInfo knows %v", facts)
		}

		s.publish(name, "1")
		ctx, cancel := context.WithCancel(t.Context())
		if stream, err = c.Subscribe(ctx, connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: name})); err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		stream.Receive()
		cancel()
		if stream.Receive() {
			t.Errorf("got %v", stream.Msg())
		}
		wantCode(t, stream.Err(), connect.CodeCanceled, "")
	})
}
