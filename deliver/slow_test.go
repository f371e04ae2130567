package deliver_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestAReaderThatFallsFurtherBehindForEverIsSentAway(t *testing.T) {
	t.Parallel()
	ended := make(chan deliver.Ended, 10)
	cfg := deliver.Config{
		Topics: topic.NewStore(topic.StoreConfig{}), AllowPublish: true, Engine: fanout.New(fanout.Config{}), SlowAfter: time.Minute,
		Observer: deliver.Observer{Closed: func(e deliver.Ended) { ended <- e }},
	}
	h := deliver.New(cfg)
	server := unstarted(cfg)
	server.Config.Handler = h
	t.Cleanup(func() { _ = cfg.Engine.Close() })
	s := &site{t: t, url: started(t, server).URL, topics: cfg.Topics}
	s.publish("t", "first")
	quick, slow := s.events("/topics/t"), s.events("/topics/t")
	fill := func() {
		for range 10 {
			if _, err := cfg.Topics.Append(t.Context(), "t", topic.Batch{Events: []fairlead.Event{{Data: bytes.Repeat([]byte("x"), 1<<19)}}}); err != nil {
				t.Fatal(err)
			}
			quick.next()
		}
	}
	look := func(at time.Time) int {
		for waits := false; !waits; { // until the slow one's connection is full
			for _, i := range h.Sessions(0) {
				waits = waits || i.Buffered > 0
			}
		}
		return h.FindSlow(at)
	}
	fill()
	began := time.Now()
	if n := look(began) + look(began.Add(59*time.Second)); n != 0 {
		t.Errorf("%d were sent away before their time", n)
	}
	if n := look(began.Add(61 * time.Second)); n != 0 {
		t.Errorf("%d were sent away that lag as before", n)
	}
	fill()
	if n := look(began.Add(2 * time.Minute)); n != 0 {
		t.Errorf("%d were sent away within the next minute", n)
	}
	if n := look(began.Add(123 * time.Second)); n != 1 {
		t.Fatalf("%d were sent away", n)
	}
	h.FindSlow(began.Add(133 * time.Second)) // and it has not read what it is told
	if e := <-ended; e.Reason != fairlead.TooSlow {
		t.Errorf("it ended as %q", e.Reason)
	}
	if _, err := io.Copy(io.Discard, slow.resp.Body); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("its stream ended well: %v", err)
	}
	s.publish("t", "last")
	quick.expect("last")
}
