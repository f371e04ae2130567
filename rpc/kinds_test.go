package rpc_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
	"github.com/fairlead-edge/fairlead/rpc"
)

// heard is an Observer of messages that writes down what it is told, each once.
type heard struct {
	mu  sync.Mutex
	all map[string]int
}

func (h *heard) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[fmt.Sprintf(format, args...)]++
}

func (h *heard) observer() deliver.Observer {
	h.all = make(map[string]int)
	return deliver.Observer{
		Message: func(transport, kind string, sent bool, size int) {
			if kind == deliver.KindPublish || kind == deliver.KindSubscribe {
				h.note("%s %s %v of %d bytes", transport, kind, sent, size)
			} else {
				h.note("%s %s %v", transport, kind, sent)
			}
		},
		Answered: func(transport, kind string, took time.Duration) {
			h.note("%s %s answered, known %v", transport, kind, took >= 0)
		},
		Refused: func(transport, kind string, code fairlead.Code) { h.note("%s %s refused: %s", transport, kind, code) },
	}
}

// want compares what was told but for the heartbeats.
func (h *heard) want(t *testing.T, transport string, want map[string]int) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, transport+" ping true")
	for what, n := range want {
		if h.all[transport+" "+what] != n {
			t.Errorf("%s: %q was told %d times, not %d", transport, what, h.all[transport+" "+what], n)
		}
	}
	if len(h.all) != len(want) {
		t.Errorf("%s: told %v", transport, h.all)
	}
}

func TestTheMessagesOfASessionAreToldByTheirKinds(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"grpc", "grpcweb", "connect"} {
		h := &heard{}
		s := serve(t, deliver.Config{Observer: h.observer()}, rpc.Config{})
		s.publish("b", "b0")
		c := open(t, fairleadv1connect.NewTopicsClient(s.client, s.url, protocols[name]...))
		c.say(ping(1))
		c.granted(1)
		asked, appended := subscribe(2, "b", fairlead.Earliest), publish(4, "a", event("123"))
		c.say(asked)
		c.granted(2)
		b0 := c.event("b0")
		c.say(window(3, 5))
		c.granted(3)
		c.say(appended)
		c.granted(4)
		c.say(acknowledge(5, "b", b0))
		c.granted(5)
		c.say(unsubscribe(6, "none"))
		c.refused(6, fairlead.NotFound)
		c.say(&fairleadv1.SessionRequest{Id: 7})
		c.refused(7, fairlead.InvalidArgument)
		s.end("b")
		c.hear()
		if err := c.CloseRequest(); err != nil {
			t.Fatal(err)
		}
		if m, err := c.Receive(); err == nil {
			t.Fatalf("got %v", m)
		}
		h.want(t, name, map[string]int{
			"ping false": 1, fmt.Sprintf("subscribe false of %d bytes", proto.Size(asked)): 1, "window false": 1, "acknowledge false": 1, "unsubscribe false": 1,
			fmt.Sprintf("publish false of %d bytes", proto.Size(appended)): 1, "malformed false": 1, "answer true": 7, "control true": 1,
			"ping answered, known true": 1, "subscribe answered, known true": 1, "window answered, known true": 1, "publish answered, known true": 1,
			"acknowledge answered, known true": 1, "unsubscribe answered, known true": 1,
			"unsubscribe refused: not_found": 1, "malformed refused: invalid_argument": 1,
		})
	}
}

func TestTheMessagesOfASubscriptionAreToldByTheirKinds(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"grpc", "grpcweb", "connect"} {
		h := &heard{}
		s := serve(t, deliver.Config{Observer: h.observer()}, rpc.Config{Heartbeat: 10 * time.Millisecond})
		at := s.publish("a", "a0")
		asked := &fairleadv1.SubscribeRequest{Topic: "a", After: string(fairlead.Earliest)}
		stream, err := fairleadv1connect.NewTopicsClient(s.client, s.url, protocols[name]...).Subscribe(t.Context(), connect.NewRequest(asked))
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for range 4 {
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			if stream.Msg().GetEvent() == nil {
				kinds = append(kinds, stream.Msg().GetCursor())
			}
		}
		if len(kinds) != 3 || !slices.Equal(kinds[1:], []string{string(at), string(at)}) {
			t.Errorf("the messages that are no events have %q", kinds)
		}
		s.end("a")
		for stream.Receive() {
		}
		h.mu.Lock()
		if h.all[name+" ping true"] < 2 {
			t.Errorf("%s: of two heartbeats or more %d were told", name, h.all[name+" ping true"])
		}
		h.mu.Unlock()
		h.want(t, name, map[string]int{fmt.Sprintf("subscribe false of %d bytes", proto.Size(asked)): 1, "control true": 1})
		_ = stream.Close()
	}
}
