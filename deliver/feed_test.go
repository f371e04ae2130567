package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/topic"
)

// publishAll publishes an event with each text.
func publishAll(t *testing.T, h *deliver.Handler, name string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		b := topic.Batch{Events: []fairlead.Event{{Data: []byte(text)}}}
		if _, err := h.Publish(t.Context(), http.Header{}, name, b); err != nil {
			t.Error(err)
		}
	}
}

// texts are those of the items; of what is no event, its kind.
func texts(items []topic.Item) (all []string) {
	for i := range items {
		if items[i].Record == nil {
			all = append(all, fmt.Sprintf("kind %d", items[i].Kind))
			continue
		}
		all = append(all, string(items[i].Record.Event.Data))
	}
	return all
}

func wantNext(t *testing.T, f *deliver.Feed, want ...string) []topic.Item {
	t.Helper()
	items := make([]topic.Item, 16)
	n, err := f.Next(items, time.Minute)
	if got := texts(items[:n]); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("Next = %q, %v; want %q", got, err, want)
	}
	return items[:n]
}

func unheard(fairlead.Cursor) {}

func TestAFeedIsGivenItsTopicsAndTheirEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := deliver.New(deliver.Config{AllowPublish: true})
		publishAll(t, h, "a", "1", "2")
		f := h.Feed(t.Context(), deliver.FeedConfig{Transport: deliver.TransportGRPC, Remote: "there"})
		began := fairlead.Cursor("")
		if err := f.Subscribe(t.Context(), "a", fairlead.Earliest, func(c fairlead.Cursor) { began = c }); err != nil || began == "" {
			t.Fatalf("Subscribe: %v, from %q", err, began)
		}
		wantNext(t, f, "1", "2")
		go publishAll(t, h, "a", "3")
		wantNext(t, f, "3")
		wantNext(t, f) // after a minute
		go f.Wake()
		wantNext(t, f)
		if at := h.Sessions(0); len(at) != 1 || at[0].Transport != "grpc" || at[0].Remote != "there" || at[0].Events != 3 {
			t.Errorf("the session is listed as %+v", at)
		}
		if code := fairlead.AsError(f.Subscribe(t.Context(), "a", "", unheard)).Code; code != fairlead.Conflict {
			t.Errorf("subscribing twice: %s", code)
		}
		if _, err := h.Publish(t.Context(), http.Header{}, "a", topic.Batch{Close: true}); err != nil {
			t.Fatal(err)
		}
		last := wantNext(t, f, fmt.Sprintf("kind %d", topic.KindEnd))
		if len(f.Cursors()) != 0 {
			t.Errorf("it still reads %v", f.Cursors())
		}
		// Past the end, it is told which end that was.
		if err := f.Subscribe(t.Context(), "a", last[0].Cursor, unheard); err != nil {
			t.Fatal(err)
		}
		wantNext(t, f, fmt.Sprintf("kind %d", topic.KindEnd))
		f.End(nil)
		if n := len(h.Sessions(0)); n != 0 {
			t.Errorf("%d sessions after the end", n)
		}
	})
}

func TestAFeedWithAWindowWaitsForAcknowledgements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := deliver.New(deliver.Config{AllowPublish: true})
		publishAll(t, h, "a", "1", "2", "3", "4")
		f := h.Feed(t.Context(), deliver.FeedConfig{Transport: deliver.TransportGRPC})
		defer f.End(nil)
		if err := f.Acknowledge("a", "x"); err == nil {
			t.Error("acknowledged without a window")
		}
		if err := f.SetWindow(2); err != nil {
			t.Fatal(err)
		}
		if f.SetWindow(1e6) == nil {
			t.Error("a window of a million was set")
		}
		if err := f.Subscribe(t.Context(), "a", fairlead.Earliest, unheard); err != nil {
			t.Fatal(err)
		}
		sent := wantNext(t, f, "1", "2")
		wantNext(t, f) // after a minute
		ack := func(c fairlead.Cursor) {
			t.Helper()
			if err := f.Acknowledge("a", c); err != nil {
				t.Fatal(err)
			}
		}
		ack(sent[0].Cursor)
		ack(sent[0].Cursor) // once more
		more := wantNext(t, f, "3")
		ack(more[0].Cursor)
		wantNext(t, f, "4")
		publishAll(t, h, "a", "5", "6", "7")
		wantNext(t, f, "5")
		if err := f.Unsubscribe("a"); err != nil {
			t.Fatal(err)
		}
		if code := fairlead.AsError(f.Unsubscribe("a")).Code; code != fairlead.NotFound {
			t.Errorf("unsubscribing twice: %s", code)
		}
		publishAll(t, h, "b", "8", "9", "10")
		if err := f.Subscribe(t.Context(), "b", fairlead.Earliest, unheard); err != nil {
			t.Fatal(err)
		}
		wantNext(t, f, "8", "9") // what is left of a does not count
		if err := f.SetWindow(0); err != nil {
			t.Fatal(err)
		}
		wantNext(t, f, "10")
	})
}

func TestAFeedIsSentAwayAndHungUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []fairlead.Code
		h := deliver.New(deliver.Config{AllowPublish: true, Observer: deliver.Observer{Closed: func(e deliver.Ended) { ended = append(ended, e.Reason) }}})
		publishAll(t, h, "a", "1")
		hungUp := make(chan struct{}, 10)
		f := h.Feed(t.Context(), deliver.FeedConfig{HangUp: func() { hungUp <- struct{}{} }})
		if err := f.Subscribe(t.Context(), "a", fairlead.Latest, unheard); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		drained := make(chan error)
		go func() { drained <- h.Drain(ctx, time.Second) }()
		_, err := f.Next(make([]topic.Item, 4), time.Minute)
		if why := fairlead.AsError(err); why.Code != fairlead.Draining || why.RetryAfter <= 0 {
			t.Errorf("Next = %v", err)
		}
		if f.Cursors()["a"] == "" {
			t.Error("where to go on is not known")
		}
		if err := <-drained; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain = %v", err)
		}
		<-hungUp
		f.End(errors.New("what was being sent was broken off"))
		if fmt.Sprint(ended) != "[draining]" {
			t.Errorf("it ended as %q", ended)
		}
	})
}

func TestAFeedWhoseClientHasGoneSaysSo(t *testing.T) {
	h := deliver.New(deliver.Config{AllowPublish: true})
	ctx, cancel := context.WithCancelCause(t.Context())
	f := h.Feed(ctx, deliver.FeedConfig{})
	gone := errors.New("gone")
	cancel(gone)
	if _, err := f.Next(make([]topic.Item, 1), time.Minute); !errors.Is(err, gone) {
		t.Errorf("Next = %v", err)
	}
	f.End(gone)
}

func TestAFeedSaysWhenItLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := deliver.New(deliver.Config{AllowPublish: true})
		publishAll(t, h, "a", "1")
		waiting, looked := true, 0
		f := h.Feed(t.Context(), deliver.FeedConfig{Before: func() bool { looked++; return waiting }})
		defer f.End(nil)
		began := time.Now()
		wantNext(t, f)
		if looked != 1 || time.Since(began) != 0 {
			t.Errorf("it looked %d times, and returned after %v", looked, time.Since(began))
		}
		waiting = false
		if err := f.Subscribe(t.Context(), "a", fairlead.Earliest, unheard); err != nil {
			t.Fatal(err)
		}
		wantNext(t, f, "1")
		wantNext(t, f) // after a minute
		if looked < 3 || time.Since(began) != time.Minute {
			t.Errorf("it looked %d times, and returned after %v", looked, time.Since(began))
		}
	})
}

func TestOfASessionThatReadsManyTopicsThoseThatLagAreListed(t *testing.T) {
	t.Parallel()
	h := deliver.New(deliver.Config{AllowPublish: true})
	f := h.Feed(t.Context(), deliver.FeedConfig{Transport: deliver.TransportGRPC})
	defer f.End(nil)
	for i := range 30 {
		name := fmt.Sprint("t", i)
		publishAll(t, h, name, "before")
		if err := f.Subscribe(t.Context(), name, fairlead.Latest, unheard); err != nil {
			t.Fatal(err)
		}
	}
	publishAll(t, h, "t21", "1", "2")
	all := h.Sessions(0)
	if s := all[0]; s.Reads != 30 || len(s.Topics) != deliver.MaxReadings || s.Topics[0].Topic != "t21" || s.Topics[0].Lag != 2 || s.Lag != 2 {
		t.Errorf("%+v", s)
	}
	for s := range h.All() {
		if len(s.Topics) != 30 {
			t.Errorf("%d topics of all", len(s.Topics))
		}
	}
	if n := h.Transports(); len(n) != 1 || n["grpc"] != 1 {
		t.Errorf("%v", n)
	}
}
