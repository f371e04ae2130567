package rpc_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
)

// session is a client's end of a Session.
type session struct {
	*connect.BidiStreamForClient[fairleadv1.SessionRequest, fairleadv1.SessionResponse]

	t *testing.T
}

func open(t *testing.T, c fairleadv1connect.TopicsClient) session {
	t.Helper()
	s := session{c.Session(t.Context()), t}
	t.Cleanup(func() { _ = s.CloseRequest(); _ = s.CloseResponse() })
	return s
}

func (s session) say(m *fairleadv1.SessionRequest) {
	s.t.Helper()
	if err := s.Send(m); err != nil {
		s.t.Fatal(err)
	}
}

func (s session) hear() *fairleadv1.SessionResponse {
	s.t.Helper()
	m, err := s.Receive()
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (s session) granted(id uint64) (at fairlead.Cursor) {
	s.t.Helper()
	m := s.hear()
	if m.GetOk() == nil || m.GetId() != id {
		s.t.Fatalf("request %d is answered with %v", id, m)
	}
	return fairlead.Cursor(m.GetOk().GetCursor())
}

func (s session) refused(id uint64, code fairlead.Code) {
	s.t.Helper()
	if m := s.hear(); m.GetError().GetCode() != string(code) || m.GetId() != id {
		s.t.Fatalf("request %d is answered with %v, want %s", id, m, code)
	}
}

func (s session) event(text string) (at fairlead.Cursor) {
	s.t.Helper()
	m := s.hear()
	if string(m.GetEvent().GetData()) != text || m.GetId() != 0 {
		s.t.Fatalf("got %v, want %q", m, text)
	}
	return fairlead.Cursor(m.GetEvent().GetCursor())
}

func subscribe(id uint64, name string, after fairlead.Cursor) *fairleadv1.SessionRequest {
	return &fairleadv1.SessionRequest{Id: id, Action: &fairleadv1.SessionRequest_Subscribe_{
		Subscribe: &fairleadv1.SessionRequest_Subscribe{Topic: name, After: string(after)},
	}}
}

func unsubscribe(id uint64, name string) *fairleadv1.SessionRequest {
	return &fairleadv1.SessionRequest{Id: id, Action: &fairleadv1.SessionRequest_Unsubscribe_{
		Unsubscribe: &fairleadv1.SessionRequest_Unsubscribe{Topic: name},
	}}
}

func publish(id uint64, name string, events ...*fairleadv1.Event) *fairleadv1.SessionRequest {
	return &fairleadv1.SessionRequest{Id: id, Action: &fairleadv1.SessionRequest_Publish{
		Publish: &fairleadv1.PublishRequest{Topic: name, Events: events},
	}}
}

func ping(id uint64) *fairleadv1.SessionRequest {
	return &fairleadv1.SessionRequest{Id: id, Action: &fairleadv1.SessionRequest_Ping_{Ping: &fairleadv1.SessionRequest_Ping{}}}
}

func window(id uint64, n uint32) *fairleadv1.SessionRequest {
	return &fairleadv1.SessionRequest{Id: id, Action: &fairleadv1.SessionRequest_Window_{Window: &fairleadv1.SessionRequest_Window{Events: n}}}
}

func acknowledge(id uint64, name string, at fairlead.Cursor) *fairleadv1.SessionRequest {
	return &fairleadv1.SessionRequest{Id: id, Action: &fairleadv1.SessionRequest_Acknowledge_{
		Acknowledge: &fairleadv1.SessionRequest_Acknowledge{Topic: name, Cursor: string(at)},
	}}
}

func TestASessionReadsPublishesAndAcknowledges(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"grpc", "grpcweb", "connect", "json"} { // over HTTP/2
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, deliver.Config{MaxTopics: 2}, rpc.Config{})
			s.publish("a", "a0")
			c := open(t, fairleadv1connect.NewTopicsClient(s.client, s.url, protocols[name]...))
			c.say(ping(1))
			c.granted(1)
			c.say(subscribe(2, "a", fairlead.Earliest))
			c.granted(2)
			a0 := c.event("a0")
			c.say(subscribe(3, "a", a0))
			c.refused(3, fairlead.Conflict)
			c.say(subscribe(4, "none", ""))
			c.refused(4, fairlead.NotFound)
			c.say(acknowledge(5, "a", a0))
			c.refused(5, fairlead.InvalidArgument)
			c.say(window(6, 1))
			c.granted(6)
			c.say(publish(7, "b", event("b0"), event("b1")))
			c.granted(7)
			c.say(subscribe(8, "b", fairlead.Earliest))
			c.granted(8)
			b0 := c.event("b0")
			c.say(ping(9)) // b1 waits for the acknowledgement
			c.granted(9)
			c.say(acknowledge(10, "b", b0))
			ok, e := c.hear(), c.hear()
			if ok.GetOk() == nil {
				ok, e = e, ok
			}
			if ok.GetId() != 10 || string(e.GetEvent().GetData()) != "b1" {
				t.Errorf("got %v and %v", ok, e)
			}
			c.say(subscribe(11, "c", ""))
			c.refused(11, fairlead.NotFound)
			s.publish("c", "c0")
			c.say(subscribe(12, "c", ""))
			c.refused(12, fairlead.TooLarge)
			c.say(unsubscribe(13, "b"))
			c.granted(13)
			c.say(unsubscribe(14, "b"))
			c.refused(14, fairlead.NotFound)
			c.say(&fairleadv1.SessionRequest{Id: 15})
			c.refused(15, fairlead.InvalidArgument)
			if at := s.readers.Sessions(0); len(at) != 1 || at[0].Events != 3 {
				t.Errorf("the sessions are %+v", at)
			}

			// The client has said all; the session goes on until its topic ends.
			if err := c.CloseRequest(); err != nil {
				t.Fatal(err)
			}
			s.publish("a", "a1")
			c.event("a1")
			s.end("a")
			if m := c.hear(); m.GetEnd().GetTopic() != "a" || m.GetEnd().GetCursor() == "" {
				t.Errorf("got %v", m)
			}
			if m, err := c.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("got %v, %v", m, err)
			}
		})
	}
}

