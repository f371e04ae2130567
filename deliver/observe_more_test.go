package deliver_test

import (
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestTheGapBetweenEventsIsThatOfEventsNotOfHeartbeats(t *testing.T) {
	o := &seen{}
	inBubble(t, deliver.Config{Observer: o.observer(), Heartbeat: time.Second}, func(t *testing.T, b *bubble) {
		b.put("a", "old")
		resp := b.get("/topics/a", "Accept: text/event-stream")
		c := b.socket("/topics/a")
		var reading sync.WaitGroup
		defer reading.Wait()
		reading.Go(func() { _, _ = io.Copy(io.Discard, resp.Body) })
		reading.Go(func() {
			for {
				if _, _, err := c.Read(); err != nil {
					return
				}
			}
		})
		defer resp.Body.Close()
		defer c.CloseNow()
		h := deliver.New(deliver.Config{Topics: b.topics, Observer: o.observer()})
		f := h.Feed(t.Context(), deliver.FeedConfig{Transport: deliver.TransportGRPC})
		defer f.End(nil)
		if err := f.Subscribe(t.Context(), "a", fairlead.Latest, unheard); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 2 {
			time.Sleep(1700 * time.Millisecond)
			b.put("a", "new")
			synctest.Wait()
			wantNext(t, f, "new")
			all := o.take()
			for _, transport := range []string{"sse", "websocket", "grpc"} {
				want := transport + ": 1, delay 0s, age -1ns, first 1.7s, gap -1ns"
				if i > 0 {
					want = transport + ": 1, delay 0s, age -1ns, first -1ns, gap 1.7s"
				} else if !strings.Contains(all, transport+" established after 0s") {
					t.Errorf("%s is not established: %s", transport, all)
				}
				if !strings.Contains(all, want) {
					t.Errorf("%q is not in %s", want, all)
				}
			}
		}
	})
}

func TestAStreamIsEstablishedOnceItsTopicHasRoomForIt(t *testing.T) {
	o := &seen{}
	inBubble(t, deliver.Config{Observer: o.observer(), Topics: topic.NewStore(topic.StoreConfig{
		Policy: func(string) topic.Policy { return topic.Policy{Deliver: topic.Wait} },
	})}, func(t *testing.T, b *bubble) {
		b.put("a", "old")
		first := b.get("/topics/a", "Accept: text/event-stream")
		time.AfterFunc(220*time.Millisecond, func() { first.Body.Close() })
		second := b.get("/topics/a", "Accept: text/event-stream")
		synctest.Wait()
		second.Body.Close()
		if got := o.take(); !strings.Contains(got, "sse established after 0s") || !strings.Contains(got, "sse established after 250ms") {
			t.Error(got)
		}
	})
}

func TestEventsAreToldByTheirTypesInRuns(t *testing.T) {
	t.Parallel()
	o := &seen{}
	watch := o.observer()
	watch.Delivered = func(deliver.Delivery) {}
	h := deliver.New(deliver.Config{AllowPublish: true, Observer: watch})
	f := h.Feed(t.Context(), deliver.FeedConfig{Transport: deliver.TransportConnect})
	defer f.End(nil)
	batch := topic.Batch{Events: []fairlead.Event{{Type: "bid", Data: []byte("12")}, {Type: "bid", Data: []byte("3")}, {Type: "ask", Data: []byte("4567")}, {Type: "bid", Data: []byte("8")}}}
	if _, err := h.Publish(t.Context(), nil, "a", batch); err != nil {
		t.Fatal(err)
	}
	if err := f.Subscribe(t.Context(), "a", fairlead.Earliest, unheard); err != nil {
		t.Fatal(err)
	}
	o.take()
	wantNext(t, f, "12", "3", "4567", "8")
	if got := o.take(); got != "connect: 2 bid of 3 bytes; connect: 1 ask of 4 bytes; connect: 1 bid of 1 bytes" {
		t.Error(got)
	}
}

func TestWhatAPolicySkippedIsToldWhileTheSessionLives(t *testing.T) {
	t.Parallel()
	o := &seen{}
	h := deliver.New(deliver.Config{AllowPublish: true, Observer: o.observer(), Topics: topic.NewStore(topic.StoreConfig{
		Policy: func(string) topic.Policy { return topic.Policy{Deliver: topic.Newest, Newest: 1} },
	})})
	f := h.Feed(t.Context(), deliver.FeedConfig{Transport: deliver.TransportGRPCWeb})
	defer f.End(nil)
	publishAll(t, h, "a", "0")
	if err := f.Subscribe(t.Context(), "a", fairlead.Latest, unheard); err != nil {
		t.Fatal(err)
	}
	publishAll(t, h, "a", "1", "2", "3")
	wantNext(t, f, "3")
	if got := o.take(); !strings.Contains(got, "grpcweb missed 2 of a, gap false of 0") {
		t.Error(got)
	}
}

func TestMessagesOfTheBinarySubprotocolAreTold(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		o := &seen{}
		s := serve(deliver.Config{AllowPublish: true, Observer: o.observer()}).speaker()
		name := strings.ReplaceAll(t.Name(), "/", "-")
		s.say(toPublish(1, &fairleadv1.PublishRequest{Topic: name, Events: []*fairleadv1.Event{{Data: []byte("x")}}}))
		s.granted(1)
		s.say(toSubscribe(2, name, "nonsense"))
		s.refused(2, fairlead.InvalidArgument)
		s.say(toSetWindow(3, 20_000))
		s.refused(3, fairlead.InvalidArgument)
		got := o.take()
		for _, want := range []string{"websocket established", "publish false", "answer true", "publish took", "subscribe false", "subscribe refused: invalid_argument", "window refused: invalid_argument"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %s", want, got)
			}
		}
	})
}