func TestADrainTellsStreamsWhereToGoOn(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{})
	at := s.publish("a", "a0")
	c := open(t, s.grpc())
	c.say(subscribe(1, "a", at))
	c.granted(1)
	stream, err := s.grpc().Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a", After: string(at)}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	stream.Receive()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.readers.Drain(ctx, 0); err != nil {
		t.Error(err)
	}
	if m := c.hear().GetDraining(); m.GetCursors()["a"] != string(at) || m.GetRetryAfter().AsDuration() < time.Second {
		t.Errorf("got %v", m)
	}
	_, err = c.Receive()
	wantCode(t, err, connect.CodeUnavailable, "DRAINING")
	if stream.Receive() {
		t.Errorf("got %v", stream.Msg())
	}
	err = stream.Err()
	facts := wantCode(t, err, connect.CodeUnavailable, "DRAINING")
	status, _ := errors.AsType[*connect.Error](err)
	if facts["cursor"] != string(at) || status.Meta().Get("Grpc-Retry-Pushback-Ms") == "" {
		t.Errorf("ErrorInfo knows %v, the trailer is %v", facts, status.Meta())
	}
}

func TestASilentStreamShowsThatItLives(t *testing.T) {
	t.Parallel()
	s := serve(t, deliver.Config{}, rpc.Config{Heartbeat: 10 * time.Millisecond})
	at := s.publish("a", "a0")
	s.each(t, func(t *testing.T, c fairleadv1connect.TopicsClient) {
		stream, err := c.Subscribe(t.Context(), connect.NewRequest(&fairleadv1.SubscribeRequest{Topic: "a"}))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		for range 4 {
			if !stream.Receive() || stream.Msg().GetCursor() != string(at) || stream.Msg().GetItem() != nil {
				t.Fatalf("got %v, %v", stream.Msg(), stream.Err())
			}
		}
	})
	c := open(t, s.grpc())
	c.say(nil) // nothing but the header
	for range 3 {
		if m := c.hear(); m.GetMessage() != nil {
			t.Errorf("got %v", m)
		}
	}
}

func TestNoEventFollowsTheCursorsThatAnOldSessionIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := inBubble(t, true, deliver.Config{}, rpc.Config{MaxAge: time.Minute, Heartbeat: time.Hour})
		b.publish(t, "a", 1, 1)
		var publishing sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		publishing.Go(func() {
			for ctx.Err() == nil {
				b.publish(t, "a", 1, 1)
				time.Sleep(100 * time.Millisecond)
			}
		})
		c := session{b.topics(connect.WithGRPC()).Session(t.Context()), t}
		c.say(subscribe(1, "a", fairlead.Earliest))
		c.granted(1)
		last, told := "", ""
		for {
			m, err := c.Receive()
			if err != nil {
				wantCode(t, err, connect.CodeUnavailable, "DRAINING")
				break
			}
			switch {
			case m.GetDraining() != nil:
				told = m.GetDraining().GetCursors()["a"]
				if told != last || told == "" {
					t.Errorf("the client is told %q, and was given up to %q", told, last)
				}
				c.say(publish(2, "b", event("1"))) // what it asks for is still done
			case m.GetEvent() != nil && told != "":
				t.Fatalf("after the cursors comes %v", m)
			case m.GetEvent() != nil:
				last = m.GetEvent().GetCursor()
			case m.GetId() != 2 || m.GetOk() == nil:
				t.Errorf("got %v", m)
			}
		}
		if told == "" {
			t.Error("the client was not told")
		}
		cancel()
		publishing.Wait()
		_ = c.CloseRequest()
		_ = c.CloseResponse()
	})
}

func TestWhatASessionPublishesHasTheCallsTraceUnlessItHasItsOwn(t *testing.T) {
	t.Parallel()
	const parent, own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-11111111111111111111111111111111-2222222222222222-00"
	s := serve(t, deliver.Config{}, rpc.Config{})
	c := open(t, fairleadv1connect.NewTopicsClient(s.client, s.url, protocols["grpc"]...))
	c.RequestHeader().Set("Traceparent", parent)
	c.say(publish(1, "a", &fairleadv1.Event{Data: []byte("1")}, &fairleadv1.Event{Data: []byte("2"), Traceparent: own}))
	c.granted(1)
	c.say(subscribe(2, "a", fairlead.Earliest))
	c.granted(2)
	for _, want := range []string{parent, own} {
		if e := c.hear().GetEvent(); e.GetTraceparent() != want {
			t.Errorf("got %v, want the trace %s", e, want)
		}
	}
}
